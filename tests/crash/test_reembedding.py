"""A store that is killed during a re-embedding has only old vectors or only new ones, and can go on."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.crash.reembedding import NEW, NEW_DIM, OLD, OLD_DIM, OPTIONS, RECORDS

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.maintenance.inspection import settings_of

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Return the folder of a store of 1,200 records with the old vectors."""
    folder = tmp_path / "filled"
    texts = [f"text {i}" for i in range(RECORDS)]
    with FAISSVectorStore(OLD_DIM, folder, **OPTIONS) as store:
        for start in range(0, RECORDS, 400):
            part = texts[start : start + 400]
            names = [f"r{i:04d}" for i in range(start, start + 400)]
            store.add_batch(OLD.embed_batch(part), [{"text": text} for text in part], names, model_id="old")
    return folder


def _check(folder: Path) -> str:
    """Check that all records have vectors of one model and are found by them; return that model's id."""
    settings = settings_of(folder)
    assert settings is not None
    model = NEW if settings["dim"] == str(NEW_DIM) else OLD
    with FAISSVectorStore(model.dim, folder, **OPTIONS) as store:
        found = store.scan(limit=1_000)
        found += store.scan(limit=1_000, after=found[-1].uid)
        assert store.count() == len(found)
        expected = model.embed_batch([record.text or "" for record in found])
        for record, vector in zip(found, expected, strict=True):
            np.testing.assert_array_equal(record.vector, vector)
            assert record.model_id == model.model_id
        for best, record in zip(store.search_batch(expected[::50], 1), found[::50], strict=True):
            assert best[0].score == pytest.approx(1.0, abs=1e-5)
            assert best[0].metadata == record.metadata
        extra = store.count({"extra": True})
        # What a run does between two pages may have been cut short twice.
        assert store.count({"extra": False}) >= extra - 2
        assert len(store.get([f"r{500 + i:04d}" for i in range(extra)])) <= 2
    return model.model_id


def test_killed_reembedding_resumes_without_loss_or_mixed_vectors(
    start_child: StartChild, filled: Path, tmp_path: Path, campaign: int
) -> None:
    """After two kills it goes on; nothing is lost, and staged vectors are not embedded again."""
    whole = _run(start_child, shutil.copytree(filled, tmp_path / "whole"), 0)
    assert whole is not None
    embedded, statements = whole
    assert embedded >= RECORDS
    # The last twenty statements are the switch.
    moments = range(2, statements + 1) if campaign > 1 else [statements // 2, *range(statements - 14, statements, 7)]
    seen = set()
    for planned in [*moments, statements]:
        moment, folder = planned, shutil.copytree(filled, tmp_path / f"store-{planned}")
        while (ended := _run(start_child, folder, moment)) is not None:
            assert ended[1] < moment  # writes that shared a commit made fewer statements
            moment = ended[1]
            shutil.rmtree(folder)
            shutil.copytree(filled, folder)
        first = _check(folder)
        if first == "old":
            _run(start_child, folder, max(2, moment // 2))
        if _check(folder) == "old":
            again = _run(start_child, folder, 0)
            assert again is not None
            assert again[0] < RECORDS or moment < statements // 2
        assert _check(folder) == "new"
        seen.add(first)
        shutil.rmtree(folder)
    assert "old" in seen


def _run(start_child: StartChild, folder: Path, moment: int) -> tuple[int, int] | None:
    """Return the number of texts and statements of a run that came to its end; None when it was killed."""
    child = start_child("reembedding.py", folder, moment)
    output, errors = child.communicate()
    assert child.returncode == (0 if output else -signal.SIGKILL), errors
    if not output:
        return None
    _, embedded, statements = output.split()
    return int(embedded), int(statements)
