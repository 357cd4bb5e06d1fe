"""Test the graphs made from the real weights: their vectors, their cache and their repair."""

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
    """Return the real model, which `make test` has pulled."""
    return pull(NAME)


@pytest.fixture
def linked(minilm: ModelFolder, tmp_path: Path) -> ModelFolder:
    """Return a folder with links to the same weights and without graphs."""
    folder = ModelFolder(minilm.spec, tmp_path / NAME)
    folder.path.mkdir()
    for file in minilm.spec.files:
        (folder.path / file.name).symlink_to(minilm.path / file.name)
    return folder


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("int8", 0.996)])
def test_graph_computes_the_reference_vectors(minilm: ModelFolder, precision: Precision, least: float) -> None:
    """Another implementation has made them from the same weights."""
    graph = graphs.read_graph(minilm, precision)
    assert graphs.fidelity(graph, minilm.read("tokenizer.json"), NAME) >= least


def test_damaged_or_outdated_graph_is_made_again_with_the_same_bytes(linked: ModelFolder) -> None:
    """It may be missing, truncated, or without a readable manifest."""
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


def test_graph_is_made_in_memory_when_the_folder_cannot_be_written(linked: ModelFolder) -> None:
    """The graph is then not cached."""
    (linked.path.parent / f".{NAME}.lock").mkdir()  # opening the lock fails, for any user
    assert graphs.read_graph(linked, "int8")
    assert not (linked.path / "model-int8.onnx").exists()


def test_reading_a_graph_of_damaged_weights_raises_model_not_found(linked: ModelFolder) -> None:
    """The message names the checksum and the command that repairs the files."""
    weights = linked.path / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelNotFoundError, match=f"sha256.*saa pull {NAME}"):
        graphs.read_graph(linked, "fp32")


def test_graph_that_misses_the_reference_vectors_is_refused(
    linked: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph must not change the meaning of vectors silently."""
    # Private: only a threshold above 1 makes the right graph miss the reference vectors.
    monkeypatch.setattr(graphs, "_WORST_MEAN_COSINE", {"fp32": 1.1, "int8": 1.1})
    with pytest.raises(ModelNotFoundError, match="misses the reference vectors"):
        graphs.read_graph(linked, "fp32")
    assert not (linked.path / "model-fp32.onnx").exists()


def test_loading_onnxruntime_writes_nothing_into_the_home_folder(minilm: ModelFolder, tmp_path: Path) -> None:
    """Its telemetry would write there and start an uploader."""
    script = "from super_advanced_agents.models.runtime import load_onnxruntime; load_onnxruntime()"
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", script], check=True, env=env)
    assert not list(tmp_path.rglob("*"))
