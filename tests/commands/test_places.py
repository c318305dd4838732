"""`headrace places load`: what it reads, what it says of what it can't, what it sends."""

import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from events.network import PlacesDefined
from orchestrator.commands.places import (
    CHUNK_BYTES,
    BadRow,
    _event,
    _Row,
    app,
    chunks,
    rows,
    standing,
)
from orchestrator.core.sourcing.places import Places
from orchestrator.runtime.memory_log import MemoryLog
from orchestrator.runtime.settings import SetupError
from orchestrator.runtime.world import SystemClock
from schemas.cloudevents import Accepted, read
from schemas.ports import Partition, Record

HEADER = "country,postal_code,lat,lon\n"
CSV = """country,postal_code,lat,lon,region,city
US,02108,42.3576,-71.0638,MA,Boston
US,10001,40.7484,-73.9967,NY,
GB,SW1A 1AA,51.501,-0.142,,London
"""


def good(text: str, country: str | None = None) -> list[_Row]:
    found = list(rows(text.encode(), country))
    assert all(isinstance(one, _Row) for one in found), found
    return [one for one in found if isinstance(one, _Row)]


def bad(text: str, country: str | None = None) -> list[str]:
    return [
        f"{one.line}: {one.detail}"
        for one in rows(text.encode(), country)
        if isinstance(one, BadRow)
    ]


def test_csv_and_json_lines_say_the_same() -> None:
    lines = [
        {
            "country": "US",
            "postal_code": "02108",
            "lat": 42.3576,
            "lon": -71.0638,
            "region": "MA",
            "city": "Boston",
        },
        {"country": "US", "postal_code": "10001", "lat": 40.7484, "lon": -73.9967, "region": "NY"},
        {
            "country": "GB",
            "postal_code": "SW1A 1AA",
            "lat": 51.501,
            "lon": -0.142,
            "city": "London",
        },
    ]
    assert good("\n".join(orjson.dumps(one).decode() for one in lines)) == good(CSV)
    assert good("\ufeff" + CSV.replace("\n", "\r\n")) == good(CSV)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("postal_code,lat,lon\n02108,1,2\n", "2: country: is missing: add the column"),
        (HEADER + "US,2108,1,2\n", "2: postal_code: one of the US has 5 digits"),
        (HEADER + "US,02108,91,2\n", "2: lat: must be a number from -90 to 90, was 91.0"),
        (HEADER + "US,02108,north,2\n", '2: lat: must be a number from -90 to 90, was "north"'),
        (HEADER + "US,02108,nan,2\n", "2: lat: must be a number"),
        (HEADER + "USA,02108,1,2\n", "2: country: must be"),
        (HEADER + "US,02108,1\n", "2: must have 4 columns"),
        ('{"postal_code": \n', "1: is not JSON"),
        (
            '{"country":"US","postal_code":"1","lat":1.0,"lon":2.0,"zip":1}',
            "1: zip: is not a field",
        ),
    ],
)
def test_a_row_that_cant_be_a_place_is_named_by_its_line(text: str, says: str) -> None:
    (said,) = bad(text)
    assert said.startswith(says)


def test_rows_without_a_country_are_of_the_one_that_is_said() -> None:
    assert [one.country for one in good("postal_code,lat,lon\n1010,48.2,16.4\n", "AT")] == ["AT"]


def test_chunks_hold_all_rows_of_a_country_once_and_fit_a_record() -> None:
    text = "country,postal_code,lat,lon,city\n" + "".join(
        f"US,{n:05},1,{n / 1000},{'x' * 200}\n" for n in range(2500)
    )
    found = good(text)
    facts = list(chunks([*found, *found], None))
    assert [(fact.chunk, fact.chunks) for fact in facts] == [
        (n, len(facts)) for n in range(1, len(facts) + 1)
    ]
    assert [row for fact in facts for row in fact.rows] == [one.row for one in found]
    assert all(len(fact.model_dump_json()) < 1.2 * CHUNK_BYTES for fact in facts)


def test_the_version_is_of_the_content_whatever_the_order_of_rows() -> None:
    forth, back = (list(chunks(some, None)) for some in (good(CSV), good(CSV)[::-1]))
    assert {fact.version for fact in forth} == {fact.version for fact in back}
    other = list(chunks(good(CSV.replace("42.3576", "42.3577")), None))
    versions = {fact.country: fact.version for fact in forth}
    assert {fact.country: fact.version == versions[fact.country] for fact in other} == {
        "US": False,
        "GB": True,
    }
    assert {fact.version for fact in chunks(good(CSV), "2026-11")} == {"2026-11"}


def test_what_is_sent_intake_takes_and_the_same_again_has_the_same_id() -> None:
    (fact, *_) = chunks(good(CSV), None)
    first, again = _event(fact, "2026-01-31T12:00:00Z"), _event(fact, "2026-02-01T12:00:00Z")
    assert first.id == again.id
    taken = read(first.topic, first.record.value, first.record.headers)
    assert isinstance(taken, Accepted)
    assert taken.model == fact
    places = Places()
    assert places.take(orjson.loads(taken.data))
    assert places.locate({"country": fact.country, "postal_code": "02108"}).how == "postal_code"


async def test_a_countrys_version_that_was_sent_whole_last_is_known() -> None:
    log = MemoryLog(SystemClock(), {"network": 1})
    now = "2026-01-31T12:00:00Z"

    def write(version: str, *numbers: int) -> None:
        found = [fact for fact in chunks(good(CSV), version) if fact.country == "US"]
        (fact,) = found
        for number in numbers:
            part = fact.model_copy(update={"chunk": number, "chunks": 2})
            log.write(Partition("network", 0), [_event(part, now).record])

    assert await standing(log) == {}
    write("1", 1)
    assert await standing(log) == {}, "a chunk is missing"
    write("1", 2)
    log.write(Partition("network", 0), [Record(b"item_defined:A", b"{}")])
    assert await standing(log) == {"US": "1"}
    write("2", 2, 1)
    assert await standing(log) == {"US": "2"}
    write("1", 1, 2)
    assert await standing(log) == {"US": "1"}


def test_nothing_is_sent_while_a_row_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "places.csv"
    file.write_text(CSV + "US,2,1,1,,\n")
    ran = CliRunner().invoke(app, ["load", str(file)])
    assert ran.exit_code == 2
    assert "line 5: postal_code: one of the US has 5 digits" in ran.stderr
    assert "Nothing was sent" in ran.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "its first line must name the columns"),
        (b"zip,lat,lon\n1,2,3\n", "its first line must name the columns"),
        (HEADER.encode() + b"US,\xff,1,2\n", "is not UTF-8"),
        (HEADER.encode(), "Nothing was sent: no row."),
    ],
)
def test_a_file_that_holds_no_places_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "places.csv"
    file.write_bytes(content)
    ran = CliRunner().invoke(app, ["load", str(file)])
    assert ran.exit_code == 2
    assert says in ran.stderr


def test_a_dry_run_counts_by_country(tmp_path: Path) -> None:
    file = tmp_path / "places.csv"
    file.write_text(CSV)
    ran = CliRunner().invoke(app, ["load", "--dry-run", "--version", "7", str(file)])
    assert ran.stdout.splitlines() == [
        "US: 2 places in 1 chunk valid, nothing was sent, version 7.",
        "GB: 1 place in 1 chunk valid, nothing was sent, version 7.",
    ]
    ran = CliRunner().invoke(app, ["load", "--dry-run", "--version", "7", "--json", str(file)])
    assert [orjson.loads(line) for line in ran.stdout.splitlines()] == [
        {"country": "US", "version": "7", "rows": 2, "chunks": 1},
        {"country": "GB", "version": "7", "rows": 1, "chunks": 1},
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Name a FILE or --builtin US"),
        (["--builtin", "US", "x.csv"], "Name a FILE or --builtin US"),
        (["--builtin", "DE"], "knows the US, not DE"),
    ],
)
def test_wrong_usage_says_what_is_right(arguments: list[str], says: str) -> None:
    ran = CliRunner().invoke(app, ["load", *arguments])
    assert isinstance(ran.exception, SetupError)
    assert says in str(ran.exception)


def test_without_the_extra_the_builtin_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zipcodes", None)
    ran = CliRunner().invoke(app, ["load", "--builtin", "US"])
    assert isinstance(ran.exception, SetupError)
    assert 'pip install "headrace[us]"' in str(ran.exception)


@pytest.mark.slow
def test_the_builtin_knows_the_united_states() -> None:
    ran = CliRunner().invoke(app, ["load", "--builtin", "US", "--dry-run", "--json"])
    (us,) = [orjson.loads(line) for line in ran.stdout.splitlines()]
    assert us["rows"] > 29_000
    assert us["chunks"] == -(-us["rows"] // 1000)


def test_a_version_that_is_no_id_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "places.csv"
    file.write_text(CSV)
    ran = CliRunner().invoke(app, ["load", "--version", "a/b", str(file)])
    assert ran.exit_code == 2
    assert "version: must be" in ran.stderr


def test_of_a_chunk_the_key_is_its_own() -> None:
    keys = [fact.record_key() for fact in chunks(good(CSV), "7")]
    assert keys == ["places_defined:US/7/1", "places_defined:GB/7/1"]
    assert PlacesDefined.TOPIC == "network"
