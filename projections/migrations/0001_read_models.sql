-- The read models. Every row can be rebuilt from the journal (`headrace rebuild`).
-- Keys compare by bytes (COLLATE "C"), on every server the same. No foreign keys: the journal vouches for the rows.

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

CREATE TABLE orders (
    channel text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    reasons json,
    shard integer NOT NULL,
    recorded_at timestamptz NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (channel, order_id, market_id)
) WITH (fillfactor = 85);
CREATE INDEX orders_newest ON orders (recorded_at, channel, order_id, market_id);
CREATE INDEX orders_by_status ON orders (status, recorded_at);
COMMENT ON COLUMN orders.recorded_at IS 'When Headrace took it (its own clock).';
COMMENT ON COLUMN orders.data IS 'The order as the channel placed it, without its lines.';

CREATE TABLE lines (
    channel text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    line_id text COLLATE "C" NOT NULL,
    open integer NOT NULL,
    allocated integer NOT NULL,
    backordered integer NOT NULL,
    shipped integer NOT NULL,
    delivered integer NOT NULL,
    cancelled integer NOT NULL,
    n integer NOT NULL,
    sku text COLLATE "C" NOT NULL,
    quantity integer NOT NULL,
    data json,
    PRIMARY KEY (channel, order_id, market_id, line_id)
) WITH (fillfactor = 70);
CREATE INDEX lines_by_sku ON lines (sku);
COMMENT ON TABLE lines IS 'Units of each ordered line: disjoint counts that add up to quantity.';

CREATE TABLE fulfillments (
    channel text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    fulfillment_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    request_status text COLLATE "C" NOT NULL,
    node_id text COLLATE "C" NOT NULL,
    requested_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    n integer NOT NULL,
    lines json NOT NULL,
    PRIMARY KEY (channel, order_id, market_id, fulfillment_id)
) WITH (fillfactor = 70);
CREATE INDEX fulfillments_by_node ON fulfillments (node_id);

CREATE TABLE packages (
    channel text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    fulfillment_id text COLLATE "C" NOT NULL,
    package_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    status_at timestamptz,
    estimated_delivery_at text, -- a time, or a day as the carrier named it
    shipped_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    n integer NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (channel, order_id, market_id, fulfillment_id, package_id)
) WITH (fillfactor = 70);

CREATE TABLE stock (
    sku text COLLATE "C" NOT NULL,
    node_id text COLLATE "C" NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    on_hand bigint NOT NULL,
    reserved bigint NOT NULL,
    quality_control bigint NOT NULL,
    damaged bigint NOT NULL,
    held bigint NOT NULL,
    PRIMARY KEY (sku, node_id)
) WITH (fillfactor = 50);
CREATE INDEX stock_by_node ON stock (node_id, sku);

CREATE TABLE markets (
    market_id text COLLATE "C" PRIMARY KEY,
    data json NOT NULL
);

CREATE TABLE nodes (
    node_id text COLLATE "C" PRIMARY KEY,
    market_id text COLLATE "C" NOT NULL,
    data json NOT NULL
);

CREATE TABLE items (
    sku text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    name text NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (sku, shard)
);

CREATE TABLE exceptions (
    exception_id text COLLATE "C" PRIMARY KEY,
    status text COLLATE "C" NOT NULL,
    resolved_at timestamptz,
    resolution text,
    opened_at timestamptz NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    severity text COLLATE "C" NOT NULL,
    channel text COLLATE "C",
    order_id text COLLATE "C",
    sku text COLLATE "C",
    node_id text COLLATE "C",
    detail text NOT NULL
);
CREATE INDEX exceptions_newest ON exceptions (opened_at, exception_id);

CREATE TABLE decisions (
    channel text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    n integer NOT NULL,
    shard integer NOT NULL,
    at timestamptz NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (channel, order_id, market_id, seq, entry, n)
);

CREATE TABLE timeline (
    channel text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    market_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    entry integer NOT NULL,
    n integer NOT NULL,
    shard integer NOT NULL,
    at timestamptz NOT NULL,
    event text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (channel, order_id, market_id, seq, entry, n)
);
