"""Lanes: what carriers say they take, and don't.

A suspension bars its lanes for plans made from then on; what is held is looked at again. What a
node was asked for goes on: it may have left, and only its node knows.
"""

from typing import Any

from orchestrator.core.sourcing.calendars import moment_of
from orchestrator.core.sourcing.rates import LaneKey, lane_key
from orchestrator.core.turn import Turn

_NAMED = ("market_id", "carrier", "service", "origin_node_id", "destination_prefix")


def suspend(turn: Turn) -> None:
    """`lane_suspended`: nothing goes on these lanes, until then or until they are restored."""
    data = turn.data
    market = turn.shard.markets.get(data["market_id"])
    if market is None:
        turn.emit({"type": "input_parked", "on": f"market:{data['market_id']}"})
        return
    until_ms = moment_of(data["until"], market.time_zone) if "until" in data else None
    key = lane_key(data)
    if key in market.suspensions and market.suspensions[key] == until_ms:
        turn.repeat("state")
        return
    event: Any = {
        "type": "lane_suspended",
        **{field: data[field] for field in _NAMED if field in data},
        "reason": data["reason"],
    }
    if until_ms is not None:
        event["until_ms"] = until_ms
    turn.emit(event)


def restore(turn: Turn) -> None:
    """`lane_restored`: ends what was suspended of these lanes; a part can't be carved out."""
    data = turn.data
    market = turn.shard.markets.get(data["market_id"])
    if market is None:
        turn.emit({"type": "input_parked", "on": f"market:{data['market_id']}"})
        return
    named = lane_key(data)
    ended = [key for key in market.suspensions if named.covers(key)]
    for key in ended:
        _end(turn, market.market_id, key)
    wider = [key for key in market.suspensions if key.covers(named)]
    for key in wider:
        turn.mismatch(
            market.market_id,
            f"lane_restored names {_said(named)}, but {_said(key)} is suspended and stays so:"
            " restore what was suspended",
            None,
        )
    if not ended and not wider:
        turn.repeat("state")


def over(turn: Turn, market_id: str, *key: str | None) -> None:
    """A suspension's time is over, unless it was prolonged."""
    lane = LaneKey(*key)  # type: ignore[arg-type]  # a timer's key, as it was set
    until_ms = turn.shard.markets[market_id].suspensions.get(lane)
    if until_ms is not None and until_ms <= turn.now_ms:
        _end(turn, market_id, lane)


def _end(turn: Turn, market_id: str, key: LaneKey) -> None:
    named = {field: value for field, value in key._asdict().items() if value is not None}
    turn.emit({"type": "lane_restored", "market_id": market_id, **named})


def _said(key: LaneKey) -> str:
    """`UPS/ground from BOS to 02*`."""
    service = f"{key.carrier}/{key.service}" if key.service else key.carrier
    origin = f" from {key.origin_node_id}" if key.origin_node_id else ""
    to = f" to {key.destination_prefix}*" if key.destination_prefix else ""
    return service + origin + to
