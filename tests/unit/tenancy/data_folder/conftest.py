"""Data folders of several tenants, filled through the runtime of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace

Act = Callable[[Runtime], object]


def in_runtime(data_dir: Path, act: Act) -> object:
    """Run a coroutine function with the open runtime of a data folder, and return its result."""

    async def run() -> object:
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            return await act(runtime)  # type: ignore[misc]

    return asyncio.run(run())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Fill a data folder: two tenants with a collection of equal names and one that was never written."""

    async def fill(runtime: Runtime) -> None:
        for tenant in ("acme", "globex"):
            workspace = Workspace(runtime, tenant)
            await workspace.acreate_collection("trips", dim=2)
            await workspace.acreate_collection("unused", dim=3)
            await (await workspace.acollection("trips")).aadd(np.array([1, 0], np.float32), {"of": tenant}, "one")

    in_runtime(tmp_path / "data", fill)
    return tmp_path / "data"
