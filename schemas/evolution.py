"""Whether a schema changed only as a released version may: optional additions and wider values."""

from collections.abc import Iterator
from typing import Any

from schemas.words import Schema

_ANNOTATIONS = frozenset({"$defs", "$id", "$schema", "title", "description", "examples"})
_LOW = ("minimum", "minLength", "minItems", "minProperties")
_HIGH = ("maximum", "maxLength", "maxItems", "maxProperties")
_HANDLED = frozenset(
    {*_ANNOTATIONS, *_LOW, *_HIGH}
    | {"default", "properties", "required", "enum", "anyOf", "items", "patternProperties"}
    | {"additionalProperties", "propertyNames"}
)
_MISSING = object()


def breaks(old: Schema, new: Schema, *, output: bool = False) -> list[str]:
    """What in `new` would break those who hold to `old`, one sentence each; `output`: they read.

    An output's field that was always there must also stay so.
    """
    return list(_breaks(old, new, old, new, "", output=output))


def _deref(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]] | beside
    return schema


def _breaks(  # noqa: C901, PLR0912 - one rule after the other
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, at: str, *, output: bool
) -> Iterator[str]:
    old, new = _deref(old, old_root), _deref(new, new_root)
    where = at or "the event"
    if old.get("default", _MISSING) != new.get("default", _MISSING):
        was, now = (one.get("default", _MISSING) for one in (old, new))
        yield f"{where}: the default was {_brief(was)}, is {_brief(now)}"
    if "anyOf" in old or "anyOf" in new:
        choices = new.get("anyOf", [new])
        for was in old.get("anyOf", [old]):
            found = [
                list(_breaks(_bare(was), _bare(now), old_root, new_root, at, output=output))
                for now in choices
            ]
            if all(found):
                yield from min(found, key=len)
        return

    def below(was: Any, now: Any, name: str) -> Iterator[str]:  # noqa: ANN401 - a schema or a bool
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _breaks(was, now, old_root, new_root, name, output=output)
        elif was != now and now is not True:
            yield f"{name or where}: was {_brief(was)}, is {_brief(now)}"

    known, there = old.get("properties", {}), new.get("properties", {})
    must_old, must_new = set(old.get("required", ())), set(new.get("required", ()))
    for name, was in known.items():
        path = f"{at}.{name}" if at else name
        if name not in there:
            yield f"{path}: was removed"
        elif name in must_old - must_new:  # its default can surprise nobody who always sent it
            yield from below(was, _bare(there[name]), path)
        else:
            yield from below(was, there[name], path)
    for name in sorted(must_new - must_old):
        if name in known or not output:
            yield f"{at}.{name}: was made required".lstrip(".")
    if output:
        for name in sorted((must_old - must_new) & there.keys()):
            yield f"{at}.{name}: was always there, is optional now".lstrip(".")
    if "enum" in old or "enum" in new:
        yield from _enum_breaks(old, new, where)
    for key in _LOW:
        if key in new and (key not in old or new[key] > old[key]):
            yield f"{where}: {key} was raised from {old.get(key)} to {new[key]}"
    for key in _HIGH:
        if key in new and (key not in old or new[key] < old[key]):
            yield f"{where}: {key} was lowered from {old.get(key)} to {new[key]}"
    if "items" in old or "items" in new:
        yield from below(old.get("items", True), new.get("items", True), f"{at}[]")
    for key in ("additionalProperties", "propertyNames"):
        yield from below(old.get(key, True), new.get(key, True), f"{at}.*" if at else "*")
    for pattern, was in old.get("patternProperties", {}).items():
        yield from below(was, new.get("patternProperties", {}).get(pattern), f"{at}.*")
    for key in sorted((old.keys() | new.keys()) - _HANDLED):
        was, now = old.get(key, _MISSING), new.get(key, _MISSING)
        if was != now and (now is not _MISSING or key == "type"):
            yield f"{where}: {key} was {_brief(was)}, is {_brief(now)}"


def _enum_breaks(old: Schema, new: Schema, where: str) -> Iterator[str]:
    if "enum" not in old:
        if old.get("const") not in new["enum"]:
            yield f"{where}: was narrowed to an enum"
        return
    if "enum" in new:
        for value in old["enum"]:
            if value not in new["enum"]:
                yield f'{where}: the value "{value}" was removed'


def _bare(choice: Schema) -> Schema:
    return {key: value for key, value in choice.items() if key != "default"}


def _brief(value: object) -> str:
    return "absent" if value is _MISSING else f"{value!r:.80}"
