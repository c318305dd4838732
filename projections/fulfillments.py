"""Fulfillments, and the packages that left for them."""

import orjson

from events.decided import InputRecord, Plain
from projections.at import At
from projections.tables import (
    FULFILLMENT_STATUS,
    FULFILLMENTS,
    PACKAGE_ESTIMATE,
    PACKAGE_STATUS,
    PACKAGES,
    Changes,
)

_SAID = ("requested_at", "ship_by", "deliver_by", "carrier", "service")


def planned(changes: Changes, at: At, _: InputRecord, event: Plain) -> None:
    """`fulfillment_planned`: units stand at a node that is asked for them later."""
    _stands(changes, at, event, "unsubmitted")


def requested(changes: Changes, at: At, _: InputRecord, event: Plain) -> None:
    """`fulfillment_requested`: a node is asked for units, or for those that were planned."""
    _stands(changes, at, event, "submitted")


def _stands(changes: Changes, at: At, event: Plain, request_status: str) -> None:
    lines = [
        {"line_id": line["line_id"], "sku": line["sku"], "quantity": line["quantity"]}
        for line in event["lines"]
    ]
    changes.put(
        FULFILLMENTS,
        [
            event["channel"],
            event["order_id"],
            event["market_id"],
            event["fulfillment_id"],
            "open",
            request_status,
            event["node_id"],
            *(event.get(name) for name in _SAID),
            at.seq,
            at.entry,
            at.n,
            orjson.dumps(lines).decode(),
        ],
    )


def changed(changes: Changes, _: At, __: InputRecord, event: Plain) -> None:
    """`fulfillment_changed`: its two statuses from now on."""
    key = (event["channel"], event["order_id"], event["market_id"], event["fulfillment_id"])
    changes.patch(FULFILLMENT_STATUS, key, (event["status"], event["request_status"]))


def sent(changes: Changes, at: At, _: InputRecord, event: Plain) -> None:
    """`shipment_sent`: its packages are on their way; no carrier has spoken of them yet."""
    for package in event["packages"]:
        changes.put(
            PACKAGES,
            [
                event["channel"],
                event["order_id"],
                event["market_id"],
                event["fulfillment_id"],
                package["package_id"],
                "pre_transit",
                None,
                None,
                event["shipped_at"],
                at.seq,
                at.entry,
                at.n,
                orjson.dumps(package).decode(),
            ],
        )


def tracked(changes: Changes, _: At, __: InputRecord, event: Plain) -> None:
    """`package_tracked`: where the carrier says it is."""
    key = (
        event["channel"],
        event["order_id"],
        event["market_id"],
        event["fulfillment_id"],
        event["package_id"],
    )
    changes.patch(PACKAGE_STATUS, key, (event["status"], event["at"]))
    if "estimated_delivery_at" in event:
        changes.patch(PACKAGE_ESTIMATE, key, (event["estimated_delivery_at"],))


def delivered(changes: Changes, _: At, __: InputRecord, event: Plain) -> None:
    """`shipment_delivered`: its packages arrived."""
    key = (event["channel"], event["order_id"], event["market_id"], event["fulfillment_id"])
    for package_id in event["packages"]:
        changes.patch(PACKAGE_STATUS, (*key, package_id), ("delivered", event["delivered_at"]))


ON = {
    "fulfillment_planned": planned,
    "fulfillment_requested": requested,
    "fulfillment_changed": changed,
    "shipment_sent": sent,
    "package_tracked": tracked,
    "shipment_delivered": delivered,
}
