"""`saa --help` comes at once: nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from super_advanced_agents.stores import FAISSVectorStore

HEAVY = {
    "faiss",
    "onnxruntime",
    "xllamacpp",
    "numpy",
    "fastapi",
    "openai",
    "huggingface_hub",
    "orjson",
    "mcp",
    "grpc",
    "onnx",
}
NOT_FOR_SEARCHES = {"fastapi", "grpc", "httpx2", "huggingface_hub", "mcp", "onnx", "openai", "starlette", "xllamacpp"}
NOT_FOR_ROWS = NOT_FOR_SEARCHES | {"faiss", "onnxruntime", "tokenizers", "super_advanced_agents.embeddings"}


@pytest.mark.parametrize("arguments", [["--help"], ["import", "--help"], ["serve", "--help"], ["mcp", "--help"]])
def test_help_imports_no_engine(arguments):
    """Not the engines, and nothing that takes as long as they do."""
    heavy = HEAVY | (
        {"pydantic"} if arguments == ["--help"] else set()
    )  # typer reads the arguments of commands with it
    program = f"""
import sys
sys.argv = ["saa", *{arguments!r}]
from super_advanced_agents.cli.main import main
try:
    main()
finally:
    print("loaded:", *sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "loaded:"
    assert "Usage: saa" in done.stdout


def test_listing_imports_no_model_no_server_and_no_index(tmp_path):
    """Reading rows needs none of them."""
    with FAISSVectorStore(2, tmp_path / "store") as store:
        store.add([1.0, 0.0], {"text": "A text"}, "u1", namespace="default")
    program = f"""
import sys
sys.argv = ["saa", "list", "--data-dir", {str(tmp_path)!r}]
from super_advanced_agents.cli.main import main
try:
    main()
finally:
    print("loaded:", *sorted({NOT_FOR_ROWS!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (0, "u1  A text\n", "loaded:")


def test_searching_imports_no_server_and_no_client(saa):
    """The store and the embedding model are enough, the language model's library is not needed."""
    saa("add", "The Louvre is a museum")
    program = f"""
import sys
sys.argv = ["saa", "search", "museum", "--data-dir", {str(saa.data_dir)!r}]
from super_advanced_agents.cli.main import main
try:
    main()
finally:
    print("loaded:", *sorted({NOT_FOR_SEARCHES!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "The Louvre" in done.stdout
    assert (done.returncode, done.stderr.strip()) == (0, "loaded:")


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
