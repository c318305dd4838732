"""What Grafana shows is measured, and where it looks is provisioned."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


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
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    compose = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text())
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]
    asked = {
        (place["type"], place["uid"])
        for dashboard in DASHBOARDS.values()
        for panel in dashboard["panels"]
        for place in [panel.get("datasource"), *(t["datasource"] for t in panel.get("targets", []))]
        if place is not None
    }
    assert asked == {(source["type"], source["uid"])}


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
