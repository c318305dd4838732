"""`headrace verify`: whether the journals, and what was made of them, are sound."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import orjson
import typer
from rich.console import Console

from orchestrator.commands.bars import bars
from orchestrator.commands.connection import INPUT_ERROR, load_settings, run_on_kafka
from orchestrator.commands.database import exit_on_failure
from orchestrator.compose import a_core, check_topics, collect_rarely, config_of_core
from orchestrator.core.shard import Shard
from orchestrator.runtime.settings import Settings, SetupError
from orchestrator.runtime.snapshots import Found, Snapshots
from orchestrator.runtime.world import SystemClock, SystemRandomness
from orchestrator.verification import (
    Advanced,
    Findings,
    Kept,
    Published,
    Verified,
    verify_journal,
    verify_published,
)
from projections.comparison import Compared, ReadModels, read_models
from projections.fold import READ_MODELS, Model
from projections.past import PAST
from schemas.journal import FilterState
from schemas.ports import Checkpoint, EventLog, Partition
from schemas.voids import Voids

T = TypeVar("T")

_CHECK_FAILED: Final = 1
_POLL_S: Final = 0.5
_STORED: Final = {"read models": "PostgreSQL", "past": "what PostgreSQL keeps of the past"}
_RELAY: Final = "the relay"
_HISTORY: Final = "the history"


class _Given(NamedTuple):
    """What one verification goes by."""

    begin: str | None
    published: Published
    recompute: bool


@dataclass(slots=True)
class Report:
    """What was checked, and what was found."""

    findings: Findings = field(default_factory=Findings)
    shards: list[Verified] = field(default_factory=list)
    tables: list[Compared] | None = None  # None: not compared
    published_records: int = 0
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings.counts

    def as_object(self) -> dict[str, Any]:
        """For scripts."""
        tables = None if self.tables is None else [_table(one) for one in self.tables]
        return {
            "ok": self.ok,
            "findings": [one._asdict() for one in self.findings.shown()],
            "counts": dict(self.findings.counts),
            "shards": [asdict(one) for one in self.shards],
            "tables": tables,
            "published_records": self.published_records,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


def _table(one: Compared) -> dict[str, Any]:
    return {
        "table": one.table,
        "rows": one.live.rows,
        "rebuilt_rows": one.rebuilt.rows,
        "checksum": str(one.live.checksum),
        "rebuilt_checksum": str(one.rebuilt.checksum),
        "differing": list(one.differing),
    }


def verify(
    *,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SNAPSHOT",
            help="Begin at each shard's `newest` snapshot, or at the one of this EPOCH.SEQ.",
        ),
    ] = None,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute", help="Decide every input again with this release; list what differs."
        ),
    ] = False,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, help="Seconds for PostgreSQL and the relay to catch up."),
    ] = 30.0,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the JSON report here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Verify the journals, and what was made of them. Nothing is changed; roles may go on running.

    Every journal is read from end to end: its chain, its fold, the state's invariants. PostgreSQL
    must equal a rebuild (built beside it and dropped), table by table, and so must what it keeps of
    the past; the checkpoints of PostgreSQL, relay and history must lie on these journals; what was
    published must be what follows from them (the topic `history` is not read). Any finding makes
    the exit code 1.

    Examples:
      headrace verify
      headrace verify --json
      headrace verify --recompute --report verified.json
      headrace verify --from newest
    """
    settings = load_settings()
    if report is not None and not report.parent.is_dir():
        typer.echo(f"--report: there is no folder {report.parent}", err=True)
        raise typer.Exit(INPUT_ERROR)
    done = Report()

    async def work(log: EventLog) -> None:
        began = monotonic()
        collect_rarely()
        with bars() as advanced:
            await verify_all(
                log,
                settings,
                done,
                begin=begin,
                recompute=recompute,
                wait_s=wait,
                advanced=advanced,
            )
        done.seconds = monotonic() - began

    with exit_on_failure():
        run_on_kafka(settings, work)
    told = orjson.dumps(done.as_object(), option=orjson.OPT_INDENT_2).decode()
    if report is not None:
        report.write_text(told + "\n", encoding="utf-8")
    if as_json:
        typer.echo(told)
    else:
        _show(done)
    if not done.ok:
        raise typer.Exit(_CHECK_FAILED)


async def verify_all(
    log: EventLog,
    settings: Settings,
    done: Report,
    *,
    begin: str | None = None,
    recompute: bool = False,
    wait_s: float,
    advanced: Advanced = lambda *_: None,
) -> None:
    """Verify all shards into `done`.

    1. Give PostgreSQL and the relay a while to reach the journals' present ends.
    2. Hold PostgreSQL as it stands at one moment.
    3. Read the journals, with those checkpoints; compare the tables and the public topics.
    """
    topics = await log.describe()
    check_topics(topics, settings)
    ends = {
        shard: (await log.bounds(Partition("journal", shard))).next
        for shard in range(settings.shards)
    }
    saved = await _caught_up(ends, wait_s, lambda: _saved(log, "relay", ends), _offsets)
    _behind(done, _RELAY, ends, _offsets(saved))
    relayed = _states(saved)
    if relayed.keys() != saved.keys():
        done.notes.append(
            "The broker keeps no metadata with offsets: of the relay's checkpoints only the offsets"
            " were compared, and what it may have left out was not looked for."
        )
    given = _Given(begin, Published({n: one.partitions for n, one in topics.items()}), recompute)
    if settings.postgres:
        async with AsyncExitStack() as stack:
            stored = [
                held
                for model in (READ_MODELS, PAST)
                if (
                    held := await _held(
                        stack, settings.postgres, settings, done, model, ends, wait_s
                    )
                )
            ]
            await _journals(log, settings, done, given, relayed, stored, advanced)
    else:
        done.notes.append("HEADRACE_POSTGRES is not set: the read models were not compared.")
        await _journals(log, settings, done, given, relayed, [], advanced)


async def _held(
    stack: AsyncExitStack,
    url: str,
    settings: Settings,
    done: Report,
    model: Model,
    ends: Mapping[int, int],
    wait_s: float,
) -> ReadModels | None:
    """What a model writes, as it stands once it has caught up or `wait_s` are over.

    None where nobody ever kept the past: it can be switched off.
    """

    async def stand() -> Mapping[int, FilterState]:
        async with read_models(url, settings.db_schema, model) as now:
            return now.checkpoints

    if model is PAST and not await stand():
        done.notes.append("The past was not compared: none is kept (role `past`).")
        return None
    await _caught_up(ends, wait_s, stand, _next)
    held = await stack.enter_async_context(read_models(url, settings.db_schema, model))
    _behind(done, _STORED[model.kind], ends, _next(held.checkpoints))
    return held


async def _journals(
    log: EventLog,
    settings: Settings,
    done: Report,
    given: "_Given",
    relayed: Mapping[int, FilterState],
    stored: Sequence[ReadModels],
    advanced: Advanced,
) -> None:
    checkpoints = [(_STORED[one.model.kind], one.checkpoints) for one in stored]
    voids = Voids(log)
    await voids.read()
    lost = [shard for shard in range(settings.shards) if voids.lost(shard) is not None]
    history = _states(await _saved(log, "history", range(settings.shards)))
    whose_states = (*checkpoints, (_RELAY, relayed), (_HISTORY, history))
    for shard in range(settings.shards):
        kept = [Kept(whose, states[shard]) for whose, states in whose_states if shard in states]
        snapshots = _snapshots(log, settings, shard)
        verified = await verify_journal(
            log,
            shard,
            config_of_core(settings),
            done.findings,
            kept=kept,
            published=given.published,
            recompute=given.recompute,
            snapshots=snapshots,
            begin=await _begin(snapshots, given.begin, voids),
            voids=voids,
            advanced=advanced,
        )
        done.shards.append(verified)
    begins = {one.shard: one.begin for one in done.shards}
    ends = {one.shard: one.end for one in done.shards}
    done.published_records = await verify_published(
        log, given.published, begins, ends, relayed, done.findings, advanced
    )
    if not stored:
        return
    if lost:
        shards = ", ".join(map(str, lost))
        done.notes.append(
            f"Commits of shard {shards} are lost, as a person found: these were verified from a"
            " snapshot on, and the read models were not compared."
        )
        return
    if given.begin:
        done.notes.append("The read models were not compared: a rebuild takes the whole journal.")
        return
    if done.findings.counts["journal"] or done.findings.counts["checkpoint"]:
        done.notes.append("The read models were not compared: see the findings on the journals.")
        return
    done.tables = []
    for held in stored:
        await _compare(log, done, held, advanced)


async def _compare(log: EventLog, done: Report, held: ReadModels, advanced: Advanced) -> None:
    """The tables of a model against a rebuild."""
    kind = held.model.kind
    tables = await held.compare(
        log, lambda shard, at, end: advanced(f"rebuilding {kind} of shard {shard}", at, end)
    )
    done.tables = [*(done.tables or ()), *tables]
    fix = "headrace rebuild" if held.model is READ_MODELS else "headrace rebuild --past"
    for one in tables:
        if one.live != one.rebuilt:
            done.findings.add(
                kind,
                one.table,
                f"{one.live.rows} rows stand there, the journals make {one.rebuilt.rows}:"
                f" {'; '.join(one.differing)}. Run `{fix}`",
            )


def _snapshots(log: EventLog, settings: Settings, shard: int) -> Snapshots[Shard]:
    form = a_core(settings).snapshots
    assert form is not None  # noqa: S101 - the core has one
    return Snapshots(shard, log=log, clock=SystemClock(), randomness=SystemRandomness(), form=form)


async def _begin(snapshots: Snapshots[Shard], name: str | None, voids: Voids) -> Found | None:
    """The snapshot to begin with; where commits are lost it can only be one from behind them."""
    lost = voids.lost(snapshots.number)
    if name is None and lost is None:
        return None
    found = await _manifest(snapshots, name or "newest")
    return None if lost is not None and found.filter.next < lost.state.next else found


async def _manifest(snapshots: Snapshots[Shard], name: str) -> Found:
    """The shard's snapshot of this name; SetupError where there is none."""
    async for found in snapshots.manifests():
        if name in {"newest", f"{found.filter.last_epoch}.{found.filter.seq}"}:
            return found
    raise SetupError(f"--from: shard {snapshots.number} has no snapshot {name}.", INPUT_ERROR)


async def _saved(log: EventLog, role: str, shards: Iterable[int]) -> dict[int, Checkpoint]:
    """A publisher's checkpoints, by shard."""
    saved = await log.saved(role, [Partition("journal", shard) for shard in shards])
    return {one.number: kept for one, kept in saved.items()}


def _states(saved: Mapping[int, Checkpoint]) -> dict[int, FilterState]:
    """As far as the broker keeps the whole of them."""
    return {
        shard: FilterState.from_json(kept.metadata)
        for shard, kept in saved.items()
        if kept.metadata
    }


def _offsets(saved: Mapping[int, Checkpoint]) -> dict[int, int]:
    return {shard: kept.offset for shard, kept in saved.items()}


def _next(states: Mapping[int, FilterState]) -> dict[int, int]:
    return {shard: state.next for shard, state in states.items()}


async def _caught_up(
    ends: Mapping[int, int],
    wait_s: float,
    ask: Callable[[], Awaitable[T]],
    stands: Callable[[T], Mapping[int, int]],
) -> T:
    """A reader's checkpoints, once they have reached these ends, or no longer move in time.

    `stands`: what it reads next, by shard.
    """
    until = monotonic() + wait_s
    while True:
        found = await ask()
        at = stands(found)
        reached = all(at.get(shard, 0) >= end for shard, end in ends.items())
        if reached or monotonic() >= until:
            return found
        await asyncio.sleep(_POLL_S)


def _behind(done: Report, whose: str, ends: Mapping[int, int], stands: Mapping[int, int]) -> None:
    for shard, end in ends.items():
        at = stands.get(shard, 0)
        if at < end:
            done.findings.add(
                "behind",
                f"journal/{shard}@{at}",
                f"{whose} has still {end - at} records to read: its role does not run or can't"
                " follow, or its checkpoint comes from an older backup",
            )


def _show(done: Report) -> None:
    console = Console()
    for one in done.shards:
        again = f", {one.recomputed:,} decided again" if one.recomputed else ""
        console.print(
            f"shard {one.shard}: {one.commits:,} commits with {one.inputs:,} inputs and"
            f" {one.events:,} events up to offset {one.end.next}, {one.void:,} void,"
            f" {one.snapshots} snapshots equal{again}",
            highlight=False,
        )
    if done.tables is not None:
        rows = sum(one.live.rows for one in done.tables)
        console.print(
            f"PostgreSQL: {rows:,} rows of {len(done.tables)} tables compared with a rebuild",
            highlight=False,
        )
    console.print(f"Published: {done.published_records:,} records compared", highlight=False)
    for note in done.notes:
        console.print(note, highlight=False, markup=False)
    for check, where, what in done.findings.shown():
        console.print(f"{check}: {where}: {what}", style="red", highlight=False, markup=False)
    total = done.findings.counts.total()
    said = "Nothing was found." if done.ok else f"{total} finding{'s' if total > 1 else ''}."
    console.print(f"{said} {done.seconds:.1f} s", style="bold", highlight=False)
