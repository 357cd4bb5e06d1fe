"""`EmbeddingPipeline`: check, look up, queue, batch, run, remember."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from super_advanced_agents._runtime.batcher import MicroBatcher
from super_advanced_agents._runtime.futures import Future, in_thread
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.sync_bridge import blocking
from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, Limits, checked_text
from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.embeddings.cache import VectorCache
from super_advanced_agents.embeddings.cache_snapshot import CacheSaver
from super_advanced_agents.embeddings.onnx import OnnxEngine, OnnxFolderEngine
from super_advanced_agents.embeddings.openai import OpenAIEngine
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, OverloadedError
from super_advanced_agents.models import Precision
from super_advanced_agents.types import Matrix, Vector

_CHUNKS_IN_FLIGHT = 2
"""One chunk of a large batch runs while the next one waits; a third would only make others wait longer."""

_INLINE_CHARS = 50_000
"""Checking and hashing more text than this takes over 0.1 ms or so, and is kept off the event loop."""


@dataclass(slots=True)
class _Work:
    """Texts of one caller that are computed together; `keys` names their vectors in the cache."""

    texts: list[str]
    keys: list[bytes]
    remember: bool


@dataclass(slots=True)
class _Plan:
    """What a batch call still has to compute, and where each vector goes."""

    found: list[tuple[int, Vector]]
    chunks: list[_Work]
    places: dict[bytes, list[int]]


class EmbeddingPipeline(Resource):
    """Turns texts into unit vectors; concurrent callers, sync and async alike, share batches.

    The first use loads the model and pulls its files when they are missing. An idle pipeline runs a text at once; what
    comes while it is busy makes the next batch. Vectors of recent texts are remembered.

    Args:
        model: a known model, a folder with `model.onnx` and `tokenizer.json`, or the server's name of it.
        precision: `"int8"` or `"fp32"`, for known models.
        base_url: an OpenAI-compatible server such as `"http://127.0.0.1:8080/v1"`.
        api_key: sent to that server.
        engine: any other engine, such as `SentenceTransformersEngine("...")`; `model` is not looked at then.
        models_dir: the folder of all models; `models.default_models_dir()` when None.
        pull: fetch missing model files at first use; else that raises `ModelNotFoundError`.
        dim: the length of the vectors, where only the server knows it.
        timeout_s: for one request to the server.
        threads: CPU threads for one batch; as many as this process may run on when None.
        cache_entries: how many vectors to remember; 0 for none.
        cache_bytes: how much memory they may take.
        cache_path: a file in which the vectors of recent texts outlast this pipeline, with digests of the texts; it is
            read at first use and written now and then and at close. None keeps nothing.
        max_queue_texts: how many texts may wait; past it calls raise `OverloadedError`.
        limits: how long a text may be.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_EMBEDDING_MODEL,
        *,
        precision: Precision = "int8",
        base_url: str | None = None,
        api_key: str | None = None,
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
            self._engine = OpenAIEngine(str(model), base_url=base_url, api_key=api_key, timeout_s=timeout_s, dim=dim)
        elif _is_folder(model):
            self._engine = OnnxFolderEngine(model, threads=threads)
        else:
            self._engine = OnnxEngine(
                str(model), precision=precision, models_dir=models_dir, pull_missing=pull, threads=threads
            )
        self._text_bytes = (limits or Limits()).text_bytes
        self._cache = VectorCache(max_entries=cache_entries, max_bytes=cache_bytes)
        self._cache_entries = cache_entries
        self._keeper = None if cache_path is None else CacheSaver(self._cache, Path(cache_path), max_bytes=cache_bytes)
        # A folder's model_id hashes its file, which is too slow here; within one pipeline its path says as much.
        self._space = self._engine.model_id if isinstance(self._engine, OnnxEngine) else str(model)
        self._opening = threading.Lock()
        self._counting = threading.Lock()
        self._texts = self._batches = self._computed = 0
        self._batcher: MicroBatcher[_Work, Matrix] = MicroBatcher(
            self._run,
            name="embeddings",
            max_batch_cost=self._engine.batch_texts,
            max_queue_cost=max_queue_texts,
            cost=lambda work: len(work.texts),
            workers=self._engine.workers,
        )

    @property
    def dim(self) -> int:
        """The length of the vectors; for a folder or a server, the first reading may embed one word to learn it."""
        known = self._engine.dim
        return known if known is not None else int(self.embed("dimension").shape[0])

    @property
    def model_id(self) -> str:
        """What makes the vectors: model, precision and a digest of the weights; vectors of different ids do not mix."""
        return self._engine.model_id

    @property
    def max_tokens(self) -> int | None:
        """Longer texts are truncated to this many tokens; None when only the server knows."""
        return self._engine.max_tokens

    async def aembed(self, text: str) -> Vector:
        """Return the vector of one text.

        Args:
            text: not blank, at most `limits.text_bytes` of UTF-8; what is past `max_tokens` has no influence.

        Returns:
            (dim,) float32, L2-normalised, the caller's own.

        Raises:
            InvalidInputError: the text cannot be embedded.
            OverloadedError: too many texts wait.
            ModelNotFoundError: the model's files are missing and could not be fetched, or are damaged.
            EmbeddingError: the engine failed.
            ResourceClosedError: the pipeline is closed.

        Cancelled, it leaves the queue; a batch that has begun runs on for its other callers.
        """
        self._check_open()
        checked_text(text, "text", max_bytes=self._text_bytes)
        key = self._key(text)
        cached = self._cache.get(key)
        if cached is not None:
            return cached.copy()
        matrix = await self._batcher.submit(_Work([text], [key], remember=True))
        vector: Vector = matrix[0]
        return vector

    async def aembed_batch(self, texts: Sequence[str]) -> Matrix:
        """Return the vectors of many texts, in order.

        Texts of similar length are computed together, in chunks, so that other callers get their turn in between.

        Args:
            texts: each as for `aembed`; no limit on their number.

        Returns:
            (n, dim) float32, one L2-normalised row a text; (0, dim) for none.

        Raises:
            InvalidInputError: a text cannot be embedded; the field is `texts[i]`.
            SuperAdvancedAgentsError: as `aembed`.

        Cancelled, it takes what it has queued out again.
        """
        self._check_open()
        if isinstance(texts, str):
            raise InvalidInputError("texts must be a sequence of str, not one str", field="texts")
        texts = list(texts)
        if not texts:
            return np.empty((0, await self._adim()), np.float32)
        if len(texts) <= self._engine.batch_texts and _chars(texts) <= _INLINE_CHARS:
            plan = self._plan(texts)
        else:
            plan = await in_thread(lambda: self._plan(texts), name="embeddings plan")
        rows: Matrix | None = None
        for keys, matrix in await self._compute(plan.chunks):
            if rows is None:
                rows = np.empty((len(texts), matrix.shape[1]), np.float32)
            for key, row in zip(keys, matrix, strict=True):
                rows[plan.places[key]] = row
        if rows is None:
            rows = np.empty((len(texts), plan.found[0][1].shape[0]), np.float32)
        for place, vector in plan.found:
            rows[place] = vector
        return rows

    async def acount_tokens(self, texts: Sequence[str]) -> int | None:
        """How many tokens the model reads of texts that it can embed, together; None when only a server knows.

        Raises:
            ModelNotFoundError: the model's files are missing and could not be fetched, or are damaged.
            EmbeddingError: the model cannot be loaded.
        """
        self._check_open()
        return await in_thread(lambda: self._count_tokens(list(texts)), name="embeddings count")

    count_tokens = blocking(acount_tokens)
    embed = blocking(aembed)
    embed_batch = blocking(aembed_batch)

    def stats(self) -> dict[str, int]:
        """Return what was done so far and what waits.

        `texts` computed by the engine, `batches` it ran, `queued_texts` waiting now, `cache_entries`, `cache_bytes`,
        `cache_hits` and `cache_misses`.
        """
        with self._counting:
            counts = {"texts": self._texts, "batches": self._batches}
        return {**counts, "queued_texts": self._batcher.queued_cost, **self._cache.stats()}

    def _release(self) -> None:
        self._batcher.close()
        if self._keeper is not None:
            self._keeper.close()
        self._engine.close()
        self._cache.clear()

    async def _adim(self) -> int:
        known = self._engine.dim
        return known if known is not None else int((await self.aembed("dimension")).shape[0])

    def _key(self, text: str) -> bytes:
        return self._cache.key(self._space, text)

    def _plan(self, texts: list[str]) -> _Plan:
        """Check all texts, set aside what is remembered, and cut the rest into chunks of similar length."""
        for i, text in enumerate(texts):
            checked_text(text, f"texts[{i}]", max_bytes=self._text_bytes)
        plan = _Plan([], [], {})
        missing: list[tuple[str, bytes]] = []
        for i, text in enumerate(texts):
            key = self._key(text)
            if key in plan.places:
                plan.places[key].append(i)
                continue
            cached = self._cache.get(key)
            if cached is not None:
                plan.found.append((i, cached))
            else:
                plan.places[key] = [i]
                missing.append((text, key))
        # A large import would push out every vector that callers come back for.
        remember = len(missing) <= self._cache_entries // 4
        missing.sort(key=lambda each: len(each[0]), reverse=True)
        for i in range(0, len(missing), self._engine.batch_texts):
            chunk = missing[i : i + self._engine.batch_texts]
            plan.chunks.append(_Work([text for text, _ in chunk], [key for _, key in chunk], remember=remember))
        return plan

    async def _compute(self, chunks: list[_Work]) -> list[tuple[list[bytes], Matrix]]:
        """Run the chunks in order, few of them queued at a time."""
        done: list[tuple[list[bytes], Matrix]] = []
        flying: deque[tuple[_Work, Future[Matrix]]] = deque()
        ahead = _CHUNKS_IN_FLIGHT * self._engine.workers
        left = deque(chunks)
        try:
            while left or flying:
                while left and len(flying) < ahead:
                    try:
                        flying.append((left[0], self._batcher.submit(left[0])))
                    except OverloadedError:
                        if not flying:
                            raise
                        break
                    left.popleft()
                work, future = flying[0]
                done.append((work.keys, await future))
                flying.popleft()
        finally:
            for _, future in flying:
                future.cancel()
        return done

    def _open_engine(self) -> None:
        with self._opening:
            self._engine.open()
            if self._keeper is not None:
                self._keeper.load(self._engine.model_id)

    def _count_tokens(self, texts: list[str]) -> int | None:
        self._open_engine()
        return self._engine.count_tokens(texts)

    def _run(self, works: list[_Work]) -> list[Matrix | BaseException]:
        """Compute one batch in a worker thread: each distinct text once, each caller's rows its own."""
        self._open_engine()
        texts: dict[bytes, str] = {}
        vectors: dict[bytes, Vector | BaseException] = {}
        for work in works:
            for key, text in zip(work.keys, work.texts, strict=True):
                if key in texts or key in vectors:
                    continue
                known = self._cache.get(key, count=False)  # computed since it was queued
                if known is None:
                    texts[key] = text
                else:
                    vectors[key] = known
        if texts:
            vectors.update(zip(texts, self._run_apart(list(texts.values())), strict=True))
        results: list[Matrix | BaseException] = []
        for work in works:
            rows = [vectors[key] for key in work.keys]
            errors = [row for row in rows if isinstance(row, BaseException)]
            if errors:
                results.append(errors[0])
                continue
            matrix = np.stack(rows)  # type: ignore[arg-type]  # no error is among them
            if work.remember:
                self._cache.put(work.keys, list(matrix))
            results.append(matrix)
        return results

    def _run_apart(self, texts: list[str]) -> list[Vector | BaseException]:
        """Run the engine; when a text is to blame for a failure, find it by halves and let the others through."""
        try:
            matrix = self._engine.run(texts)
        except InvalidInputError as exc:
            if len(texts) == 1:
                return [exc]
            half = len(texts) // 2
            return self._run_apart(texts[:half]) + self._run_apart(texts[half:])
        with self._counting:
            self._texts += len(texts)
            self._batches += 1
        if self._keeper is not None:
            self._keeper.save_if_due()
        return list(matrix)


def _is_folder(model: str | Path) -> bool:
    return isinstance(model, Path) or os.sep in model or Path(model).is_dir()


def _chars(texts: list[str]) -> int:
    return sum(len(text) for text in texts if isinstance(text, str))
