"""A database of jobs in a folder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the folder of an empty database of jobs."""
    return tmp_path / "jobs"
