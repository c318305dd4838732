import psycopg

from orchestrator.demo.readmodel import ReadModel
from projections import schema


async def test_sums_up_orders_lines_stock_and_exceptions(postgres: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as connection:
        await schema.migrate(connection, "demo")
        await connection.execute("SET search_path TO demo")
        for order_id, status, open_, delivered in (
            ("1", "delivered", 0, 3),
            ("2", "accepted", 2, 0),
        ):
            await connection.execute(
                "INSERT INTO orders VALUES ('web', %s, 'us', %s, NULL, 0, now(), '{}')",
                (order_id, status),
            )
            await connection.execute(
                "INSERT INTO lines (channel, order_id, market_id, line_id, open, allocated,"
                " backordered, shipped, delivered, cancelled, n, sku, quantity)"
                " VALUES ('web', %s, 'us', '1', %s, 0, 0, 0, %s, 0, 0, 'A', 3)",
                (order_id, open_, delivered),
            )
        await connection.execute("INSERT INTO stock VALUES ('A', 'BOS', 'us', 9, 2, 0, 1, 0)")

    read_model = await ReadModel.open(postgres, "demo")
    try:
        totals, rows = await read_model.totals(), await read_model.rows()
    finally:
        await read_model.close()

    assert totals.orders == {"delivered": 1, "accepted": 1}
    assert (totals.on_hand, totals.reserved, totals.held, totals.stocked) == (9, 2, 1, 1)
    assert totals.in_flight == 1
    assert totals.taken == 2
    assert rows.orders["us", "web", "1"] == ("delivered", {"1": (0, 0, 0, 0, 3, 0)})
    assert rows.stock == {("BOS", "A"): (9, 2, 0, 1, 0)}
