"""The read models of what the real core decides are the core's own state."""

from typing import Any

import orjson
import psycopg
import pytest

from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.world import SystemClock
from projections.fold import READ_MODELS, Model
from projections.postgres import Postgres
from projections.projector import batches
from projections.queries import Page, open_reads
from projections.rebuild import rebuild
from projections.tables import TABLES
from schemas.journal import FilterState, digest_of, encode_commit, encode_opened
from schemas.ports import Read
from tests.core.story import Story
from tests.projections import journals as given
from tests.projections.conftest import SCHEMA, rows


def told() -> Story:
    """Splits, backorders, rejections, cancellations, counts, refusals, repeats, deliveries."""
    story = Story()
    for node in ("BOS", "CHI", "LAX"):
        story.node(node)
    story.item("MUG", "CUP")
    story.receive("BOS", MUG=5, CUP=2)
    story.receive("LAX", MUG=50)
    story.send("stock_received", node_id="CHI", sku="CUP", quantity=4, state="damaged")
    story.order("1", MUG=2, CUP=2)
    story.order("2", MUG=6, CUP=3)
    story.order("2", MUG=6, CUP=3)
    story.order("2", MUG=7)
    story.order("3", MUG=1, currency="EUR")
    story.order("4", LATE=1)
    story.order("5", NEVER=1)
    story.item("LATE")
    story.report("accepted", "1.1")
    story.ship("1.1")
    story.track("TP1", "in_transit", estimated_delivery_at="2026-11-26T10:00:00Z")
    story.track("TP1")
    story.report("rejected", "2.1", reason="damaged")
    story.cancel("2", lines=[{"line_id": "1", "quantity": 1}])
    for fulfillment in story.the_order("2").fulfillments:
        for pending in list(fulfillment.cancellations):
            story.report(
                "cancellation_accepted",
                fulfillment.fulfillment_id.removeprefix("web."),
                cancellation_id=pending.cancellation_id,
            )
    story.order("6", MUG=10)
    story.send("stock_counted", node_id="LAX", sku="MUG", counted=3)
    story.cancel("6")
    story.cancel("none")
    story.receive("CHI", MUG=20, CUP=20)
    story.at(3600)
    story.node("CHI", active=False)
    rule_sets(story)
    return story


def rule_sets(story: Story) -> None:
    """Two versions after one another, one that is scheduled and replaced, one that is wrong."""
    of: dict[str, Any] = {"market_id": "US"}
    for version in ("7", "8", "9"):
        body = {"strategies": [{"name": f"v{version}"}]}
        story.send("rule_set_proposed", **of, version=version, author="Ann\t\n", body=body)
        story.send("rule_set_approved", **of, version=version, approver="ann")
        story.send("rule_set_approved", **of, version=version, approver="Bo", note="fine")
    story.send("rule_set_activated", **of, version="7", activated_by="Cy")
    later: dict[str, Any] = {"version": "9", "from": "2099-01-01T00:00:00Z"}
    story.send("rule_set_activated", **of, **later)
    story.send("rule_set_activated", **of, version="8", activated_by="Di")
    later["from"] = "2027-02-01"
    story.send("rule_set_activated", **of, **later)
    story.send("rule_set_proposed", **of, version="10", author="Ann", body={"strategy": [], "x": 1})


@pytest.fixture(scope="module")
def story() -> Story:
    return told()


def journal(entries: list[bytes], a_commit: int) -> list[bytes]:
    values, prev = [encode_opened("engine-1", "n0")], ""
    now_ms = given.NOW_MS
    for first in range(0, len(entries), a_commit):
        part = entries[first : first + a_commit]
        causes = [orjson.loads(entry)["input"] for entry in part]
        now_ms = max([now_ms, *(one["time_ms"] for one in causes if "origin" not in one)])
        values.append(
            encode_commit(
                epoch=0,
                nonce="n0",
                seq=len(values),
                inbox_from=first,
                inbox_next=first + len(part),
                prev=prev,
                now_ms=now_ms,
                entries=part,
            )
        )
        prev = digest_of(values[-1])
    return values


async def write(
    database: Postgres, values: list[bytes], a_batch: int, model: Model = READ_MODELS
) -> None:
    state, before = FilterState(), None
    reads = [Read(offset, 0, None, value, ()) for offset, value in enumerate(values)]
    for first in range(0, len(reads), a_batch):
        for batch in batches(0, state, reads[first : first + a_batch], model=model):
            if batch is not None and batch.state != state:
                assert await database.apply(0, before, batch.state, batch.changes)
                before = state = batch.state


async def test_the_rows_are_the_cores_state(
    story: Story, postgres: str, database: Postgres
) -> None:
    await write(database, journal(story.entries, 3), 2)
    market = story.shard.markets["US"]
    async with open_reads(postgres, SCHEMA) as reads:
        listed = (await reads.orders({}, Page(500, None))).body["items"]
        assert {one["order_id"] for one in listed} == {o.order_id for o in market.orders.values()}
        for order in market.orders.values():
            shown = (await reads.order("web", order.order_id, None)).body
            assert shown["status"] == order.status()
            names = ("open", "allocated", "backordered", "shipped", "delivered", "cancelled")
            assert [
                (line["line_id"], line["sku"], *(line[name] for name in names))
                for line in shown["lines"]
            ] == [
                (line.line_id, line.sku, *(getattr(line, name) for name in names))
                for line in order.lines
            ]
            assert [
                (one["fulfillment_id"], one["node_id"], one["status"], one["request_status"])
                for one in shown["fulfillments"]
            ] == [
                (one.fulfillment_id, one.node_id, one.status, one.request_status)
                for one in order.fulfillments
            ]
            assert shown["timeline"]
        for sku, by_node in market.bins.items():
            nodes = (await reads.stock(sku)).body["nodes"]
            assert {
                one["node_id"]: (
                    *(one["on_hand"], one["reserved"], one["available"]),
                    *one["states"].values(),
                )
                for one in nodes
            } == {
                node_id: (
                    *(found.on_hand, found.reserved, found.available),
                    *(found.quality_control, found.damaged, found.held),
                )
                for node_id, found in by_node.items()
            }
        open_exceptions = (await reads.exceptions({"status": "open"}, Page(500, None))).body
        assert sorted(one["exception_id"] for one in open_exceptions["items"]) == sorted(
            story.shard.exceptions.values()
        )


async def test_rule_sets_are_shown_with_who_did_what_and_what_was_refused(
    story: Story, postgres: str, database: Postgres
) -> None:
    await write(database, journal(story.entries, 3), 2)
    async with open_reads(postgres, SCHEMA) as reads:
        listed = (await reads.rule_sets("US", Page(500, None))).body["items"]
        known = {name: one.status for name, one in story.shard.markets["US"].rule_versions.items()}
        assert known == {"7": "superseded", "8": "active", "9": "scheduled"}
        assert {one["version"]: one["status"] for one in listed} == {**known, "10": "refused"}
        first = (await reads.rule_sets(None, Page(1, None))).body
        rest = (await reads.rule_sets(None, Page(9, first["next"]))).body
        assert [*first["items"], *rest["items"]] == listed
        assert (await reads.rule_sets("EU", Page(9, None))).body["items"] == []

        (seven, eight, nine, ten) = [
            (await reads.rule_set("US", version)).body for version in ("7", "8", "9", "10")
        ]
        who = (seven["author"], seven["approver"], seven["activated_by"])
        assert who == ("Ann\t\n", "Bo", "Cy")
        assert seven["body"] == {"strategies": [{"name": "v7"}]}
        assert seven["superseded_at"] == eight["active_from"]
        (own,) = seven["refusals"]
        assert (own["asked"], own["by"]) == ("approved", "ann")
        assert own["problems"][0]["path"] == "approver"
        assert nine["active_from"] == "2027-02-01T05:00:00Z"
        wrong = ten["refusals"][0]["problems"]
        assert [one["path"] for one in wrong] == ["body.strategy", "body.x"]
        assert "body" not in ten
        assert (await reads.rule_set("US", "11")).body is None
        of_rules = {"kind": "rule_set", "status": "open"}
        (opened,) = (await reads.exceptions(of_rules, Page(9, None))).body["items"]
        assert opened["rule_set"] == "10"


async def test_a_rebuild_equals_any_batching(
    story: Story, postgres: str, database: Postgres, admin: psycopg.AsyncConnection
) -> None:
    values = journal(story.entries, 2)
    await write(database, values, 1)
    one_by_one = {name: await rows(admin, name) for name in (*TABLES, "shards")}
    log = MemoryLog(SystemClock(), {"journal": 1})
    given.write(log, 0, values)
    await rebuild(log, postgres, SCHEMA, 1)
    assert {name: await rows(admin, name) for name in (*TABLES, "shards")} == one_by_one
