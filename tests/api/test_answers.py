"""What the API answers, from rows that the projector wrote."""

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from orchestrator.runtime.world import SystemClock
from projections.api import create_app, examples, models
from projections.api.kpis import KpiList
from projections.queries import Reads
from tests.projections import journals as given

Get = Callable[..., Awaitable[Any]]


@pytest.fixture
def url(url_of_the_day: str) -> str:
    """These tests only read."""
    return url_of_the_day


async def test_an_order_with_all_that_came_of_it(get: Get) -> None:
    order = await get("/orders/web/1")
    models.OrderDetail.model_validate(order)
    assert {name: order[name] for name in ("order_id", "channel", "market_id", "status")} == {
        "order_id": "1",
        "channel": "web",
        "market_id": "us",
        "status": "partly_delivered",
    }
    assert order["on_hold"] is False
    assert order["placed_at"] == "2026-11-22T10:00:00Z"
    assert order["ship_to"] == given.SHIP_TO
    assert order["lines"] == [
        {
            "line_id": "1",
            "sku": "MUG",
            "quantity": 3,
            "open": 0,
            "allocated": 0,
            "backordered": 1,
            "shipped": 0,
            "delivered": 2,
            "cancelled": 0,
            "unit_price_minor": 1999,
        }
    ]
    assert (order["promised_by"], order["promise"]) == ("2026-11-26T04:59:59Z", "open")
    (fulfillment,) = order["fulfillments"]
    (package,) = fulfillment.pop("packages")
    assert fulfillment == {
        "fulfillment_id": "web.1.1",
        "node_id": "BOS",
        "status": "shipped",
        "request_status": "accepted",
        "requested_at": "2026-11-22T10:00:00Z",
        "ship_by": "2026-11-23T21:00:00Z",
        "deliver_by": "2026-11-26T04:59:59Z",
        "carrier": "ups",
        "service": "ground",
        "lines": [{"line_id": "1", "sku": "MUG", "quantity": 2}],
    }
    assert package["status"] == "delivered"
    assert package["status_at"] == "2026-11-25T15:00:00Z"
    assert package["tracking_number"] == "1Z"
    positions = [tuple(map(int, entry["position"].split("."))) for entry in order["timeline"]]
    assert positions == sorted(positions)
    assert order["timeline"][0] == {
        "at": "2026-11-22T10:00:00.003Z",
        "event": "order_accepted",
        "detail": "Accepted.",
        "position": "0.3.1.0",
    }


async def test_a_refused_order_is_found_with_its_reasons(get: Get) -> None:
    order = await get("/orders/web/3")
    assert order["status"] == "refused"
    assert order["reasons"][0]["code"] == "currency"
    models.OrderDetail.model_validate(order)


async def test_a_conflict_stands_in_the_timeline_of_the_first_order(get: Get) -> None:
    order = await get("/orders/web/1")
    assert "reasons" not in order
    assert "order_refused" in [entry["event"] for entry in order["timeline"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["4", "3", "2", "1"]),
        ({"status": "refused"}, ["3"]),
        ({"status": "partly_allocated"}, ["4", "2"]),
        ({"status": "cancelled"}, []),
        ({"channel": "web"}, ["4", "3", "2", "1"]),
        ({"channel": "shop"}, []),
        ({"market_id": "us"}, ["4", "3", "2", "1"]),
        ({"market_id": "eu"}, []),
        ({"sku": "MUG"}, ["4", "3", "2", "1"]),
        ({"sku": "CUP"}, []),
        ({"node_id": "BOS"}, ["2", "1"]),
        ({"node_id": "CHI"}, ["4"]),
        ({"node_id": "BOS", "status": "partly_allocated"}, ["2"]),
    ],
)
async def test_orders_are_filtered_newest_first(
    get: Get, query: dict[str, str], found: list[str]
) -> None:
    answer = await get("/orders", **query)
    assert [order["order_id"] for order in answer["items"]] == found
    assert answer["next"] is None
    models.OrderList.model_validate(answer)


async def pages(get: Get, path: str, **query: str) -> list[Any]:
    items: list[Any] = []
    after: dict[str, str] = {}
    while True:
        answer = await get(path, limit=1, **query, **after)
        items += answer["items"]
        if answer["next"] is None:
            return items
        after = {"after": answer["next"]}


@pytest.mark.parametrize(
    "path",
    [
        "/orders",
        "/orders?status=partly_allocated",
        "/nodes",
        "/nodes/BOS/stock",
        "/exceptions",
        "/orders/web/1/decisions",
    ],
)
async def test_pages_of_one_make_the_whole_list(get: Get, path: str) -> None:
    bare, _, query = path.partition("?")
    given_ = dict([query.split("=")]) if query else {}
    whole = (await get(bare, **given_))["items"]
    assert whole
    assert await pages(get, bare, **given_) == whole


@pytest.mark.parametrize("after", ["nonsense", "AAAA", "W10", "WzFd", "é"])
@pytest.mark.parametrize(
    "path", ["/orders", "/nodes", "/nodes/BOS/stock", "/exceptions", "/orders/web/1/decisions"]
)
async def test_an_after_of_ones_own_making_is_a_problem(get: Get, path: str, after: str) -> None:
    problem = await get(path, 400, after=after)
    assert problem["detail"].startswith("after: ")


async def test_decisions_explain_themselves(get: Get) -> None:
    answer = await get("/orders/web/1/decisions")
    (decision,) = answer["items"]
    (leg,) = decision["chosen"]["legs"]
    assert (leg["node_id"], leg["costs"]["transport"], leg["deliver_day"]) == (
        "BOS",
        720,
        "2026-11-25",
    )
    assert leg["lines"] == [{"line_id": "1", "sku": "MUG", "units": 2}]
    assert decision["at"] == "2026-11-22T10:00:00.003Z"
    assert decision["backordered"] == [{"line_id": "1", "quantity": 1}]
    assert decision["position"] == "0.3.1.2"
    models.DecisionList.model_validate(answer)


async def test_fences_and_shortages_are_told_by_node(get: Get) -> None:
    (decision,) = (await get("/orders/web/1/decisions"))["items"]
    (weighed,) = decision["sets"]
    barred = weighed["nodes"][1]
    assert (barred["node_id"], barred["fences"]) == ("LAX", ["nodes"])
    assert barred["short"] == [{"line_id": "1", "sku": "MUG", "units": 1}]
    assert decision["rest"] == {
        "fences": {"nodes": ["LAX"]},
        "short": ["CHI"],
        "few": [],
        "dearer": 0,
    }


async def test_what_would_have_changed_a_decision_is_told_when_it_is_read(get: Get) -> None:
    (decision,) = (await get("/orders/web/1/decisions"))["items"]
    assert decision["counterfactual"]["lift_fence"] is None
    assert decision["counterfactual"]["add_stock"] == {
        "node_id": "LAX",
        "fence": "nodes",
        "sku": "MUG",
        "lacking": 1,
        "criterion": "cost",
        "by": 60,
        "more_units": 0,
        "plan": {
            "legs": [{"node_id": "LAX", "lines": [{"line_id": "1", "sku": "MUG", "units": 2}]}],
            "units": 2,
            "value": 810,
        },
    }


async def test_a_decision_of_the_first_release_is_told_as_it_was_recorded(get: Get) -> None:
    answer = await get("/orders/web/4/decisions")
    (decision,) = answer["items"]
    assert decision["v"] == 1
    assert decision["candidates"] == [["BOS", 4200, [2]], ["LAX", None, [1]]]
    models.DecisionList.model_validate(answer)


async def test_an_order_without_decisions_has_none(get: Get) -> None:
    assert await get("/orders/web/3/decisions") == {"items": [], "next": None}


async def test_a_defined_item_without_stock_has_no_nodes(get: Get) -> None:
    assert (await get("/stock/CUP"))["nodes"] == []


async def test_nodes_come_with_their_defaults(get: Get) -> None:
    answer = await get("/nodes")
    assert [(node["node_id"], node["active"], node["ships"]) for node in answer["items"]] == [
        ("BOS", True, True),
        ("CHI", False, True),
    ]
    models.NodeList.model_validate(answer)


async def test_a_node_without_a_time_zone_has_its_markets(get: Get) -> None:
    zones = {node["node_id"]: node["time_zone"] for node in (await get("/nodes"))["items"]}
    assert set(zones.values()) == {"America/New_York"}


async def test_a_nodes_stock(get: Get) -> None:
    answer = await get("/nodes/BOS/stock")
    assert [(item["sku"], item["on_hand"]) for item in answer["items"]] == [("MUG", 3)]
    models.NodeStock.model_validate(answer)
    assert await get("/nodes/CHI/stock") == {"items": [], "next": None}


async def test_rule_sets_and_what_was_refused_about_them(get: Get) -> None:
    listed = (await get("/rule-sets", market_id="us"))["items"]
    assert {one["version"]: one["status"] for one in listed} == {"7": "active", "8": "refused"}
    assert (await get("/rule-sets", market_id="eu"))["items"] == []
    page = await get("/rule-sets", limit=1)
    rest = await get("/rule-sets", limit=1, after=page["next"])
    assert [*page["items"], *rest["items"]] == listed
    detail = await get("/rule-sets/us/7")
    assert (detail["body"], detail["approver"]) == ({"strategies": []}, "Ann\t\\")
    (refusal,) = (await get("/rule-sets/us/8"))["refusals"]
    assert refusal["problems"] == [{"path": "version", "detail": "8 is not known"}]
    assert "no rule set 9" in (await get("/rule-sets/us/9", 404))["detail"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["0-3", "0-2", "0-1"]),
        ({"status": "open"}, ["0-3"]),
        ({"status": "resolved"}, ["0-2", "0-1"]),
        ({"kind": "data_mismatch"}, ["0-3", "0-2", "0-1"]),
        ({"kind": "other"}, []),
    ],
)
async def test_exceptions_newest_first(get: Get, query: dict[str, str], found: list[str]) -> None:
    answer = await get("/exceptions", **query)
    assert [one["exception_id"] for one in answer["items"]] == found
    models.ExceptionList.model_validate(answer)


async def test_an_exception_shows_only_what_it_is_about(get: Get) -> None:
    newest, _, oldest = (await get("/exceptions"))["items"]
    assert newest.keys() == {
        *("exception_id", "status", "opened_at", "market_id", "kind", "severity", "detail"),
    }
    assert (oldest["channel"], oldest["order_id"]) == ("web", "1")
    assert oldest["resolved_at"].endswith("Z")


async def test_shards_say_who_owns_them_and_how_far_they_are(get: Get) -> None:
    answer = await get("/shards")
    (shard,) = answer["items"]
    day = len(given.day())
    inputs = sum(len(entries) for entries in given.day())
    assert shard == {
        "shard": 0,
        "owner": "engine-1",
        "epoch": 0,
        "seq": day,
        "journal_next": day + 1,
        "inbox_next": inputs,
        "halted": None,
        "lag": 100 - (day + 1),
    }
    models.ShardList.model_validate(answer)


async def test_shards_say_why_they_halt_and_at_which_input(reads: Reads) -> None:
    async def halts() -> Mapping[int, tuple[str, list[str]]]:
        return {0: ("order_placed can't be decided", ["inbox/0@7", "orders/1@3"])}

    transport = httpx.ASGITransport(app=create_app(reads, SystemClock(), halts=halts))
    async with httpx.AsyncClient(transport=transport, base_url="http://headrace") as client:
        answer = (await client.get("/shards")).json()
    (shard,) = answer["items"]
    assert shard["halted"] == {
        "what": "order_placed can't be decided",
        "input": ["inbox/0@7", "orders/1@3"],
    }
    models.ShardList.model_validate(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/orders/web/none",
        "/orders/none/1",
        "/orders/web/none/decisions",
        "/stock/none",
        "/nodes/none/stock",
        "/nothing",
    ],
)
async def test_what_is_not_there_is_404_with_details(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 404
    assert problem["title"] == "Not Found"
    assert problem["instance"] == path


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", 'limit: must be a whole number from 1 to 500, was "0"'),
        ("limit=501", 'limit: must be a whole number from 1 to 500, was "501"'),
        ("limit=1.5", 'limit: must be a whole number from 1 to 500, was "1.5"'),
        ("limit=x&status=lost", 'status: must be one of "'),
        ("limit=x&status=lost", '", was "lost"; limit: must be a whole number from 1 to 500, was'),
    ],
)
async def test_a_wrong_parameter_is_named_with_what_it_must_be(
    api: httpx.AsyncClient, query: str, said: str
) -> None:
    answer = await api.get(f"/orders?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


async def test_another_method_is_a_problem_too(api: httpx.AsyncClient) -> None:
    answer = await api.post("/orders")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_openapi_document_is_whole(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/orders/{channel}/{order_id}",
        "/orders",
        "/orders/{channel}/{order_id}/decisions",
        "/stock/{sku}",
        "/nodes",
        "/nodes/{node_id}/stock",
        "/promise",
        "/exceptions",
        "/rule-sets",
        "/rule-sets/{market_id}/{version}",
        "/shards",
        "/kpis",
        "/kpis/stream",
    }
    for path, item in document["paths"].items():
        ((method, operation),) = item.items()
        assert method == ("post" if path == "/promise" else "get"), path
        assert operation["description"], path
        assert "Headrace-Position" in [one["name"] for one in operation["parameters"]], path
        if path != "/kpis/stream":
            answered = operation["responses"]["200"]["content"]["application/json"]
            assert "schema" in answered, path


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (models.OrderDetail, examples.ORDER),
        (models.OrderList, examples.ORDERS),
        (models.DecisionList, examples.DECISIONS),
        (models.Stock, examples.STOCK),
        (models.NodeList, examples.NODES),
        (models.ExceptionList, examples.EXCEPTIONS),
        (models.RuleSetDetail, examples.RULE_SET),
        (models.ShardList, examples.SHARDS),
        (KpiList, examples.KPIS),
    ],
)
def test_examples_have_the_shape_they_illustrate(
    model: type[BaseModel], example: dict[str, Any]
) -> None:
    model.model_validate(example)


@pytest.mark.parametrize(
    "path", ["/orders/web/%00", "/orders/%00/1/decisions", "/stock/%00", "/nodes/%00/stock"]
)
async def test_nothing_has_a_nul_in_its_name(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 404


@pytest.mark.parametrize("query", ["channel", "market_id", "sku", "node_id"])
async def test_no_order_is_found_by_a_nul(api: httpx.AsyncClient, query: str) -> None:
    assert (await api.get(f"/orders?{query}=%00")).json()["items"] == []


async def test_no_exception_is_found_by_a_nul(api: httpx.AsyncClient) -> None:
    assert (await api.get("/exceptions?kind=%00")).json()["items"] == []


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/orders", '["soon","web","1","us"]'),
        ("/orders", '["\\u0000","web","1","us"]'),
        ("/exceptions", '["2026-02-30T00:00:00Z","x"]'),
        ("/nodes", '["\\u0000"]'),
        ("/orders/web/1/decisions", "[99999999999999999,1,99999999999]"),
        ("/orders/web/1/decisions", "[true,1,1]"),
    ],
)
async def test_a_forged_page_is_400(api: httpx.AsyncClient, path: str, key: str) -> None:
    answer = await api.get(path, params={"after": urlsafe_b64encode(key.encode()).decode()})
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith("after: ")
