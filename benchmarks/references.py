"""References: the best simple code with the same libraries and the same model files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL
from super_advanced_agents.models import find
from super_advanced_agents.types import Matrix

BATCH = 32
_MAX_TOKENS = 256
_HEADS = 12


class RawOnnx:
    """An ONNX Runtime session with default options over the model's graph, and its tokenizer."""

    def __init__(self, precision: str = "int8") -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        folder = find(DEFAULT_EMBEDDING_MODEL).path
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._session = onnxruntime.InferenceSession(str(folder / f"model-{precision}.onnx"))
        self._inputs = {model_input.name for model_input in self._session.get_inputs()}

    def embed(self, texts: list[str]) -> Matrix:
        """Embed texts in one batch."""
        encodings = self._tokenizer.encode_batch_fast(texts)
        ids = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return self._session.run(None, {name: feeds[name] for name in self._inputs})[0]

    def embed_all(self, texts: list[str]) -> None:
        """Embed texts in batches of 32, sorted by length, as embedding libraries do."""
        ordered = sorted(texts, key=len, reverse=True)
        for start in range(0, len(ordered), BATCH):
            self.embed(ordered[start : start + BATCH])


def sentence_transformer() -> Any:
    """Load the default model's weights into sentence-transformers.

    Raises:
        ImportError: sentence-transformers is not installed.
    """
    from sentence_transformers import SentenceTransformer, models

    folder = find(DEFAULT_EMBEDDING_MODEL)
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("model.safetensors", "tokenizer.json"):
            (Path(temporary) / name).symlink_to(folder.file(name).resolve())
        for name, content in (("config.json", _bert_config(folder.file("model.safetensors"))), _TOKENIZER_CONFIG):
            (Path(temporary) / name).write_text(json.dumps(content))
        transformer = models.Transformer(temporary, max_seq_length=_MAX_TOKENS)
        pooling = models.Pooling(transformer.get_embedding_dimension())
        return SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device="cpu")


_TOKENIZER_CONFIG = ("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})


def _bert_config(weights: Path) -> dict[str, object]:
    """Derive the model's configuration from its weights; these lack the number of heads."""
    from safetensors import safe_open

    with safe_open(weights, framework="np") as tensors:
        names = list(tensors.keys())
        vocabulary, dim = tensors.get_slice("embeddings.word_embeddings.weight").get_shape()
        positions = tensors.get_slice("embeddings.position_embeddings.weight").get_shape()[0]
        inner = tensors.get_slice("encoder.layer.0.intermediate.dense.weight").get_shape()[0]
    return {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": vocabulary,
        "hidden_size": dim,
        "num_hidden_layers": len({name.split(".")[2] for name in names if name.startswith("encoder.layer.")}),
        "num_attention_heads": _HEADS,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
    }
