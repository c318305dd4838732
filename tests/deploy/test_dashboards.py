"""What Grafana shows is measured, and where it looks is provisioned."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from events.kpis import Window
from orchestrator.kpis.figures import DIMENSIONS, RATES
from orchestrator.kpis.worker import BY_MINUTE, TOLD
from orchestrator.runtime import metrics
from projections import metrics as projection_metrics

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in GRAFANA.glob("dashboards/*.json")}
PARTS = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
EXPOSED = {
    f"{name}{part}": {*labels, "le"} if part == "_bucket" else {*labels}
    for name, kind, labels, _ in (*metrics.TABLE, *projection_metrics.TABLE)
    for part in PARTS[kind]
}


def targets(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [target for panel in dashboard["panels"] for target in panel.get("targets", [])]


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [one["expr"] for one in targets(dashboard) if "expr" in one]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_asks_only_for_metrics_and_labels_that_exist(name: str) -> None:
    for query in queries(DASHBOARDS[name]):
        named = re.findall(r"headrace_\w+", query)
        assert named, query
        assert set(named) <= EXPOSED.keys(), query
        labels = {
            label
            for group in re.findall(r"by \(([^)]*)\)", query)
            for label in group.split(", ")
            if label
        } | set(re.findall(r"(\w+)=~?\"", query))
        assert all(labels <= EXPOSED[metric] for metric in named), query


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_is_prometheus_or_sql(name: str) -> None:
    for one in targets(DASHBOARDS[name]):
        assert ("expr" in one) is (one["datasource"]["type"] == "prometheus")
        assert ("expr" in one) is not ("rawSql" in one)


def test_live_figures_are_asked_for_by_names_that_are_told() -> None:
    asked = [
        dict(re.findall(r'(\w+)="([^"]*)"', query))
        for query in queries(DASHBOARDS["live-figures"])
        if "headrace_kpi{" in query
    ]
    assert asked
    for one in asked:
        assert one["figure"] in {*RATES, *TOLD}
        assert one["dimension"] in DIMENSIONS
        assert one["window"] in get_args(Window)
        assert one["window"] == "hour" or one["dimension"] in BY_MINUTE
    assert {one["figure"] for one in asked} >= {*RATES} - {"allocated_per_minute"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboards_panels_are_told_apart_and_do_not_overlap(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["w"])
        for y in range(place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_dashboards_look_at_the_provisioned_source() -> None:
    sources = [
        source
        for path in sorted((GRAFANA / "provisioning/datasources").glob("*.yml"))
        for source in yaml.safe_load(path.read_text())["datasources"]
    ]
    compose = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text())
    assert [one["url"] for one in sources] == ["postgres:5432", "http://prometheus:9090"]
    assert {"postgres", "prometheus"} <= compose["services"].keys()
    asked = {
        (place["type"], place["uid"])
        for dashboard in DASHBOARDS.values()
        for panel in [*dashboard["panels"], *dashboard.get("templating", {}).get("list", [])]
        for place in [panel.get("datasource"), *(t["datasource"] for t in panel.get("targets", []))]
        if place is not None
    }
    assert asked == {(one["type"], one["uid"]) for one in sources}


def test_grafana_reads_postgres_as_somebody_who_may_only_read() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/postgres.yml").read_text())[
        "datasources"
    ]
    compose = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text())
    script = (GRAFANA.parent / "postgres" / "reader.sh").read_text()
    assert f"CREATE ROLE {source['user']} LOGIN" in script
    grafana, postgres = (
        compose["services"][name]["environment"] for name in ("grafana", "postgres")
    )
    assert grafana["POSTGRES_PASSWORD"] == postgres["POSTGRES_PASSWORD"]
    assert set(source["secureJsonData"].values()) == {"$POSTGRES_PASSWORD"}
    assert source["jsonData"]["database"] == postgres["POSTGRES_DB"]
    mounted = compose["services"]["postgres"]["volumes"]
    assert "./deploy/postgres:/docker-entrypoint-initdb.d:ro" in mounted


def test_grafana_is_told_where_the_dashboards_are() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/headrace.yml").read_text())[
        "providers"
    ]
    compose = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text())
    grafana = compose["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(provider["options"]["path"])
    assert home.stem in DASHBOARDS
