"""An embedding engine that runs models of sentence-transformers on PyTorch.

It needs `pip install "super-advanced-agents[sentence-transformers]"`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.errors import ConfigurationError, EmbeddingError, ModelNotFoundError
from super_advanced_agents.types import Matrix


class SentenceTransformersEngine(EmbeddingEngine):
    """Embed texts with a model of the sentence-transformers library.

    Args:
        model: a hub name or a folder, as `SentenceTransformer` accepts it.
        device: the device, such as `"cpu"` or `"cuda"`; the library chooses when None.
        dim: the length of the vectors, if known; otherwise the first batch sets it.
    """

    def __init__(self, model: str, *, device: str | None = None, dim: int | None = None) -> None:
        self._name = model
        self._device = device
        self._dim = dim
        self._model: Any = None

    @property
    def model_id(self) -> str:
        """An id made of the model's name, without a digest of the weights.

        The library reports none.
        """
        return f"{self._name}:sentence-transformers"

    @property
    def dim(self) -> int | None:
        """The number of dimensions of the vectors; None until the first batch unless given."""
        return self._dim

    @property
    def max_tokens(self) -> int | None:
        """The number of tokens to which a text is truncated; None before `open`."""
        return None if self._model is None else self._model.max_seq_length

    def open(self) -> None:
        """Load the model with the sentence-transformers library.

        Raises:
            ConfigurationError: sentence-transformers is not installed.
            ModelNotFoundError: the library cannot load the model.
        """
        if self._model is not None:
            return
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as exc:
            raise ConfigurationError(
                "sentence-transformers is not installed",
                hint='install it with: pip install "super-advanced-agents[sentence-transformers]"',
            ) from exc
        try:
            self._model = SentenceTransformer(self._name, device=self._device)
        except (OSError, ValueError) as exc:
            raise ModelNotFoundError(f"sentence-transformers cannot load the model {self._name!r}") from exc

    def run(self, texts: Sequence[str]) -> Matrix:
        """Compute one unit vector for each text.

        Returns:
            (n, dim) float32, one L2-normalised row per text, in order.

        Raises:
            EmbeddingError: PyTorch failed.
        """
        try:
            vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        except RuntimeError as exc:
            raise EmbeddingError(f"the model {self._name!r} failed in PyTorch") from exc
        matrix: Matrix = np.asarray(vectors, np.float32)
        self._dim = matrix.shape[1]
        return matrix

    def close(self) -> None:
        """Release the loaded model, so that its memory can be freed."""
        self._model = None
