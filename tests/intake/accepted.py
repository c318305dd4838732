"""Inputs that intake takes, drawn from the published JSON Schemas, and often at their limits."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson
from hypothesis import strategies as st

Json = dict[str, Any]

_EDGES: Final = (
    *(
        "x",
        "é",
        "中",
        "\U0001f6d2",
        "e\u0301",
        "\u202e",
        "\u2028",
        "\ufeff",
        "\uffff",
        "\U0010ffff",
    ),
    *(
        '"',
        "\\",
        "'",
        "%",
        "{",
        "}",
        ",",
        "\t",
        "\n",
        "\r",
        "\x01",
        "\x7f",
        "\x85",
        ".",
        "..",
        "\\N",
    ),
    *("NULL", "$1", "<b>", "&amp;", "?", "#", "+", "%2e", "; --", "\\u0000", "\u0660"),
)
"""Repeated up to a field's limit, where it takes them."""
_ALPHABET: Final = st.characters(codec="utf-8", exclude_characters="\0")
_IN_IDS: Final = st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/")
_ZONES: Final = ("UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati", "Etc/GMT+12")
_DISTINCT: Final = {"lines": "line_id"}


def schema(type_: str) -> Json:
    """What is published of an input's data."""
    found: Json = orjson.loads(Path(f"schemas/json/{type_}.v1.json").read_bytes())
    return found


def inputs(type_: str, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Data of an input; `fixed` fields are drawn as said, the others as the schema has them."""
    required, fields = _fields(type_)
    return _mapping(required | fixed.keys(), {**fields, **fixed})


@cache
def _fields(type_: str) -> tuple[frozenset[str], dict[str, st.SearchStrategy[Any]]]:
    whole = schema(type_)
    fields = {name: _drawn(name, part, whole) for name, part in whole["properties"].items()}
    return frozenset(whole["required"]), fields


def said(value: Any, of: Json, whole: Json) -> Any:  # noqa: ANN401 - JSON
    """A value without what only repeats its schema's defaults; times as instants."""
    of = _resolved(of, whole)
    for one in of.get("anyOf", ()):
        one = _resolved(one, whole)  # noqa: PLW2901 - what it refers to
        if one.get("type") == _TYPES.get(type(value)):
            of = one
            break
    if isinstance(value, dict) and "properties" in of:
        parts = {
            name: said(value[name], part, whole)
            for name, part in of["properties"].items()
            if name in value
        }
        return {
            name: part
            for name, part in parts.items()
            if part is not None and part != of["properties"][name].get("default", None)
        }
    if isinstance(value, list):
        return [said(one, of.get("items", {}), whole) for one in value]
    if isinstance(value, str) and of.get("format") == "date-time" and "T" in value.upper():
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    return value


_TYPES: Final[dict[type, str]] = {dict: "object", list: "array", str: "string"}


def _resolved(of: Json, whole: Json) -> Json:
    reference = of.get("$ref")
    return whole["$defs"][reference.rpartition("/")[2]] if reference else of


def _drawn(name: str, of: Json, whole: Json) -> st.SearchStrategy[Any]:
    of = _resolved(of, whole)
    if "anyOf" in of:
        return st.one_of([_drawn(name, one, whole) for one in of["anyOf"]])
    if "enum" in of:
        return st.sampled_from(of["enum"])
    if "const" in of:
        return st.just(of["const"])
    match of["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return _integer(of)
        case "number":
            return st.floats(of["minimum"], of["maximum"], allow_subnormal=False)
        case "string":
            return _text(name, of)
        case "array":
            items = _drawn(name, of["items"], whole)
            most = min(of.get("maxItems", 3), 3)
            key = _DISTINCT.get(name)
            return st.lists(
                items,
                min_size=of.get("minItems", 0),
                max_size=most,
                unique_by=(lambda one: one[key]) if key else None,
            )
        case "object":
            return (
                _attributes(of)
                if "patternProperties" in of
                else _mapping(
                    frozenset(of.get("required", ())),
                    {name: _drawn(name, part, whole) for name, part in of["properties"].items()},
                )
            )
        case other:
            raise AssertionError(other)


def _mapping(
    required: AbstractSet[str], fields: Mapping[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {name: one for name, one in fields.items() if name in required},
        optional={name: one for name, one in fields.items() if name not in required},
    )


def _integer(of: Json) -> st.SearchStrategy[int]:
    least, most = of.get("minimum", -(2**31)), of.get("maximum", 2**31 - 1)
    return st.one_of(st.integers(least, most), st.sampled_from([least, most]))


def _text(name: str, of: Json) -> st.SearchStrategy[str]:
    if of.get("format") == "date-time":
        return _times()
    if of.get("format") == "date":
        return st.dates().map(date.isoformat)
    if name == "time_zone":
        return st.sampled_from(_ZONES)
    pattern = re.compile(of.get("pattern", ""))
    if "maxLength" not in of:
        return st.from_regex(pattern, fullmatch=True).filter(lambda one: not one.endswith("\n"))
    least, most = of.get("minLength", 0), of["maxLength"]

    def fits(text: str) -> bool:
        return least <= len(text) <= most and pattern.search(text) is not None

    alphabet = _ALPHABET if pattern.search("a/b") else _IN_IDS
    short = st.text(alphabet, min_size=least, max_size=min(most, 40))
    limits = [edge * (most // len(edge)) for edge in _EDGES]
    edges = [text for text in (*_EDGES, *limits) if fits(text) and not text.endswith("\n")]
    return st.one_of(short.filter(fits), st.integers(0, len(edges) - 1).map(lambda n: edges[n]))


def _times() -> st.SearchStrategy[str]:
    offsets = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))

    def written(moment: datetime) -> str:
        return moment.isoformat()

    some = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=offsets)  # noqa: DTZ001
    return st.one_of(
        some.map(written),
        st.sampled_from(
            ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-11-23T10:00:00Z"]
        ),
    )


def _attributes(of: Json) -> st.SearchStrategy[dict[str, str]]:
    names = _text("", of["propertyNames"] | {"pattern": "^[^\\x00]*$"})
    (values,) = of["patternProperties"].values()
    return st.dictionaries(names, _text("", values), max_size=3)
