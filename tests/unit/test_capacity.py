"""The estimates of machines in docs/scaling.md are those of the program that makes them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def capacity():
    """Return the module of the program."""
    spec = importlib.util.spec_from_file_location("capacity", ROOT / "tools" / "capacity.py")
    module = sys.modules["capacity"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_in_the_documentation_is_that_of_the_program(capacity):
    """Whoever changes a constant writes the table again: `python tools/capacity.py --table`."""
    assert capacity.table() in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("engine", ["folder", "postgres", "milvus"])
@pytest.mark.parametrize("more", ["memories", "searches", "writes"])
def test_more_load_never_needs_less(capacity, engine, more):
    """Ten times as much of anything takes as much memory, as many cores and machines, or more."""
    load = {"memories": 1e6, "tenants": 10, "searches": 500, "writes": 50}
    estimate = getattr(capacity, engine)
    once, often = estimate(capacity.Load(**load)), estimate(capacity.Load(**{**load, more: 10 * load[more]}))
    for need in ("memory_gib", "disk_gib", "engine_cores", "server_cores", "machines"):
        assert getattr(often, need) >= getattr(once, need), need


def test_small_namespaces_need_no_graph_in_memory(capacity):
    """The same memories in a million tenants take less memory of PostgreSQL than in one."""
    one = capacity.postgres(capacity.Load(memories=1e8, tenants=1))
    many = capacity.postgres(capacity.Load(memories=1e8, tenants=1e6))
    assert many.memory_gib < one.memory_gib / 3


@pytest.mark.parametrize("arguments", [["--memories", "0"], ["--searches", "-1"], ["--dim", "many"]])
def test_wrong_numbers_are_refused_in_one_sentence(arguments):
    """The program ends with the status of wrong usage."""
    done = subprocess.run([sys.executable, ROOT / "tools" / "capacity.py", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
