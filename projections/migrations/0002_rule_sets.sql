-- Rule sets by version, what was refused about them, and which exception concerns which.

CREATE TABLE rule_sets (
    market_id text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    approved_at timestamptz,
    approval json,
    active_from timestamptz,
    activation json,
    superseded_at timestamptz,
    proposed_at timestamptz NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (market_id, version)
);

CREATE TABLE rule_set_refusals (
    market_id text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    n integer NOT NULL,
    at timestamptz NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (market_id, version, seq, entry, n)
);

ALTER TABLE exceptions ADD COLUMN rule_set text COLLATE "C";
