"""Write the Grafana dashboards: `python infra/monitoring/dashboards.py`. A panel is a title, a unit and a query."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent / "grafana"
Panel = tuple[str, str, str, str]  # title, unit of Grafana, query, legend


def _mean(histogram: str, label: str) -> str:
    return f"sum by ({label}) (rate({histogram}_sum[5m])) / sum by ({label}) (rate({histogram}_count[5m]))"


CLUSTER: list[Panel] = [
    ("CPUs of nodes, used", "percent", "avg by (ip) (ray_node_cpu_utilization)", "{{ip}}"),
    ("Memory of nodes, used", "percentunit", "ray_node_mem_used / ray_node_mem_total", "{{ip}}"),
    ("Objects spilled to disk", "bytes", 'sum(ray_object_store_memory{Location="SPILLED"})', "spilled"),
]
DASHBOARDS: dict[str, list[Panel]] = {
    "ingest": [
        ("Tasks running", "short", "sum by (operator) (ray_data_num_tasks_running)", "{{operator}}"),
        ("Tasks finished", "ops", "sum by (operator) (rate(ray_data_num_tasks_finished[2m]))", "{{operator}}"),
        ("Tasks failed (tried again)", "short", "sum by (operator) (ray_data_num_tasks_failed)", "{{operator}}"),
        ("Rows given on", "ops", "sum by (operator) (rate(ray_data_row_outputs_taken[2m]))", "{{operator}}"),
        ("Object store of Ray Data", "bytes", "sum by (operator) (ray_data_obj_store_mem_used)", "{{operator}}"),
        ("Network, received", "Bps", "sum by (ip) (ray_node_network_receive_speed)", "{{ip}}"),
        *CLUSTER,
    ],
    "training": [
        (
            "State of the run",
            "short",
            "max by (ray_train_run_name, ray_train_controller_state) (ray_train_controller_state) == 1",
            "{{ray_train_run_name}} {{ray_train_controller_state}}",
        ),
        (
            "Seconds spent on reports and checkpoints",
            "s",
            "sum by (ray_train_worker_world_rank) (ray_train_report_total_blocked_time_s)",
            "worker {{ray_train_worker_world_rank}}",
        ),
        (
            "Seconds spent on starting workers (grows when machines are lost)",
            "s",
            "sum by (ray_train_run_name) (ray_train_worker_group_start_total_time_s)",
            "{{ray_train_run_name}}",
        ),
        ("Batches fed", "ops", "sum(rate(ray_data_iter_batches_total[2m]))", "batches/s"),
        (
            "Share of time that training waits for data",
            "percentunit",
            "sum(rate(ray_data_iter_total_blocked_seconds[5m])) / sum(rate(ray_data_iter_total_seconds[5m]))",
            "waiting",
        ),
        ("GPUs, used", "percent", "avg by (ip, GpuIndex) (ray_node_gpus_utilization)", "{{ip}} {{GpuIndex}}"),
        ("GPU memory, used", "decmbytes", "sum by (ip, GpuIndex) (ray_node_gram_used)", "{{ip}} {{GpuIndex}}"),
        *CLUSTER,
    ],
    "tuning": [
        ("Trials running", "short", 'sum(ray_actors{Name=~"ImplicitFunc|.*Trainable.*", State="ALIVE"})', "trials"),
        (
            "Trials waiting for a node",
            "short",
            'sum(ray_actors{Name=~"ImplicitFunc|.*Trainable.*", State="PENDING_CREATION"})',
            "trials",
        ),
        ("Tasks by state", "short", 'sum by (State) (ray_tasks{State!="FINISHED"})', "{{State}}"),
        ("CPUs taken", "short", 'sum by (State) (ray_resources{Name="CPU"})', "{{State}}"),
        (
            "Workers that Ray killed for their memory",
            "short",
            "sum(increase(ray_memory_manager_worker_eviction_total[15m]))",
            "killed",
        ),
        *CLUSTER,
    ],
    "serving": [
        ("Answers", "reqps", "sum by (route, status) (rate(ray_rhoray_requests_total[2m]))", "{{route}} {{status}}"),
        (
            "Latency",
            "s",
            "histogram_quantile(0.95, sum by (le, route) (rate(ray_rhoray_request_seconds_bucket[5m])))",
            "95 % {{route}}",
        ),
        (
            "Stages of an answer, mean",
            "s",
            _mean("ray_rhoray_stage_seconds", "stage"),
            "{{stage}}",
        ),
        (
            "Answers as Serve's proxy counts them, refusals included",
            "reqps",
            'sum by (status_code) (rate(ray_serve_num_http_requests_total{application!=""}[2m]))',
            "{{status_code}}",
        ),
        (
            "Latency as the proxy has it",
            "ms",
            'histogram_quantile(0.95, sum by(le)(rate(ray_serve_http_request_latency_ms_bucket{application!=""}[5m])))',
            "95 %",
        ),
        ("Problems", "reqps", "sum by (problem) (rate(ray_rhoray_problems_total[5m]))", "{{problem}}"),
        (
            "Predictions by bundle and domain",
            "ops",
            "sum by (version, in_domain) (rate(ray_rhoray_predictions_total[5m]))",
            "{{version}}, in domain: {{in_domain}}",
        ),
        ("Requests under way", "short", "sum(ray_rhoray_requests_under_way)", "requests"),
        ("Bytes of uploads held", "bytes", "sum(ray_rhoray_body_bytes)", "bytes"),
        (
            "Densities a model call",
            "short",
            _mean("ray_rhoray_batch_size", "deployment"),
            "{{deployment}}",
        ),
        (
            "Seconds of a model call, 95 %",
            "s",
            "histogram_quantile(0.95, sum by (le, deployment) (rate(ray_rhoray_model_seconds_bucket[5m])))",
            "{{deployment}}",
        ),
        ("Queued at handles", "short", "sum by (deployment) (ray_serve_deployment_queued_queries)", "{{deployment}}"),
        (
            "Replicas that are healthy",
            "short",
            "sum by (deployment) (ray_serve_deployment_replica_healthy)",
            "{{deployment}}",
        ),
        *CLUSTER,
    ],
}


def _panel(number: int, panel: Panel) -> dict:
    title, unit, query, legend = panel
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "datasource": source, "expr": query, "legendFormat": legend}],
    }


def dashboard(name: str) -> str:
    """Return one dashboard as Grafana imports it."""
    model = {
        "uid": f"rhoray-{name}",
        "title": f"RhoRay: {name}",
        "tags": ["rhoray"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(i, panel) for i, panel in enumerate(DASHBOARDS[name])],
    }
    return json.dumps(model, indent=1) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(dashboard(name))
