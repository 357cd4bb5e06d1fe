"""The graphs made from the real weights: right, cached, and made again when damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from super_advanced_agents.errors import ModelNotFoundError
from super_advanced_agents.models import ModelFolder, Precision, graphs, pull

NAME = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def minilm() -> ModelFolder:
    """The real model, as `make test` has pulled it."""
    return pull(NAME)


@pytest.fixture
def linked(minilm: ModelFolder, tmp_path: Path) -> ModelFolder:
    """A folder with the same weights and no graphs yet."""
    folder = ModelFolder(minilm.spec, tmp_path / NAME)
    folder.path.mkdir()
    for file in minilm.spec.files:
        (folder.path / file.name).symlink_to(minilm.path / file.name)
    return folder


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("int8", 0.996)])
def test_the_graph_gives_the_reference_vectors(minilm: ModelFolder, precision: Precision, least: float) -> None:
    """Vectors made by another implementation from the same weights are met."""
    graph = graphs.read_graph(minilm, precision)
    assert graphs.fidelity(graph, minilm.read("tokenizer.json"), NAME) >= least


def test_a_damaged_graph_is_made_again(linked: ModelFolder) -> None:
    """Missing, cut short, changed or of an older recipe: the next reading gives the same graph as the first."""
    first = graphs.read_graph(linked, "int8")
    path = linked.path / "model-int8.onnx"
    assert path.read_bytes() == first
    path.write_bytes(first[: len(first) // 2])
    assert graphs.read_graph(linked, "int8") == first
    path.unlink()
    assert graphs.read_graph(linked, "int8") == first
    (linked.path / "manifest.json").write_text("{broken")
    assert graphs.read_graph(linked, "int8") == first
    assert path.read_bytes() == first
    assert json.loads((linked.path / "manifest.json").read_text())["graphs"]["int8"]["recipe"] == graphs.RECIPE


def test_a_folder_that_cannot_be_written_still_serves(linked: ModelFolder) -> None:
    """Where the graph cannot be cached it is made in memory."""
    (linked.path.parent / f".{NAME}.lock").mkdir()  # opening the lock fails, for any user
    assert graphs.read_graph(linked, "int8")
    assert not (linked.path / "model-int8.onnx").exists()


def test_damaged_weights_make_no_graph(linked: ModelFolder) -> None:
    """Bytes that are not the registry's never become a graph."""
    weights = linked.path / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelNotFoundError, match=f"sha256.*saa pull {NAME}"):
        graphs.read_graph(linked, "fp32")


def test_a_graph_that_computes_something_else_is_refused(linked: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that misses the reference vectors is an error, not a silent change of meaning."""
    monkeypatch.setattr(graphs, "_WORST_MEAN_COSINE", {"fp32": 1.1, "int8": 1.1})
    with pytest.raises(ModelNotFoundError, match="misses the reference vectors"):
        graphs.read_graph(linked, "fp32")
    assert not (linked.path / "model-fp32.onnx").exists()


def test_onnx_runtime_is_loaded_without_telemetry(minilm: ModelFolder, tmp_path: Path) -> None:
    """Loading the runtime writes nothing into the user's home and starts no uploader."""
    script = "from super_advanced_agents.models.runtime import load_onnxruntime; load_onnxruntime()"
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", script], check=True, env=env)
    assert not list(tmp_path.rglob("*"))
