"""Test the examples of docs/orchestration.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from super_advanced_agents.tenancy.config_file import load_declared


@pytest.fixture
def blocks(project_root):
    """Return the page's code blocks by language."""
    page = (project_root / "docs" / "orchestration.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))


def test_python_example_of_the_orchestration_page_prints_its_output(blocks):
    """It runs unchanged in its own process."""
    done = subprocess.run([sys.executable, "-c", blocks["python"]], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "travel similarity ['The Louvre is a museum in Paris.']",
        "[('trainee', 'empty'), ('kitchen', 'answered')]",
        "healthy",
    ]


def test_toml_example_of_the_orchestration_page_declares_its_agents(blocks, tmp_path):
    """Only the path of the key file is replaced."""
    key, file = tmp_path / "key", tmp_path / "saa.toml"
    key.write_text("saa_x")
    file.write_text(blocks["toml"].replace("/run/secrets/travel-key", os.fspath(key)))
    agents = load_declared(file).orchestrators["default", "helpdesk"].agents
    assert list(agents) == ["general", "billing", "travel"]
