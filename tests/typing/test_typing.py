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


def _complaints(checker: str) -> dict[str, list[int]]:
    """Return the lines of each file in which a checker reports an error; one run reads the library once for both."""
    files = ("user_code.py", "wrong_code.py")
    command = [*CHECKERS[checker], *(str(HERE / file) for file in files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return {file: sorted({int(line) for line in re.findall(rf"{file}:(\d+).*error", done.stdout)}) for file in files}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checker_accepts_code_as_users_write_it_and_refuses_misuse(checker: str) -> None:
    """Texts are `str`, `explain=True` gives explained matches; and a fault is found in each marked line, no other."""
    source = (HERE / "wrong_code.py").read_text(encoding="utf-8").splitlines()
    marked = [number for number, line in enumerate(source, start=1) if "# wrong" in line]
    assert marked
    assert _complaints(checker) == {"user_code.py": [], "wrong_code.py": marked}
