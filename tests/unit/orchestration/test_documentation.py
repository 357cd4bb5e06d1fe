"""What docs/orchestration.md shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from super_advanced_agents.tenancy.config_file import load_declared


@pytest.fixture
def blocks(project_root):
    """The page's blocks of code, by language."""
    page = (project_root / "docs" / "orchestration.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))


def test_the_example_runs(blocks):
    """As it stands, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", blocks["python"]], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "travel similarity ['The Louvre is a museum in Paris.']",
        "[('trainee', 'empty'), ('kitchen', 'answered')]",
        "healthy",
    ]


def test_the_declaration_is_one(blocks, tmp_path):
    """The key's file apart, which is the reader's own."""
    key, file = tmp_path / "key", tmp_path / "saa.toml"
    key.write_text("saa_x")
    file.write_text(blocks["toml"].replace("/run/secrets/travel-key", os.fspath(key)))
    agents = load_declared(file).orchestrators["default", "helpdesk"].agents
    assert list(agents) == ["general", "billing", "travel"]
