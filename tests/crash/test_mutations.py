"""Damaged files of a store: right answers or a typed refusal, never a crash of the process or a raw error."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize(("what", "count"), [("index", 40), ("rows", 20)])
def test_damaged_files_give_no_crash_and_no_wrong_answer(
    start_child: StartChild, tmp_path: Path, campaign: int, what: str, count: int
) -> None:
    """Truncated, flipped, missing, stale, foreign, swapped, forged; ten times as many in the campaign.

    Snapshots and words are derived and checked by digests, so their damage never changes an answer. Rows have none.
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
