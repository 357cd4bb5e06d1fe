"""A runtime with its models, and jobs that use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from super_advanced_agents.jobs import Jobs
from super_advanced_agents.jobs.builtin import BUILTIN
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings of a new data folder, with webhooks to this machine."""
    return Settings.load(data_dir=tmp_path / "data", webhook_secret="a secret of 16 bytes", webhook_private=True)


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Return an open runtime."""
    async with Runtime(settings) as opened:
        await opened.aopen()
        yield opened


@pytest.fixture
async def jobs(runtime: Runtime, settings: Settings) -> AsyncIterator[Jobs]:
    """Return the open jobs of the runtime's data folder, with the built-in kinds."""
    async with Jobs(settings.data_dir / "jobs", BUILTIN, runtime=runtime) as opened:
        await opened.aopen()
        yield opened
