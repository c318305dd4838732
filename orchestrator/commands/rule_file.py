"""Rule-set files: YAML as people mean it, with the line that each value stands on.

Plain words stay texts but for `true`, `false`, `null` and numbers (YAML 1.1 would take `no` and
`on` for booleans, `021` for an octal number and a date for something else than it says).
"""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import typer
import yaml

from orchestrator.commands.connection import INPUT_ERROR
from orchestrator.core.sourcing.rule_checks import line_of, where

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_HEAD = ("market", "version", "author", "note")
_MAX_VALUES = 100_000
_STANDARD = "tag:yaml.org,2002:"
_TAGS = frozenset(
    _STANDARD + name
    for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "value")
)


class FileError(Exception):
    """A file that is no YAML; the message names the line."""


class RuleFile(NamedTuple):
    """What a file says: its head (market, version, author, note) and the rule set's body."""

    name: str
    head: dict[str, Any]
    body: dict[str, Any]
    lines: dict[str, int]  # path -> line

    def at(self, path: str) -> str:
        """`FILE:line` of a path, or of what it would stand in."""
        return f"{self.name}:{line_of(path, self.lines)}"


class _Reader:
    """Builds values from YAML's nodes, and notes their lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.lines: dict[str, int] = {}
        self._values = 0
        self._open: list[int] = []  # nodes being read, by identity: one within itself never ends

    def read(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:  # noqa: ANN401 - JSON
        self._values += 1
        if self._values > _MAX_VALUES or id(node) in self._open:
            raise self._error(node, "repeats itself without end, or is far too long")
        if node.tag not in _TAGS:
            raise self._error(node, f"{node.tag.removeprefix(_STANDARD)} can't stand here")
        self.lines.setdefault(where(path), node.start_mark.line + 1)
        self._open.append(id(node))
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            value = [self.read(one, (*path, number)) for number, one in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode):
            value = _scalar(node)
        else:
            raise self._error(node, "is no value")
        self._open.pop()
        return value

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _STANDARD + "merge":
                raise self._error(key, "a field's name is a word")
            if key.value in found:
                raise self._error(key, f"{key.value!r} stands twice: one would be lost")
            self.lines[where((*path, key.value))] = key.start_mark.line + 1
            found[key.value] = self.read(value, (*path, key.value))
        return found

    def _error(self, node: yaml.Node, detail: str) -> FileError:
        return FileError(f"{self._name}:{node.start_mark.line + 1}: {detail}")


def _scalar(node: yaml.ScalarNode) -> Any:  # noqa: ANN401 - JSON
    text: str = node.value
    if node.style is not None or node.tag == _STANDARD + "str":
        return text
    if node.tag == _STANDARD + "null":
        return None
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def parse(text: str, name: str) -> RuleFile:
    """Read a rule-set file; FileError where it isn't one."""
    reader = _Reader(name)
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        value = {} if node is None else reader.read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise FileError(f"{name}:{line}: is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FileError(f"{name}:1: is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise FileError(f"{name}:1: must have fields: market, version, defaults, strategies")
    head = {field: value.pop(field) for field in _HEAD if value.get(field) is not None}
    return RuleFile(name, head, value, reader.lines)


def load(file: str) -> RuleFile:
    """Read a rule-set file (`-`: standard input); exits with 2 and a sentence where it can't."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return parse(raw.decode(), file)
    except OSError as error:
        typer.echo(f"{file}: can't be read: {error.strerror}", err=True)
    except UnicodeDecodeError:
        typer.echo(f"{file}: is not UTF-8", err=True)
    except FileError as error:
        typer.echo(str(error), err=True)
    raise typer.Exit(INPUT_ERROR)
