"""`headrace whatif`: a period decided again under other rules or another network."""

import asyncio
import shutil
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final, NamedTuple

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from orchestrator import installed
from orchestrator.commands.connection import load_settings, run_on_kafka
from orchestrator.commands.moments import time_ms
from orchestrator.commands.telling import Telling
from orchestrator.commands.variant_options import Options, in_the_only_market, named, wrong
from orchestrator.compose import a_core, check_topics, collect_rarely, config_of_core
from orchestrator.core.sourcing.counterfactual import counterfactual
from orchestrator.past import newest_tick
from orchestrator.replay.changes import ChangeError, Changes, check
from orchestrator.replay.compare import (
    Compared,
    Flip,
    decisions_of,
    drift,
    sources_of,
    summary_of,
)
from orchestrator.replay.loop import UndecidableError
from orchestrator.replay.page import ROWS, currencies, cut_short, page
from orchestrator.replay.period import DRAIN_DAYS, Period, Span, read_period
from orchestrator.replay.runs import BASELINE, Task, Variant, fields_of, run_all
from orchestrator.runtime.settings import Settings, SetupError
from projections.explained import explained
from schemas.journal import JournalError
from schemas.money import difference, money
from schemas.ports import EventLog, Partition
from schemas.times import beside, rfc3339
from schemas.voids import Voids

Json = dict[str, Any]

_CHECK_FAILED: Final = 1
_FLIPS: Final = 5  # of a variant, shown
_SKUS: Final = 50  # out of stock, named
_EXPLAINED: Final = 100
_FILES_BYTES_AN_ENTRY: Final = 1_000  # about what a run writes


class Asked(NamedTuple):
    """What was asked for."""

    settings: Settings
    span: tuple[int, int | None]
    variants: list[Variant]
    seed: int
    explain: int
    folder: Path


def whatif(  # noqa: PLR0913 - each is an option
    *,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Orders from then on; else all there were."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Up to then; else up to the newest."),
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rules", metavar="FILE", help="This rule set decides, instead of all."),
    ] = None,
    close: Annotated[
        list[str] | None,
        typer.Option("--close", metavar="NODE", help="The node takes no new work."),
    ] = None,
    open_: Annotated[
        list[str] | None,
        typer.Option("--open", metavar="FILE", help="A new node, as YAML, with its stock."),
    ] = None,
    capacity: Annotated[
        list[str] | None,
        typer.Option("--capacity", metavar="NODE=N", help="Orders that the node takes a day."),
    ] = None,
    stock: Annotated[
        list[str] | None,
        typer.Option("--stock", metavar="SKU@NODE=±N", help="Units more or fewer at the start."),
    ] = None,
    rates: Annotated[
        list[str] | None,
        typer.Option("--rates", metavar="FILE", help="Carrier services with their rates, as YAML."),
    ] = None,
    demand: Annotated[
        str | None,
        typer.Option("--demand", metavar="×F", help="So many times the orders, such as ×1.3."),
    ] = None,
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            metavar='"NAME=OPTIONS"',
            help="One of several variants, with its own options as above.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn.")] = 1,
    explain: Annotated[
        int,
        typer.Option("--explain", min=0, help="Flipped orders to explain on both sides."),
    ] = _EXPLAINED,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the report as one page here."),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="DIR", help="Where there is room for temporary files."),
    ] = None,
) -> None:
    """Decide a period's real orders again, under other rules or another network.

    Nothing is changed: the journals are only read. What nodes and carriers answer follows what they
    are asked: as in history where that is the same, else drawn from how they answered then. Without
    any option the unchanged world is decided again: it must equal history.

    A time is RFC 3339, or a date (its first moment in UTC).

    Examples:
      headrace whatif --from 2026-11-21 --until 2026-11-22 --close ST-367
      headrace whatif --rules cheaper.yaml --html report.html
      headrace whatif --variant "small=--capacity DC-EWR=200" --variant "busy=--demand ×1.3" --json
    """
    settings = load_settings()
    alone = Options(
        rules or (), close or (), open_ or (), capacity or (), stock or (), rates or (), demand
    )
    made = [(name, options.changes()) for name, options in map(named, variants or ())]
    if changes := alone.changes():
        made.insert(0, ("what if", changes))
    names = [name for name, _ in made]
    if len({*names, BASELINE}) <= len(names):
        wrong(f"--variant: each needs a name of its own, and none is called {BASELINE!r}")
    span = (_time("--from", from_) or 0, _time("--until", until))
    if span[1] is not None and span[0] >= span[1]:
        wrong("--until: must be later than --from")
    for option, path in (("--html", html and html.parent), ("--work", work)):
        if path is not None and not path.is_dir():
            wrong(f"{option}: there is no folder {path}")
    collect_rarely()
    with TemporaryDirectory(prefix="headrace-whatif-", dir=work) as folder:
        asked = Asked(
            settings,
            span,
            [Variant(name, changes) for name, changes in made],
            seed,
            explain,
            Path(folder),
        )
        try:
            report = _report(asked)
        except (ChangeError, UndecidableError) as error:
            exit_code = 2 if isinstance(error, ChangeError) else _CHECK_FAILED
            said = str(error)
            raise SetupError(said if said.endswith("?") else f"{said}.", exit_code) from error
        except BrokenProcessPool as error:
            raise SetupError(
                "A run's process was killed, perhaps for want of memory: ask for a shorter period.",
                _CHECK_FAILED,
            ) from error
        except JournalError as error:
            raise SetupError(f"{error}: see `headrace verify`.", _CHECK_FAILED) from error
        except OSError as error:
            raise SetupError(
                f"the files of the replay can't be written in {folder}: {error.strerror}: name a"
                " folder with room by --work.",
                _CHECK_FAILED,
            ) from error
    if html is not None:
        _write(html, page(report))
    if as_json:
        typer.echo(orjson.dumps(report, option=orjson.OPT_NON_STR_KEYS).decode())
    else:
        _show(report, html)


def _time(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return time_ms(text)
    except (ValueError, OverflowError):
        wrong(f'{option}: must be a time such as 2026-11-21T06:00:00Z or a date, was "{text}"')


def _report(asked: Asked) -> Json:
    """Read, run, compare."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bar:
        periods = _periods(asked, bar)
        return decide_again(asked, periods, bar)


def decide_again(asked: Asked, periods: Sequence[Period], bar: Progress) -> Json:
    """Run the variants over the periods, and compare them; ChangeError, UndecidableError."""
    orders = sum(period.orders for period in periods)
    if not orders:
        raise ChangeError(_nothing(asked, periods))
    markets = sorted(market_id for period in periods for market_id in period.markets)
    variants = [Variant(BASELINE, Changes())]
    for one in asked.variants:
        changes = in_the_only_market(one.changes, markets)
        check(changes, periods)
        variants.append(Variant(one.name, changes))
    some = [period for period in periods if period.entries]
    _check_room(asked.folder, some, len(variants))
    tasks = [
        Task(
            variant,
            period,
            fields_of(config_of_core(asked.settings)),
            asked.seed,
            str(asked.folder / f"{number}-{period.shard}"),
        )
        for number, variant in enumerate(variants)
        for period in sorted(some, key=lambda one: -one.entries)
        if not number or variant.changes.touches(period)
    ]
    bars = {
        variant.name: bar.add_task(
            variant.name,
            total=sum(one.period.entries for one in tasks if one.variant is variant) or 1,
        )
        for variant in variants
    }
    done = [0] * len(tasks)

    def advanced(number: int, entries: int, _of: int) -> None:
        done[number] = entries
        name = tasks[number].variant.name
        bar.update(
            bars[name],
            completed=sum(
                count for count, task in zip(done, tasks, strict=True) if task.variant.name == name
            ),
        )

    seconds = run_all(tasks, advanced)
    return _told(asked, periods, variants, tasks, seconds)


def _periods(asked: Asked, bar: Progress) -> list[Period]:
    settings = asked.settings
    periods: list[Period] = []

    async def work(log: EventLog) -> None:
        check_topics(await log.describe(), settings)
        periods.extend(await read_periods(log, settings, asked.span, asked.folder, bar))

    run_on_kafka(settings, work)
    return periods


async def read_periods(
    log: EventLog,
    settings: Settings,
    span: tuple[int, int | None],
    folder: Path,
    bar: Progress,
) -> list[Period]:
    """The period of every shard; `span`: from and until (ms), None: until the newest."""
    form = a_core(settings).snapshots
    assert form is not None  # noqa: S101 - the core has one
    from_ms, until_ms = span
    voids = Voids(log)
    await voids.read()
    if until_ms is None:
        newest = [0]
        for shard in range(settings.shards):
            end = (await log.bounds(Partition("journal", shard))).next
            newest.append(await newest_tick(log, shard, end, voids) or 0)
        until_ms = max(*newest, from_ms) + 1
    periods = []
    for shard in range(settings.shards):
        task = bar.add_task(f"reading shard {shard}", total=None)

        def advanced(next_: int, end: int, task: Any = task) -> None:  # noqa: ANN401 - of rich
            bar.update(task, completed=next_, total=end)

        period = await read_period(
            log, shard, Span(from_ms, until_ms), folder / f"period-{shard}", form, voids, advanced
        )
        bar.update(task, completed=1, total=1)
        periods.append(period)
        await asyncio.sleep(0)
    return periods


def _nothing(asked: Asked, periods: Sequence[Period]) -> str:
    clocks = [ms for one in periods for ms in (one.first_ms, one.last_ms) if ms is not None]
    if not clocks:
        return "There is nothing in the journals yet"
    from_ms, until_ms = asked.span
    then = f"from {rfc3339(from_ms)}" if from_ms else "until then"
    if until_ms is not None:
        then += f" until {rfc3339(until_ms)}"
    return f"No order was placed {then}" + beside(min(clocks), max(clocks), from_ms, until_ms)


def _check_room(folder: Path, periods: Sequence[Period], runs: int) -> None:
    needed = runs * sum(one.entries for one in periods) * _FILES_BYTES_AN_ENTRY
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SetupError(
            f"The runs write about {needed / 1e9:.1f} GB, and {folder.parent} has"
            f" {free / 1e9:.1f} GB left: name a folder with room by --work, or a shorter period.",
            _CHECK_FAILED,
        )


def _told(
    asked: Asked,
    periods: Sequence[Period],
    variants: Sequence[Variant],
    tasks: Sequence[Task],
    seconds: float,
) -> Json:
    """The report, as plain data."""
    first = min((one.span for one in periods if one.orders), key=lambda span: span.end_ms)
    currency = {market: one for period in periods for market, one in period.markets.items()}
    folders = {
        name: {task.period.shard: task.folder for task in tasks if task.variant.name == name}
        for name in (variant.name for variant in variants)
    }
    told: list[Json] = []
    for variant in variants:
        compared = Compared(variant.name, variant.changes.told(), currency)
        for period in periods:
            baseline_folder = folders[BASELINE].get(period.shard)
            if baseline_folder is not None:
                folder = folders[variant.name].get(period.shard, baseline_folder)
                compared.add(Path(baseline_folder), Path(folder), period.span.end_ms)
        json = compared.as_json(_SKUS)
        if variant is not variants[0]:
            json["flips"] = _flips(compared.flips, currency, asked.explain)
            json["unused"] = [*_unused(variant.changes, compared.load)]
        told.append(json)
    baseline, *others = told
    return {
        "period": {
            "from": rfc3339(min(one.span.from_ms for one in periods if one.entries)),
            "until": rfc3339(first.until_ms),
            "drained_until": rfc3339(first.end_ms),
            "drain_days": DRAIN_DAYS,
            "cut_short": first.cut_short,
            "shards": len(periods),
        },
        "release": f"{installed.release()} ({installed.core()} core)",
        "seed": asked.seed,
        "drift": drift(list(folders[BASELINE].values())),
        "baseline": baseline,
        "variants": others,
        "seconds": round(seconds, 2),
    }


def _unused(changes: Changes, load: Container[str]) -> Iterator[str]:
    """A sentence for each node that was opened and got no work."""
    for one in changes.opened:
        node_id = one.node["node_id"]
        if node_id not in load:
            why = (
                "for every order another node, or none, was the best: `headrace explain` and the"
                " explanations of flips tell costs and fences"
                if one.stock
                else "it has no stock: give its file `stock:`, units by item"
            )
            yield f"{node_id} was opened and got no work; {why}."


def _flips(flips: Sequence[Flip], currency: dict[str, str], explain: int) -> list[Json]:
    """Each order that was decided otherwise; those whose cost differs most explained."""
    told = []
    for number, flip in enumerate(
        sorted(flips, key=lambda one: (-abs(one.cost_minor), one.market_id, one.key))
    ):
        was, now = decisions_of(flip)
        row: Json = {
            "order": flip.key,
            "market_id": flip.market_id,
            "currency": currency.get(flip.market_id, ""),
            "cost_difference_minor": flip.cost_minor,
            "was": summary_of(was),
            "now": summary_of(now),
        }
        if number < explain:
            row["explanations"] = {"was": _explained(was), "now": _explained(now)}
        told.append(row)
    return told


def _explained(decision: Json | None) -> list[tuple[str, list[str]]] | None:
    if decision is None:
        return None
    return list(Telling(explained(decision, counterfactual)).paragraphs())


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SetupError(f"--html: {path} can't be written: {error.strerror}.", 1) from error


def _show(report: Json, html: Path | None) -> None:
    console = Console()
    period, moved = report["period"], report["drift"]
    say: Callable[[str], None] = lambda text: console.print(text, highlight=False, markup=False)  # noqa: E731
    say(f"From {period['from']} until {period['until']}, {report['seconds']} s")
    if moved["equals_history"]:
        say(f"Unchanged it equals history: {moved['entries_compared']:,} inputs, byte for byte.")
    else:
        say(
            f"Code drift: today's code or settings decide {moved['entries_differing']:,} of"
            f" {moved['entries_compared']:,} inputs otherwise than history did, or in consequence;"
            f" {moved['orders_planned_otherwise']:,} orders are planned otherwise. The baseline is"
            " what today's code makes of the unchanged world."
        )
        for one in moved["first_differences"][:5]:
            say(f"  {one['position']} {one['input']} {one['order']}")
    runs = [report["baseline"], *report["variants"]]
    for sentence in cut_short(report):
        say(sentence)
    for run in runs[1:]:
        say(f"{run['name']}: {', '.join(run['changes']) or 'nothing'}")
    table = Table("", *(run["name"] for run in runs), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for currency in currencies(runs):
        costs = [run["cost_per_order_minor"].get(currency) for run in runs]
        table.add_row(
            "Cost an order",
            *(money(round(one), currency) if one is not None else "—" for one in costs),
        )
    for row in ROWS:
        values = [row.value(run) for run in runs]
        table.add_row(
            row.title,
            *("—" if one is None else f"{one:,.{row.digits}f}{row.unit}" for one in values),
        )
    shares = [run["rests_on"]["orders_with_drawn_answers_rate"] or 0 for run in runs]
    table.add_row("Orders that rest on drawn answers", *(f"{one:.1%}" for one in shares))
    console.print(table, highlight=False)
    for run in runs[1:]:
        for sentence in run["unused"]:
            say(f"{run['name']}: {sentence}")
        for flip in run["flips"][:_FLIPS]:
            was, now = sources_of(flip["was"], flip["now"])
            cost = difference(flip["cost_difference_minor"], flip["currency"])
            say(f"{run['name']}: {flip['order']}: {was} → {now}, {cost}")
        if len(run["flips"]) > _FLIPS:
            more = len(run["flips"]) - _FLIPS
            say(f"{run['name']}: and {more:,} more, whose cost differs less: --html, --json")
    if html is not None:
        say(f"Written: {html}")
