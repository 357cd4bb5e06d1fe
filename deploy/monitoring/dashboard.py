"""Write the Grafana dashboard beside this file: `python deploy/monitoring/dashboard.py`."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).with_name("dashboard.json")
RATE = "[$__rate_interval]"


SELECTOR = 'instance=~"$instance"'


def quantile(metric: str, by: str, of: float = 0.99) -> str:
    """Return the expression of a quantile of a histogram."""
    return f"histogram_quantile({of}, sum by ({by}, le) (rate({metric}_bucket{{{SELECTOR}}}{RATE})))"


def rate(metric: str, by: str) -> str:
    """Return the expression of the growth of a counter a second."""
    return f"sum by ({by}) (rate({metric}{{{SELECTOR}}}{RATE}))"


HITS = rate("saa_embedding_cache_hits_total", "instance")
PROBED = "saa_recall_probe_neighbours_total"
RECALL = f'sum(increase({PROBED}{{outcome="found"}}[1d])) / sum(increase({PROBED}[1d]))'
PANELS: list[tuple[str, list[tuple[str, str, str, str]]]] = [
    (
        "Requests",
        [
            ("Requests", "reqps", rate("saa_request_seconds_count", "operation"), "{{operation}}"),
            ("Outcomes", "reqps", rate("saa_request_seconds_count", "outcome"), "{{outcome}}"),
            ("Latency, p99", "s", quantile("saa_request_seconds", "operation"), "{{operation}}"),
            ("Refused for an allowance", "reqps", rate("saa_rate_limited_total", "instance"), "{{instance}}"),
            ("Permits in use", "short", f"saa_permits_in_use{{{SELECTOR}}}", "{{instance}} {{kind}}"),
            ("Waits for a permit, p99", "s", quantile("saa_permit_wait_seconds", "kind"), "{{kind}}"),
        ],
    ),
    (
        "Queues and models",
        [
            ("Waiting items", "short", f"saa_queue_depth{{{SELECTOR}}}", "{{instance}} {{queue}}"),
            ("Wait in a queue, p99", "s", quantile("saa_queue_wait_seconds", "queue"), "{{queue}}"),
            (
                "Items a batch",
                "short",
                f"{rate('saa_batch_items_sum', 'queue')} / {rate('saa_batch_items_count', 'queue')}",
                "{{queue}}",
            ),
            ("Embedded texts", "ops", rate("saa_embedded_texts_total", "instance"), "{{instance}}"),
            (
                "Embeddings found in the cache",
                "percentunit",
                f"{HITS} / ({HITS} + {rate('saa_embedding_cache_misses_total', 'instance')})",
                "{{instance}}",
            ),
            ("Generated tokens", "ops", rate("saa_generated_tokens_total", "instance"), "{{instance}}"),
        ],
    ),
    (
        "Store",
        [
            ("Records", "short", f"saa_store_records{{{SELECTOR}}}", "{{instance}}"),
            ("Segments", "short", f"saa_store_segments{{{SELECTOR}}}", "{{instance}}"),
            ("Rows of the tail", "short", f"saa_store_tail_rows{{{SELECTOR}}}", "{{instance}}"),
            ("Bytes", "bytes", f"saa_store_bytes{{{SELECTOR}}}", "{{instance}}"),
            ("Commit, p99", "s", quantile("saa_store_commit_seconds", "instance"), "{{instance}}"),
            ("Changes", "ops", rate("saa_store_changes_total", "change"), "{{change}}"),
        ],
    ),
    (
        "Jobs",
        [
            ("Jobs by state", "short", f"max by (state) (saa_jobs{{{SELECTOR}}})", "{{state}}"),
            ("Attempts", "ops", rate("saa_job_seconds_count", "kind, outcome"), "{{kind}} {{outcome}}"),
            ("Time of an attempt, p99", "s", quantile("saa_job_seconds", "kind"), "{{kind}}"),
            ("Recall of probes", "percentunit", RECALL, "recall"),
            ("Expired records deleted", "ops", rate("saa_store_records_expired_total", "instance"), "{{instance}}"),
            (
                "Entries of the audit log lost",
                "ops",
                rate("saa_audit_entries_dropped_total", "instance"),
                "{{instance}}",
            ),
        ],
    ),
    (
        "Process",
        [
            ("Ready", "short", f"saa_ready{{{SELECTOR}}}", "{{instance}}"),
            ("Event loop lag, p99", "s", quantile("saa_event_loop_lag_seconds", "instance"), "{{instance}}"),
            ("Memory", "bytes", f"process_resident_memory_bytes{{{SELECTOR}}}", "{{instance}}"),
            ("Processor", "percentunit", rate("process_cpu_seconds_total", "instance"), "{{instance}}"),
            ("Open files", "short", f"process_open_fds{{{SELECTOR}}}", "{{instance}}"),
            ("Versions", "short", f"sum by (version) (saa_build_info{{{SELECTOR}}})", "{{version}}"),
        ],
    ),
]


def dashboard() -> dict[str, object]:
    """Return the dashboard in Grafana's own form."""
    panels: list[dict[str, object]] = []
    y = 0
    for title, graphs in PANELS:
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        y += 1
        for number, (name, unit, expression, legend) in enumerate(graphs):
            panels.append(
                {
                    "type": "timeseries",
                    "title": name,
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                    "gridPos": {"x": 8 * (number % 3), "y": y + 8 * (number // 3), "w": 8, "h": 8},
                    "targets": [{"refId": "A", "expr": expression, "legendFormat": legend}],
                }
            )
        y += 16
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "type": "query",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": "label_values(saa_build_info, instance)",
            "includeAll": True,
            "multi": True,
            "refresh": 2,
        },
    ]
    return {
        "uid": "super-advanced-agents",
        "title": "Super Advanced Agents",
        "schemaVersion": 41,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
