"""The embedding pipeline, which validates, caches, queues and batches texts for an engine."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from super_advanced_agents._runtime.concurrency.futures import Future, in_thread
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.queues.batcher import MicroBatcher
from super_advanced_agents._runtime.queues.shares import current_share
from super_advanced_agents._runtime.remote.server_pool import ServerStatus
from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, Limits, checked_text
from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.embeddings.cache import VectorCache
from super_advanced_agents.embeddings.cache_snapshot import CacheSaver
from super_advanced_agents.embeddings.onnx import OnnxEngine, OnnxFolderEngine
from super_advanced_agents.embeddings.openai_servers import server_engine
from super_advanced_agents.embeddings.planning import Planner, Work
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, OverloadedError
from super_advanced_agents.models import MODELS, Precision
from super_advanced_agents.telemetry import histogram, stage, timed
from super_advanced_agents.types import Matrix, Vector

_CHUNKS_IN_FLIGHT = 2
"""Chunks of one large call per worker: one runs, one waits; a third would only delay others."""

_INLINE_CHARS = 50_000
"""Characters above which validation and hashing (over 0.1 ms) run off the event loop."""


class EmbeddingPipeline(Resource):
    """Turn texts into unit vectors, in batches that concurrent callers share.

    Sync and async callers share the same batches. The first use loads the model and downloads its files when they are
    missing. An idle pipeline runs a text at once; texts that arrive while it is busy form the next batch. Vectors of
    recent texts are cached.

    Args:
        model: a known model, a folder with `model.onnx` and `tokenizer.json`, or a server's name of a model.
        precision: `"int8"` or `"fp32"`, for known models.
        base_url: the URL of an OpenAI-compatible server, such as `"http://127.0.0.1:8080/v1"`, or a list of the URLs of
            several servers of the model, over which requests are spread.
        api_key: the key for that server; with several servers, one for all of them or a list with one for each.
        engine: any other engine, such as `SentenceTransformersEngine("...")`; `model` is ignored then.
        models_dir: the folder of all models; `models.default_models_dir()` when None.
        pull: download missing model files at first use; when False, the first use raises `ModelNotFoundError` instead.
        dim: the length of the server's vectors, if known.
        timeout_s: the time limit of one request to the server.
        threads: CPU threads for one batch; as many as the process may use when None.
        cache_entries: the most vectors to cache; 0 disables the cache.
        cache_bytes: the most memory for cached vectors.
        cache_path: the file of a cache snapshot, which is loaded at first use and written periodically and at close. It
            contains vectors and digests of texts. None writes no snapshot.
        max_queue_texts: the most texts that may wait; further calls raise `OverloadedError`. A long text counts as
            several: with the default engine once for each 32 tokens begun.
        limits: the limits on a text's length.

    Raises:
        ConfigurationError: an argument is out of range.
        ModelNotFoundError: `model` is no known embedding model.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_EMBEDDING_MODEL,
        *,
        precision: Precision = "int8",
        base_url: str | Sequence[str] | None = None,
        api_key: str | Sequence[str | None] | None = None,
        engine: EmbeddingEngine | None = None,
        models_dir: str | Path | None = None,
        pull: bool = True,
        dim: int | None = None,
        timeout_s: float = 30.0,
        threads: int | None = None,
        cache_entries: int = 8_192,
        cache_bytes: int = 64 * 1024 * 1024,
        cache_path: str | Path | None = None,
        max_queue_texts: int = 8_192,
        limits: Limits | None = None,
    ) -> None:
        super().__init__()
        if precision not in {"int8", "fp32"}:
            raise ConfigurationError(f"precision must be 'int8' or 'fp32', not {precision!r}")
        if max_queue_texts < 1:
            raise ConfigurationError(f"max_queue_texts must be at least 1, not {max_queue_texts!r}")
        if engine is not None:
            self._engine = engine
        elif base_url is not None:
            self._engine = server_engine(str(model), base_url, api_key, timeout_s=timeout_s, dim=dim)
        elif _is_folder(model):
            self._engine = OnnxFolderEngine(model, threads=threads)
        else:
            self._engine = OnnxEngine(
                str(model), precision=precision, models_dir=models_dir, pull_missing=pull, threads=threads
            )
        self._text_bytes = (limits or Limits()).text_bytes
        self._cache = VectorCache(max_entries=cache_entries, max_bytes=cache_bytes)
        self._cache_saver = (
            None if cache_path is None else CacheSaver(self._cache, Path(cache_path), max_bytes=cache_bytes)
        )
        # The model_id of a folder hashes a file, which is too slow here; within one pipeline the path is as unique.
        cache_model_id = self._engine.model_id if isinstance(self._engine, OnnxEngine) else str(model)
        self._planner = Planner(self._engine, self._cache, cache_model_id, text_bytes=self._text_bytes)
        self._open_lock = threading.Lock()
        self._counters_lock = threading.Lock()
        self._texts = self._batches = 0
        self._opened = False
        self._batcher: MicroBatcher[Work, Matrix] = MicroBatcher(
            self._run,
            name="embeddings",
            max_batch_cost=self._engine.batch_texts,
            max_queue_cost=max_queue_texts,
            cost=lambda work: work.cost,
            urgent=lambda work: work.is_question,
            workers=self._engine.workers,
            spare_worker=self._engine.spare_worker,
        )

    @property
    def dim(self) -> int:
        """The number of dimensions of the vectors.

        For a folder or a server, the first access may embed one word to learn it.
        """
        known = self._engine.dim
        return known if known is not None else int(self.embed("dimension").shape[0])

    @property
    def model_id(self) -> str:
        """An id of the model, its precision and, where known, a digest of its weights.

        Vectors of different ids must not be compared.
        """
        return self._engine.model_id

    @property
    def max_tokens(self) -> int | None:
        """The number of tokens to which a text is truncated; None if a server does not report it."""
        return self._engine.max_tokens

    async def aembed(self, text: str) -> Vector:
        """Compute the unit vector of one text, or return it from the cache.

        When cancelled, the text leaves the queue; a batch that already runs continues for its other callers.

        Args:
            text: a text that is not blank, of at most `limits.text_bytes` in UTF-8; tokens past `max_tokens` are
                ignored.

        Returns:
            (dim,) float32, L2-normalised; a copy that the caller may change.

        Raises:
            InvalidInputError: the text cannot be embedded.
            OverloadedError: the queue is full.
            ModelNotFoundError: the model's files are damaged, or missing and could not be downloaded.
            EmbeddingError: the engine failed.
            ResourceClosedError: the pipeline is closed.
        """
        self._check_open()
        checked_text(text, "text", max_bytes=self._text_bytes)
        work = self._planner.question(text, current_share())
        cached = self._cache.get(work.keys[0])
        if cached is not None:
            return cached.copy()
        with stage("embed"):
            matrix = await self._batcher.submit(work)
        vector: Vector = matrix[0]
        return vector

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return one unit vector for each text, in order, computing those that are not cached.

        Texts of similar length are computed together in small chunks, between which other callers' batches run; single
        texts of other callers go first. When cancelled, the call's chunks leave the queue.

        Args:
            texts: any number of texts, each as for `aembed`.

        Returns:
            (n, dim) float32, one L2-normalised row per text; (0, dim) for no texts.

        Raises:
            InvalidInputError: a text cannot be embedded; `field` is `texts[i]`.
            SuperAdvancedAgentsError: an error that `aembed` raises.
        """
        self._check_open()
        if isinstance(texts, str):
            raise InvalidInputError("texts must be a sequence of str, not one str", field="texts")
        texts = list(texts)
        if not texts:
            return np.empty((0, await self._adim()), np.float32)
        share = current_share()
        if len(texts) <= self._engine.batch_texts and _count_chars(texts) <= _INLINE_CHARS:
            plan = self._planner.plan(texts, share)
        else:
            plan = await in_thread(lambda: self._planner.plan(texts, share), name="embeddings plan")
        rows: Matrix | None = None
        with stage("embed"):
            computed = await self._compute(plan.chunks)
        for keys, matrix in computed:
            if rows is None:
                rows = np.empty((len(texts), matrix.shape[1]), np.float32)
            for key, row in zip(keys, matrix, strict=True):
                rows[plan.positions[key]] = row
        if rows is None:
            rows = np.empty((len(texts), plan.cached[0][1].shape[0]), np.float32)
        for position, vector in plan.cached:
            rows[position] = vector
        return rows

    async def acount_tokens(self, texts: Sequence[str]) -> int | None:
        """Return the number of tokens that the model reads from all these texts together.

        Args:
            texts: texts that the model can embed; they are not validated.

        Returns:
            The number of tokens after truncation; None if a server does not report it.

        Raises:
            ModelNotFoundError: the model's files are damaged, or missing and could not be downloaded.
            EmbeddingError: the model cannot be loaded.
        """
        self._check_open()
        return await in_thread(lambda: self._count_tokens(list(texts)), name="embeddings count")

    async def adecode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts that lists of the model's own tokens stand for.

        Args:
            tokens: lists of token ids; special tokens, such as those of padding, are left out.

        Raises:
            InvalidInputError: a token is none of the model's (`field` is `tokens[i]`), or the model runs on a server,
                whose tokenizer is not known here.
            ModelNotFoundError: the model's files are damaged, or missing and could not be downloaded.
            EmbeddingError: the model cannot be loaded.
        """
        self._check_open()
        return await in_thread(lambda: self._decode(tokens), name="embeddings decode")

    decode = blocking(adecode)
    count_tokens = blocking(acount_tokens)
    embed = blocking(aembed)
    embed_batch = blocking(aembed_batch)

    def stats(self) -> dict[str, int]:
        """Return counters: texts computed, batches run, texts queued, and the cache's use.

        Returns:
            `texts` that the engine computed, `batches` that it ran, `queued_texts` that wait now (a long one counts
            as several), and `cache_entries`, `cache_bytes`, `cache_hits` and `cache_misses`.
        """
        with self._counters_lock:
            counts = {"texts": self._texts, "batches": self._batches}
        return {**counts, "queued_texts": self._batcher.queued_cost, **self._cache.stats()}

    def server_status(self) -> list[ServerStatus]:
        """Return the state of each of several servers; an empty list for one or none."""
        return self._engine.server_status()

    def _release(self) -> None:
        self._batcher.close()
        if self._cache_saver is not None:
            self._cache_saver.close()
        self._engine.close()
        self._cache.clear()

    async def _adim(self) -> int:
        known = self._engine.dim
        return known if known is not None else int((await self.aembed("dimension")).shape[0])

    async def _compute(self, chunks: list[Work]) -> list[tuple[list[bytes], Matrix]]:
        # Only a few chunks are queued at a time, so that other callers do not wait behind all of them.
        done: list[tuple[list[bytes], Matrix]] = []
        in_flight: deque[tuple[Work, Future[Matrix]]] = deque()
        max_in_flight = _CHUNKS_IN_FLIGHT * self._engine.workers
        pending = deque(chunks)
        try:
            while pending or in_flight:
                while pending and len(in_flight) < max_in_flight:
                    try:
                        in_flight.append((pending[0], self._batcher.submit(pending[0])))
                    except OverloadedError:
                        if not in_flight:
                            raise
                        break
                    pending.popleft()
                work, future = in_flight[0]
                done.append((work.keys, await future))
                in_flight.popleft()
        finally:
            for _, future in in_flight:
                future.cancel()
        return done

    def _open_engine(self) -> None:
        with self._open_lock:
            if not self._opened:
                with timed("load embedding model", histogram("model_load_seconds", model="embedding")):
                    self._engine.open()
                self._opened = True
            if self._cache_saver is not None:
                self._cache_saver.load(self._engine.model_id)

    def _count_tokens(self, texts: list[str]) -> int | None:
        self._open_engine()
        return self._engine.count_tokens(texts)

    def _decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        self._open_engine()
        texts = self._engine.decode(tokens)
        if texts is None:
            raise InvalidInputError(
                "the tokens of this embedding model are not known here", field="tokens", hint="send the texts"
            )
        return texts

    def _run(self, works: list[Work]) -> list[Matrix | BaseException]:
        # Each distinct text is computed once, and each caller gets a copy of its rows.
        self._open_engine()
        texts: dict[bytes, str] = {}
        vectors: dict[bytes, Vector | BaseException] = {}
        for work in works:
            for key, text in zip(work.keys, work.texts, strict=True):
                if key in texts or key in vectors:
                    continue
                known = self._cache.get(key, count=False)  # another batch may have computed it since it was queued
                if known is None:
                    texts[key] = text
                else:
                    vectors[key] = known
        if texts:
            vectors.update(zip(texts, self._run_isolating_bad_texts(list(texts.values())), strict=True))
        results: list[Matrix | BaseException] = []
        for work in works:
            rows = [vectors[key] for key in work.keys]
            errors = [row for row in rows if isinstance(row, BaseException)]
            if errors:
                results.append(errors[0])
                continue
            matrix = np.stack(rows)  # type: ignore[arg-type]  # none of them is an error
            if work.remember:
                self._cache.put(work.keys, list(matrix))
            results.append(matrix)
        return results

    def _run_isolating_bad_texts(self, texts: list[str]) -> list[Vector | BaseException]:
        # A text that the engine refuses is found by bisection, so that the other texts of the batch still succeed.
        try:
            with stage("model"):
                matrix = self._engine.run(texts)
        except InvalidInputError as exc:
            if len(texts) == 1:
                return [exc]
            half = len(texts) // 2
            return self._run_isolating_bad_texts(texts[:half]) + self._run_isolating_bad_texts(texts[half:])
        with self._counters_lock:
            self._texts += len(texts)
            self._batches += 1
        if self._cache_saver is not None:
            self._cache_saver.save_if_due()
        return list(matrix)


def _is_folder(model: str | Path) -> bool:
    if isinstance(model, Path) or os.sep in model:
        return True
    return model not in MODELS and Path(model).is_dir()  # a look at the disk would block an event loop


def _count_chars(texts: list[str]) -> int:
    return sum(len(text) for text in texts if isinstance(text, str))
