"""Dashboards, alerts, pipelines and documents speak of what the server really measures."""

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from prometheus_client import Metric

from homeserver.config.sections.logs import LoggingSection
from homeserver.telemetry import context
from homeserver.telemetry.log import configure_logging, get_logger
from homeserver.telemetry.metrics import Metrics
from tests.support.programs import passes, program
from tools.collect_endpoints import collect_endpoints

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "docker"
DASHBOARD: dict[str, Any] = json.loads(
    (DOCKER / "grafana/dashboards/homeserver.json").read_text("utf-8")
)
RULES = [
    rule
    for group in yaml.safe_load((DOCKER / "prometheus/alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
TEMPLATE = json.loads((DOCKER / "elasticsearch/log-lines.json").read_text("utf-8"))

_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
    "unknown": ("",),
}
# What Prometheus adds to whatever it scrapes.
_OF_PROMETHEUS = {"up"}
_OF_TARGETS = {"job", "node", "instance"}
_METRIC = re.compile(r"\b(?:homeserver|process|python)_[a-z_]+\b|\bup\b")
_SELECTED = re.compile(r"([a-z_]+)\{([^}]*)\}")


def families() -> list[Metric]:
    """All metrics of the server, with a sample of each that has labels."""
    metrics = Metrics()
    for collector in vars(metrics).values():
        names = getattr(collector, "_labelnames", ())
        if names:
            collector.labels(*("x" for _ in names))
    return list(metrics.registry.collect())


def series() -> dict[str, set[str]]:
    """Each name that Prometheus stores, with its labels."""
    found: dict[str, set[str]] = {}
    for family in families():
        for suffix in _SUFFIXES.get(family.type, ("",)):
            name = family.name + suffix
            labels = [set(each.labels) for each in family.samples if each.name == name]
            if labels:
                found[name] = labels[0]
    return found


SERIES = series()


def targets() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def expressions() -> list[tuple[str, str]]:
    alerts = [(rule["alert"], rule["expr"]) for rule in RULES]
    documented = re.findall(r"^```promql\n(.+?)^```", documentation(), re.M | re.S)
    queries = [query for block in documented for query in block.strip().split("\n\n")]
    return [*targets(), *alerts, *(("docs/operating.md", query) for query in queries)]


def documentation() -> str:
    return (ROOT / "docs/operating.md").read_text("utf-8")


def without_variables(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$node", ".+")


def test_there_is_something_to_compare() -> None:
    assert {"homeserver_requests_in_flight", "process_open_fds"} <= set(SERIES)
    assert len(expressions()) > 40
    assert any(where == "docs/operating.md" for where, _ in expressions())


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_metric_exists_with_the_labels_that_are_asked_for(
    where: str, expression: str
) -> None:
    names = set(_METRIC.findall(re.sub(r"\{[^}]*\}", "", expression)))
    assert names, f"{where} asks for no metric"
    assert names <= set(SERIES) | _OF_PROMETHEUS
    for name, selectors in _SELECTED.findall(expression):
        labels = set(re.findall(r"(\w+)(?:=|!=)", selectors))
        assert labels <= SERIES.get(name, set()) | _OF_TARGETS, name


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_operation_exists(where: str, expression: str) -> None:
    known = {endpoint.operation for endpoint in collect_endpoints()} | {"wait_for_connection"}
    for name in re.findall(r"operation!?=\"([^\"]+)\"", expression):
        assert name in known, where


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"checked:number{number}", "expr": without_variables(expression)}
        for number, (_, expression) in enumerate(expressions())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]}))
    passes(program("promtool"), "check", "rules", file)


def test_prometheus_accepts_its_configuration() -> None:
    passes(program("promtool"), "check", "config", DOCKER / "prometheus/prometheus.yaml")


def test_every_metric_of_ours_is_shown_and_explained() -> None:
    shown = " ".join(expression for _, expression in targets())
    for family in families():
        if family.name.startswith("homeserver_"):
            assert family.name in shown, "add a panel to the dashboard"
            assert f"`{family.name}" in documentation(), "explain it in docs/operating.md"


def test_alerts_say_what_has_happened_and_how_bad_it_is() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        assert f"`{rule['alert']}`" in documentation()


def test_panels_are_numbered_and_lie_side_by_side() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_asks_a_data_source_that_is_set_up() -> None:
    file = DOCKER / "grafana/provisioning/datasources/datasources.yaml"
    known = {source["uid"] for source in yaml.safe_load(file.read_text("utf-8"))["datasources"]}
    asked = set(re.findall(r'"type": "prometheus",\s+"uid": "(\w+)"', json.dumps(DASHBOARD)))
    assert asked == {"prometheus"}
    assert asked <= known


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    file = DOCKER / "grafana/provisioning/dashboards/dashboards.yaml"
    path = yaml.safe_load(file.read_text("utf-8"))["providers"][0]["options"]["path"]
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
    assert f"./grafana/dashboards:{path}:ro" in compose["services"]["grafana"]["volumes"]


def test_log_lines_go_to_the_stream_that_the_template_and_the_views_name() -> None:
    pipeline = (DOCKER / "logstash/pipeline/homeserver.conf").read_text("utf-8")
    parts = [re.search(rf'data_stream_{name} => "(\w+)"', pipeline) for name in _STREAM_PARTS]
    stream = "-".join(part[1] for part in parts if part)
    assert stream == "logs-homeserver-default"
    view = json.loads((DOCKER / "kibana/data-view.json").read_text("utf-8"))["data_view"]
    assert TEMPLATE["index_patterns"] == [view["title"]]
    assert stream.startswith(view["title"].rstrip("*"))
    assert view["id"] in (DOCKER / "kibana/put-data-view").read_text("utf-8")


_STREAM_PARTS = ("type", "dataset", "namespace")


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Where log lines go meanwhile, as machines read them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(LoggingSection(format="json"), stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_lines_of_the_server_have_the_fields_that_the_pipeline_and_template_expect(
    log_lines: io.StringIO,
) -> None:
    with context.bound(request_id="r-1", operation="client.put_send"):
        get_logger("tests").info("request", status=200, duration_ms=1.5, ip="192.0.2.1")
    line = json.loads(log_lines.getvalue())
    pipeline = (DOCKER / "logstash/pipeline/homeserver.conf").read_text("utf-8")
    assert 'match => ["timestamp", "ISO8601"]' in pipeline
    assert set(line) - {"timestamp"} <= set(TEMPLATE["template"]["mappings"]["properties"])
    removed = pipeline[pipeline.index("remove_field") : pipeline.index("json {")]
    # What Docker sends under these names goes before the line is taken apart, not after.
    assert '"level"' in removed
    assert pipeline.index("json {") > pipeline.index("remove_field")


def test_lines_of_nginx_have_the_fields_that_the_template_expects() -> None:
    text = (DOCKER / "nginx/conf.d/homeserver.conf").read_text("utf-8")
    form = "".join(re.findall(r"'(.*)'", text[text.index("log_format") : text.index("server {")]))
    line = json.loads(re.sub(r":\$\w+", ":1", form))
    known = set(TEMPLATE["template"]["mappings"]["properties"]) | {"node"}
    assert set(line) - {"timestamp"} <= known
    assert "$request_uri" not in form
    assert "$args" not in form
