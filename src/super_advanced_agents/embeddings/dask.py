"""An embedding engine that runs its batches on the workers of a Dask cluster.

It needs `pip install "super-advanced-agents[dask]"`, here and on each worker. Dask sends functions as pickles: who can
reach a scheduler can run code on its workers, and answers of the cluster are trusted.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

import numpy as np

from super_advanced_agents._runtime.concurrency.loop_thread import LoopThread, acquire_loop, release_loop
from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.embeddings.onnx import OnnxEngine, OnnxFolderEngine
from super_advanced_agents.errors import (
    ConfigurationError,
    EmbeddingError,
    InvalidInputError,
    ModelMismatchError,
    ModelNotFoundError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.models import MODELS, Precision
from super_advanced_agents.types import Matrix

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/@?#]+:\d{1,5}")
_CONNECT_S, _PAUSE_S, _CLOSE_S = 5.0, 0.2, 5.0
_ERRORS: dict[str, type[SuperAdvancedAgentsError]] = {
    error.__name__: error for error in (ConfigurationError, EmbeddingError, InvalidInputError, ModelNotFoundError)
}


class ModelKey(NamedTuple):
    """Name a model, for the workers of a cluster, which load it by themselves.

    Attributes:
        name: a known model, or a folder on each worker.
        precision: the weights of a known model.
        models_dir: the folder of all models on each worker; the worker's default when None.
    """

    name: str
    precision: Precision
    models_dir: str | None

    def engine(self, *, threads: int | None = None) -> OnnxEngine | OnnxFolderEngine:
        """Return the engine of the model, which is not open yet."""
        if self.name not in MODELS:
            return OnnxFolderEngine(self.name, threads=threads)
        return OnnxEngine(self.name, precision=self.precision, models_dir=self.models_dir, threads=threads)


class DaskEngine(EmbeddingEngine):
    """Embed texts with a model that runs on the workers of a Dask cluster.

    Each worker loads the model once, by its name. A batch whose worker dies runs on another one. When the connection to
    the scheduler is lost, batches are sent again until their time is over.

    Dask's own configuration has the certificates of `tls://` addresses. Without TLS, use networks that nobody else is
    in.

    Args:
        model: a known model, or a folder with `model.onnx` and `tokenizer.json` that is the same on each worker.
        scheduler: the address of the scheduler, such as `"tls://scheduler:8786"`.
        precision: `"int8"` or `"fp32"`, for known models.
        models_dir: the folder of all models on each worker; the worker's default when None.
        timeout_s: the time limit of one batch, with lost workers and connections.
        in_flight: the most batches that are sent at a time; about two for each core of the cluster.

    Raises:
        ConfigurationError: an argument is invalid.
        ModelNotFoundError: the model cannot embed.
    """

    batch_texts = 32  # 0.2 s of a core, beside 3 ms for a task; a call for 1,000 texts occupies 31 cores
    batch_tokens = 1024

    def __init__(
        self,
        model: str | Path,
        scheduler: str,
        *,
        precision: Precision = "int8",
        models_dir: str | Path | None = None,
        timeout_s: float = 60.0,
        in_flight: int = 32,
    ) -> None:
        if _ADDRESS.fullmatch(scheduler) is None:
            raise ConfigurationError(
                "the address of a Dask scheduler must be like 'tls://host:8786' or 'tcp://host:8786'",
                hint="certificates stand in Dask's own configuration",
            )
        if not timeout_s > 0:
            raise ConfigurationError(f"timeout_s must be positive, not {timeout_s!r}")
        if in_flight < 1:
            raise ConfigurationError(f"in_flight must be at least 1, not {in_flight!r}")
        self._key = ModelKey(str(model), precision, None if models_dir is None else str(models_dir))
        self._local = self._key.engine()  # tells the id of the model, and is never opened
        self._scheduler = scheduler
        self._timeout_s = timeout_s
        self._dim = self._local.dim
        self._loop: LoopThread | None = None
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self.workers = in_flight

    @property
    def model_id(self) -> str:
        """The id that the same model has in this process; vectors of other weights are refused."""
        return self._local.model_id

    @property
    def dim(self) -> int | None:
        """The number of dimensions of the vectors; that of a folder is None before the first batch."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """The number of tokens to which a text is truncated."""
        return self._local.max_tokens

    def open(self) -> None:
        """Import Dask; the first batch connects to the scheduler.

        Raises:
            ConfigurationError: the package `distributed` is not installed.
        """
        if self._loop is not None:
            return
        try:
            import distributed  # noqa: F401 - in this thread, as it takes a second, which would block the loop
        except ImportError as exc:
            raise ConfigurationError(
                "the package distributed is not installed",
                hint='install it with: pip install "super-advanced-agents[dask]"',
            ) from exc
        self._loop = acquire_loop()

    def run(self, texts: Sequence[str]) -> Matrix:
        """Compute one unit vector for each text on a worker of the cluster.

        Returns:
            (n, dim) float32, one L2-normalised row per text, in order.

        Raises:
            InvalidInputError: a text cannot be embedded.
            ModelNotFoundError: the worker does not have the model.
            ModelMismatchError: the worker has other weights of that name.
            EmbeddingError: the cluster did not answer in time, or failed.
            ConfigurationError: Dask is not configured for the address, as without certificates.
        """
        assert self._loop is not None
        return self._loop.submit(partial(self._embed, list(texts))).wait()

    def close(self) -> None:
        """Close the connection to the scheduler; batches that run there are dropped."""
        loop, self._loop = self._loop, None
        if loop is not None:
            with suppress(SuperAdvancedAgentsError, TimeoutError):
                loop.submit(self._disconnect).wait(2 * _CLOSE_S)
            release_loop()

    async def _embed(self, texts: list[str]) -> Matrix:
        reason = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    reason = "cannot be reached"
                    try:
                        client = await self._connected()
                        reason = "did not answer"
                        return self._checked(await _compute(client, self._key, texts), len(texts))
                    except OSError:
                        await asyncio.sleep(_PAUSE_S)
        except TimeoutError as exc:
            raise EmbeddingError(
                f"the Dask cluster at {self._scheduler!r} {reason} within {self._timeout_s:g} s",
                hint="check that its scheduler and its workers run",
                retryable=True,
            ) from exc

    async def _connected(self) -> Client:
        from distributed import Client

        async with self._connecting:
            if self._client is None or self._client.status != "running":
                self._drop_client()
                try:
                    self._client = Client(  # type: ignore[no-untyped-call]
                        self._scheduler, asynchronous=True, set_as_default=False, timeout=_CONNECT_S
                    )
                    await _alone(self._client)
                except BaseException as exc:
                    self._drop_client()
                    if isinstance(exc, OSError) or not isinstance(exc, Exception):
                        raise
                    raise ConfigurationError(
                        f"Dask cannot connect to {self._scheduler!r} as it is configured: {type(exc).__name__}",
                        hint="with tls:// set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...CLIENT__CERT and ...CLIENT__KEY",
                    ) from exc
            return self._client

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            task = asyncio.create_task(_close(client), name="close Dask client")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _disconnect(self) -> None:
        self._drop_client()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _checked(self, answer: dict[str, Any], n: int) -> Matrix:
        error = answer.get("error")
        if error is not None:
            raise _ERRORS.get(error, EmbeddingError)(f"a Dask worker failed: {answer['message']}")
        if answer["model_id"] != self.model_id:
            raise ModelMismatchError(
                f"a Dask worker has the model {answer['model_id']!r} instead of {self.model_id!r}",
                hint="install the same version of super-advanced-agents, and the same models, on all workers",
            )
        matrix: Matrix = np.asarray(answer["vectors"], np.float32)
        if matrix.ndim != 2 or len(matrix) != n:
            raise EmbeddingError(
                "a Dask worker did not return one vector per text",
                hint="install the same version of super-advanced-agents on all workers",
            )
        self._dim = matrix.shape[1]
        return matrix


async def _compute(client: Client, key: ModelKey, texts: list[str]) -> dict[str, Any]:
    # Raises OSError where the connection was lost, and the batch must be sent again.
    from distributed import CancelledError

    task = client.submit(embed_on_worker, key, texts, key=f"saa-embed-{uuid4().hex}", pure=False)
    try:
        answer: dict[str, Any] = await _alone(task)
    except CancelledError as exc:  # which Dask raises for what a lost scheduler knew; not that of asyncio
        raise ConnectionResetError("the scheduler was lost") from exc
    except (OSError, SuperAdvancedAgentsError):
        raise
    except Exception as exc:
        raise EmbeddingError(
            f"the Dask cluster failed with {type(exc).__name__}",
            hint="its workers need the same version of super-advanced-agents, and enough memory",
            retryable=type(exc).__name__ == "KilledWorker",
        ) from exc
    else:
        return answer
    finally:
        task.release()  # type: ignore[no-untyped-call]


async def _alone(awaitable: Awaitable[T]) -> T:
    # In a task of its own: Dask suppresses some cancellations, which would undo the time limit of this one.
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({task})
    except BaseException:
        task.cancel()
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise
    return task.result()


async def _close(client: Client) -> None:
    with suppress(Exception):  # of a scheduler that may be gone
        async with asyncio.timeout(_CLOSE_S):
            await client.close()  # type: ignore[no-untyped-call]


_engines: dict[ModelKey, EmbeddingEngine] = {}
_engines_lock = threading.Lock()


def embed_on_worker(key: ModelKey, texts: list[str]) -> dict[str, Any]:
    """Compute the vectors of texts in the process of a Dask worker, which keeps the model.

    Returns:
        `model_id` and `vectors`, (n, dim) float32, or the name of an `error` and its `message`. Nothing is raised, as
        Dask logs what a task that raises was given.
    """
    try:
        engine = _opened(ModelKey(*key))
        return {"model_id": engine.model_id, "vectors": engine.run(texts)}
    except SuperAdvancedAgentsError as exc:
        return {"error": type(exc).__name__, "message": exc.message}
    except Exception as exc:
        return {"error": "EmbeddingError", "message": type(exc).__name__}


def _opened(key: ModelKey) -> EmbeddingEngine:
    from distributed import get_worker

    with _engines_lock:
        engine = _engines.get(key)
        if engine is None:
            engine = key.engine(threads=get_worker().state.nthreads)
            engine.open()
            _engines[key] = engine
        return engine
