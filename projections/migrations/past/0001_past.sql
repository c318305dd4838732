-- What stood in the read models when. Every row holds from its journal entry (seq, entry) on, until the next row of the
-- same key; rows are only ever added, and can be rebuilt from the journal (`headrace rebuild --past`).
-- What never changes about an order stands in the read models alone: no personal data is here.

CREATE TABLE shards (
    shard integer PRIMARY KEY,
    journal_id text NOT NULL,
    seq bigint NOT NULL,
    next bigint NOT NULL,
    epoch bigint NOT NULL,
    inbox_next bigint NOT NULL,
    filter json NOT NULL,
    owner text
) WITH (fillfactor = 10);
COMMENT ON TABLE shards IS 'Checkpoint of each shard: the whole filter state, changed with the rows it stands for.';

CREATE TABLE order_changes (
    channel text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    shard integer NOT NULL,
    changes json NOT NULL,
    PRIMARY KEY (channel, order_id, market_id, seq, entry)
);
COMMENT ON COLUMN order_changes.changes IS 'By table of the read models: rows with their keys and the columns that changed.';

CREATE TABLE stock_balances (
    sku text COLLATE "C" NOT NULL,
    node_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    shard integer NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    on_hand bigint NOT NULL,
    reserved bigint NOT NULL,
    quality_control bigint NOT NULL,
    damaged bigint NOT NULL,
    held bigint NOT NULL,
    PRIMARY KEY (sku, node_id, seq, entry)
);

CREATE TABLE inbound_balances (
    sku text COLLATE "C" NOT NULL,
    node_id text COLLATE "C" NOT NULL,
    document text COLLATE "C" NOT NULL,
    document_line text COLLATE "C" NOT NULL, -- empty where the document names none
    seq bigint NOT NULL,
    entry integer NOT NULL,
    shard integer NOT NULL,
    units bigint NOT NULL,
    PRIMARY KEY (sku, node_id, document, document_line, seq, entry)
);

CREATE TABLE market_versions (
    market_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    shard integer NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (market_id, seq, entry)
);

CREATE TABLE node_versions (
    node_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    shard integer NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (node_id, seq, entry)
);

CREATE TABLE items_defined (
    sku text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    PRIMARY KEY (sku, shard, seq, entry)
);

CREATE TABLE ticks (
    shard integer NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (shard, seq, entry)
);
CREATE INDEX ticks_by_time ON ticks (shard, at);
COMMENT ON TABLE ticks IS 'The entries from which on a shard''s clock stood at a time.';
