"""Databases of jobs: a folder of the test for SQLite, a schema of the test for PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from super_advanced_agents.jobs import SQLJobBackend


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Return the place of an empty database of jobs."""
    if request.param == "sqlite":
        return tmp_path / "jobs"
    url: str = request.getfixturevalue("postgres_schema_url")
    return url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of an empty database of jobs in SQLite."""
    return tmp_path / "jobs"


@pytest.fixture
def backend(place: Path | str) -> SQLJobBackend:
    """Return a closed database of jobs."""
    return SQLJobBackend(place)
