"""Damaged files of a store give right answers or a library error, and never crash the process."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize(("what", "count"), [("index", 40), ("rows", 20)])
def test_damaged_files_cause_no_crash_and_no_wrong_answer(
    start_child: StartChild, tmp_path: Path, campaign: int, what: str, count: int
) -> None:
    """Files are truncated, flipped, missing, stale, foreign, swapped and forged; the campaign tries more.

    Snapshots are derived and checked by digests, so their damage never changes an answer. Rows have none.
    """
    child = start_child("mutated.py", tmp_path, what, 1, count * campaign)
    out, err = child.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    assert child.returncode == 0, f"the process died at {lines[-1:]}: {err}"
    outcomes = {line["ended"]: line["outcome"] for line in lines if "ended" in line}
    assert len(outcomes) == count * campaign
    allowed = ("answers", "refused: ") if what == "index" else ("answers", "refused: ", "other values")
    wrong = [
        f"{line['begun']} {line['damage']}\n{outcomes[line['begun']]}"
        for line in lines
        if "begun" in line and not outcomes[line["begun"]].startswith(allowed)
    ]
    assert not wrong, "\n".join(wrong)
    found = Counter(outcomes.values())
    print(found)
    assert found["answers"] > 0


@pytest.mark.parametrize("search", ["vector", "keyword"])
def test_snapshot_of_another_history_is_discarded(tmp_path: Path, search: str) -> None:
    """Rows are put back from a copy, and then other rows are written that end alike."""
    words, rng = {"one": "alpha", "two": "beta"}, np.random.default_rng(1)
    vectors = {name: rng.standard_normal((5, 4)) for name in words}
    same_ending = [f"alike {i}" for i in range(100)], rng.standard_normal((100, 4))

    def found_texts(store: FAISSVectorStore, name: str) -> set[str]:
        if search == "keyword":
            return {str(match.metadata["text"]) for match in store.search_keywords(words[name], 5)}
        return {str(store.search(vector, 1)[0].metadata["text"]) for vector in vectors[name]}

    copy, folder = tmp_path / "copy", tmp_path / "store"
    with FAISSVectorStore(4, folder) as store:
        store.add([1.0] * 4, {"text": "first"})
    shutil.copyfile(folder / "memory.sqlite3", copy)
    for name, word in words.items():
        shutil.copyfile(copy, folder / "memory.sqlite3")
        with FAISSVectorStore(4, folder, index="hnsw", buffer_rows=16) as store:
            expected = {f"{word} {i}" for i in range(5)}
            store.add_batch(vectors[name], [{"text": text} for text in sorted(expected)])
            store.add_batch(same_ending[1], [{"text": text} for text in same_ending[0]])
            assert found_texts(store, name) == expected
            while int(str(store.stats()["tail_rows"])) >= 16:
                time.sleep(0.005)  # until the sealed rows are in a snapshot
