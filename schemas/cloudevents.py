"""CloudEvents 1.0 on Kafka: reads a record into an input or a rejection, and writes binary mode.

A valid record costs one parse (pydantic, strict, from the bytes). Only one that fails is looked at
again, to say what is wrong in a sentence. Nothing a record holds makes `read` raise.
"""

import difflib
import json
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, NamedTuple, NoReturn

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from events.base import TIME, Fact
from events.inputs import INPUTS, NOT_BUILT
from events.outputs import OUTPUTS
from schemas.inbox import MAX_INPUT_BYTES
from schemas.times import instant_ms
from schemas.words import must_be, resolved, schema_at, schema_of

UnknownFields = Literal["refuse", "ignore"]
"""What to do with a field that this release doesn't know: refuse the event, or drop the field."""

MAX_ATTRIBUTE_CHARACTERS = 256
"""The longest `ce_id` and `ce_source`, since every shard remembers them."""

_PRINTABLE = re.compile(rf"[^\x00-\x1f\x7f-\x9f]{{1,{MAX_ATTRIBUTE_CHARACTERS}}}")
_TYPE = re.compile(r"headrace\.([a-z0-9_]{1,64})\.v([1-9][0-9]{0,5})", re.ASCII)
_BY_TYPE: dict[str, type[Fact]] = {f"headrace.{name}.v1": model for name, model in INPUTS.items()}
_PERSONAL = frozenset({"ship_to", "contact", "gift_message", "packing_note", "note"})
_SHOWN_CHARACTERS = 60
_SHOWN_PROBLEMS = 3
_HUGE = 10**30


class Code(StrEnum):
    """Why a record is rejected."""

    NOT_JSON = "not_json"
    NOT_CLOUDEVENTS = "not_cloudevents"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    INVALID_DATA = "invalid_data"
    NOT_SUPPORTED = "not_supported"
    WRONG_TOPIC = "wrong_topic"
    UNKNOWN_MARKET = "unknown_market"
    UNKNOWN_NODE = "unknown_node"
    TOO_LARGE = "too_large"


class Accepted(NamedTuple):
    """A valid input; `data` is its canonical JSON, without defaults.

    `time_ms` is ce_time (when it happened, at the source) in milliseconds since 1970 UTC.
    """

    type: str
    version: int
    id: str
    source: str
    time_ms: int
    model: Fact
    data: bytes


class Rejected(NamedTuple):
    """Why a record can't be taken; `detail` is a sentence for a person: what, where, what to do."""

    code: Code
    detail: str


class _RefusalError(Exception):
    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.rejected = Rejected(code, detail)


def _refuse(code: Code, detail: str) -> NoReturn:
    raise _RefusalError(code, detail)


def read(
    topic: str,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    *,
    unknown_fields: UnknownFields = "refuse",
) -> Accepted | Rejected:
    """Read a record of an input topic (named without prefix), in binary or structured mode."""
    try:
        return _read(topic, value, headers, unknown_fields)
    except _RefusalError as refusal:
        return refusal.rejected


def emit(
    type_: str,
    id_: str,
    source: str,
    time: str,
    *,
    version: int = 1,
    extensions: Mapping[str, str] | None = None,
) -> list[tuple[str, bytes]]:
    """The headers of a binary-mode record whose value is the event's data; `time` is RFC 3339."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id_.encode()),
        ("ce_source", source.encode()),
        ("ce_type", b"headrace.%b.v%d" % (type_.encode(), version)),
        ("ce_time", time.encode()),
        ("content-type", b"application/json"),
    ]
    if extensions:
        headers += [(f"ce_{name}", text.encode()) for name, text in extensions.items()]
    return headers


def _read(
    topic: str,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    unknown_fields: UnknownFields,
) -> Accepted:
    if value is None:
        _refuse(Code.NOT_JSON, "the record has no value: an event's data is a JSON object")
    if len(value) > MAX_INPUT_BYTES:
        _refuse(
            Code.TOO_LARGE,
            f"the value has {len(value)} bytes, more than the {MAX_INPUT_BYTES} that an input may"
            " have: split it",
        )
    attributes, data = _envelope({name.lower(): raw for name, raw in headers}, value)
    if attributes.get("specversion") != "1.0":
        shown = _shown(attributes.get("specversion"))
        _refuse(Code.NOT_CLOUDEVENTS, f'ce_specversion: must be "1.0", was {shown}')
    id_ = _printable(attributes, "id")
    source = _printable(attributes, "source")
    type_ = attributes.get("type")
    time_ms = _time_ms(attributes.get("time"))
    model = _BY_TYPE.get(type_) if isinstance(type_, str) else None
    if model is None:
        _refuse_type(type_)
    if topic != model.TOPIC:
        _refuse(
            Code.WRONG_TOPIC,
            f'{model.TYPE} belongs on the topic "{model.TOPIC}", not on "{topic}": send it there',
        )
    try:
        fact: Fact = model.__pydantic_validator__.validate_json(data)
    except ValidationError as error:
        fact = _examine(model, data, error, unknown_fields)
    canonical: bytes = model.__pydantic_serializer__.to_json(fact, exclude_defaults=True)
    if len(canonical) > MAX_INPUT_BYTES:
        _refuse(
            Code.TOO_LARGE,
            f"the data has {len(canonical)} bytes when written canonically, more than the"
            f" {MAX_INPUT_BYTES} that an input may have: split it",
        )
    return Accepted(model.TYPE, 1, id_, source, time_ms, fact, canonical)


def _envelope(headers: dict[str, bytes | None], value: bytes) -> tuple[Mapping[str, object], bytes]:
    """The CloudEvent's attributes and the bytes of its data."""
    content_type = (headers.get("content-type") or b"").partition(b";")[0].strip().lower()
    if content_type.startswith(b"application/cloudevents"):
        if content_type != b"application/cloudevents+json":
            _refuse(
                Code.NOT_CLOUDEVENTS,
                f"content-type: {_shown(content_type.decode(errors='replace'))} is not read: send"
                " one event a record, as application/cloudevents+json or in binary mode",
            )
        return _structured(_loads(value))
    if "ce_specversion" in headers:
        if content_type and content_type != b"application/json" and content_type[-5:] != b"+json":
            shown = _shown(content_type.decode(errors="replace"))
            _refuse(Code.NOT_JSON, f'content-type: must be "application/json", was {shown}')
        try:
            return {
                name[3:]: raw.decode()
                for name, raw in headers.items()
                if raw is not None and name.startswith("ce_")
            }, value
        except UnicodeDecodeError as error:
            _refuse(Code.NOT_CLOUDEVENTS, f"a ce_ header is not UTF-8: {error.reason}")
    document = _loads(value)
    if isinstance(document, dict) and "specversion" in document:
        return _structured(document)
    _refuse(
        Code.NOT_CLOUDEVENTS,
        "the header ce_specversion is missing, and the value is no JSON object with specversion:"
        " send a CloudEvent, in binary or structured mode",
    )


def _structured(document: object) -> tuple[Mapping[str, object], bytes]:
    if not isinstance(document, dict):
        _refuse(Code.NOT_CLOUDEVENTS, f"the value must be a JSON object, was {_shown(document)}")
    content_type = document.get("datacontenttype", "application/json")
    essence = (
        content_type.partition(";")[0].strip().lower() if isinstance(content_type, str) else ""
    )
    if essence != "application/json" and not essence.endswith("+json"):
        shown = _shown(content_type)
        _refuse(Code.NOT_JSON, f'datacontenttype: must be "application/json", was {shown}')
    if "data" in document:
        return document, _dumps(document["data"])
    encoded = document.get("data_base64")
    if not isinstance(encoded, str):
        _refuse(Code.INVALID_DATA, "data: is missing; it must be an object")
    try:
        return document, b64decode(encoded, validate=True)
    except ValueError:
        _refuse(Code.NOT_JSON, "data_base64: is not base64")


def _loads(value: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        _refuse(Code.NOT_JSON, f"the value is not JSON: {str(error)[:200]}")


def _dumps(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        _refuse(Code.NOT_JSON, "the data is nested too deep: an event has a few levels")


def _printable(attributes: Mapping[str, object], name: str) -> str:
    text = attributes.get(name)
    if isinstance(text, str) and _PRINTABLE.fullmatch(text):
        return text
    was = f"was {_shown(text)}" if name in attributes else "is missing"
    _refuse(
        Code.NOT_CLOUDEVENTS,
        f"ce_{name}: must be 1 to {MAX_ATTRIBUTE_CHARACTERS} characters without control"
        f" characters, {was}",
    )


def _time_ms(text: object) -> int:
    """Whole milliseconds since 1970 UTC."""
    if isinstance(text, str) and TIME.fullmatch(text):
        try:
            return instant_ms(text.upper())
        except (ValueError, OverflowError):
            pass  # no such day or hour: said below
    was = "is missing" if text is None else f"was {_shown(text)}"
    _refuse(
        Code.NOT_CLOUDEVENTS,
        "ce_time: must be when it happened, a time with its offset such as"
        f' "2026-01-31T12:00:00Z", {was}',
    )


def _refuse_type(type_: object) -> NoReturn:
    if type_ is None:
        _refuse(Code.NOT_CLOUDEVENTS, 'ce_type: is missing; such as "headrace.order_placed.v1"')
    match = _TYPE.fullmatch(type_) if isinstance(type_, str) else None
    name, version = match.groups() if match else ("", "")
    if name in INPUTS:
        _refuse(
            Code.UNKNOWN_VERSION,
            f"ce_type: this release reads {name} in version 1, not {version}: send"
            f' "headrace.{name}.v1", or upgrade Headrace first',
        )
    if name in NOT_BUILT:
        _refuse(Code.NOT_SUPPORTED, f"ce_type: {name} is not supported by this release")
    if name in OUTPUTS:
        _refuse(Code.UNKNOWN_TYPE, f"ce_type: {name} is what Headrace says, not what it reads")
    known = sorted(_BY_TYPE)
    close = difflib.get_close_matches(type_[:100] if isinstance(type_, str) else "", known, 1)
    hint = f'did you mean "{close[0]}"?' if close else f'such as "{known[0]}" is known'
    _refuse(Code.UNKNOWN_TYPE, f"ce_type: {_shown(type_)} is not an input of Headrace; {hint}")


def _examine(
    model: type[Fact], data: bytes, error: ValidationError, unknown_fields: UnknownFields
) -> Fact:
    """Take it where later releases' fields at their default were all that is wrong, or refuse."""
    if error.error_count() == 1 and error.errors()[0]["type"] == "json_invalid":
        reason = error.errors()[0]["msg"].removeprefix("Invalid JSON: ")
        _refuse(Code.NOT_JSON, f"the data is not JSON: {reason[:200]}")
    document = _loads(data)
    if not isinstance(document, dict):
        _refuse(Code.INVALID_DATA, f"the data must be a JSON object, was {_shown(document)}")
    for path, default in model.NOT_BUILT.items():
        _drop_default(document, path.split("."), default, "")
    if unknown_fields == "ignore":
        for problem in error.errors(include_url=False, include_context=False):
            if problem["type"] == "extra_forbidden":
                _drop(document, problem["loc"])
    try:
        fact: Fact = model.__pydantic_validator__.validate_json(_dumps(document))
    except ValidationError as invalid:
        _refuse(Code.INVALID_DATA, sentence(model, invalid))
    return fact


def _drop_default(at: object, path: Sequence[str], default: object, said: str) -> None:
    """Remove a field of a later release where it says nothing; refuse it where it does."""
    if not isinstance(at, dict):
        return  # another error, found by validation
    name, rest = path[0], path[1:]
    if name.endswith("[]"):
        elements = at.get(name[:-2])
        for number, element in enumerate(elements if isinstance(elements, list) else []):
            _drop_default(element, rest, default, f"{said}{name[:-2]}[{number}].")
    elif rest:
        _drop_default(at.get(name), rest, default, f"{said}{name}.")
    elif name in at:
        value = at[name]
        absent = default is None and value == ""
        if not absent and (value != default or type(value) is not type(default)):
            keep = "" if default is None else f" or send {_shown(default)}"
            _refuse(
                Code.NOT_SUPPORTED,
                f"{said}{name}: {_shown(value)} is not supported by this release: leave it out"
                f"{keep}",
            )
        del at[name]


def _drop(at: Any, path: tuple[str | int, ...]) -> None:  # noqa: ANN401 - JSON
    for step in path[:-1]:
        try:
            at = at[step]
        except (LookupError, TypeError):
            return  # validation changed the shape, such as a list without its empty texts
    if isinstance(at, dict):
        at.pop(path[-1], None)


def sentence(model: type[Fact], error: ValidationError) -> str:
    """What is wrong, for a person: the first fields with what each must be and what it was.

    Personal data isn't repeated.
    """
    return sentence_of(model, model.TYPE, error.errors(include_url=False, include_context=False))


def sentence_of(
    model: type[BaseModel], name: str, problems: Sequence[Mapping[str, Any] | ErrorDetails]
) -> str:
    """The same of any model's problems, as pydantic lists them; `name` is what people call it."""
    said = [
        _problem(model, name, problem["type"], problem["loc"], problem["msg"], problem["input"])
        for problem in problems[:_SHOWN_PROBLEMS]
    ]
    more = len(problems) - _SHOWN_PROBLEMS
    return "; ".join(said) + (f"; and {more} more" if more > 0 else "")


def _problem(
    model: type[BaseModel],
    name: str,
    kind: str,
    path: tuple[str | int, ...],
    message: str,
    was: object,
) -> str:
    root = schema_of(model)
    where = _where(path)
    if kind == "extra_forbidden":
        parent = schema_at(root, path[:-1]) or {}
        names = list(resolved(parent, root).get("properties", {}))
        close = difflib.get_close_matches(str(path[-1])[:100], names, 1)
        hint = f'did you mean "{close[0]}"?' if close else "leave it out, or use attributes"
        return f"{where}: is not a field of {name}; {hint}"
    if kind == "value_error":
        text = message.removeprefix("Value error, ")
        return f"{where}: {text}" if where else text
    schema = schema_at(root, path)
    wanted = "valid" if schema is None else must_be(schema, root)
    if path and path[-1] == "[key]":
        wanted = "a name of 1 to 64 characters without NUL"
    if kind == "missing":
        return f"{where}: is missing; it must be {wanted}"
    shown = _kind_of(was) if path and path[0] in _PERSONAL else _shown(was)
    return f"{where}: must be {wanted}, was {shown}"


def _where(path: tuple[str | int, ...]) -> str:
    """`lines[0].quantity`."""
    said = ""
    for step in path:
        if isinstance(step, int):
            said += f"[{step}]"
        elif step != "[key]":
            name = step if step.isidentifier() and len(step) <= _SHOWN_CHARACTERS else _shown(step)
            said += f".{name}" if said else name
    return said


def _shown(value: object) -> str:
    """A value as JSON, cut to a readable length."""
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
        said = json.dumps(cut, ensure_ascii=False)
        return said.encode(errors="backslashreplace").decode()  # a lone surrogate as JSON has it
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _HUGE:
        return "a number of more than 30 digits"
    if value is None or value == [] or isinstance(value, int | float):
        return json.dumps(value)
    return _kind_of(value)


def _kind_of(value: object) -> str:
    match value:
        case str():
            return f"a text of {len(value)} characters"
        case bool() | None:
            return json.dumps(value)
        case int() | float():
            return "a number"
        case list():
            return f"a list of {len(value)}"
        case _:
            return "an object"
