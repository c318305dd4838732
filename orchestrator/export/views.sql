-- What people ask for first, over the tables of an export. Each view may use those before it.

-- Every order as its newest balances say: status and units by state.
CREATE OR REPLACE VIEW order_states AS
WITH balances AS (
    SELECT shard, seq, entry, n, recorded_at, unnest(orders) AS o FROM events.balanced
), newest AS (
    SELECT o.market_id AS market_id, o.channel AS channel, o.order_id AS order_id,
        o.status AS status, o.lines AS lines, recorded_at AS changed_at
    FROM balances
    QUALIFY row_number() OVER (
        PARTITION BY o.market_id, o.channel, o.order_id ORDER BY shard DESC, seq DESC, entry DESC, n DESC
    ) = 1
)
SELECT * FROM newest;

-- The input that an order was taken or refused by, a row; what only repeated it is left out.
CREATE OR REPLACE VIEW placements AS
WITH taken AS (
    SELECT shard, cause_source, cause_id, market_id, channel, order_id, 'accepted' AS how
    FROM events.order_accepted
    UNION SELECT shard, cause_source, cause_id, market_id, channel, order_id, 'accepted'
    FROM events.order_waits
    UNION SELECT shard, cause_source, cause_id, market_id, channel, order_id, 'refused'
    FROM events.order_refused WHERE NOT conflict
)
SELECT p.*, t.how AS how
FROM inputs.order_placed p
JOIN taken t USING (shard, cause_source, cause_id, market_id, channel, order_id)
QUALIFY row_number() OVER (PARTITION BY p.market_id, p.channel, p.order_id
    ORDER BY p.shard, p.seq, p.entry, t.how) = 1;

-- An order of which something arrived a row; `delivered_at` once nothing more is to come.
CREATE OR REPLACE VIEW deliveries AS
WITH arrived AS (
    SELECT market_id, channel, order_id, max(delivered_at) AS last_delivery_at
    FROM events.shipment_delivered GROUP BY ALL
)
SELECT market_id, channel, order_id, last_delivery_at,
    CASE WHEN s.status = 'delivered' THEN last_delivery_at END AS delivered_at
FROM arrived LEFT JOIN order_states s USING (market_id, channel, order_id);

-- An order a row: as it was placed, its status now, and when what happened to it.
CREATE OR REPLACE VIEW orders AS
WITH allocated AS (
    SELECT market_id, channel, order_id, min(recorded_at) AS allocated_at, max(promised_by) AS promised_by,
        count(*) AS plans
    FROM events.order_allocated GROUP BY ALL
), shipped AS (
    SELECT market_id, channel, order_id, min(shipped_at) AS first_shipped_at, max(shipped_at) AS last_shipped_at,
        sum(len(packages)) AS packages
    FROM events.shipment_sent GROUP BY ALL
)
SELECT market_id, channel, order_id, p.placed_at, p.recorded_at AS taken_at, p.customer_id, p.currency,
    p.service_level, p.priority, p.ship_to.country AS country, p.ship_to.region AS region,
    p.ship_to.postal_code AS postal_code, len(p.lines) AS lines,
    list_sum(list_transform(p.lines, lambda x: x.quantity)) AS units,
    CASE WHEN list_bool_and(list_transform(p.lines,
        lambda x: coalesce(x.total_minor, x.unit_price_minor) IS NOT NULL))
    THEN list_sum(list_transform(p.lines,
        lambda x: coalesce(x.total_minor, x.quantity * x.unit_price_minor))) END AS value_minor,
    coalesce(s.status, CASE p.how WHEN 'refused' THEN 'refused' ELSE 'accepted' END) AS status,
    s.changed_at, a.allocated_at, a.promised_by, a.plans, h.first_shipped_at, h.last_shipped_at,
    h.packages, d.last_delivery_at, d.delivered_at, d.delivered_at - p.placed_at AS lead_time
FROM placements p
LEFT JOIN order_states s USING (market_id, channel, order_id)
LEFT JOIN allocated a USING (market_id, channel, order_id)
LEFT JOIN shipped h USING (market_id, channel, order_id)
LEFT JOIN deliveries d USING (market_id, channel, order_id);

-- An order line a row: what was ordered, and where its units are.
CREATE OR REPLACE VIEW lines AS
WITH asked AS (
    SELECT market_id, channel, order_id, placed_at, currency, unnest(lines) AS l FROM placements
), states AS (
    SELECT market_id, channel, order_id, unnest(lines) AS c FROM order_states
)
SELECT a.market_id, a.channel, a.order_id, a.placed_at, a.l.line_id AS line_id, a.l.sku AS sku, a.l.quantity AS quantity,
    a.l.unit_price_minor AS unit_price_minor, a.currency, c.open AS open, c.allocated AS allocated,
    c.backordered AS backordered, c.shipped AS shipped, c.delivered AS delivered,
    c.cancelled AS cancelled
FROM asked a
LEFT JOIN states s ON s.market_id = a.market_id AND s.channel = a.channel
    AND s.order_id = a.order_id AND s.c.line_id = a.l.line_id;

-- A fulfillment a row: what a node was asked for, and what became of it.
CREATE OR REPLACE VIEW fulfillments AS
WITH asked AS (
    SELECT fulfillment_id, market_id, channel, order_id, node_id, carrier, service, service_level, requested_at,
        placed_at, ship_day, ship_by, deliver_by,
        list_sum(list_transform(lines, lambda x: x.quantity)) AS units
    FROM events.fulfillment_requested
    QUALIFY row_number() OVER (PARTITION BY fulfillment_id, market_id, channel, order_id
        ORDER BY shard DESC, seq DESC, entry DESC, n DESC) = 1
), changed AS (
    SELECT fulfillment_id, market_id, channel, order_id, status, request_status, recorded_at AS changed_at
    FROM events.fulfillment_changed
    QUALIFY row_number() OVER (PARTITION BY fulfillment_id, market_id, channel, order_id
        ORDER BY shard DESC, seq DESC, entry DESC, n DESC) = 1
), sent AS (
    SELECT fulfillment_id, market_id, channel, order_id, min(shipped_at) AS shipped_at,
        sum(list_sum(list_transform(lines, lambda x: x.quantity))) AS units_shipped,
        sum(len(packages)) AS packages
    FROM events.shipment_sent GROUP BY ALL
), arrived AS (
    SELECT fulfillment_id, market_id, channel, order_id, max(delivered_at) AS last_delivery_at,
        sum(len(packages)) AS packages
    FROM events.shipment_delivered GROUP BY ALL
)
SELECT a.*, coalesce(c.status, 'open') AS status,
    coalesce(c.request_status, 'submitted') AS request_status, c.changed_at, s.shipped_at,
    s.units_shipped, s.packages, v.last_delivery_at,
    CASE WHEN c.status IN ('shipped', 'incomplete') AND v.packages = s.packages
        THEN v.last_delivery_at END AS delivered_at
FROM asked a
LEFT JOIN changed c USING (fulfillment_id, market_id, channel, order_id)
LEFT JOIN sent s USING (fulfillment_id, market_id, channel, order_id)
LEFT JOIN arrived v USING (fulfillment_id, market_id, channel, order_id);

-- Of a plan too large to be told at once, what is told first: its other nodes are planned anew, in a later row.
CREATE OR REPLACE VIEW plans_begun AS
WITH cut AS (
    SELECT DISTINCT shard, seq, entry FROM events.work_queued WHERE starts_with(work, '["plan",')
), told AS (
    SELECT position, decision.chosen AS chosen, decision.candidates AS candidates,
        list_transform(fulfillments, lambda x: {'node_id': x.node_id, 'lines':
            list_sort(list_transform(x.lines, lambda y: {'line_id': y.line_id, 'units': y.quantity}))}) AS parts
    FROM events.order_allocated SEMI JOIN cut USING (shard, seq, entry)
), legs AS (
    SELECT position, chosen.nodes AS planned, chosen.split_minor AS split_minor,
        unnest(list_filter(candidates, lambda x: list_contains(chosen.nodes, x.node_id)
            AND list_contains(parts, {'node_id': x.node_id, 'lines': list_sort(x.for_lines)}))) AS c
    FROM told
)
SELECT position, list(c.node_id) AS nodes,
    list_filter(any_value(planned), lambda x: NOT list_contains(list(c.node_id), x)) AS nodes_later,
    sum(list_sum(list_transform(c.for_lines, lambda x: x.units)))::BIGINT AS units,
    (sum(c.cost_minor) + any_value(split_minor) // (len(any_value(planned)) - 1) * count(*))::BIGINT AS cost_minor,
    sum(c.transport_minor)::BIGINT AS transport_minor, sum(c.handling_minor)::BIGINT AS handling_minor,
    sum(c.per_unit_minor)::BIGINT AS per_unit_minor, sum(c.late_minor)::BIGINT AS late_minor,
    sum(c.load_minor)::BIGINT AS load_minor, sum(c.price_minor)::BIGINT AS price_minor,
    any_value(split_minor) // (len(any_value(planned)) - 1) * count(*) AS split_minor
FROM legs GROUP BY position HAVING count(*) < len(any_value(planned));

-- A plan a row: what made Headrace decide, by which rules, what it costs by component, and what of that is paid.
CREATE OR REPLACE VIEW decisions AS
SELECT a.position, shard, seq, entry, n, recorded_at AS decided_at, market_id, channel, order_id, placed_at,
    promised_by, d.trigger AS trigger, d.rule_set AS rule_set, d.strategy AS strategy,
    d.method AS method, d.decided_by AS decided_by, d.service_level AS service_level,
    d.currency AS currency, coalesce(b.nodes, d.chosen.nodes) AS nodes,
    len(coalesce(b.nodes, d.chosen.nodes)) AS legs, b.nodes_later AS nodes_later,
    coalesce(b.units, d.chosen.units) AS units, coalesce(b.cost_minor, d.chosen.cost_minor) AS cost_minor,
    coalesce(b.transport_minor + b.handling_minor + b.per_unit_minor,
        d.chosen.transport_minor + d.chosen.handling_minor + d.chosen.per_unit_minor) AS paid_minor,
    coalesce(b.transport_minor, d.chosen.transport_minor) AS transport_minor,
    coalesce(b.handling_minor, d.chosen.handling_minor) AS handling_minor,
    coalesce(b.per_unit_minor, d.chosen.per_unit_minor) AS per_unit_minor,
    coalesce(b.late_minor, d.chosen.late_minor) AS late_minor,
    coalesce(b.load_minor, d.chosen.load_minor) AS load_minor,
    coalesce(b.price_minor, d.chosen.price_minor) AS price_minor,
    coalesce(b.split_minor, d.chosen.split_minor) AS split_minor, d.runner_up.nodes AS runner_up_nodes,
    d.runner_up.cost_minor AS runner_up_cost_minor, len(d.candidates) AS candidates
FROM (SELECT *, decision AS d FROM events.order_allocated) a LEFT JOIN plans_begun b ON b.position = a.position;

-- A node that a plan looked at a row: its cost by component, and what kept it out.
CREATE OR REPLACE VIEW candidates AS
SELECT position, recorded_at AS decided_at, market_id, channel, order_id, c.node_id AS node_id,
    c.for_lines AS for_lines, c.cost_minor AS cost_minor, c.transport_minor AS transport_minor,
    c.handling_minor AS handling_minor, c.per_unit_minor AS per_unit_minor,
    c.late_minor AS late_minor, c.load_minor AS load_minor, c.price_minor AS price_minor,
    c.distance_m AS distance_m, c.ship_day AS ship_day, c.deliver_day AS deliver_day,
    c.days_late AS days_late, c.service AS service, c.fences AS fences, c.short AS short,
    list_contains(chosen, c.node_id) AS chosen
FROM (
    SELECT position, recorded_at, market_id, channel, order_id, decision.chosen.nodes AS chosen,
        unnest(decision.candidates) AS c
    FROM events.order_allocated
);

-- A movement of units a row; `on_hand` and the held states are changes.
CREATE OR REPLACE VIEW stock_movements AS
SELECT position, recorded_at, time_at AS moved_at, market_id, node_id, sku, reason, document,
    delta.on_hand AS on_hand, delta.quality_control AS quality_control, delta.damaged AS damaged,
    delta.held AS held, coalesce(shortfall, 0) AS shortfall, cause, cause_id, order_id
FROM events.stock_moved;

-- An exception a row, with its resolution where there is one.
CREATE OR REPLACE VIEW exceptions AS
WITH resolved AS (
    SELECT shard, exception_id, min(recorded_at) AS resolved_at, any_value(detail) AS resolution
    FROM events.exception_resolved GROUP BY ALL
)
SELECT o.exception_id, o.recorded_at AS opened_at, o.market_id, o.kind, o.severity, o.detail,
    o.channel, o.order_id, o.node_id, o.sku, o.rule_set,
    CASE WHEN r.resolved_at IS NULL THEN 'open' ELSE 'resolved' END AS status, r.resolved_at,
    r.resolution, o.cause, o.position
FROM events.exception_opened o LEFT JOIN resolved r USING (shard, exception_id);

-- An order that was promised a row: kept, broken or open; `delivered_at` once all of it is there.
CREATE OR REPLACE VIEW promises AS
WITH told AS (
    SELECT market_id, channel, order_id, promised_by, placed_at, 'kept' AS outcome, recorded_at AS known_at
    FROM events.promise_kept
    UNION ALL
    SELECT market_id, channel, order_id, promised_by, placed_at, 'broken', recorded_at FROM events.promise_broken
), promised AS (
    SELECT market_id, channel, order_id, min(promised_by) AS promised_by, min(placed_at) AS placed_at
    FROM (
        SELECT market_id, channel, order_id, promised_by, placed_at FROM events.order_allocated
        UNION ALL SELECT market_id, channel, order_id, promised_by, placed_at FROM told
    ) WHERE promised_by IS NOT NULL GROUP BY ALL
), last AS (
    SELECT * FROM told
    QUALIFY row_number() OVER (PARTITION BY market_id, channel, order_id ORDER BY known_at DESC) = 1
)
SELECT market_id, channel, order_id, p.placed_at, p.promised_by, coalesce(l.outcome, 'open') AS outcome,
    l.known_at, d.delivered_at
FROM promised p
LEFT JOIN last l USING (market_id, channel, order_id)
LEFT JOIN deliveries d USING (market_id, channel, order_id);

-- What a rule set in shadow would have decided of each order, beside what was decided: with `--shadows`.
CREATE OR REPLACE VIEW shadow_decisions AS
SELECT market_id, channel, order_id, position, cause_position AS accepted_position, recorded_at, rule_set,
    active.rule_set AS active_rule_set,
    same, currency,
    list_transform(fulfillments, lambda x: x.node_id) AS nodes,
    list_transform(active.fulfillments, lambda x: x.node_id) AS active_nodes,
    coalesce(list_sum(list_transform(backordered, lambda x: x.quantity)), 0) AS units_waiting,
    coalesce(list_sum(list_transform(active.backordered, lambda x: x.quantity)), 0) AS active_units_waiting,
    coalesce(costs_minor.transport, 0) + coalesce(costs_minor.handling, 0)
        + coalesce(costs_minor.per_unit, 0) AS paid_minor,
    coalesce(active.costs_minor.transport, 0) + coalesce(active.costs_minor.handling, 0)
        + coalesce(active.costs_minor.per_unit, 0) AS active_paid_minor
FROM shadows.shadow_decided;
