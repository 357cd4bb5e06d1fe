"""Type checkers see the public face of the library as users need it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"],
    "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
}


def _complaints(checker: str, file: str) -> list[str]:
    """Return the lines in which a checker reports an error in a file."""
    path = HERE / file
    done = subprocess.run([*CHECKERS[checker], str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if re.search(rf"{file}:\d+.*error", line)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checker_accepts_code_as_users_write_it(checker: str) -> None:
    """Texts are `str`, `explain=True` gives explained matches, and a filter may be put into a variable first."""
    assert _complaints(checker, "user_code.py") == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checker_refuses_misuse(checker: str) -> None:
    """The types are strict enough to find a fault in each marked line, so the test above can fail."""
    source = (HERE / "wrong_code.py").read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(source, start=1) if "# wrong" in line}
    found = {int(re.search(r"wrong_code\.py:(\d+)", line).group(1)) for line in _complaints(checker, "wrong_code.py")}  # type: ignore[union-attr]
    assert found == marked
