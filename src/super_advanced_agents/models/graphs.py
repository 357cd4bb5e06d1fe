"""ONNX graphs of embedding models, built from the weights, tested and cached on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib import resources
from typing import Any, get_args

import numpy as np

from super_advanced_agents.errors import ModelNotFoundError, SuperAdvancedAgentsError
from super_advanced_agents.models.bert_graph import Precision, build_graph
from super_advanced_agents.models.folder import ModelFolder, place_file
from super_advanced_agents.models.runtime import load_onnxruntime
from super_advanced_agents.telemetry import get_logger

RECIPE = 1
"""Version of the graphs that `bert_graph` builds; a new number invalidates the cached ones."""

_WORST_MEAN_COSINE = {"fp32": 0.9999, "int8": 0.995}
_log = get_logger("models")


def model_id(folder_or_name: str, precision: str, digest: str) -> str:
    """Return an embedding model's id: name, precision and 12 hex digits of a sha256."""
    return f"{folder_or_name}:{precision}:{digest[:12]}"


def read_graph(folder: ModelFolder, precision: Precision) -> bytes:
    """Return an embedding model's serialised ONNX graph; build and cache it if necessary.

    A cached graph that is missing, damaged or of an older `RECIPE` is built again. In a folder that cannot be written
    the graph is built at each call.

    Raises:
        ModelNotFoundError: the weights are missing or damaged, or the graph does not reproduce the reference vectors.
    """
    cached = _read_cached(folder, precision)
    if cached is not None:
        return cached
    try:
        with folder.locked():
            return _read_cached(folder, precision) or _build_and_cache(folder, precision)
    except ModelNotFoundError:
        raise
    except SuperAdvancedAgentsError as exc:
        _log.warning("model.graph.not_cached", extra={"model": folder.spec.name, "reason": str(exc)})
        return _build_checked(folder, precision)


def all_cached(folder: ModelFolder) -> bool:
    """Return whether a model's ONNX graphs of all precisions are cached and undamaged.

    Models that generate text have no graphs; the result is True for them.
    """
    if folder.spec.kind != "embedding":
        return True
    return all(_read_cached(folder, precision) is not None for precision in get_args(Precision))


def build_missing(folder: ModelFolder, on_graph: Callable[[Precision], None]) -> None:
    """Build and cache those ONNX graphs of a model that its folder lacks.

    The caller must hold the folder's lock.

    Args:
        folder: the model's folder; only embedding models have graphs.
        on_graph: receives the precision of each graph before it is built.
    """
    if folder.spec.kind != "embedding":
        return
    for precision in get_args(Precision):
        if _read_cached(folder, precision) is None:
            on_graph(precision)
            _build_and_cache(folder, precision)


def _file_name(precision: Precision) -> str:
    return f"model-{precision}.onnx"


def _read_cached(folder: ModelFolder, precision: Precision) -> bytes | None:
    graphs = folder.manifest().get("graphs")
    entry = graphs.get(precision) if isinstance(graphs, dict) else None
    if not isinstance(entry, dict) or entry.get("recipe") != RECIPE:
        return None
    try:
        content = (folder.path / _file_name(precision)).read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == entry.get("sha256") else None


def _build_and_cache(folder: ModelFolder, precision: Precision) -> bytes:
    content = _build_checked(folder, precision)
    place_file(folder.path / _file_name(precision), lambda out: out.write(content))
    manifest = folder.manifest()
    graphs = manifest.get("graphs")
    graphs = dict(graphs) if isinstance(graphs, dict) else {}
    graphs[precision] = {
        "recipe": RECIPE,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    folder.write_manifest({**manifest, "graphs": graphs})
    _log.info("model.graph.made", extra={"model": folder.spec.name, "precision": precision})
    return content


def _build_checked(folder: ModelFolder, precision: Precision) -> bytes:
    from safetensors.numpy import load

    tensors = load(folder.read(folder.spec.weights.name))
    cosine = -1.0
    # Signed weights saturate on some CPUs without VNNI, which the reference vectors reveal; unsigned ones do not.
    for weight_type in (np.int8, np.uint8):
        content = build_graph(tensors, precision, weight_type=weight_type)
        cosine = max(cosine, fidelity(content, folder.read("tokenizer.json"), folder.spec.name))
        if cosine >= _WORST_MEAN_COSINE[precision]:
            return content
        if precision == "fp32":
            break
    raise ModelNotFoundError(
        f"the {precision} graph of {folder.spec.name!r} misses the reference vectors (mean cosine {cosine:.4f})",
        hint="this CPU or this version of onnxruntime computes it wrongly; try precision='fp32' or another version",
    )


def fidelity(graph: bytes, tokenizer: bytes, name: str) -> float:
    """Return the mean cosine similarity of a graph's vectors to stored reference vectors.

    Args:
        graph: the serialised ONNX model.
        tokenizer: the content of `tokenizer.json`.
        name: the model's name in the registry, by which the reference vectors are stored.
    """
    from tokenizers import Tokenizer

    reference = _reference(name)
    encoder = Tokenizer.from_buffer(tokenizer)
    encoder.enable_truncation(256)
    encoder.no_padding()
    session = load_onnxruntime().InferenceSession(graph, providers=["CPUExecutionProvider"])
    cosines = []
    for text, expected in zip(reference["texts"], reference["vectors"], strict=True):
        ids = np.array([encoder.encode(text).ids], np.int64)
        vector = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
        wanted = np.asarray(expected, np.float32)
        cosines.append(float(vector @ wanted / np.linalg.norm(wanted)))
    return float(np.mean(cosines))


def _reference(name: str) -> dict[str, Any]:
    content = resources.files(__package__).joinpath("reference", f"{name}.json").read_bytes()
    reference: dict[str, Any] = json.loads(content)
    return reference
