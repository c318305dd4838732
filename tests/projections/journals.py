"""Journals for the read models' tests: a small day of one market, and the commits that hold it."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import orjson

from events.decided import DecidedEvent, Decision, DecisionV1, InputRecord
from orchestrator.runtime.memory_log import MemoryLog
from schemas.journal import (
    Commit,
    decode,
    digest_of,
    encode_commit,
    encode_entry,
    encode_opened,
)
from schemas.ports import Partition, Record

NOW_MS = 1_795_341_600_000
OF = {"market_id": "us", "channel": "web", "order_id": "1"}
Told = tuple[InputRecord, Sequence[Any]]

SHIP_TO = {"name": "Ann", "city": "Cambridge", "country": "US"}
COSTS = [720, 150]
DECISION: Decision = {
    "v": 2,
    "trigger": "order_placed",
    "at": NOW_MS,
    "rule_set": "7",
    "strategy": "everything",
    "why": ["channel is web"],
    "passed_over": [["vip", "channel is not phone"]],
    "price_version": 0,
    "currency": "USD",
    "objective": ["cost"],
    "place": ["postal_code", "US", "02139"],
    "promise": None,
    "service_level": "standard",
    "split": {"quantity": "when_short"},
    "method": "exact",
    "lines": [["1", "MUG", 3, 2, 2]],
    "sets": [
        [
            [2],
            ["BOS", 870, COSTS, 4200, 20_780, 2, "ups/ground"],
            ["LAX", 810, COSTS, None, 20_780, None, None, 0, 1, [[0, 1]], ["nodes"]],
        ]
    ],
    "chosen": {"legs": [(0, "BOS")], "units": 2, "value": 870},
    "runner_up": None,
    "rest": {"nodes": ["BOS", "CHI", "LAX"], "fences": {"nodes": "4"}, "short": "2", "dearer": 0},
    "decided_by": "most_units",
    "left_out": [[0, 1, ["1"], [["channel", 0, []]]]],
}
DECISION_V1: DecisionV1 = {
    "trigger": "fulfillment_rejected",
    "rule_set": "nearest-complete-1",
    "price_version": 0,
    "method": "exact",
    "lines": [["1", "MUG", 3]],
    "candidates": [["BOS", 4200, [2]], ["LAX", None, [1]]],
    "candidates_left_out": 0,
    "removed": {"no_stock": ["CHI"]},
    "chosen": {"nodes": ["BOS"], "units": 2, "distance_m": 4200},
    "runner_up": None,
    "decided_by": "most_units",
    "counterfactual": "nothing would wait with 1 more of MUG",
}


def told(type_: str, data: dict[str, Any], *events: object, number: int = 0) -> Told:
    """An entry: an input from outside and what was decided."""
    cause: InputRecord = {
        "type": type_,
        "version": 1,
        "id": f"{type_}-{number}",
        "source": "test",
        "time_ms": NOW_MS - 500,
        "origin": ["orders", 0, number, NOW_MS - 100],
        "data": data,
    }
    return cause, events


def tick(now_ms: int, *events: object) -> Told:
    """An entry of the shard's own clock."""
    cause: InputRecord = {
        "type": "clock_ticked",
        "version": 1,
        "id": f"tick-{now_ms}",
        "source": "headrace/0",
        "time_ms": now_ms,
        "data": {},
    }
    return cause, events


def balanced(*orders: list[Any], stock: Sequence[list[Any]] = ()) -> dict[str, Any]:
    return {"type": "balanced", "orders": list(orders), "stock": list(stock)}


def announced(units: int = 4, line: str | None = None) -> Told:
    """Mugs on their way to BOS."""
    inbound = [["BOS", "MUG", "PO-1", line, units, 1_800_000_000_000 if units else 0]]
    return told("inbound_announced", {}, {**balanced(), "inbound": inbound})


def counts(status: str, *units: int, order_id: str = "1") -> list[Any]:
    return ["us", "web", order_id, status, [["1", *units]]]


def market() -> Told:
    data = {"market_id": "us", "currency": "USD", "time_zone": "America/New_York"}
    return told("market_defined", data, {"type": "master_data_kept"})


def node(node_id: str, **more: object) -> Told:
    data = {
        "node_id": node_id,
        "market_id": "us",
        "kind": "warehouse",
        "name": f'{node_id} "the \\ first"',
        "address": {"country": "US"},
        **more,
    }
    return told("node_defined", data, {"type": "master_data_kept"})


def item(sku: str) -> Told:
    data = {"sku": sku, "name": f"{sku}\twith\na\\tab"}
    return told("item_defined", data, {"type": "master_data_kept"})


def received(node_id: str, sku: str, *units: int) -> Told:
    row = ["us", node_id, sku, *units]
    return told("stock_received", {"node_id": node_id, "sku": sku}, balanced(stock=[row]))


def placing(order_id: str = "1", market_id: str = "us", quantity: int = 3) -> dict[str, Any]:
    return {
        "channel": "web",
        "market_id": market_id,
        "order_id": order_id,
        "placed_at": "2026-11-22T10:00:00Z",
        "currency": "USD",
        "ship_to": SHIP_TO,
        "lines": [{"line_id": "1", "sku": "MUG", "quantity": quantity, "unit_price_minor": 1999}],
    }


def planned(
    order_id: str = "1",
    node_id: str = "BOS",
    units: int = 2,
    decision: Decision | DecisionV1 = DECISION,
) -> list[Any]:
    """What a plan adds to an entry: the node asked, the plan told."""
    of = {**OF, "order_id": order_id}
    part = {
        "fulfillment_id": f"web.{order_id}.1",
        "node_id": node_id,
        "ship_by": "2026-11-23T21:00:00Z",
        "deliver_by": "2026-11-26T04:59:59Z",
        "lines": [{"line_id": "1", "sku": "MUG", "quantity": units}],
    }
    return [
        {
            "type": "fulfillment_requested",
            **of,
            **part,
            "requested_at": "2026-11-22T10:00:00Z",
            "method": "ship",
            "service_level": "standard",
            "currency": "USD",
            "ship_day": "2026-11-23",
            "carrier": "ups",
            "service": "ground",
        },
        {
            "type": "order_allocated",
            **of,
            "status": "partly_allocated",
            "fulfillments": [part],
            "backordered": [{"line_id": "1", "quantity": 1}],
            "promised_by": "2026-11-26T04:59:59Z",
            "decision": orjson.dumps(decision).decode(),
        },
    ]


def accepted(order_id: str = "1", number: int = 0) -> Told:
    """Three mugs ordered: two at BOS, one backordered."""
    return told(
        "order_placed",
        placing(order_id),
        {"type": "order_accepted", **OF, "order_id": order_id, "status": "accepted"},
        *planned(order_id),
        balanced(
            counts("partly_allocated", 0, 2, 1, 0, 0, 0, order_id=order_id),
            stock=[["us", "BOS", "MUG", 5, 2, 0, 0, 0]],
        ),
        number=number,
    )


def shipped() -> Told:
    fulfillment = {**OF, "fulfillment_id": "web.1.1"}
    return told(
        "fulfillment_shipped",
        {"node_id": "BOS", "fulfillment_id": "web.1.1"},
        {
            "type": "fulfillment_changed",
            **fulfillment,
            "status": "shipped",
            "request_status": "accepted",
        },
        {
            "type": "shipment_sent",
            **fulfillment,
            "status": "partly_shipped",
            "node_id": "BOS",
            "shipped_at": "2026-11-23T15:00:00Z",
            "lines": [{"line_id": "1", "sku": "MUG", "quantity": 2}],
            "packages": [{"package_id": "P1", "carrier": "ups", "tracking_number": "1Z"}],
            "moved": [["1", "MUG", 2, 2]],
        },
        balanced(
            counts("partly_shipped", 0, 0, 1, 2, 0, 0), stock=[["us", "BOS", "MUG", 3, 0, 0, 0, 0]]
        ),
    )


def delivered() -> Told:
    package = {**OF, "fulfillment_id": "web.1.1"}
    return told(
        "tracking_updated",
        {"carrier": "ups", "tracking_number": "1Z"},
        {
            "type": "package_tracked",
            **package,
            "package_id": "P1",
            "status": "in_transit",
            "at": "2026-11-24T08:00:00Z",
            "estimated_delivery_at": "2026-11-25T08:00:00Z",
        },
        {
            "type": "shipment_delivered",
            **package,
            "status": "partly_delivered",
            "packages": ["P1"],
            "lines": [{"line_id": "1", "sku": "MUG", "quantity": 2}],
            "delivered_at": "2026-11-25T15:00:00Z",
        },
        balanced(counts("partly_delivered", 0, 0, 1, 0, 2, 0)),
    )


def exception(number: int, event: str = "exception_opened", **more: object) -> Told:
    opened = {
        "type": event,
        "exception_id": f"0-{number}",
        "market_id": "us",
        "kind": "data_mismatch",
        "severity": "medium",
        "detail": 'A "quoted" \\ detail\nof two lines',
        **more,
    }
    return told("order_placed", placing(), opened)


def rule_sets() -> list[Told]:
    """A version that is approved and active, one that is refused."""
    of = {"market_id": "us", "version": "7"}
    by_name = {"rule_set_proposed": "author", "rule_set_approved": "approver"}
    steps = (("rule_set_proposed", "proposed"), ("rule_set_approved", "approved"))
    return [
        *(
            told(
                type_,
                {**of, by_name[type_]: "Ann\t\\", "body": {"strategies": []}},
                {"type": "rule_set_changed", **of, "status": status},
            )
            for type_, status in steps
        ),
        told(
            "rule_set_activated",
            {**of, "activated_by": "Bo"},
            {"type": "rule_set_changed", **of, "status": "active"},
        ),
        told(
            "rule_set_activated",
            {**of, "version": "9", "mode": "shadow"},
            {"type": "rule_set_changed", **of, "version": "9", "status": "shadow"},
        ),
        told(
            "rule_set_activated",
            {**of, "version": "9", "mode": "shadow_ended"},
            {"type": "rule_set_changed", **of, "version": "9", "status": "approved"},
        ),
        told(
            "rule_set_approved",
            {**of, "version": "8", "approver": "Bo"},
            {
                "type": "rule_set_refused",
                **of,
                "version": "8",
                "asked": "approved",
                "problems": [{"path": "version", "detail": "8 is not known"}],
            },
        ),
    ]


def day() -> list[list[Told]]:
    """Commits of a day on which everything happens once."""
    conflict = {
        "type": "order_refused",
        **OF,
        "status": "partly_allocated",
        "reasons": [{"code": "conflict", "detail": "The first order stands."}],
        "conflict": True,
    }
    refused = {
        "type": "order_refused",
        **OF,
        "order_id": "3",
        "status": "refused",
        "reasons": [{"code": "currency", "detail": "EUR isn't\nthe market's currency USD"}],
        "conflict": False,
    }
    return [
        [market(), node("BOS"), node("CHI", active=False), item("MUG"), item("CUP")],
        [received("BOS", "MUG", 5, 0, 0, 0, 0), received("BOS", "MUG", 9, 0, 1, 2, 3)],
        [received("BOS", "MUG", 5, 0, 0, 0, 0), accepted(), accepted("2", 1), announced(0)],
        [
            told("order_placed", placing(quantity=9), conflict, balanced()),
            exception(1, channel="web", order_id="1"),
            told(
                "order_placed",
                placing("3"),
                refused,
                balanced(counts("refused", 3, 0, 0, 0, 0, 0, order_id="3")),
            ),
        ],
        [
            told(
                "order_placed",
                placing("4"),
                {"type": "order_waits", **OF, "order_id": "4", "unknown": ["MUG"], "until_ms": 1},
                balanced(counts("accepted", 3, 0, 0, 0, 0, 0, order_id="4")),
            ),
            tick(
                NOW_MS + 60_000,
                {"type": "order_accepted", **OF, "order_id": "4", "status": "accepted"},
                *planned("4", "CHI", decision=DECISION_V1),
                balanced(counts("partly_allocated", 0, 2, 1, 0, 0, 0, order_id="4")),
            ),
        ],
        rule_sets(),
        [shipped(), exception(2), exception(2, "exception_resolved")],
        [delivered()],
        [exception(1, "exception_resolved", channel="web", order_id="1"), exception(3)],
    ]


def journal(commits: Iterable[Iterable[Told]], nonce: str = "n0") -> list[bytes]:
    """A whole journal: opened once, every commit valid."""
    values, prev, inbox_next = [encode_opened("engine-1", nonce)], "", 0
    for seq, entries in enumerate(commits, 1):
        encoded = [
            encode_entry(cause, cast("list[DecidedEvent]", events)) for cause, events in entries
        ]
        values.append(
            encode_commit(
                epoch=0,
                nonce=nonce,
                seq=seq,
                inbox_from=inbox_next,
                inbox_next=inbox_next + len(encoded),
                prev=prev,
                now_ms=NOW_MS + seq,
                entries=encoded,
            )
        )
        prev = digest_of(values[-1])
        inbox_next += len(encoded)
    return values


def write(log: MemoryLog, shard: int, values: Iterable[bytes]) -> None:
    """Put journal records at the end of a shard's journal."""
    log.write(Partition("journal", shard), [Record(None, value) for value in values])


def decoded(entries: Iterable[Told]) -> Commit:
    """The first commit of a journal, as its readers see it."""
    record = decode(journal([entries])[1], 1)
    assert isinstance(record, Commit)
    return record
