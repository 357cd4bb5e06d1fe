"""Prometheus reads a server with a key that its file gave, and finds what alerts and dashboard ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from super_advanced_agents.server.auth.key_store import new_key

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
OTHERS = {"up", "saa_certificate_expires_timestamp_seconds"}
"""What Prometheus itself records, and what is there with TLS only."""


def _expressions():
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    yield from (rule["expr"] for group in groups for rule in group["rules"])
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", []))


def test_metrics_of_alerts_and_dashboard_are_served(machine, tmp_path):
    """A renamed metric would leave an alert silent."""
    admin_key, metrics_key = new_key().key, new_key().key
    for name, key in (("admin", admin_key), ("metrics", metrics_key)):
        (tmp_path / name).write_text(key + "\n")
    given = {"SAA_ADMIN_KEY_FILE": str(tmp_path / "admin"), "SAA_METRICS_KEY_FILE": str(tmp_path / "metrics")}
    with machine.server(given) as client:
        client.headers["Authorization"] = f"Bearer {admin_key}"
        client.post("/search", json={"query": "x"}).raise_for_status()
        assert client.get("/metrics").status_code == 403
        client.headers["Authorization"] = f"Bearer {metrics_key}"
        assert client.post("/search", json={"query": "x"}).status_code == 403
        text = client.get("/metrics").raise_for_status().text
        assert "admin_key" not in client.startup_info
    served = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | OTHERS
    for expression in _expressions():
        for name in re.findall(r"\b(saa_\w+|process_\w+|up)\b(?=[{\[ )]|$)", expression):
            assert name in served or re.sub(r"_(bucket|count|sum)$", "", name) in served, (name, expression)
