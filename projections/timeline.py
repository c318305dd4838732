"""An order's timeline: one readable sentence an event."""

from collections.abc import Callable
from typing import Any

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import TIMELINE, Changes
from schemas.times import rfc3339

_NAMED = 5  # beyond so many a sentence sums up


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _units(lines: list[Any]) -> str:
    """`2 of line 1, 3 of line 2`; a line without a quantity is meant whole."""
    if len(lines) > _NAMED:
        return f"{sum(line.get('quantity', 0) for line in lines)} units on {len(lines)} lines"
    if not lines:
        return "nothing"
    return ", ".join(
        f"{line['quantity']} of line {line['line_id']}"
        if "quantity" in line
        else f"all of line {line['line_id']}"
        for line in lines
    )


def _waits(event: Plain) -> str:
    return f"Waits for master data: unknown {', '.join(event['unknown'][:_NAMED])}."


def _accepted(_: Plain) -> str:
    return "Accepted."


def _refused(event: Plain) -> str:
    reasons = "; ".join(_one_line(reason["detail"]) for reason in event["reasons"][:_NAMED])
    return (
        f"{'Sent again with other content, refused' if event['conflict'] else 'Refused'}: {reasons}"
    )


def _requested(event: Plain) -> str:
    return (
        f"{event['node_id']} is asked to ship {_units(event['lines'])} ({event['fulfillment_id']})."
    )


def _planned(event: Plain) -> str:
    until = rfc3339(event["release_ms"])
    units, node_id = _units(event["lines"]), event["node_id"]
    return f"{units} held at {node_id} ({event['fulfillment_id']}), to be asked by {until}."


def _improved(event: Plain) -> str:
    replaced = ", ".join(event["replaced"][:_NAMED])
    if event["before"][0] is None:
        return f"What was held can't go as planned any more: another plan replaces {replaced}."
    return f"A better plan was found: it replaces {replaced}."


def _promise_changed(event: Plain) -> str:
    return f"All will be there by {event['deliver_by']}, later than was told."


def _promise_kept(event: Plain) -> str:
    return f"The promise of {event['promised_by']} was kept: all arrived {event['delivered_at']}."


def _promise_broken(event: Plain) -> str:
    arrived = event.get("delivered_at")
    when = f"all arrived {arrived}" if arrived else "not all has arrived"
    return f"The promise of {event['promised_by']} was broken: {when}."


def _allocated(event: Plain) -> str:
    nodes = ", ".join(dict.fromkeys(part["node_id"] for part in event["fulfillments"]))
    parts = [f"Planned from {nodes}"] if nodes else []
    if event["backordered"]:
        parts.append(f"{'backordered' if parts else 'Backordered'}: {_units(event['backordered'])}")
    if "promised_by" in event:
        parts.append(f"promised by {event['promised_by']}")
    return f"{'; '.join(parts) or 'Nothing is left to plan'}."


def _cancelled(event: Plain) -> str:
    return f"Cancelled {_units(event['lines'])} by the {event['by']}: {_one_line(event['reason'])}."


def _cancellation_rejected(event: Plain) -> str:
    lines = _units(event["lines"]) if event["lines"] else "the order"
    return f"Too late to cancel {lines}: {_one_line(event['reason'])}."


def _cancellation_requested(event: Plain) -> str:
    return (
        f"{event['node_id']} is asked to stop {_units(event['lines'])} ({event['fulfillment_id']})."
    )


def _changed(event: Plain) -> str:
    status, request = event["status"], event["request_status"]
    return f"Fulfillment {event['fulfillment_id']} is {status}, its request {request}."


def _released(event: Plain) -> str:
    units = _units(event["lines"] or event["closed"])
    what = {
        "rejected": f"rejected {units}",
        "cancelled": f"cancelled {units}",
        "taken_back": f"had to give back {units}",
        "improved": f"gives way for {units}",
        "replanned": f"lets go of {units}, planned with the rest",
    }[event["why"]]
    return f"{event['node_id']} {what} ({event['fulfillment_id']})."


def _answered(event: Plain) -> str:
    if event.get("inferred"):
        units = _units(event["lines"])
        return f"{units} that the node was to stop went otherwise ({event['fulfillment_id']})."
    verb = "stopped" if event["answer"] == "accepted" else "can no longer stop"
    late = " after all" if event.get("after_all") else ""
    return f"The node {verb} {_units(event['lines'])}{late} ({event['fulfillment_id']})."


def _sent(event: Plain) -> str:
    packages = ", ".join(package["package_id"] for package in event["packages"][:_NAMED])
    units, at = _units(event["lines"]), event["shipped_at"]
    return f"{event['node_id']} shipped {units} in {packages} at {at}."


def _tracked(event: Plain) -> str:
    return (
        f"Package {event['package_id']} is {event['status'].replace('_', ' ')} since {event['at']}."
    )


def _delivered(event: Plain) -> str:
    packages = ", ".join(event["packages"][:_NAMED]) or "no package"
    return f"Delivered {_units(event['lines'])} in {packages} at {event['delivered_at']}."


def _exception_opened(event: Plain) -> str:
    return (
        f"Exception {event['exception_id']} ({event['kind']}) opened: {_one_line(event['detail'])}"
    )


def _exception_resolved(event: Plain) -> str:
    detail = _one_line(event["detail"])
    return f"Exception {event['exception_id']} ({event['kind']}) resolved: {detail}"


SENTENCES: dict[str, Callable[[Plain], str]] = {
    "order_waits": _waits,
    "order_accepted": _accepted,
    "order_refused": _refused,
    "fulfillment_requested": _requested,
    "fulfillment_planned": _planned,
    "order_allocated": _allocated,
    "order_improved": _improved,
    "order_promise_changed": _promise_changed,
    "promise_kept": _promise_kept,
    "promise_broken": _promise_broken,
    "order_cancelled": _cancelled,
    "order_cancellation_rejected": _cancellation_rejected,
    "fulfillment_cancellation_requested": _cancellation_requested,
    "fulfillment_changed": _changed,
    "units_released": _released,
    "cancellation_answered": _answered,
    "shipment_sent": _sent,
    "package_tracked": _tracked,
    "shipment_delivered": _delivered,
    "exception_opened": _exception_opened,
    "exception_resolved": _exception_resolved,
}


def noted(changes: Changes, at: At, _: InputRecord, event: Plain) -> None:
    """Every event of an order adds a sentence."""
    if "order_id" not in event:
        return  # an exception that concerns no order
    changes.add(
        TIMELINE,
        [
            event["channel"],
            event["order_id"],
            event["market_id"],
            at.seq,
            at.entry,
            at.n,
            at.shard,
            at.time,
            event["type"],
            SENTENCES[event["type"]](event),
        ],
    )


ON = dict.fromkeys(SENTENCES, noted)
