"""What Prometheus reads, when it alerts, and that dashboards ask for metrics that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import ray
import yaml

from infra.monitoring.dashboards import DASHBOARDS, dashboard

FOLDER = Path(__file__).parents[3] / "infra" / "monitoring"
RAY = Path(ray.__file__).parent
ALERTS = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
QUERIES = [panel[2] for panels in DASHBOARDS.values() for panel in panels] + [rule["expr"] for rule in ALERTS]
# Words of PromQL and labels are no metrics; every metric of ours and of Ray's begins so.
METRIC = re.compile(r"\bray_(?!train_run_name|train_worker_world_rank)\w+(?=\s*[{\[)=/>\s]|$)")


@pytest.fixture
def promtool():
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("no promtool here (Debian: apt install prometheus)")

    def run(*command):
        done = subprocess.run([path, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_prometheus_takes_the_configuration(promtool):
    promtool("check", "config", str(FOLDER / "prometheus.yml"))


def test_alerts_come_when_they_should_and_only_then(promtool):
    promtool("test", "rules", str(FOLDER / "alerts_test.yml"))


def test_every_query_parses(promtool, tmp_path):
    rules = [{"record": f"q{i}", "expr": query} for i, query in enumerate(QUERIES)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_every_alert_says_what_to_do():
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"page", "warn"}
        assert {"summary", "do"} <= rule["annotations"].keys()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboards_are_what_the_script_writes(name):
    text = (FOLDER / "grafana" / f"{name}.json").read_text()
    assert text == dashboard(name), "run `python infra/monitoring/dashboards.py`"
    panels = json.loads(text)["panels"]
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels)


def plain(metric):
    """Return a metric's name without Ray's prefix and what Prometheus hangs on."""
    return re.sub(r"_(total|bucket|sum|count)$", "", metric.removeprefix("ray_"))


def test_metrics_of_the_endpoint_are_those_that_it_counts(root):
    text = (root / "serve" / "metrics.py").read_text()
    kinds = {name: kind for kind, name in re.findall(r"(Counter|Gauge|Histogram)\(\s*\"(rhoray_\w+)\"", text)}
    asked = {metric for query in QUERIES for metric in METRIC.findall(query) if "_rhoray_" in metric}
    assert asked
    endings = {"Counter": ("_total",), "Histogram": ("_bucket", "_sum", "_count"), "Gauge": ("",)}
    allowed = {f"ray_{name}{end}" for name, kind in kinds.items() for end in endings[kind]}
    assert asked <= allowed
    assert {plain(metric) for metric in asked} == kinds.keys(), "a metric that no panel shows"


def test_metrics_of_ray_are_names_that_its_own_code_or_dashboards_have():
    asked = {metric for query in QUERIES for metric in METRIC.findall(query) if "_rhoray_" not in metric}
    assert len(asked) > 15
    sources = [*(RAY / "dashboard" / "modules").rglob("*.py"), *(RAY / "data" / "_internal").rglob("*.py"),
               *(RAY / "train" / "v2").rglob("*.py"), *(RAY / "serve" / "_private").rglob("*.py")]  # fmt: skip
    text = "\n".join(path.read_text(errors="ignore") for path in sources)
    # Ray Data puts `data_` before the names of its operators' metrics.
    words = {m: (m, m.removeprefix("ray_"), plain(m), m.removeprefix("ray_data_")) for m in asked}
    unknown = {m for m, names in words.items() if not any(name in text for name in names)}
    assert unknown == set()
