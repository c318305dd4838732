"""`headrace places`: where postal codes are, from a file or a package to every shard."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import orjson
import typer
from pydantic import ValidationError

from events.base import postal_key
from events.network import PlaceRow, PlacesDefined
from orchestrator.commands.connection import INPUT_ERROR, load_settings, progress, run_on_kafka
from orchestrator.commands.send import Event, Sent, deliver
from orchestrator.runtime.settings import Settings, SetupError
from schemas.cloudevents import emit, sentence
from schemas.ports import EventLog, LogError, Partition, Record

app = typer.Typer(help="Where postal codes are.", no_args_is_help=True)

SOURCE: Final = "headrace-places"
CHUNK_ROWS: Final = 1_000
CHUNK_BYTES: Final = 150_000  # of the rows' JSON: with the rest below what an input may have
_COLUMNS: Final = ("country", "postal_code", "lat", "lon", "region", "city")
_NEEDED: Final = frozenset({"postal_code", "lat", "lon"})
_SHOWN_BAD_ROWS: Final = 20
_LONG_CHUNKS: Final = 10  # from here on a progress bar is worth it
_ZIP_DIGITS: Final = 5
_CE_TYPE: Final = f"headrace.{PlacesDefined.TYPE}.v1".encode()
_READ_RECORDS: Final = 1_000
_WAIT_MS: Final = 200


class BadRow(NamedTuple):
    """A line that can't be a place, and why."""

    line: int
    detail: str


class _Row(NamedTuple):
    country: str
    row: PlaceRow


class _NotAFileError(Exception):
    """The file as a whole can't be read as places; the message says why."""


@app.callback()
def _places() -> None:
    """Where postal codes are."""


@app.command()
def load(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="CSV with a header, or JSON lines; - is stdin."),
    ] = None,
    *,
    builtin: Annotated[
        str | None,
        typer.Option("--builtin", metavar="US", help="What a package knows, instead of a file."),
    ] = None,
    country: Annotated[
        str | None, typer.Option("--country", help="Of the rows that name none, such as US.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Else one made of the content.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row, send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a country.")] = False,
) -> None:
    """Load postal codes, so that orders and nodes without a location are located by theirs.

    Columns: country, postal_code, lat, lon and, where known, region and city. A country's new
    version replaces the one before as soon as its last chunk is in. The one that holds isn't sent
    again.

    Examples:
      headrace places load --builtin US
      headrace places load postal-codes.csv
      headrace places load --country GB --version 2026-11 postcodes.jsonl
    """
    settings = load_settings()
    if (file is None) == (builtin is None):
        raise SetupError("Name a FILE or --builtin US, and not both.", INPUT_ERROR)
    if builtin is not None:
        found: list[_Row | BadRow] = list(_builtin(builtin))
    else:
        try:
            found = list(rows(_read(file or ""), country))
        except _NotAFileError as error:
            typer.echo(f"{file}: {error}", err=True)
            raise typer.Exit(INPUT_ERROR) from None
    bad = [one for one in found if isinstance(one, BadRow)]
    _tell(bad)
    good = [one for one in found if isinstance(one, _Row)]
    if bad or not good:
        typer.echo("Nothing was sent: " + ("mend the rows." if bad else "no row."), err=True)
        raise typer.Exit(INPUT_ERROR)
    try:
        facts = list(chunks(good, version))
    except ValidationError as error:
        typer.echo(sentence(PlacesDefined, error), err=True)
        raise typer.Exit(INPUT_ERROR) from None
    known: dict[str, str] = {}
    sent: dict[tuple[str, str, int], Sent] = {}
    if not dry_run:
        known, sent = _send(settings, facts)
    _summarise(facts, sent, known, dry_run=dry_run, as_json=as_json)


def rows(text: bytes, country: str | None) -> Iterator[_Row | BadRow]:
    """The places of a file: JSON lines where it begins with a brace, else CSV with a header."""
    first = text.lstrip()[:1]
    for line, given in _json_lines(text) if first == b"{" else _csv_rows(text):
        yield given if isinstance(given, BadRow) else _row(line, given, country)


def _json_lines(text: bytes) -> Iterator[tuple[int, dict[str, object] | BadRow]]:
    for line, one in enumerate(text.splitlines(), 1):
        if not one.strip():
            continue
        try:
            given = orjson.loads(one)
        except orjson.JSONDecodeError as error:
            yield line, BadRow(line, f"is not JSON: {error}")
            continue
        yield line, given if isinstance(given, dict) else BadRow(line, "must be a JSON object")


def _csv_rows(text: bytes) -> Iterator[tuple[int, dict[str, object] | BadRow]]:
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _NotAFileError(f"is not UTF-8: {error.reason} at byte {error.start}") from None
    reader = csv.DictReader(io.StringIO(decoded, newline=""))
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    if not set(names) >= _NEEDED or not set(names) <= set(_COLUMNS):
        raise _NotAFileError(
            f"its first line must name the columns {', '.join(_COLUMNS)} (country, region and city"
            f" may be left out), was: {', '.join(names)[:200] or 'empty'}"
        )
    for given in reader:
        if None in given or None in given.values():
            yield reader.line_num, BadRow(reader.line_num, f"must have {len(names)} columns")
            continue
        row: dict[str, object] = {name: value.strip() for name, value in given.items()}
        for name in ("lat", "lon"):
            with suppress(ValueError):  # said by the row's own check
                row[name] = float(str(row[name]))
        yield reader.line_num, row


def _row(line: int, given: dict[str, object], country: str | None) -> _Row | BadRow:
    of = given.pop("country", None) or country
    if not of:
        return BadRow(line, "country: is missing: add the column, or say it with --country")
    try:
        whole = PlacesDefined.model_validate_json(
            orjson.dumps({"country": of, "version": "-", "chunk": 1, "chunks": 1, "rows": [given]})
        )
    except ValidationError as error:
        return BadRow(line, sentence(PlacesDefined, error).replace("rows[0].", ""))
    row = whole.rows[0]
    if whole.country == "US" and len(postal_key(row.postal_code, "US")) < _ZIP_DIGITS:
        return BadRow(
            line,
            f'postal_code: one of the US has 5 digits, was "{row.postal_code}": a spreadsheet may'
            " have dropped its zeros",
        )
    return _Row(whole.country, row)


def _builtin(country: str) -> Iterator[_Row]:
    if country.upper() != "US":
        raise SetupError(f"--builtin knows the US, not {country}: load a FILE.", INPUT_ERROR)
    try:
        import zipcodes  # noqa: PLC0415 - an extra
    except ImportError:
        raise SetupError(
            "--builtin US reads the package zipcodes, which is not installed:"
            ' pip install "headrace[us]".',
            INPUT_ERROR,
        ) from None
    for one in zipcodes.list_all():  # type: ignore[no-untyped-call]  # ships no types
        given = {
            "postal_code": one["zip_code"],
            "lat": float(one["lat"]),
            "lon": float(one["long"]),
            "region": one["state"],
            "city": one["city"],
        }
        row = _row(0, given, "US")
        if isinstance(row, _Row) and (row.row.lat or row.row.lon):  # 0, 0 is in the sea
            yield row


def chunks(found: Sequence[_Row], version: str | None) -> Iterator[PlacesDefined]:
    """The events that carry these rows, country by country; of a row given twice, one."""
    by_country: dict[str, dict[PlaceRow, None]] = {}
    for country, row in found:
        by_country.setdefault(country, {})[row] = None
    for country, its in by_country.items():
        parts: list[list[PlaceRow]] = []
        digest = blake2b(digest_size=8)
        room = 0
        for row in sorted(its, key=lambda one: (one.postal_code, one.lat, one.lon)):
            encoded = row.model_dump_json(exclude_defaults=True).encode()
            digest.update(encoded)
            if room < len(encoded) or len(parts[-1]) == CHUNK_ROWS:
                parts.append([])
                room = CHUNK_BYTES
            parts[-1].append(row)
            room -= len(encoded)
        for number, part in enumerate(parts, 1):
            yield PlacesDefined(
                country=country,
                version=version or digest.hexdigest(),
                chunk=number,
                chunks=len(parts),
                rows=part,
            )


def _event(fact: PlacesDefined, now: str) -> Event:
    """The event; its id is of its content, so that the same again is a repeat."""
    data = fact.model_dump_json(exclude_defaults=True).encode()
    id_ = f"{fact.country}-{blake2b(data, digest_size=12).hexdigest()}"
    record = Record(fact.record_key().encode(), data, emit(fact.TYPE, id_, SOURCE, now))
    return Event(fact.chunk, fact.TYPE, id_, fact.TOPIC, record, derived_id=True)


def _send(
    settings: Settings, facts: Sequence[PlacesDefined]
) -> tuple[dict[str, str], dict[tuple[str, str, int], Sent]]:
    """Send what doesn't hold yet. Returns which version holds of each country, and what was sent.

    That is by country, version and chunk.
    """
    known: dict[str, str] = {}
    sent: list[Sent] = []
    new: list[PlacesDefined] = []
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def work(log: EventLog) -> None:
        known.update(await standing(log))
        new.extend(fact for fact in facts if known.get(fact.country) != fact.version)
        with progress("Sending", len(new), at_least=_LONG_CHUNKS) as advance:

            def acknowledged(some: Sequence[Sent]) -> None:
                sent.extend(some)
                advance(len(some))

            try:
                await deliver(log, [_event(fact, now) for fact in new], acknowledged)
            except LogError as error:
                raise LogError(
                    f"{error}\n{len(sent)} of {len(new)} chunks are acknowledged, and nothing has"
                    " changed yet. Load the same again: what arrived is then ignored."
                ) from error

    run_on_kafka(settings, work)
    return known, {
        (fact.country, fact.version, fact.chunk): one for fact, one in zip(new, sent, strict=True)
    }


async def standing(log: EventLog) -> dict[str, str]:
    """The version of each country's places that was sent whole last."""
    network = Partition(PlacesDefined.TOPIC, 0)
    end = (await log.bounds(network)).next
    whole: dict[str, str] = {}
    coming: dict[tuple[str, str], set[int]] = {}
    reader = await log.reader({network: None})
    try:
        reached = 0
        while reached < end:
            found = (await reader.read(_READ_RECORDS, _WAIT_MS)).get(network, [])
            for record in found:
                reached = record.offset + 1
                if ("ce_type", _CE_TYPE) in record.headers and record.value is not None:
                    chunk = orjson.loads(record.value)
                    of = (chunk["country"], chunk["version"])
                    parts = coming.setdefault(of, set())
                    parts.add(chunk["chunk"])
                    if len(parts) == chunk["chunks"]:
                        whole[of[0]] = of[1]
                        del coming[of]
    finally:
        await reader.close()
    return whole


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise _NotAFileError(f"can't be read: {error.strerror}") from None


def _tell(bad: Sequence[BadRow]) -> None:
    for one in bad[:_SHOWN_BAD_ROWS]:
        typer.echo(f"line {one.line}: {one.detail}", err=True)
    if len(bad) > _SHOWN_BAD_ROWS:
        typer.echo(f"... and {len(bad) - _SHOWN_BAD_ROWS} more lines", err=True)


def _summarise(
    facts: Sequence[PlacesDefined],
    sent: Mapping[tuple[str, str, int], Sent],
    known: Mapping[str, str],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    parts: Counter[tuple[str, str]] = Counter()
    positions: dict[tuple[str, str], str] = {}
    for fact in facts:
        of = (fact.country, fact.version)
        counts[of] += len(fact.rows)
        parts[of] += 1
        if (*of, fact.chunk) in sent:
            positions[of] = sent[(*of, fact.chunk)].position
    for (country, version), count in counts.items():
        of = (country, version)
        if as_json:
            shown = {"country": country, "version": version, "rows": count, "chunks": parts[of]}
            if of in positions:
                shown["position"] = positions[of]
            if known.get(country) == version:
                shown["known"] = True
            typer.echo(orjson.dumps(shown).decode())
        else:
            said = "valid, nothing was sent" if dry_run else "sent"
            if known.get(country) == version:
                said = "known already, nothing was sent"
            what = f"{_counted(count, 'place')} in {_counted(parts[of], 'chunk')}"
            typer.echo(f"{country}: {what} {said}, version {version}.")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
