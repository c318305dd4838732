"""JSON Schemas in words: what a field must be, for error sentences and for the reference pages."""

from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter

from events.base import Channel, Country, Currency, FulfillmentId, Id, Text

Schema = dict[str, Any]


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    """The model's JSON Schema (draft 2020-12). Shared: don't change it."""
    return model.model_json_schema()


@cache
def _patterns() -> dict[str, str]:
    words = {
        Id: 'a text of 1 to 64 printable characters without "/" and without a space at the ends',
        FulfillmentId: 'a fulfillment id "<channel>.<order_id>.<n>" of at most 110 characters',
        Channel: "a channel: 1 to 32 of the characters a-z, 0-9, _ and -",
        Currency: 'three capital letters such as "USD"',
        Country: 'two capital letters such as "US"',
        Text: "a text of 1 to 2000 characters without NUL",
    }
    known = {
        (schema["pattern"], schema.get("maxLength")): text
        for alias, text in words.items()
        for schema in [TypeAdapter[str](alias).json_schema()]
    }
    known["^([01][0-9]|2[0-3]):[0-5][0-9]$", None] = 'a time of day such as "16:00"'
    return {f"{pattern} {maximum}": text for (pattern, maximum), text in known.items()}


def resolved(schema: Schema, root: Schema) -> Schema:
    """The schema behind `$ref`, and of "this or null" the this."""
    while True:
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
        else:
            return schema


def schema_at(root: Schema, path: tuple[str | int, ...]) -> Schema | None:
    """The schema of the value at `path`, None where the path leads out of it."""
    at: Schema | None = root
    for step in path:
        if at is None or step == "[key]":
            return at
        at = resolved(at, root)
        if isinstance(step, int):
            at = at.get("items")
        else:
            named = at.get("properties", {}).get(step)
            at = named or next(iter(at.get("patternProperties", {}).values()), None)
    return at


def _span(low: float | None, high: float | None, unit: str = "") -> str:
    if low is not None and high is not None:
        return f" of exactly {low}{unit}" if low == high else f" from {low} to {high}{unit}"
    if low is not None:
        return f" of at least {low}{unit}"
    return "" if high is None else f" of at most {high}{unit}"


def must_be(schema: Schema, root: Schema) -> str:
    """What a value must be, to stand after "must be"."""
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) > 1:
        return " or ".join(must_be(one, root) for one in choices)
    schema = resolved(schema, root)
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return "one of " + ", ".join(f'"{value}"' for value in schema["enum"])
    low, high = schema.get("minimum"), schema.get("maximum")
    match schema.get("type"):
        case "integer":
            also = " but not 0" if schema.get("not") == {"const": 0} else ""
            return f"a whole number{_span(low, high)}{also}"
        case "number":
            return f"a number{_span(low, high)}"
        case "boolean":
            return "true or false"
        case "array":
            span = _span(schema.get("minItems"), schema.get("maxItems"), " elements")
            return "a list" + span.replace(" from ", " of ")
        case "object":
            return "an object"
        case "string":
            return _text(schema)
        case _:
            return "another value"


def _text(schema: Schema) -> str:
    if schema.get("format") == "date-time":
        return 'a time with its offset such as "2026-01-31T12:00:00Z"'
    if schema.get("format") == "date":
        return 'a date such as "2026-01-31"'
    if "pattern" in schema:
        known = _patterns().get(f"{schema['pattern']} {schema.get('maxLength')}")
        if known is not None:
            return known
    span = _span(schema.get("minLength"), schema.get("maxLength"), " characters")
    return "a text" + span.replace(" from ", " of ")
