"""Alerts: files that are wrong say where; lines are crossed once, and back further back."""

from pathlib import Path

import pytest

from orchestrator.kpis.alerts import AlertFileError, Alerts, Known, load, parse
from orchestrator.kpis.figures import COUNTS, Counts, none
from orchestrator.kpis.windows import Figures

END_MS = 1_795_341_660_000
LATE = """
alerts:
  - rule: late
    figure: on_time_rate
    by: node
    below: 0.9
    until: 0.95
    at_least: 10
    severity: high
"""


def counts(**named: int) -> Counts:
    found = none()
    for name, number in named.items():
        found[COUNTS.index(name)] = number
    return found


def hour(scope: str, **named: int) -> list[Figures]:
    return [Figures(scope, none(), counts(**named))]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("alerts: [", ["a.yaml:1: is not YAML"]),
        ("alerts: [{above: 2026-13-45}]", ["a.yaml: is not YAML: month must be in 1..12"]),
        ("x: 1", ["a.yaml: alerts: is missing", "a.yaml: x: there is no such field"]),
        ("alerts: [3]", ["a.yaml: alerts[0]: must have fields, such as `rule:`, was 3"]),
        (
            "alerts: [{rule: a, figure: placed, by: node, below: 1}]",
            ["a.yaml: alerts[0].by: placed is counted by market and channel"],
        ),
        (
            "alerts: [{rule: a, figure: fill_rate, by: market, below: 90}]",
            ["a.yaml: alerts[0].below: fill_rate lies between 0 and 1, was 90"],
        ),
        ("", ["a.yaml: is empty: it must have `alerts:`, a list of rules (it may be [])"]),
        (
            "alerts: [{rule: a, figure: late_rate, by: node, below: 1}]",
            ["a.yaml: alerts[0].figure: there is no 'late_rate': choose from placed, "],
        ),
        (
            "alerts: [{rule: a, figure: placed, by: shop, above: many}]",
            [
                "alerts[0].by: must be 'market', 'channel', 'node' or 'carrier', was 'shop'",
                "alerts[0].above: must be a valid number, was 'many'",
            ],
        ),
        (
            "alerts: [{rule: a, figure: placed, by: market}]",
            ["a.yaml: alerts[0]: needs one of above and below"],
        ),
        (
            "alerts: [{rule: a, figure: placed, by: market, above: 1, until: 2}]",
            ["a.yaml: alerts[0].until: must be at most 1.0, the line, was 2.0"],
        ),
        (
            "alerts: [{rule: a, figure: placed, by: market, below: 3, until: 2}]",
            ["a.yaml: alerts[0].until: must be at least 3.0, the line, was 2.0"],
        ),
        (
            "alerts: [{rule: a, figure: placed, by: market, below: 3, at_least: 2}]",
            ["a.yaml: alerts[0].at_least: placed is no ratio"],
        ),
        (
            "alerts: [{rule: a, figure: placed, by: market, below: 3, only: [us]}]",
            ["a.yaml: alerts[0].only: names channels, nodes or carriers"],
        ),
        (
            "alerts: [{rule: a, figure: on_time_rat, by: market, at_least: 2, only: [us]}]",
            [
                "a.yaml: alerts[0].figure: there is no 'on_time_rat': choose from placed,",
                "\na.yaml: alerts[0]: needs one of above and below\n",
                "a.yaml: alerts[0].only: names channels, nodes or carriers",
            ],
        ),
        (
            "alerts: [{rule: a, figure: placed, by: market, below: 3, of: BOS}]",
            ["a.yaml: alerts[0].of: there is no such field: choose from rule, figure, by,"],
        ),
        (
            (
                "alerts:\n- {rule: a, figure: placed, by: market, below: 3}\n"
                "- {rule: a, figure: shipped, by: node, below: 3}"
            ),
            ["a.yaml: alerts[1].rule: 'a' stands twice"],
        ),
    ],
)
def test_a_wrong_file_says_where_and_what(text: str, sentences: list[str]) -> None:
    with pytest.raises(AlertFileError) as error:
        parse(text, "a.yaml")
    for sentence in sentences:
        assert sentence in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlertFileError, match="can't be read: No such file"):
        load(str(tmp_path / "alerts.yaml"))


def test_the_example_of_the_how_to_is_valid() -> None:
    assert load("examples/alerts.yaml")


def test_an_alert_opens_once_and_closes_only_beyond_the_second_line() -> None:
    alerts = Alerts(parse(LATE, ""), {})
    told = [
        one.type
        for on_time in (95, 91, 89, 85, 91, 94, 88, 95, 94)
        for one in alerts.judge(END_MS, hour("us/node/BOS", due=100, on_time=on_time))
    ]
    assert told == ["alert_opened", "alert_closed"]


def test_an_opened_alert_says_what_crossed_which_line() -> None:
    alerts = Alerts(parse(LATE, ""), {})
    (opened,) = alerts.judge(END_MS, hour("us/node/BOS", due=10, on_time=8))
    assert opened.alert == "late/us/node/BOS"
    assert opened.fields["detail"] == (
        "late/us/node/BOS: on_time_rate is 0.8 in the hour, below 0.9"
    )
    assert (opened.fields["node_id"], opened.fields["severity"]) == ("BOS", "high")


def test_too_few_to_go_by_neither_open_nor_close() -> None:
    alerts = Alerts(parse(LATE, ""), {})
    assert [*alerts.judge(END_MS, hour("us/node/BOS", due=9, on_time=0))] == []
    assert len([*alerts.judge(END_MS, hour("us/node/BOS", due=10, on_time=0))]) == 1
    assert [*alerts.judge(END_MS, hour("us/node/BOS", due=9, on_time=9))] == []
    assert [*alerts.judge(END_MS, hour("us/node/BOS"))] == []


def test_a_rule_is_about_its_dimension_market_and_members_alone() -> None:
    text = LATE + "    market_id: us\n    only: [BOS, LAX]\n"
    alerts = Alerts(parse(text, ""), {})
    scopes = ("us/node/BOS", "us/node/NYC", "eu/node/BOS", "us", "us/carrier/BOS", "us/node/LAX")
    opened = [
        one.alert
        for scope in scopes
        for one in alerts.judge(END_MS, hour(scope, due=10, on_time=0))
    ]
    assert opened == ["late/us/node/BOS", "late/us/node/LAX"]


def test_after_a_restart_what_is_open_is_not_opened_again_and_closes_as_it_would_have() -> None:
    before = Alerts(parse(LATE, ""), {})
    (opened,) = before.judge(END_MS, hour("us/node/BOS", due=10, on_time=0))
    after = Alerts(parse(LATE, ""), {opened.alert: Known(END_MS, opened.fields)})
    assert [*after.judge(END_MS, hour("us/node/BOS", due=10, on_time=0))] == []
    (closed,) = after.judge(END_MS, hour("us/node/BOS", due=10, on_time=10))
    assert closed.type == "alert_closed"
    assert closed.fields["reason"] == "recovered"
    assert closed.fields["opened_at"] == opened.fields["opened_at"]


@pytest.mark.parametrize("opened", [True, False])
def test_an_alert_that_is_known_of_a_later_minute_is_passed_over_until_then(
    *, opened: bool
) -> None:
    (known,) = Alerts(parse(LATE, ""), {}).judge(END_MS, hour("us/node/BOS", due=10, on_time=0))
    later = Known(END_MS + 60_000, known.fields if opened else None)
    behind = Alerts(parse(LATE, ""), {known.alert: later})
    for on_time in (0, 10, 0):
        assert [*behind.judge(END_MS, hour("us/node/BOS", due=10, on_time=on_time))] == []
    assert [*Alerts([], {known.alert: later}).gone(END_MS)] == []
    after = 10 if opened else 0
    assert [
        one.type
        for one in behind.judge(END_MS + 120_000, hour("us/node/BOS", due=10, on_time=after))
    ] == ["alert_closed" if opened else "alert_opened"]


def test_what_no_rule_is_about_any_more_is_closed() -> None:
    before = Alerts(parse(LATE, ""), {})
    (opened,) = before.judge(END_MS, hour("us/node/BOS", due=10, on_time=0))
    after = Alerts([], {opened.alert: Known(END_MS, opened.fields)})
    (closed,) = after.gone(END_MS)
    assert (closed.type, closed.fields["reason"]) == ("alert_closed", "rule_gone")
    assert [*after.gone(END_MS)] == []


@pytest.mark.parametrize(("placed", "opens"), [(0, True), (1, False)])
def test_counts_have_lines_too(placed: int, *, opens: bool) -> None:
    text = "alerts: [{rule: quiet, figure: placed, by: market, window: minute, below: 1}]"
    figures = [Figures("us", counts(placed=placed), none())]
    assert bool([*Alerts(parse(text, ""), {}).judge(END_MS, figures)]) is opens
