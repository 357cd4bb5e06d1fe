"""An embedding engine with the model that made the vectors of a local store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, STORE_FOLDER
from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.embeddings.onnx import OnnxEngine
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.models import Precision, known_model
from super_advanced_agents.stores.local.maintenance import model_id_in
from super_advanced_agents.types import Matrix


class FolderEngine(EmbeddingEngine):
    """Embed texts with a model that is read from a folder at the first use.

    It is the model that made the newest vectors there; the default model where there are none. Constructing reads
    nothing.

    Args:
        folder: the folder of a local store, or a data folder.
        models_dir: the folder of all models; the default folder when None.
    """

    spare_worker = OnnxEngine.spare_worker
    batch_texts = OnnxEngine.batch_texts
    batch_tokens = OnnxEngine.batch_tokens

    def __init__(self, folder: Path, *, models_dir: str | Path | None = None) -> None:
        self._folder = folder
        self._models_dir = models_dir
        self._default = OnnxEngine(DEFAULT_EMBEDDING_MODEL, models_dir=models_dir)
        self._chosen: OnnxEngine | None = None
        self._lock = threading.Lock()
        self.workers = self._default.workers

    @property
    def model_id(self) -> str:
        """An id of the model, its precision and a digest of its weights, read at the first use."""
        return self._engine().model_id

    @property
    def dim(self) -> int:
        """The number of dimensions of the vectors; the first call reads the folder."""
        return self._engine().dim

    @property
    def max_tokens(self) -> int:
        """The number of tokens to which a text is truncated; that of the default model until `open`."""
        return (self._chosen or self._default).max_tokens

    def open(self) -> None:
        """Choose the model, download its files if they are missing, and load it.

        Raises:
            ConfigurationError: a model that is not known made the vectors.
            ModelNotFoundError: its files are damaged, or missing and could not be downloaded.
            EmbeddingError: it cannot be loaded.
        """
        self._engine().open()

    def run(self, texts: Sequence[str]) -> Matrix:
        """Compute one unit vector for each text, in the order of the texts; (n, dim) float32."""
        return self._engine().run(texts)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the number of tokens that `run` would read from all these texts together."""
        return self._engine().count_tokens(texts)

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts that lists of the model's tokens stand for."""
        return self._engine().decode(tokens)

    def close(self) -> None:
        """Free the model."""
        if self._chosen is not None:
            self._chosen.close()

    def _engine(self) -> OnnxEngine:
        with self._lock:
            if self._chosen is None:
                self._chosen = self._choose()
            return self._chosen

    def _choose(self) -> OnnxEngine:
        stored = model_id_in(self._folder) or model_id_in(self._folder / STORE_FOLDER)
        if stored is None:
            return self._default
        known = known_model(stored)
        if known is None:
            raise ConfigurationError(
                f"the memories in {str(self._folder)!r} were embedded by the model {stored!r}, which is not known here",
                hint="name a folder with that model as embedding_model, or embed them again with: saa reembed",
            )
        name, precision = known
        return OnnxEngine(name, precision=cast("Precision", precision), models_dir=self._models_dir)
