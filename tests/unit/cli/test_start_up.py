"""Test that commands import only the packages that they need, so that they start fast."""

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
OTHER_ENGINES = {
    "pymilvus",
    "psycopg",
    "super_advanced_agents.stores.milvus.rows",
    "super_advanced_agents.stores.milvus.searcher",
    "super_advanced_agents.stores.milvus.writing.writer",
    "super_advanced_agents.stores.postgres.engine",
}
NOT_FOR_SEARCHES = OTHER_ENGINES | {
    *("fastapi", "grpc", "httpx2", "huggingface_hub", "mcp", "onnx", "openai", "starlette", "xllamacpp")
}
NOT_FOR_ROWS = NOT_FOR_SEARCHES | {"faiss", "onnxruntime", "tokenizers", "super_advanced_agents.embeddings"}


@pytest.mark.parametrize("arguments", [["--help"], ["import", "--help"], ["serve", "--help"], ["mcp", "--help"]])
def test_help_imports_no_engine_and_no_other_slow_package(arguments):
    """`saa --help` must print at once."""
    heavy = HEAVY | (
        {"pydantic", "asyncio"} if arguments == ["--help"] else set()
    )  # typer reads the arguments of commands with pydantic
    program = f"""
import sys
sys.argv = ["saa", *{arguments!r}]
from super_advanced_agents.cli.main import main
try:
    main()
finally:
    print("loaded:", *sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert process.stderr.strip() == "loaded:"
    assert "Usage: saa" in process.stdout


def test_list_imports_no_model_no_server_and_no_vector_index(tmp_path):
    """It only reads rows."""
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
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout, process.stderr.strip()) == (0, "u1  A text\n", "loaded:")


def test_search_imports_no_server_no_client_and_no_language_model(saa):
    """It needs the store and the embedding model."""
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
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "The Louvre" in process.stdout
    assert (process.returncode, process.stderr.strip()) == (0, "loaded:")


def test_server_and_package_import_no_client_of_models_and_no_downloader():
    """They are imported where a model is fetched, converted or asked."""
    program = f"""
import sys
import super_advanced_agents
assert not {HEAVY!r} & set(sys.modules)
import super_advanced_agents.server.app, super_advanced_agents.tenancy.runtime
print("loaded:", *sorted({{"openai", "onnx", "pip", "huggingface_hub"}} & set(sys.modules)))
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout.strip()) == (0, "loaded:"), process.stderr


def test_version_option_prints_the_version():
    """The package runs as a module where its command is not on the path; the exit code is 0."""
    process = subprocess.run(
        [sys.executable, "-m", "super_advanced_agents", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stdout.strip()
    assert process.returncode == 0
