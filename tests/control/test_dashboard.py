"""The dashboard, the alert rules and Prometheus' own configuration: they ask for what there is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from datastore.jobs import STATES
from datastore.metrics import DECLARED
from mds_client.metrics import ClientMetrics
from mds_client.protocol.operations import Written
from tests.engines.promtool import promtool
from tools.build_solution_manifest import endpoints

DOCKER = Path(__file__).parents[2] / "docker"
ALERTS = DOCKER / "prometheus/alerts.yml"
TESTS = sorted((DOCKER / "prometheus").glob("alerts*_test.yml"))
DASHBOARDS = sorted((DOCKER / "grafana/dashboards").glob("*.json"))

NAME = re.compile(r"\b(?:datastore|mds)_[a-z0-9_]+\b")
SELECTOR = re.compile(r"\b((?:datastore|mds)_[a-z0-9_]+)\{([^}]*)\}")
GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")


def known() -> dict[str, tuple[str, ...]]:
    """Every name that can be asked for, with its labels."""
    client = ClientMetrics(registry := CollectorRegistry())
    client.performed("upsert_bars", 0.1, Written("bars", "copy", 1))
    client.opened("app", lambda: {"pool_size": 1})
    names: dict[str, tuple[str, ...]] = {}
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = set(family.samples[0].labels) if family.samples else {"kind", "operation", "error"}
        for suffix in ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",):
            names[name + suffix] = (*labels, "le")
    for metric in DECLARED.values():
        for suffix in ("_bucket", "_sum", "_count") if metric.type == "histogram" else ("",):
            names[metric.name + suffix] = (*metric.labels, *(("le",) if suffix == "_bucket" else ()))
    return names


def queries() -> dict[str, str]:
    """Every query of the dashboards and the alert rules, by where it is."""
    found = {}
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                if "expr" not in target:
                    continue  # SQL
                found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for rule in rules():
        found[rule["alert"]] = rule["expr"]
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_query_uses_declared_metrics_and_labels() -> None:
    names = known()
    assert len(queries()) > 20
    for query in queries().values():
        _check(query, names)


def _check(query: str, names: dict[str, Any]) -> None:
    # What a label is compared with is no name.
    asked = set(NAME.findall(re.sub(r'"[^"]*"', '""', query)))
    assert asked <= set(names)
    if not asked:
        assert "up{" in query
        return
    labels = {label for name in asked for label in names[name]} | {"instance"}
    for name, conditions in SELECTOR.findall(query):
        for condition in re.findall(r"(\w+)\s*[=!]", conditions):
            assert condition in names[name], f"{name} has no label {condition}"
    for grouping in GROUPING.findall(query):
        assert {label.strip() for label in grouping.split(",")} <= labels


def test_every_metric_is_shown_or_alerted_on_except_explanatory_ones() -> None:
    asked = {name for query in queries().values() for name in NAME.findall(query)}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    explain = {
        "datastore_collect_timestamp_seconds", "datastore_database_info", "datastore_schema_info",
        "datastore_gaps", "datastore_backfills", "datastore_relation_rows", "datastore_chunk_largest_bytes",
        "datastore_columnar_before_bytes", "datastore_columnar_after_bytes", "datastore_policy_runs_total",
        "datastore_policy_last_duration_seconds", "datastore_http_requests_in_flight",
        "datastore_worker_jobs_in_progress",
    }  # fmt: skip
    assert set(DECLARED) - shown == explain


def test_queries_use_only_known_job_states() -> None:
    for query in queries().values():
        for state in re.findall(r'datastore_jobs\{[^}]*state="(\w+)"', query):
            assert state in STATES


def test_queries_use_only_known_routes() -> None:
    routes = {one["path"] for one in endpoints()}
    asked = {route for query in queries().values() for route in re.findall(r'route!?="([^"]+)"', query)}
    assert asked
    assert asked <= routes


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_are_distinct_fill_their_row_and_do_not_overlap(file: Path) -> None:
    panels = json.loads(file.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height


def test_the_dashboard_and_its_data_source_are_provisioned_where_compose_mounts_them() -> None:
    provider = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/store.yml").read_text(encoding="utf-8"))
    source = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((DOCKER.parent / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    mounts = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    assert mounts["./docker/grafana/dashboards"] == provider["providers"][0]["options"]["path"]
    assert mounts["./docker/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in compose


def test_every_alert_has_a_description_and_is_tested_firing_and_silent() -> None:
    tested: dict[str, list[bool]] = {}
    for file in TESTS:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            for case in test["alert_rule_test"]:
                tested.setdefault(case["alertname"], []).append(bool(case.get("exp_alerts")))
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert set(tested[rule["alert"]]) == {True, False}, f"{rule['alert']}: once silent, once not"


@pytest.mark.promtool
def test_promtool_accepts_the_alert_rules() -> None:
    code, said = promtool("check", "rules", ALERTS)
    assert code == 0, said


@pytest.mark.promtool
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_alerts_fire_when_they_should(file: Path) -> None:
    code, said = promtool("test", "rules", file)
    assert code == 0, said


@pytest.mark.promtool
def test_promtool_accepts_the_prometheus_configuration() -> None:
    # The token is there where Prometheus runs, and not here.
    code, said = promtool("check", "config", "--syntax-only", DOCKER / "prometheus/prometheus.yml")
    assert code == 0, said
