"""`headrace whatif`: a period of real orders, decided again; here as a person runs it."""

import asyncio
import json
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchestrator.runtime.kafka_log import KafkaLog, KafkaSettings
from schemas.ports import Partition, Record
from schemas.times import rfc3339
from tests.commands.test_read_side import HEADRACE, headrace, inside
from tests.core.story import Story
from tests.projections.test_from_the_core import journal

HOUR = 3_600
RULES = """\
market: US
version: one-leg
strategies:
  - name: whole
    split: {max_legs: 1}
"""
NODE = """\
node_id: NYC
market_id: US
kind: store
name: New York
address: {country: US}
location: {lat: 40.71, lon: -74.01}
stock: {MUG: 20}
"""


@pytest.fixture(scope="module")
def story() -> Story:
    """Ten orders of mugs, each accepted, shipped and delivered; a quiet week before."""
    story = Story()
    for node_id in ("BOS", "CHI"):
        story.node(node_id, handling_cost_minor=100)
    story.service()
    story.item("MUG")
    story.receive("BOS", MUG=40)
    story.receive("CHI", MUG=40)
    story.at(7 * 86_400)
    for number in range(1, 11):
        story.order(str(number), MUG=1 + number % 3)
        story.at(HOUR)
        story.report("accepted", f"{number}.1")
        story.at(HOUR)
        story.ship(f"{number}.1", f"P{number}", shipped_at=rfc3339(story.now_ms))
        story.at(30 * HOUR)
        story.send(
            "tracking_updated",
            carrier="ups",
            tracking_number=f"TP{number}",
            status="delivered",
            at=rfc3339(story.now_ms),
        )
    return story


@pytest.fixture
def servers(kafka: str, prefix: str, story: Story) -> dict[str, str]:
    """A broker that holds the story's journal."""
    settings = {"kafka": kafka, "prefix": prefix, "shards": "1", "replication": "1"}
    assert headrace("topics", "create", **settings).returncode == 0
    values = [Record(None, value) for value in journal(story.entries, 4)]

    async def write() -> None:
        log = await KafkaLog.open(KafkaSettings(kafka, prefix))
        writer = await log.writer()
        await writer.append(Partition("journal", 0), values)
        await writer.close()
        await log.close()

    asyncio.run(write())
    return settings


def test_where_nothing_more_can_be_written_a_sentence_says_so_and_nothing_is_left(
    servers: dict[str, str], tmp_path: Path
) -> None:
    work, page = tmp_path / "work", tmp_path / "report.html"
    work.mkdir()
    settings = {f"HEADRACE_{name.upper()}": value for name, value in servers.items()}
    asked = f"{HEADRACE} whatif --close BOS --work {work} --html {page}"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 4; exec {asked}"],  # KB: no file may grow beyond it
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # Python writes what it compiles as it can: cut off, and whoever loads it next fails.
        env={**os.environ, **settings, "COLUMNS": "160", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, said
    assert re.fullmatch(
        rf"the files of the replay can't be written in {work}/\S+: File too large: name a folder"
        r" with room by --work\.",
        said,
        re.IGNORECASE,
    ), said
    assert list(work.iterdir()) == []
    assert not page.exists()


def asked(*words: str, **servers: str) -> dict[str, Any]:
    done = headrace("whatif", *words, "--json", **servers)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_variants_side_by_side_on_a_real_broker(
    servers: dict[str, str], tmp_path: Path, story: Story
) -> None:
    rules, node, page = tmp_path / "rules.yaml", tmp_path / "node.yaml", tmp_path / "report.html"
    bare = tmp_path / "bare.yaml"
    bare.write_text(NODE.replace("stock: {MUG: 20}\n", ""), encoding="utf-8")
    rules.write_text(RULES, encoding="utf-8")
    node.write_text(NODE, encoding="utf-8")
    report = asked(
        "--close",
        "BOS",
        "--variant",
        f"more=--open {node} --demand x2 --capacity CHI=3 --stock MUG@CHI=-10",
        "--variant",
        f"rules=--rules {rules}",
        "--variant",
        f"bare=--open {bare}",
        "--variant",
        "same=--demand 1",
        "--html",
        str(page),
        **servers,
    )
    assert report["drift"]["equals_history"] is True
    assert report["drift"]["entries_compared"] > 40
    assert report["baseline"]["orders"] == 10
    assert report["baseline"]["rests_on"]["answers"] == {"in place": 30}
    closed, more, ruled, empty, same = report["variants"]
    said = ["NYC was opened and got no work; it has no stock"]
    assert [one.partition(":")[0] for one in more["unused"] + empty["unused"]] == said
    _check_documented(report)
    _check_unchanged(report["baseline"], same)
    assert closed["name"] == "what if"
    assert closed["changes"] == ["BOS closed"]
    assert closed["flipped_orders"] == len(closed["flips"]) == 10
    assert closed["load"].keys() == {"CHI"}
    assert closed["flows"] == [{"from": "BOS", "to": "CHI", "units": 20}]
    assert closed["rests_on"]["orders_with_drawn_answers_rate"] == 1.0
    flip = closed["flips"][0]
    assert (flip["was"]["nodes"], flip["now"]["nodes"]) == (["BOS"], ["CHI"])
    sides = dict(flip["explanations"]["now"])
    assert sides["Why not"][0].endswith("for 6.00 USD, but it is inactive.")
    assert (more["orders"], more["orders_by_demand"]) == (20, 10)
    assert ruled["flipped_orders"] == 0
    assert ruled["cost_per_order_minor"] == report["baseline"]["cost_per_order_minor"]
    _check_page(page.read_text(encoding="utf-8"))
    again = asked("--close", "BOS", **servers)
    assert again["variants"][0]["flips"] == closed["flips"]
    shown = headrace("whatif", "--close", "BOS", "--variant", "same=", **servers)
    for shows in ("Unchanged it equals history", "BOS → CHI", "\nsame: nothing\n"):
        assert shows in shown.stdout

    wrongs = {
        ("--close", "BOSTON"): "--close: nobody knew a node BOSTON when the period began (there"
        " were: BOS).",
        ("--stock", "TEA@BOS=5"): (
            "stock of TEA at BOS: there was no such item when the period began."
        ),
        ("--open", str(node), "--variant", f"same=--open {node}"): None,
        (
            "--from",
            "2030-01-01",
        ): "No order was placed from 2030-01-01T00:00:00.000Z: history ends at 20",
        ("--until", "2027-01-15T08:30:00Z"): "No order was placed until",
        ("--from", "2001-01-01", "--until", "2001-01-02"): (
            "No order was placed from 2001-01-01T00:00:00.000Z until 2001-01-02T00:00:00.000Z:"
            " history begins at 2027"
        ),
    }
    for words, sentence in wrongs.items():
        done = headrace("whatif", *words, **servers)
        if sentence is None:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 2, done.stdout
            assert done.stderr.startswith(sentence)
            assert done.stderr.count("\n") == 1
    elsewhere = "split: {max_legs: 1}\n    fences: {nodes: {node: [PARIS]}}"
    rules.write_text(RULES.replace("split: {max_legs: 1}", elsewhere), encoding="utf-8")
    wrong = headrace("whatif", "--rules", str(rules), **servers)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(f"--rules: {rules}:6: strategies[0].fences.nodes")
    middle = rfc3339(story.now_ms - 5 * 32 * HOUR * 1000 - 1)
    part = asked("--from", middle, **servers)
    assert part["drift"]["equals_history"] is True
    assert part["baseline"]["orders"] == 5


def _check_documented(report: dict[str, Any]) -> None:
    """The reference names every field."""
    reference = Path(__file__).parents[2] / "docs" / "reference" / "what-if.md"
    text = reference.read_text(encoding="utf-8")
    variant = report["variants"][0]
    flip = variant["flips"][0]
    fields = {*report, *report["period"], *report["drift"], *variant, *variant["rests_on"]}
    fields |= {*flip, *flip["was"], *variant["flows"][0], *variant["load"]["CHI"]}
    fields |= {*variant["lead_time_hours"], *variant["costs_minor"]["USD"]}
    assert {one for one in fields if f"`{one}`" not in text} == set()


def _check_unchanged(baseline: dict[str, Any], same: dict[str, Any]) -> None:
    """A variant that changes nothing is told as the others are."""
    assert same == baseline | {"name": "same", "flips": [], "unused": []}
    assert same["changes"] == []


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def _check_page(text: str) -> None:
    """It holds charts that are well formed, and refers to nothing outside itself."""
    tags = _Tags()
    tags.feed(text)
    outside = {"src", "href", "srcset", "action", "data", "xlink:href"}
    assert not [one for one in tags.attributes if one[1] in outside]
    assert not {tag for tag, _, _ in tags.attributes} & {"script", "link", "iframe", "img"}
    assert "url(" not in text
    assert "default-src 'none'" in text
    charts = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(charts) >= 4
    assert "<b>same</b>: nothing." in text
    for chart in charts:
        ET.fromstring(chart)  # noqa: S314 - our own
    assert "NaN" not in text
    assert "Code drift" not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "last week"), "--from: must be a time such as"),
        (("--from", "2026-11-22", "--until", "2026-11-22"), "--until: must be later than --from"),
        (("--capacity", "BOS"), "--capacity: give NODE=ORDERS_A_DAY"),
        (("--stock", "MUG=5"), "--stock: give SKU@NODE=±UNITS"),
        (("--stock", "MUG@BOS=0"), "--stock: give SKU@NODE=±UNITS"),
        (("--demand", "more"), "--demand: give a factor in hundredths"),
        (("--demand", "0"), "--demand: give a factor in hundredths"),
        (("--rules", "nowhere.yaml"), "--rules: nowhere.yaml can't be read"),
        (("--open", "nowhere.yaml"), "--open: nowhere.yaml can't be read"),
        (("--rates", "nowhere.yaml"), "--rates: nowhere.yaml can't be read"),
        (("--variant", "closed"), "--variant: give NAME=OPTIONS"),
        (("--variant", f"{'a' * 41}="), "--variant: give NAME=OPTIONS"),
        (("--variant", "a=--shut BOS"), "--variant a: unrecognized arguments: --shut BOS"),
        (("--variant", "a=--close 'BOS"), "--variant a: No closing quotation"),
        (("--variant", "a=--close X", "--variant", "a=--close Y"), "--variant: each needs a name"),
        (("--variant", "as it was=--close X"), "--variant: each needs a name of its own"),
        (("--html", "/nowhere/report.html"), "--html: there is no folder /nowhere"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_read(words: tuple[str, ...], said: str) -> None:
    done = inside("whatif", *words, kafka="127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith(said)


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--open", "node_id: NYC", "--open: FILE: "),
        ("--open", "- NYC", "--open: FILE must have the fields of a node"),
        ("--open", NODE.replace("20", "many"), "--open: FILE: stock must be units by item"),
        ("--open", "a: [", "--open: FILE:1: is not YAML"),
        ("--rates", "services: []", "--rates: FILE must be a list of carrier services"),
        ("--rates", "[{carrier: ups}]", "--rates: FILE: "),
        ("--rules", "a: [", "--rules: FILE:1: is not YAML"),
        (
            "--rules",
            RULES.replace("max_legs: 1", "max_legs: none"),
            "--rules: FILE:5: strategies[0].split.max_legs: must be",
        ),
        (
            "--rules",
            RULES.replace("max_legs: 1", "max_leg: 1"),
            (
                "--rules: FILE:5: strategies[0].split.max_leg: is not a field of a rule set here;"
                ' did you mean "max_legs"?\n'
            ),
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, option: str, text: str, said: str
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text, encoding="utf-8")
    done = inside("whatif", option, str(file), kafka="127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith(said.replace("FILE", str(file)))
