"""What deploy/ holds is what others accept: Prometheus, Kubernetes, Grafana's SQL on our views, files that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import sqlalchemy as sa
import yaml

from monitor import embedded, schema
from monitor.embedded import Database
from monitor.installation import load_config
from monitor.metrics import FIGURES, Metrics

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
MANIFESTS = [
    document
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]
MACROS = {  # as Grafana's Postgres data source writes them out
    r"\$__timeFilter\(([^()]+)\)": r"\1 BETWEEN '2013-01-01T00:00:00Z' AND '2014-01-01T00:00:00Z'",
    r"\$model": "m",
}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program is not None
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=DEPLOY)


def queries(node: Any) -> Iterator[str]:
    """Every SQL text anywhere in a dashboard."""
    if isinstance(node, dict):
        for name in ("rawSql", "definition"):
            if isinstance(node.get(name), str):
                yield node[name]
        for value in node.values():
            yield from queries(value)
    elif isinstance(node, list):
        for value in node:
            yield from queries(value)


def expressions() -> Iterator[str]:
    """Every PromQL text in rules and dashboards."""
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for file in DASHBOARDS:
        yield from re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', file.read_text())


@pytest.mark.needs("promtool")
def test_prometheus_takes_configuration_and_rules_and_they_do_what_they_say() -> None:
    for arguments in (
        ("check", "rules", "prometheus/rules.yaml"),
        ("check", "config", "prometheus/prometheus.yaml"),
        ("test", "rules", "prometheus/rules_test.yaml"),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("promtool")
def test_every_rule_has_a_test() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())["groups"]
    tested = (DEPLOY / "prometheus" / "rules_test.yaml").read_text()
    assert not [r["alert"] for g in groups for r in g["rules"] if f"alertname: {r['alert']}\n" not in tested]


def test_rules_and_dashboards_ask_for_metrics_that_there_are(database: Database) -> None:
    engine = schema.create_engine(database.url)
    shown = Metrics(engine, clock=lambda: datetime(2013, 5, 1, tzinfo=UTC)).text().decode()
    engine.dispose()
    known = set(re.findall(r"^# TYPE (\w+)", shown, re.M)) | {name for name, _ in FIGURES.values()}
    asked = {name for text in expressions() for name in re.findall(r"\bmonitor_\w+", text)}
    assert asked
    assert not {name for name in asked if name.removesuffix("_bucket") not in known}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_every_query_of_a_dashboard_runs_on_the_views(file: Path, database: Database) -> None:
    engine = schema.create_engine(database.url)
    with engine.connect() as conn:
        for query in queries(json.loads(file.read_text())):
            for macro, written in MACROS.items():
                query = re.sub(macro, written, query)
            assert "$" not in query, query
            conn.execute(sa.text(query.replace(":", r"\:"))).all()
    engine.dispose()


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_of_a_dashboard_do_not_cover_each_other(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_kubernetes_takes_the_manifests(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_containers_run_without_privileges_on_a_read_only_root() -> None:
    templates = [m["spec"]["template"]["spec"] for m in MANIFESTS if "template" in m.get("spec", {})]
    assert len(templates) == 2
    for spec in templates:
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            locked = container["securityContext"]
            assert locked == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
    monitor = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["monitor"]
    assert (monitor["read_only"], monitor["cap_drop"]) == (True, ["ALL"])


def test_every_file_that_compose_mounts_is_there() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())]
    files = {name for name in mounted if name.startswith("./")} - {"./tokens"}  # its head says how to make that one
    assert len(files) >= 5
    assert not [name for name in files if not (DEPLOY / name).exists()]


def test_every_password_that_compose_asks_for_stands_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert asked == set(re.findall(r"^(\w+)=$", (DEPLOY / "environment.example").read_text(), re.M))


def test_the_configuration_of_compose_is_valid(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"me operator {'0' * 64}\n")
    file = tmp_path / "monitor.yaml"
    file.write_text((DEPLOY / "monitor.yaml").read_text().replace("/srv/monitor/secrets/tokens", str(tokens)))
    config = load_config(file, {"MONITOR_STORE_URL": "postgresql://monitor_writer@postgres/monitor"})
    assert list(config.models) == ["example"]
    assert config.web.address == ("0.0.0.0", 8080)  # of a container, bound to the loopback by compose


def test_the_roles_that_compose_makes_are_enough_to_migrate_and_to_run(
    tmp_path: Path,
) -> None:
    with embedded.start(tmp_path / "server") as own:
        where = sa.make_url(own.url)
        environ = {
            **os.environ,
            "PATH": os.pathsep.join([str(embedded.find_binaries()), os.environ["PATH"]]),
            "PGHOST": str(where.query["host"]),
            "POSTGRES_USER": where.username or "",
            "POSTGRES_DB": where.database or "",
            **{f"{name}_PASSWORD": "it's secret" for name in ("MIGRATOR", "WRITER", "VIEWER")},
        }
        subprocess.run(["bash", DEPLOY / "postgres" / "roles.sh"], env=environ, check=True, capture_output=True)
        schema.upgrade(where.set(username="monitor_migrator"))
        for role, may, may_not in (
            ("monitor_writer", "INSERT INTO monitor.model (name) VALUES ('m')", "CREATE TABLE monitor.x ()"),
            ("monitor_viewer", "SELECT * FROM monitor.model_status", "DELETE FROM monitor.model"),
        ):
            engine = schema.create_engine(where.set(username=role))
            with engine.begin() as conn:
                conn.execute(sa.text(may))
            with pytest.raises(sa.exc.DBAPIError, match=r"permission denied|read-only"), engine.begin() as conn:
                conn.execute(sa.text(may_not))
            engine.dispose()
