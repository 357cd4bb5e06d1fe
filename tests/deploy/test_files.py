"""The files of `deploy` agree with the server's settings, and their own tools accept them where those are installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from super_advanced_agents.tenancy.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = [
    ROOT / "Dockerfile",
    ROOT / "compose.yaml",
    *sorted(DEPLOY.glob("proxies/*")),
    *sorted(DEPLOY.glob("systemd/*")),
    *sorted(DEPLOY.glob("helm/super-advanced-agents/**/*.*")),
]
OUTSIDE = {"SAA_IMAGE", "SAA_MEMORY", "SAA_SECRETS"}
"""Variables of compose.yaml itself."""


def installed(name):
    """Return the path of a program, or skip the test."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_variables_are_settings_of_the_server(file):
    """A setting that was renamed would silently not be set."""
    named = set(re.findall(r"\bSAA_[A-Z0-9_]+\b", file.read_text(encoding="utf-8"))) - OUTSIDE
    known = {f"SAA_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in named if name.removesuffix("_FILE") not in known and name not in known} == set()


def test_every_image_of_compose_is_named_by_version_and_limited():
    """`latest` of another project changes under a running system."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name, service in services.items():
        assert "mem_limit" in service, name
        image = service["image"].partition(":-")[2].rstrip("}")
        assert image.startswith("super-advanced-agents:") or not image.endswith(":latest"), image


def test_unit_of_systemd_is_hardened():
    """`systemd-analyze` counts what a service could do; below 2 is little."""
    done = subprocess.run(
        [installed("systemd-analyze"), "security", "--offline=true", "--threshold=20", DEPLOY / "systemd/saa.service"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_alert_rules_fire_when_they_should():
    """`promtool` checks the rules, and runs their own tests."""
    promtool = installed("promtool")
    for arguments in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        done = subprocess.run([promtool, *arguments], cwd=DEPLOY / "monitoring", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_line_in_the_runbook():
    """Who is woken by one looks it up."""
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    groups = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"]]
    assert re.findall(r"^## (\w+)$", runbook, re.MULTILINE) == [rule["alert"] for rule in alerts]
    for rule in alerts:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_dashboard_is_what_its_program_writes(tmp_path):
    """`python deploy/monitoring/dashboard.py` writes it anew."""
    shutil.copy(DEPLOY / "monitoring" / "dashboard.py", tmp_path)
    subprocess.run([sys.executable, tmp_path / "dashboard.py"], check=True)
    written = (tmp_path / "dashboard.json").read_text()
    assert (DEPLOY / "monitoring" / "dashboard.json").read_text(encoding="utf-8") == written
    assert json.loads(written)["panels"]


@pytest.mark.parametrize("name", ["haproxy", "caddy"])
def test_proxies_accept_their_files(name, tmp_path):
    """These two are parsed only; those of nginx and HAProxy also serve, in the integration tests."""
    program = installed(name)
    commands = {
        "haproxy": [program, "-c", "-f", DEPLOY / "compose" / "haproxy.cfg"],
        "caddy": [program, "validate", "--adapter", "caddyfile", "--config", DEPLOY / "proxies" / "Caddyfile"],
    }
    environment = {"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(commands[name], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
