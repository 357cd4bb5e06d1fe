"""Test that an import of an export counts exactly what became durable, also of a page that was broken off."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.unit.stores.conftest import DIM, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.cli.importing.exports import ExportImporter
from super_advanced_agents.stores.transfer import Imported, aimport_records, export_records, import_records
from super_advanced_agents.tenancy.importing.files import Inputs
from super_advanced_agents.tenancy.importing.summary import Summary

_PAGE = 1_000


class _Interrupted(FAISSVectorStore):
    """Is interrupted at its second page: before the page is durable, or after it."""

    writes_before_interruption = True
    error: type[BaseException] = KeyboardInterrupt
    calls = 0

    async def aput(self, records):
        self.calls += 1
        if self.calls == 2 and not self.writes_before_interruption:
            raise self.error
        stored = await super().aput(records)
        if self.calls == 2:
            raise self.error
        return stored


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Write an export of three pages, and return its path."""
    file = tmp_path / "all.jsonl"
    with FAISSVectorStore(DIM) as store:
        for start in range(0, 3 * _PAGE, _PAGE):
            uids = [f"u{n:05}" for n in range(start, start + _PAGE)]
            store.add_batch(vectors(_PAGE), [{"text": uid} for uid in uids], uids)
        export_records(store, file)
    return file


@pytest.mark.parametrize("writes", [True, False])
def test_interrupted_import_counts_the_page_that_was_broken_off_if_it_is_durable(export: Path, writes: bool) -> None:
    """What it says to have stored is what is there."""
    with _Interrupted(DIM) as store:
        store.writes_before_interruption = writes
        progress = Imported()
        with pytest.raises(KeyboardInterrupt):
            import_records(store, export, progress=progress)
        assert progress.stored == store.count() == (2 if writes else 1) * _PAGE


@pytest.mark.parametrize("writes", [True, False])
def test_cancelled_import_counts_the_page_that_was_broken_off_if_it_is_durable(export: Path, writes: bool) -> None:
    """A task that is cancelled counts as exactly as a blocking call."""
    with _Interrupted(DIM) as store:
        store.writes_before_interruption, store.error = writes, asyncio.CancelledError
        progress = Imported()
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(aimport_records(store, export, progress=progress))
        assert progress.stored == store.count() == (2 if writes else 1) * _PAGE


def test_interrupted_import_does_not_count_older_records_under_the_same_uids(export: Path) -> None:
    """Those of the page that was not stored are not those of the file."""
    with _Interrupted(DIM) as store:
        uids = [f"u{n:05}" for n in range(_PAGE, 2 * _PAGE)]
        store.add_batch(vectors(_PAGE), [{"text": "older"}] * _PAGE, uids)
        store.writes_before_interruption = False
        progress = Imported()
        with pytest.raises(KeyboardInterrupt):
            import_records(store, export, progress=progress)
        assert progress.stored == _PAGE


def test_command_interrupted_while_it_reports_counts_no_page_twice(export: Path, tmp_path: Path) -> None:
    """Ctrl-C comes while the bar is drawn, and the report at the end comes after it."""
    summary, moved = Summary(), []

    def on_bytes(count: int) -> None:
        moved.append(count)
        if len(moved) == 2:
            raise KeyboardInterrupt

    importer = ExportImporter(
        tmp_path / "data", None, namespace=None, tenant=None, from_tenant=None, reembed=False, strict=False,
        summary=summary, on_bytes=on_bytes, on_rejected=lambda _: None,
    )  # fmt: skip
    with ExitStack() as stack, pytest.raises(KeyboardInterrupt):
        importer.run(list(Inputs([export], stack).find()))
    with FAISSVectorStore(DIM, tmp_path / "data" / "store") as store:
        assert summary.stored == store.count() == 2 * _PAGE
