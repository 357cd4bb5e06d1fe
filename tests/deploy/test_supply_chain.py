"""Workflows call the Makefile with pinned actions and few rights, and release notes come from the changelog."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflow_pins_actions_and_has_few_rights(file):
    """A tag of an action can be moved to other code, and a job that was taken over has its rights."""
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]), step
                if "checkout" in step["uses"]:
                    assert step["with"]["persist-credentials"] is False
            elif step["run"].startswith("make "):
                assert set(step["run"].split()[1:]) <= TARGETS
            assert "${{" not in step.get("run", "")  # what others chose must not become a command


def test_release_notes_are_the_section_of_the_changelog():
    """A version without one stops the release."""
    program = [sys.executable, ROOT / "tools" / "release_notes.py"]
    found = subprocess.run([*program, "Unreleased"], capture_output=True, text=True)
    assert found.stdout.strip()
    assert "## [" not in found.stdout
    missing = subprocess.run([*program, "v99.0.0"], capture_output=True, text=True)
    assert (missing.returncode, missing.stderr.strip()) == (1, "CHANGELOG.md has no section '99.0.0'")


def test_licences_of_all_packages_are_allowed_and_listed():
    """A new dependency is looked at before it is shipped."""
    done = subprocess.run([sys.executable, ROOT / "tools" / "licences.py", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
