"""Test that docs/observability.md names the metrics and the stages that exist, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from super_advanced_agents.server.observing.metric_names import COUNTERS, GAUGES, HISTOGRAMS, PREFIX

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
SOURCE = ROOT / "src" / "super_advanced_agents"


def test_table_of_metrics_names_every_metric_and_no_other():
    """Counters stand there under the name that Prometheus shows."""
    names = {PREFIX + name for name in (*HISTOGRAMS, *GAUGES)} | {f"{PREFIX}{name}_total" for name in COUNTERS}
    assert set(re.findall(r"`(saa_\w+)`", PAGE)) == names


def test_page_names_the_stages_that_requests_have():
    """Stages within a batch are spans only, and stand in the section on traces."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    stages = set(re.findall(r'\bstage\("(\w+)"\)', sources)) | set(re.findall(r'"(search|read|write)"\n', sources))
    for name in stages:
        assert f"`{name}`" in PAGE


def test_every_instrument_of_the_code_has_a_meaning():
    """A name that no table holds would fail the scrape."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    assert set(re.findall(r'\bhistogram\(\s*"(\w+)"', sources)) <= set(HISTOGRAMS)
    assert set(re.findall(r'\bcounter\("(\w+)"', sources)) <= set(COUNTERS)
