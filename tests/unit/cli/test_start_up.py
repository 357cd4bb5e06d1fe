"""`saa --help` comes at once: nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"faiss", "onnxruntime", "xllamacpp", "numpy", "fastapi", "openai", "huggingface_hub", "orjson", "mcp"}


@pytest.mark.parametrize("arguments", [["--help"], ["import", "--help"], ["serve", "--help"], ["mcp", "--help"]])
def test_help_imports_no_engine(arguments):
    """Not the engines, and nothing that takes as long as they do."""
    program = f"""
import sys
sys.argv = ["saa", *{arguments!r}]
from super_advanced_agents.cli.main import main
try:
    main()
finally:
    print("loaded:", *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "loaded:"
    assert "Usage: saa" in done.stdout


def test_the_version_is_printed():
    """As `saa --version`."""
    done = subprocess.run(
        [sys.executable, "-c", "from super_advanced_agents.cli.main import main; main()", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip()
    assert done.returncode == 0
