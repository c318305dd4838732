"""What the codec takes, and what it says of what it doesn't take."""

from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from cloudevents.http import CloudEvent
from cloudevents.kafka import KafkaMessage, from_binary, to_binary, to_structured
from hypothesis import given
from hypothesis import strategies as st

from events.inputs import INPUTS, NOT_BUILT
from schemas.cloudevents import Accepted, Code, Rejected, emit, read
from schemas.inbox import MAX_INPUT_BYTES

GOLDEN = Path("schemas/golden")
Headers = Iterable[tuple[str, bytes | None]]
TIME = "2026-01-31T12:00:00Z"
HEADERS = emit("order_placed", "id-1", "shop", TIME)
STRUCTURED = [("content-type", b"application/cloudevents+json; charset=utf-8")]


def order(**changes: object) -> dict[str, Any]:
    return {
        "channel": "web",
        "market_id": "us",
        "order_id": "1",
        "placed_at": TIME,
        "currency": "USD",
        "ship_to": {"country": "US"},
        "lines": [{"line_id": "1", "sku": "TEA", "quantity": 2}],
        **changes,
    }


def line(**changes: object) -> dict[str, Any]:
    return order(lines=[{"line_id": "1", "sku": "TEA", "quantity": 2, **changes}])


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in order().items() if key != name}


def rejected(value: bytes | None, headers: Headers = HEADERS, topic: str = "orders") -> Rejected:
    outcome = read(topic, value, headers)
    assert isinstance(outcome, Rejected), "it was taken"
    return outcome


def replaced(name: str, raw: bytes | None) -> list[tuple[str, bytes]]:
    kept = [(header, value) for header, value in HEADERS if header != name]
    return kept if raw is None else [*kept, (name, raw)]


@pytest.mark.parametrize("name", INPUTS)
def test_the_sdk_and_we_mean_the_same_event_in_both_modes(name: str) -> None:
    golden = orjson.loads((GOLDEN / f"{name}.v1.json").read_bytes())
    attributes = {key: text for key, text in golden.items() if key != "data"}
    event = CloudEvent(attributes, golden["data"])
    for message in (to_binary(event), to_structured(event)):
        headers = {"content-type": b"application/cloudevents+json"} | message.headers
        value = message.value if isinstance(message.value, bytes) else message.value.encode()
        outcome = read(INPUTS[name].TOPIC, value, headers.items())
        assert isinstance(outcome, Accepted), outcome
        assert (outcome.id, outcome.source, outcome.type) == ("golden-1", "golden", name)
        assert outcome.time_ms == 1_769_860_800_000
        assert orjson.loads(outcome.data) == golden["data"]


def test_the_sdk_reads_what_we_emit() -> None:
    headers = emit("order_accepted", "1.2.3.4", "headrace/1", TIME, extensions={"causationid": "c"})
    event = from_binary(KafkaMessage(dict(headers), b"1", b'{"a":1}'))
    assert event["id"] == "1.2.3.4"
    assert event["type"] == "headrace.order_accepted.v1"
    assert event["causationid"] == "c"
    assert event.data == {"a": 1}


def test_structured_mode_needs_no_content_type() -> None:
    document = {
        "specversion": "1.0",
        "id": "1",
        "source": "shop",
        "type": "headrace.order_placed.v1",
        "time": "2026-01-31T13:00:00.5+01:00",
    }
    taken = read("orders", orjson.dumps({**document, "data": order()}), [])
    assert isinstance(taken, Accepted)
    assert taken.time_ms == 1_769_860_800_500
    encoded = {**document, "data_base64": b64encode(orjson.dumps(order())).decode()}
    assert read("orders", orjson.dumps(encoded), STRUCTURED) == taken


def test_canonical_data_leaves_defaults_and_empty_texts_out() -> None:
    outcome = read(
        "orders", orjson.dumps(order(priority=0, gift_message="", contact=None)), HEADERS
    )
    assert isinstance(outcome, Accepted)
    assert orjson.loads(outcome.data) == order()


def test_a_field_of_a_later_release_at_its_default_says_nothing() -> None:
    said = order(holds=[], revision=0, exchange_rate="", allow_partial=True)
    said["lines"][0] |= {"method": "ship", "allow_substitution": False}
    outcome = read("orders", orjson.dumps(said), HEADERS)
    assert isinstance(outcome, Accepted)
    assert orjson.loads(outcome.data) == order()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (order(holds=[{"hold": "fraud", "blocks": "ship"}]), "holds: a list of 1"),
        (order(revision=1), "revision: 1"),
        (order(revision=False), "revision: false"),
        (order(deliver_not_before=TIME), "deliver_not_before: "),
        (order(exchange_rate="1.1"), 'exchange_rate: "1.1"'),
        (line(method="pickup"), 'lines[0].method: "pickup"'),
        (line(allow_substitution=True), "lines[0].allow_substitution: true"),
        ({**without("ship_to"), "lines": line(method="pickup")["lines"]}, "lines[0].method"),
    ],
)
def test_a_field_of_a_later_release_that_says_something_is_named(
    data: dict[str, Any], named: str
) -> None:
    outcome = rejected(orjson.dumps(data))
    assert outcome.code == Code.NOT_SUPPORTED
    assert outcome.detail.startswith(named)
    assert "leave it out" in outcome.detail


@pytest.mark.parametrize("name", sorted(NOT_BUILT))
def test_an_input_of_a_later_release_is_named(name: str) -> None:
    outcome = rejected(b"{}", emit(name, "1", "s", TIME))
    assert outcome == (Code.NOT_SUPPORTED, f"ce_type: {name} is not supported by this release")


QUANTITY = "must be a whole number from 1 to 1000000, was"
INVALID = {
    "missing": (without("currency"), "currency: is missing; it must be three capital letters"),
    "missing in a line": (
        order(lines=[{"line_id": "1", "quantity": 1}]),
        "lines[0].sku: is missing",
    ),
    "misspelt": (
        line(quantty=1),
        'lines[0].quantty: is not a field of order_placed; did you mean "quantity"?',
    ),
    "extra": (order(zzz=1), "zzz: is not a field of order_placed; leave it out"),
    "negative": (line(quantity=-1), f"lines[0].quantity: {QUANTITY} -1"),
    "zero": (line(quantity=0), f"lines[0].quantity: {QUANTITY} 0"),
    "float": (line(quantity=1.5), f"lines[0].quantity: {QUANTITY} 1.5"),
    "integral float": (line(quantity=2.0), f"lines[0].quantity: {QUANTITY} 2.0"),
    "text": (line(quantity="two"), f'lines[0].quantity: {QUANTITY} "two"'),
    "bool": (line(quantity=True), f"lines[0].quantity: {QUANTITY} true"),
    "null": (line(quantity=None), f"lines[0].quantity: {QUANTITY} null"),
    "too many": (line(quantity=10**6 + 1), f"lines[0].quantity: {QUANTITY} 1000001"),
    "huge": (line(quantity=2**63), f"lines[0].quantity: {QUANTITY} 9223372036854775808"),
    "money": (line(unit_price_minor=10**12 + 1), "lines[0].unit_price_minor: must be a whole"),
    "currency": (
        order(currency="usd"),
        'currency: must be three capital letters such as "USD", was "usd"',
    ),
    "no lines": (order(lines=[]), "lines: must be a list of 1 to 1000 elements, was []"),
    "1,001 lines": (
        order(lines=[{"line_id": str(n), "sku": "A", "quantity": 1} for n in range(1001)]),
        "lines: must be a list of 1 to 1000 elements, was a list of 1001",
    ),
    "line twice": (order(lines=order()["lines"] * 2), 'line_id "1" stands twice'),
    "bad time": (order(placed_at="yesterday"), "placed_at: must be a time with its offset"),
    "naive time": (order(placed_at="2026-01-31T12:00:00"), "placed_at: must be a time with its"),
    "numeric time": (order(placed_at=1769860800), "placed_at: must be a time with its offset"),
    "no such day": (order(placed_at="2026-02-30T12:00:00Z"), "placed_at: must be a time with"),
    "slash": (order(order_id="a/b"), "order_id: must be a text of 1 to 64 printable characters"),
    "space": (order(order_id=" a"), "order_id: must be a text of 1 to 64 printable characters"),
    "empty id": (order(order_id=""), "order_id: must be a text of 1 to 64 printable characters"),
    "NUL": (order(gift_message="a\0b"), "gift_message: must be a text of 1 to 2000 characters"),
    "NUL attribute": (order(attributes={"a\0": "b"}), "attributes"),
    "channel": (order(channel="Web Shop"), "channel: must be a channel: 1 to 32"),
    "latitude": (
        order(ship_to={"country": "US", "location": {"lat": 91, "lon": 0}}),
        "ship_to.location.lat: must be a number from -90 to 90, was a number",
    ),
    "a list": ([order()], "the data must be a JSON object, was a list of 1"),
    "text data": ("order", 'the data must be a JSON object, was "order"'),
}


@pytest.mark.parametrize("case", INVALID)
def test_each_wrong_field_is_named_with_what_it_must_be_and_was(case: str) -> None:
    data, said = INVALID[case]
    outcome = rejected(orjson.dumps(data))
    assert outcome.code == Code.INVALID_DATA
    assert outcome.detail.startswith(said)


@pytest.mark.parametrize(
    ("name", "topic", "data", "said"),
    [
        (
            "stock_adjusted",
            "stock",
            {"node_id": "B", "sku": "A", "delta": 0, "reason": "x"},
            "delta:",
        ),
        (
            "market_defined",
            "network",
            {"market_id": "us", "currency": "USD", "time_zone": "Mars/Olympus"},
            'time_zone: "Mars/Olympus" is not a time zone',
        ),
        (
            "tracking_updated",
            "carriers",
            {"carrier": "a", "tracking_number": "1", "status": "gone", "at": TIME},
            'status: must be one of "unknown", "pre_transit"',
        ),
    ],
)
def test_rules_of_single_events_are_said(
    name: str, topic: str, data: dict[str, Any], said: str
) -> None:
    outcome = rejected(orjson.dumps(data), emit(name, "1", "s", TIME), topic)
    assert outcome.code == Code.INVALID_DATA
    assert outcome.detail.startswith(said)


def test_many_problems_are_counted_and_personal_data_is_not_repeated() -> None:
    lines = [{"line_id": str(n), "sku": "A", "quantity": 0} for n in range(10)]
    detail = rejected(orjson.dumps(order(lines=lines))).detail
    assert detail.endswith("; and 7 more")
    detail = rejected(orjson.dumps(order(ship_to={"country": "Ada's"}))).detail
    assert "Ada" not in detail
    assert "was a text of 5 characters" in detail


WHOLE = orjson.dumps(order())
ENVELOPES: dict[str, tuple[bytes | None, Headers, str, Code, str]] = {
    "null value": (None, HEADERS, "orders", Code.NOT_JSON, "the record has no value"),
    "empty value": (b"", HEADERS, "orders", Code.NOT_JSON, "the data is not JSON"),
    "cut": (WHOLE[:-1], HEADERS, "orders", Code.NOT_JSON, "the data is not JSON"),
    "surrogate": (
        WHOLE[:-1] + b',"priority":"\\ud800"}',
        HEADERS,
        "orders",
        Code.NOT_JSON,
        "the data is not JSON",
    ),
    "deep": (b"[" * 5000, HEADERS, "orders", Code.NOT_JSON, "the data is not JSON: recursion"),
    "not a CloudEvent": (WHOLE, [], "orders", Code.NOT_CLOUDEVENTS, "the header ce_specversion"),
    "garbage": (b"\xff\xfe", [], "orders", Code.NOT_JSON, "the value is not JSON"),
    "avro": (
        WHOLE,
        replaced("content-type", b"application/avro"),
        "orders",
        Code.NOT_JSON,
        "content-type: must be",
    ),
    "batch": (
        b"[]",
        [("content-type", b"application/cloudevents-batch+json")],
        "orders",
        Code.NOT_CLOUDEVENTS,
        "content-type:",
    ),
    "structured list": (b"[]", STRUCTURED, "orders", Code.NOT_CLOUDEVENTS, "the value must be"),
    "no data": (
        b'{"specversion":"1.0"}',
        STRUCTURED,
        "orders",
        Code.INVALID_DATA,
        "data: is missing",
    ),
    "other spec": (
        WHOLE,
        replaced("ce_specversion", b"0.3"),
        "orders",
        Code.NOT_CLOUDEVENTS,
        'ce_specversion: must be "1.0", was "0.3"',
    ),
    "no id": (WHOLE, replaced("ce_id", None), "orders", Code.NOT_CLOUDEVENTS, "ce_id: must be"),
    "long id": (
        WHOLE,
        replaced("ce_id", b"x" * 257),
        "orders",
        Code.NOT_CLOUDEVENTS,
        "ce_id: must be 1 to 256",
    ),
    "NUL in source": (
        WHOLE,
        replaced("ce_source", b"a\0"),
        "orders",
        Code.NOT_CLOUDEVENTS,
        "ce_source: must be",
    ),
    "Latin-1 header": (
        WHOLE,
        replaced("ce_source", b"\xe9"),
        "orders",
        Code.NOT_CLOUDEVENTS,
        "a ce_ header is not UTF-8",
    ),
    "no time": (WHOLE, replaced("ce_time", None), "orders", Code.NOT_CLOUDEVENTS, "ce_time: must"),
    "naive time": (
        WHOLE,
        replaced("ce_time", b"2026-01-31T12:00:00"),
        "orders",
        Code.NOT_CLOUDEVENTS,
        "ce_time: must be",
    ),
    "week date": (
        WHOLE,
        replaced("ce_time", b"2026-W05-6T12:00:00Z"),
        "orders",
        Code.NOT_CLOUDEVENTS,
        "ce_time: must be",
    ),
    "no type": (
        WHOLE,
        replaced("ce_type", None),
        "orders",
        Code.NOT_CLOUDEVENTS,
        "ce_type: is missing",
    ),
    "unknown type": (
        WHOLE,
        replaced("ce_type", b"headrace.order_plced.v1"),
        "orders",
        Code.UNKNOWN_TYPE,
        'ce_type: "headrace.order_plced.v1" is not an input of Headrace; did you mean "head',
    ),
    "an output": (
        WHOLE,
        replaced("ce_type", b"headrace.order_accepted.v1"),
        "orders",
        Code.UNKNOWN_TYPE,
        "ce_type: order_accepted is what Headrace says",
    ),
    "unknown version": (
        WHOLE,
        replaced("ce_type", b"headrace.order_placed.v2"),
        "orders",
        Code.UNKNOWN_VERSION,
        "ce_type: this release reads order_placed in version 1, not 2",
    ),
    "wrong topic": (
        WHOLE,
        HEADERS,
        "stock",
        Code.WRONG_TOPIC,
        'order_placed belongs on the topic "orders", not on "stock"',
    ),
    "too large": (
        b" " * (MAX_INPUT_BYTES + 1),
        HEADERS,
        "orders",
        Code.TOO_LARGE,
        f"the value has {MAX_INPUT_BYTES + 1} bytes",
    ),
    "10,000 lines": (
        orjson.dumps(
            order(lines=[{"line_id": str(n), "sku": "A", "quantity": 1} for n in range(10_000)])
        ),
        HEADERS,
        "orders",
        Code.TOO_LARGE,
        "the value has",
    ),
}


@pytest.mark.parametrize("case", ENVELOPES)
def test_each_wrong_envelope_has_its_code_and_sentence(case: str) -> None:
    value, headers, topic, code, said = ENVELOPES[case]
    outcome = rejected(value, headers, topic)
    assert outcome.code == code
    assert outcome.detail.startswith(said)


def test_unknown_fields_can_be_ignored_during_upgrades() -> None:
    said = line(glitter=1) | {"colour": {"a": [1]}}
    outcome = read("orders", orjson.dumps(said), HEADERS, unknown_fields="ignore")
    assert isinstance(outcome, Accepted)
    assert orjson.loads(outcome.data) == order()
    refused = read("orders", orjson.dumps(said | {"revision": 2}), HEADERS, unknown_fields="ignore")
    assert isinstance(refused, Rejected)
    assert refused.code == Code.NOT_SUPPORTED


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_NAMES = sorted(order().keys() | line()["lines"][0].keys() | {"holds", "attributes", "location"})


@st.composite
def _nearly_orders(draw: st.DrawFn) -> bytes:
    """An order with one value, somewhere, replaced or added."""
    document: Any = order(attributes={"a": "b"})
    at = document
    while True:
        inner = [value for value in at.values() if isinstance(value, dict)]
        inner += [value[0] for value in at.values() if isinstance(value, list)]
        if not inner or draw(st.booleans()):
            break
        at = draw(st.sampled_from(inner))
    at[draw(st.sampled_from(_NAMES) | st.text(max_size=5))] = draw(_JSON)
    try:
        return orjson.dumps(document)
    except TypeError:  # an integer or text that JSON can't hold here
        return repr(document).encode(errors="replace")


@given(
    value=st.none() | st.binary(max_size=80) | _nearly_orders() | st.sampled_from([WHOLE]),
    headers=st.lists(
        st.tuples(st.text(max_size=12), st.none() | st.binary(max_size=20))
        | st.sampled_from(HEADERS + STRUCTURED),
        max_size=8,
    )
    | st.just(HEADERS),
    topic=st.sampled_from(["orders", "stock", "network"]),
    ignore=st.booleans(),
)
def test_nothing_makes_the_codec_raise(
    value: bytes | None, headers: list[tuple[str, bytes | None]], topic: str, *, ignore: bool
) -> None:
    outcome = read(topic, value, headers, unknown_fields="ignore" if ignore else "refuse")
    if isinstance(outcome, Rejected):
        assert outcome.code in Code
        assert 0 < len(outcome.detail.encode()) < 4000
    else:
        again = read(topic, outcome.data, HEADERS)
        assert isinstance(again, Accepted)
        assert again.data == outcome.data, "canonical data is its own canonical form"


@pytest.mark.parametrize(
    "number", ["1" * 25, "1" * 400, "1" * 5000, "-" + "9" * 30, "1e400", "NaN", "1.0000000001"]
)
def test_numbers_beyond_what_machines_hold_are_refused(number: str) -> None:
    outcome = rejected(WHOLE[:-1] + b',"priority":' + number.encode() + b"}")
    assert outcome.code in {Code.INVALID_DATA, Code.NOT_JSON}


def _tracking(**changes: object) -> Accepted | Rejected:
    data = {
        "carrier": "ups",
        "tracking_number": "1Z",
        "status": "in_transit",
        "at": "2026-11-22T10:00:00Z",
    }
    headers = replaced("ce_type", b"headrace.tracking_updated.v1")
    return read("carriers", orjson.dumps(data | changes), headers)


@pytest.mark.parametrize(
    "at",
    [
        "1700000000",
        1700000000,
        "2026-11-22T10:00Z",
        "2026-11-22T10:00:00",
        "2026-11-22",
        "2026-11-22T10:00:00+0100",
        "2026-02-30T10:00:00Z",
    ],
)
def test_a_time_has_seconds_and_an_offset(at: object) -> None:
    outcome = _tracking(at=at)
    assert isinstance(outcome, Rejected)
    assert outcome.detail.startswith('at: must be a time with its offset such as "2026-01-31T')


@pytest.mark.parametrize("day", ["1700000000", "2026-02-30", "2026-11-25T00:00:00"])
def test_a_date_is_a_date(day: str) -> None:
    data = {"node_id": "BOS", "market_id": "us", "kind": "warehouse", "name": "Boston"}
    more = {"address": {"country": "US"}, "holidays": [day]}
    headers = replaced("ce_type", b"headrace.node_defined.v1")
    outcome = read("network", orjson.dumps(data | more), headers)
    assert isinstance(outcome, Rejected)
    assert "2026-01-31" in outcome.detail


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-11-25", "2026-11-25"),
        ("2026-11-25T10:00:00+01:00", "2026-11-25T09:00:00Z"),
        ("", None),
    ],
)
def test_a_delivery_is_estimated_to_a_time_or_a_day(given: str, kept: str | None) -> None:
    outcome = _tracking(estimated_delivery_at=given)
    assert isinstance(outcome, Accepted)
    assert orjson.loads(outcome.data).get("estimated_delivery_at") == kept


def test_an_estimate_that_is_neither_is_refused_in_one_sentence() -> None:
    outcome = _tracking(estimated_delivery_at="soon")
    assert outcome == Rejected(
        Code.INVALID_DATA,
        'estimated_delivery_at: must be a time with its offset such as "2026-01-31T12:00:00Z" or a'
        ' date such as "2026-01-31", was "soon"',
    )


def test_empty_ids_of_a_tracking_update_are_absent() -> None:
    outcome = _tracking(fulfillment_id="", package_id="", market_id="")
    assert isinstance(outcome, Accepted)
    assert not orjson.loads(outcome.data).keys() & {"fulfillment_id", "package_id", "market_id"}
