"""A collection that cannot be opened for want of file descriptors is overloaded, not damaged."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace

_COUNT = 600  # that many texts that the keyword index is saved
_ROOT = Path(__file__).parents[3]


async def test_collection_without_descriptors_is_overloaded_until_there_are_some(tmp_path):
    """Whatever cannot be opened, nothing stays open and nothing is ignored or noted as damaged."""
    vectors = np.random.default_rng(0).standard_normal((_COUNT, 3)).astype(np.float32)
    async with Runtime(Settings.load(data_dir=tmp_path)) as runtime:
        await runtime.aopen()
        await Workspace(runtime, "default").acreate_collection("notes", dim=3)
        notes = await Workspace(runtime, "default").acollection("notes")
        await notes.aadd_batch(vectors, [{"text": f"word {n}"} for n in range(_COUNT)])
        await notes.asearch_keywords("word")
    command = [sys.executable, "-m", "tests.unit.tenancy.crowded", str(tmp_path)]
    run = partial(subprocess.run, command, cwd=_ROOT, capture_output=True, text=True, timeout=300, check=True)
    done = await asyncio.to_thread(run)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results[0]["meanwhile"] == ["OverloadedError"] * 3
    assert results[-1]["meanwhile"] == ["done"] * 3
    assert {end for result in results for end in result["meanwhile"]} == {"OverloadedError", "done"}
    assert all(result["afterwards"] == ["done"] * 3 and not result["left"] for result in results)
    assert not any(word in done.stderr for word in ("ignored", "in_memory", "changed"))
    assert not list(tmp_path.rglob("*-damaged"))
