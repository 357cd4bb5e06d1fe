"""The default embedding engine: ONNX Runtime on the CPU and `tokenizers`, without PyTorch."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from super_advanced_agents._runtime.disk.files import sha256_of
from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.errors import EmbeddingError, InvalidInputError, ModelNotFoundError
from super_advanced_agents.models import Precision, ensure, model_spec
from super_advanced_agents.models.graphs import model_id, read_graph
from super_advanced_agents.models.runtime import load_onnxruntime
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Matrix

_log = get_logger("embeddings")


class _Session:
    # The graph is loaded for all threads, and again for one when batches first run beside each other. A batch that runs
    # alone uses all threads. A batch that runs beside others uses one: two batches on one core each do not wait for
    # each other, while two threads of one batch synchronise at every node. On two cores, batches of 16 reach 730 to
    # 1,010 questions/s, and 600 to 790 with all threads for every batch.

    def __init__(self, graph: Callable[[], bytes | Path], tokenizer: bytes, *, max_tokens: int, threads: int) -> None:
        from tokenizers import Tokenizer

        self._graph = graph
        self._threads = threads
        self._one_thread: Any = None
        self._one_thread_lock = threading.Lock()
        self._running = 0
        self._running_lock = threading.Lock()
        try:
            self._tokenizer = Tokenizer.from_buffer(tokenizer)
            self._all_threads = _load_runtime(graph(), threads)
        except Exception as exc:  # both libraries raise bare exceptions of their own
            raise EmbeddingError(f"the embedding model cannot be loaded: {_first_line(exc)}") from exc
        padding = self._tokenizer.padding or {}
        self._pad_id = int(padding.get("pad_id", 0))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._inputs = {node.name for node in self._all_threads.get_inputs()}
        outputs = self._all_threads.get_outputs()
        pooled = [node for node in outputs if node.name == "sentence_embedding" or len(node.shape) == 2]
        self._output = (pooled or outputs)[0]
        self._pooled = bool(pooled)

    @property
    def dim(self) -> int | None:
        dim = self._output.shape[-1]
        return dim if isinstance(dim, int) else None

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts)))

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        size = self._tokenizer.get_vocab_size()
        for i, ids in enumerate(tokens):
            if not all(0 <= id_ < size for id_ in ids):
                raise InvalidInputError(
                    f"tokens[{i}] has a token that this model does not know",
                    field=f"tokens[{i}]",
                    hint="send the texts; tokens must be those of the model's own tokenizer",
                )
        return list(self._tokenizer.decode_batch([list(ids) for ids in tokens], skip_special_tokens=True))

    def run(self, texts: Sequence[str], *, batch_tokens: int) -> Matrix:
        with self._running_lock:
            self._running += 1
        try:
            return self._run(texts, batch_tokens)
        finally:
            with self._running_lock:
                self._running -= 1

    def _run(self, texts: Sequence[str], batch_tokens: int) -> Matrix:
        # Texts of similar length run together, which saves padding; the rows return in the texts' order.
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        rows = [encoding.ids for encoding in encodings]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        vectors: list[Matrix] = []
        begin = 0
        while begin < len(order):
            end = begin + 1
            while end < len(order) and (end + 1 - begin) * len(rows[order[end]]) <= batch_tokens:
                end += 1
            vectors.append(self._run_padded([rows[i] for i in order[begin:end]]))
            begin = end
        matrix = np.empty((len(rows), vectors[0].shape[1]), np.float32)
        matrix[order] = np.concatenate(vectors)
        return matrix

    def _run_padded(self, rows: list[list[int]]) -> Matrix:
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self._pad_id, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        feeds: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feeds = {name: value for name, value in feeds.items() if name in self._inputs}
        vectors = self._runtime().run([self._output.name], feeds)[0]
        if not self._pooled:
            vectors = np.einsum("bth,bt->bh", vectors, mask.astype(np.float32))
        # Normalise again even if the graph does: it costs 20 us, and makes unit vectors of every graph's output.
        vectors = np.asarray(vectors, np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.all(np.isfinite(norms)) or not np.all(norms):
            raise EmbeddingError(
                "the embedding model returned a zero or non-finite vector",
                hint="check its files with: saa doctor",
            )
        unit: Matrix = vectors / norms
        return unit

    def _runtime(self) -> Any:
        # The second takes 25 MB and 0.1 s of a processor, which a command and an idle server can save.
        if self._running == 1 or self._threads == 1:
            return self._all_threads
        if self._one_thread is None and self._one_thread_lock.acquire(blocking=False):
            try:
                self._one_thread = _load_runtime(self._graph(), 1)
            except Exception:
                _log.exception("embeddings.graph_not_loaded_again")
                self._one_thread = self._all_threads
            finally:
                self._one_thread_lock.release()
        return self._one_thread or self._all_threads


def _load_runtime(graph: bytes | Path, threads: int) -> Any:
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads spin through the gaps between a graph's nodes, but not for the library's default of milliseconds, which
    # takes the cores from the event loop and from a language model. On two busy cores a batch then takes 0.6 of its
    # time with the default.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    return onnxruntime.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
    )


class _OnnxEngine(EmbeddingEngine):
    # Small batches of similar length waste little padding and stay in the processor's cache: on two cores, questions
    # from 64 callers went from 630/s with 2048 tokens to 814/s with 512, long batches of turns from 372/s to 439/s.
    # (Measured with one quantisation range per batch in the int8 graph; with one per token, 512 to 1024 perform alike.)
    batch_tokens = 512
    batch_texts = 16
    spare_worker = True

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self.workers = self._threads
        self._session: _Session | None = None

    def open(self) -> None:
        if self._session is None:
            self._session = self._load()

    def run(self, texts: Sequence[str]) -> Matrix:
        assert self._session is not None
        try:
            return self._session.run(texts, batch_tokens=self.batch_tokens)
        except EmbeddingError:
            raise
        except Exception as exc:  # onnxruntime raises bare exceptions of its own
            raise EmbeddingError(f"the embedding model failed: {_first_line(exc)}") from exc

    def count_tokens(self, texts: Sequence[str]) -> int:
        assert self._session is not None
        return self._session.count_tokens(texts)

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        assert self._session is not None
        return self._session.decode(tokens)

    def close(self) -> None:
        self._session = None

    @abstractmethod
    def _load(self) -> _Session: ...


class OnnxEngine(_OnnxEngine):
    """Embed texts on the CPU with a model listed in `models.MODELS`.

    Args:
        name: the model's name, such as `"all-MiniLM-L6-v2"`.
        precision: `"int8"` or `"fp32"`.
        models_dir: the folder of all models; the default one when None.
        pull_missing: download missing files; when False, `open` raises `ModelNotFoundError` instead.
        threads: CPU threads for one batch; as many as the process may use when None.

    Raises:
        ModelNotFoundError: the registry has no embedding model of this name.
    """

    def __init__(
        self,
        name: str,
        *,
        precision: Precision = "int8",
        models_dir: str | Path | None = None,
        pull_missing: bool = True,
        threads: int | None = None,
    ) -> None:
        super().__init__(threads=threads)
        self._spec = model_spec(name)
        if self._spec.kind != "embedding" or self._spec.dim is None or self._spec.max_tokens is None:
            raise ModelNotFoundError(f"the model {name!r} generates text and cannot embed")
        self._precision = precision
        self._models_dir = models_dir
        self._pull_missing = pull_missing

    @property
    def model_id(self) -> str:
        """An id made of the model's name, its precision and a digest of its weights."""
        return model_id(self._spec.name, self._precision, self._spec.weights.sha256)

    @property
    def dim(self) -> int:
        """The number of dimensions of the vectors, from the model's entry in `models.MODELS`."""
        assert self._spec.dim is not None
        return self._spec.dim

    @property
    def max_tokens(self) -> int:
        """The number of tokens to which a text is truncated, from the entry in `models.MODELS`."""
        assert self._spec.max_tokens is not None
        return self._spec.max_tokens

    def _load(self) -> _Session:
        folder = ensure(self._spec.name, models_dir=self._models_dir, fetch=self._pull_missing)
        graph = partial(read_graph, folder, self._precision)
        return _Session(graph, folder.read("tokenizer.json"), max_tokens=self.max_tokens, threads=self._threads)


class OnnxFolderEngine(_OnnxEngine):
    """Embed texts on the CPU with the `model.onnx` of a local folder.

    The folder also contains the `tokenizer.json`.

    The graph takes `input_ids`, `attention_mask` and optionally `token_type_ids`, all (batch, tokens) int64. It returns
    `sentence_embedding` (batch, dim), or token vectors (batch, tokens, dim) that are then averaged over the mask.

    Args:
        path: the folder.
        max_tokens: the length to which texts are truncated.
        threads: CPU threads for one batch; as many as the process may use when None.
    """

    def __init__(self, path: str | Path, *, max_tokens: int = 256, threads: int | None = None) -> None:
        super().__init__(threads=threads)
        self._path = Path(path).expanduser()
        self._max_tokens = max_tokens
        self._digest: str | None = None

    @property
    def model_id(self) -> str:
        """An id made of the folder's name and a digest of its `model.onnx`.

        The first access reads the whole file.
        """
        if self._digest is None:
            self._digest = sha256_of(self._file("model.onnx"))
        return model_id(self._path.resolve().name, "onnx", self._digest)

    @property
    def dim(self) -> int | None:
        """The number of dimensions of the vectors; None before `open`.

        It stays None when the graph's output has a dynamic dimension.
        """
        return None if self._session is None else self._session.dim

    @property
    def max_tokens(self) -> int:
        """The number of tokens to which a text is truncated."""
        return self._max_tokens

    def _load(self) -> _Session:
        tokenizer = self._file("tokenizer.json").read_bytes()
        before = self._file("model.onnx").stat()

        def graph() -> Path:
            path = self._file("model.onnx")
            now = path.stat()
            if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
                raise EmbeddingError("the embedding model was replaced while it is in use", hint="restart the process")
            return path

        return _Session(graph, tokenizer, max_tokens=self._max_tokens, threads=self._threads)

    def _file(self, name: str) -> Path:
        path = self._path / name
        if not path.is_file():
            raise ModelNotFoundError(
                f"the folder {str(self._path)!r} has no {name!r}",
                hint="an ONNX model folder holds model.onnx and tokenizer.json",
            )
        return path


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
