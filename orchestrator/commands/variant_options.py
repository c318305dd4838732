"""What a variant changes, from the command line: options, files, and what is wrong with them."""

import argparse
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import orjson
import yaml
from pydantic import ValidationError

from events.base import MAX_QUANTITY, Fact
from events.network import CarrierServiceDefined, NodeDefined
from orchestrator.commands.rule_file import FileError, parse
from orchestrator.core.sourcing.rule_checks import check, told
from orchestrator.replay.changes import ChangeError, Changes, Opened, Rules, Stock
from orchestrator.runtime.settings import SetupError
from schemas.cloudevents import sentence

_INPUT_ERROR: Final = 2
_STOCK: Final = re.compile(r"(.+)@([^@=]+)=([+-]?\d{1,9})")
_CAPACITY: Final = re.compile(r"([^=]+)=(\d{1,9})")
_NAME: Final = re.compile(r"[^=\s][^=]{0,39}")
_MOST_DEMAND: Final = 10_000  # percent

M = TypeVar("M", bound=Fact)


@dataclass(frozen=True, slots=True)
class Options:
    """A variant's options as they were given."""

    rules: Sequence[str] = ()
    close: Sequence[str] = ()
    open: Sequence[str] = ()
    capacity: Sequence[str] = ()
    stock: Sequence[str] = ()
    rates: Sequence[str] = field(default_factory=tuple)
    demand: str | None = None

    def changes(self) -> Changes:
        """What they mean; SetupError names the option or the file, and what is wrong."""
        return Changes(
            rules=[_rules(one) for one in self.rules],
            closed=list(dict.fromkeys(self.close)),
            opened=[_opened(one) for one in self.open],
            capacity=dict(_capacity(one) for one in self.capacity),
            stock=[_stock(one) for one in self.stock],
            rates=[rate for one in self.rates for rate in _rates(one)],
            demand_percent=_demand(self.demand),
        )


def named(text: str) -> tuple[str, Options]:
    """`NAME=OPTIONS`, such as `closed=--close DC-EWR --capacity DC-CLT=900`; SetupError."""
    name, equals, options = text.partition("=")
    if not equals or not _NAME.fullmatch(name.strip()):
        wrong(
            '--variant: give NAME=OPTIONS, such as "closed=--close DC-EWR --demand ×1.2", with a'
            f' name of 1 to 40 characters, was "{text}"'
        )
    try:
        given = _parser().parse_args(shlex.split(options))
    except (argparse.ArgumentError, ValueError) as error:
        wrong(f"--variant {name}: {error}")
    return name.strip(), Options(**vars(given))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for name in ("rules", "close", "open", "capacity", "stock", "rates"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("--demand")
    return parser


def wrong(said: str) -> NoReturn:
    """SetupError of a wrong option or file."""
    raise SetupError(said, _INPUT_ERROR)


def in_the_only_market(changes: Changes, markets: Sequence[str]) -> Changes:
    """The changes, with the market filled in where files don't say it; ChangeError."""

    def market(known: str, what: str) -> str:
        if known:
            return known
        if len(markets) == 1:
            return markets[0]
        raise ChangeError(f"{what} names no market: add `market:` (there are {', '.join(markets)})")

    return replace(
        changes,
        rules=[
            one._replace(market_id=market(one.market_id, f"rule set {one.version}"))
            for one in changes.rules
        ],
    )


def _read(option: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        wrong(f"{option}: {name} can't be read: {error.strerror}")
    except UnicodeDecodeError:
        wrong(f"{option}: {name} is not UTF-8")


def _rules(name: str) -> Rules:
    try:
        file = parse(_read("--rules", name), name)
    except FileError as error:
        wrong(f"--rules: {error}")
    version = str(file.head.get("version") or Path(name).stem)
    _, problems = check(file.body, None)
    if problems:
        wrong(f"--rules: {'; '.join(told(one, file.name, file.lines) for one in problems)}")
    return Rules(str(file.head.get("market") or ""), version, file.body, file.name, file.lines)


def _yaml(option: str, name: str) -> Any:  # noqa: ANN401 - YAML
    try:
        return yaml.safe_load(_read(option, name))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        wrong(f"{option}: {name}:{line}: is not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        wrong(f"{option}: {name}: is not YAML: {error}")


def _validated(option: str, name: str, model: type[M], data: object) -> dict[str, Any]:
    try:
        fact = model.model_validate_json(orjson.dumps(data, default=str))
    except ValidationError as error:
        wrong(f"{option}: {name}: {sentence(model, error)}")
    valid: dict[str, Any] = orjson.loads(fact.model_dump_json(exclude_defaults=True))
    return valid


def _opened(name: str) -> Opened:
    data = _yaml("--open", name)
    if not isinstance(data, dict):
        wrong(f"--open: {name} must have the fields of a node: node_id, market_id, kind, …")
    stock = data.pop("stock", None) or {}
    if not isinstance(stock, dict) or not all(
        isinstance(units, int) and not isinstance(units, bool) and 0 < units <= MAX_QUANTITY
        for units in stock.values()
    ):
        wrong(f"--open: {name}: stock must be units by item, such as `stock: {{TEA: 200}}`")
    node = _validated("--open", name, NodeDefined, data)
    return Opened(node, {str(sku): units for sku, units in stock.items()})


def _rates(name: str) -> list[dict[str, Any]]:
    data = _yaml("--rates", name)
    services = data.get("services") if isinstance(data, dict) else data
    if not isinstance(services, list) or not services:
        wrong(f"--rates: {name} must be a list of carrier services, as in carrier_service_defined")
    return [_validated("--rates", name, CarrierServiceDefined, one) for one in services]


def _capacity(text: str) -> tuple[str, int]:
    found = _CAPACITY.fullmatch(text)
    if found is None:
        wrong(f'--capacity: give NODE=ORDERS_A_DAY, such as DC-CLT=900, was "{text}"')
    return found[1], int(found[2])


def _stock(text: str) -> Stock:
    found = _STOCK.fullmatch(text)
    if found is None or not int(found[3]):
        wrong(f'--stock: give SKU@NODE=±UNITS, such as TEA@BOS=+50, was "{text}"')
    return Stock(found[1], found[2], int(found[3]))


def _demand(text: str | None) -> int:
    if text is None:
        return 100
    try:
        percent = Decimal(text.lstrip("×x*")) * 100
    except InvalidOperation:
        percent = Decimal(-1)
    if percent != percent.to_integral_value() or not 0 < percent <= _MOST_DEMAND:
        most = _MOST_DEMAND // 100
        wrong(
            "--demand: give a factor in hundredths, from ×0.01 to"
            f' ×{most} (×0 would leave nothing to decide), was "{text}"'
        )
    return int(percent)
