"""Tracking: a carrier's word on packages; delivered ones close their units."""

from typing import Any

from events.decided import Line
from orchestrator.core.handshake import parse
from orchestrator.core.orders import Fulfillment, Order, Shipment
from orchestrator.core.turn import Turn, about


def update(turn: Turn) -> None:
    """`tracking_updated`: where a package is. One that comes before its shipment waits."""
    data = turn.data
    found = _package(turn)
    if found is None:
        number = data["tracking_number"]  # alone, since a shipment may not name its carrier
        by_ids = "fulfillment_id" in data and "package_id" in data
        _park(
            turn,
            f"tracking:{data['fulfillment_id']}/{data['package_id']}"
            if by_ids
            else f"tracking:{number}",
        )
        return
    order, fulfillment, package_id = found
    shipment = fulfillment.package(package_id)
    if shipment is None or package_id in shipment.delivered:
        turn.repeat("state")
    elif data["status"] == "delivered":
        _deliver(turn, order, fulfillment, shipment, package_id)
    else:
        event: Any = {
            "type": "package_tracked",
            **about(order),
            "fulfillment_id": fulfillment.fulfillment_id,
            "package_id": package_id,
            "status": data["status"],
            "at": data["at"],
        }
        for field in ("carrier_status", "estimated_delivery_at"):
            if field in data:
                event[field] = data[field]
        turn.emit(event)


def _package(turn: Turn) -> tuple[Order, Fulfillment, str] | None:
    """The package meant: by its ids where given, else the newest with the tracking number."""
    data = turn.data
    if "fulfillment_id" in data and "package_id" in data:
        for market in turn.shard.markets.values():
            if data.get("market_id") in (None, market.market_id):
                found = parse(market, data["fulfillment_id"])
                if found is not None and found[1].package(data["package_id"]) is not None:
                    return (*found, data["package_id"])
    number = data["tracking_number"]
    newest = None
    for market_id in [data["market_id"]] if "market_id" in data else turn.shard.markets:
        for carrier in (data["carrier"], ""):
            known = turn.shard.tracking.get(f"{market_id}/{carrier}/{number}")
            if known is not None:
                newest = max(newest or known, known, key=lambda one: one[3])
                break
    return newest[:3] if newest else None


def _park(turn: Turn, on: str) -> None:
    """Wait for the shipment; where too many wait, the one that waited longest gives way."""
    if turn.shard.parked_tracking >= turn.shard.config.tracking_waits:
        oldest = next(key for key in turn.shard.parked if key.startswith("tracking:"))
        turn.emit({"type": "input_expired", "on": oldest})
    until_ms = turn.now_ms + turn.shard.config.tracking_wait_ms
    turn.emit({"type": "input_parked", "on": on, "until_ms": until_ms})


def _deliver(
    turn: Turn, order: Order, fulfillment: Fulfillment, shipment: Shipment, package_id: str
) -> None:
    """Units of the package, and of those that travel under its number, arrived.

    With the last package of a shipment come the units that stand in none.
    """
    number = shipment.tracking.get(package_id)
    packages = [
        other
        for other in shipment.packages
        if other not in shipment.delivered
        and (other == package_id or (number and shipment.tracking.get(other) == number))
    ]
    arrived: dict[str, int] = {}
    for contents in [shipment.packages[one] for one in packages]:
        for line_id, units in (contents or {}).items():
            arrived[line_id] = arrived.get(line_id, 0) + units
    if len(shipment.delivered) + len(packages) == len(shipment.packages):
        for line_id, units in shipment.loose.items():
            arrived[line_id] = arrived.get(line_id, 0) + units
    lines: list[Line] = []
    for line in order.lines:
        units = min(arrived.get(line.line_id, 0), line.shipped)
        if units:
            lines.append({"line_id": line.line_id, "sku": line.sku, "quantity": units})
    turn.tell(
        {
            "type": "shipment_delivered",
            **about(order),
            "fulfillment_id": fulfillment.fulfillment_id,
            "packages": packages,
            "lines": lines,
            "delivered_at": turn.data["at"],
        }
    )
