-- When fulfillments ship and arrive, what was promised, and what is announced.

ALTER TABLE orders
    ADD COLUMN promised_by timestamptz,
    ADD COLUMN promise text COLLATE "C";
CREATE INDEX orders_by_promise ON orders (promise, promised_by) WHERE promise IS NOT NULL;
COMMENT ON COLUMN orders.promised_by IS 'When all was to have arrived, as told with the first allocation.';
COMMENT ON COLUMN orders.promise IS 'kept or broken, once it is either.';

ALTER TABLE fulfillments
    ALTER COLUMN requested_at DROP NOT NULL,
    ADD COLUMN ship_by timestamptz,
    ADD COLUMN deliver_by timestamptz,
    ADD COLUMN carrier text,
    ADD COLUMN service text;
COMMENT ON COLUMN fulfillments.requested_at IS 'Null while the request is held back.';

CREATE TABLE inbound (
    sku text COLLATE "C" NOT NULL,
    node_id text COLLATE "C" NOT NULL,
    document text COLLATE "C" NOT NULL,
    document_line text COLLATE "C" NOT NULL, -- empty where the document names none
    units bigint NOT NULL,
    expected_at timestamptz,
    PRIMARY KEY (sku, node_id, document, document_line)
) WITH (fillfactor = 70);
COMMENT ON TABLE inbound IS 'What is announced and has not arrived; 0 units: closed.';
