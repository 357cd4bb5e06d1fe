"""What all agents of one process share: the store, the embedding pipeline and the language model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.sync_bridge import blocking
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import checked_name
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import (
    CollectionExistsError,
    ConfigurationError,
    InvalidInputError,
    ResourceClosedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.retrieval import LLMReranker
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.folder import StoreFolder
from super_advanced_agents.stores.opening import open_store
from super_advanced_agents.stores.tenant_view import tenant_view
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.catalog import Catalog, new_collection
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.config_file import Declared, load_declared
from super_advanced_agents.tenancy.model_loading import embedding_pipeline, fetch_models, language_model
from super_advanced_agents.tenancy.orchestrators import Connect, Orchestrators, Shared
from super_advanced_agents.tenancy.result_cache import ResultCache
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.store_wrappers import CachedStore

_log = get_logger("server")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_PAUSE_WORKING_S = 5.0, 60.0, 600.0


class Stage(Enum):
    """How far a part has come."""

    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class Runtime(Resource):
    """One store, one pipeline and one language model; agents are made from them on demand, one for each name.

    The constructor touches nothing; `aopen` takes the store's folder, and the models load when they are first used or
    by `aload`.

    Args:
        settings: where everything is.
        connect: reaches agents of other servers, for orchestrators that are declared with them.
        embedding_cache: a file in which the vectors of recent texts outlast this process; None for none.

    Attributes:
        settings: as given.
        embedding: how far the embedding model and the store's index have come.
        generation: how far the language model has come.
        results: search results kept for equal questions.
        reason: why the last attempt to load failed; empty otherwise.
    """

    def __init__(
        self, settings: Settings, *, connect: Connect | None = None, embedding_cache: Path | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.embedding = Stage.WAITING
        self.generation = Stage.WAITING
        self.reason = ""
        self.results = ResultCache(max_entries=settings.cached_results, ttl_s=settings.cached_results_s)
        self._connect = connect
        self._embedding_cache = embedding_cache
        self._opening = threading.Lock()
        self._parts: _Parts | None = None

    @property
    def store(self) -> VectorStore:
        """The store that all agents share; there once `aopen` has returned."""
        return self._open_parts.store

    @property
    def pipeline(self) -> EmbeddingPipeline:
        """Turns texts into vectors; there once `aopen` has returned."""
        return self._open_parts.pipeline

    @property
    def generator(self) -> LLMGenerator:
        """Writes answers; there once `aopen` has returned."""
        return self._open_parts.generator

    @property
    def declared(self) -> Declared:
        """What the configuration file says; there once `aopen` has returned."""
        return self._open_parts.declared

    @property
    def catalog(self) -> Catalog:
        """What was created by API and lasts; there once `aopen` has returned."""
        return self._open_parts.catalog

    @property
    def collections(self) -> Collections:
        """The stores of collections; there once `aopen` has returned."""
        return self._open_parts.collections

    @property
    def orchestrators(self) -> Orchestrators:
        """Those of all tenants; there once `aopen` has returned."""
        return self._open_parts.orchestrators

    @property
    def reranker(self) -> LLMReranker:
        """Looks again at matches with the language model."""
        return LLMReranker(self.generator)

    async def aopen(self) -> None:
        """Take the store's folder, making it when missing.

        Raises:
            StoreLockedError: another process owns it.
            StoreError: it cannot be used.
            ConfigurationError: it was made with vectors of another length.
        """
        self._check_open()
        if self._parts is None:
            await in_thread(self._open, name="open store")

    open = blocking(aopen)

    async def aload(self) -> None:
        """Fetch what is missing of the models and load both; returns when searches and answers are quick.

        Raises:
            SuperAdvancedAgentsError: the embedding model or the index could not be loaded; calling again tries again.
                A language model that fails is only reported, since everything but `ask` works without it.
        """
        if self.embedding is not Stage.READY:
            self.embedding = Stage.LOADING
            try:
                await in_thread(lambda: fetch_models(self.settings, embedding=True), name="pull")
                await self.pipeline.aembed("ready")
                await self.store.acount()
            except Exception as exc:
                self.embedding, self.reason = Stage.FAILED, str(exc)
                raise
            self.embedding, self.reason = Stage.READY, ""
        if self.generation is not Stage.READY:
            self.generation = Stage.LOADING
            try:
                await in_thread(lambda: fetch_models(self.settings, generation=True), name="pull")
                await self.generator.aload()
            except SuperAdvancedAgentsError as exc:
                self.generation, self.reason = Stage.FAILED, str(exc)
                _log.warning("server.language_model_missing", extra={"reason": str(exc)})
            else:
                self.generation, self.reason = Stage.READY, ""

    load = blocking(aload)

    async def akeep_loading(self, *, pause: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Load both models, trying again for as long as one cannot be had (a network that is not up yet).

        Args:
            pause: waits so many seconds before the next attempt: longer and longer, up to a minute while the embedding
                model is missing, and to ten when only the language model is.
        """
        pause_s, ready = _FIRST_PAUSE_S, False
        while True:
            try:
                await self.aload()
            except Exception as exc:
                told = isinstance(exc, SuperAdvancedAgentsError)
                _log.warning("server.not_ready", extra={"reason": str(exc)}, exc_info=None if told else exc)
            if self.embedding is Stage.READY and not ready:
                ready = True
                _log.info("server.ready", extra={"model_id": self.pipeline.model_id})
            if ready and self.generation is Stage.READY:
                return
            await pause(pause_s)
            pause_s = min(_LONGEST_PAUSE_WORKING_S if ready else _LONGEST_PAUSE_S, 2 * pause_s)

    def agent(self, name: str) -> AsyncLLMAgent:
        """The agent of that name; it sees only its own memories.

        Raises:
            InvalidInputError: it is not a name.
        """
        checked_name(name, "agent")
        return AsyncLLMAgent(name, self.store, self.pipeline, self.generator)

    def memories(self, tenant: str) -> VectorStore:
        """The tenant's part of the shared store, equal searches answered from memory."""
        view = tenant_view(self.store, tenant)
        return CachedStore(view, self.results, owner=f"{tenant}/memories")

    def agent_of(
        self, memories: VectorStore, tenant: str, name: str, *, answer_tokens: int | None = None
    ) -> AsyncLLMAgent:
        """Make a tenant's agent with the settings it was given.

        Args:
            memories: of that tenant; see `memories`.
            tenant: whose it is.
            name: what it is called.
            answer_tokens: the length of its answers, at most, in tokens; as it was given when None.

        Raises:
            InvalidInputError: it is not a name.
        """
        settings = self.catalog.agent_settings(tenant, checked_name(name, "agent"))
        return AsyncLLMAgent(
            name,
            memories,
            self.pipeline,
            self.generator,
            namespace=settings.namespace,
            context_chars=settings.context_chars,
            answer_tokens=answer_tokens or settings.answer_tokens,
            reranker=self.reranker if settings.rerank else None,
        )

    @property
    def _open_parts(self) -> _Parts:
        self._check_open()
        if self._parts is None:
            raise ResourceClosedError("the store is not open yet", hint="call open() or await aopen() first")
        return self._parts

    def _open(self) -> None:
        with self._opening:
            if self._parts is None:
                self._parts = self._opened()

    def _opened(self) -> _Parts:
        """Make all parts; of those that were made none stays open when a later one fails."""
        settings = self.settings
        declared = Declared() if settings.config is None else load_declared(settings.config)
        with ExitStack() as made:
            pipeline = made.enter_context(embedding_pipeline(settings, cache=self._embedding_cache))
            if not settings.has_own_store:
                # The lock of the data folder's own store is that of the whole folder: of the catalogue and collections.
                made.callback(StoreFolder(settings.store_dir).release)
            store = made.enter_context(open_store(settings.store_url, dim=pipeline.dim))
            catalog = made.enter_context(
                Catalog(
                    settings.data_dir / "server" / "catalog.db",
                    declared,
                    max_collections=settings.max_collections,
                    max_agents=settings.max_agents,
                )
            )
            collections = made.enter_context(
                Collections(catalog, settings.data_dir / "collections", max_open=settings.max_open_collections)
            )
            _create_declared(declared, collections)
            made.enter_context(pipeline)  # again, to be closed before what its callers write to
            generator = made.enter_context(
                language_model(settings, pull=False)  # no caller waits for a download: `aload` fetches
            )
            shared = Shared(
                declared=declared,
                catalog=catalog,
                pipeline=pipeline,
                generator=generator,
                agent=lambda tenant, name: self.agent_of(self.memories(tenant), tenant, name),
            )
            orchestrators = made.enter_context(Orchestrators(shared, self._connect))
            orchestrators.open()
            return _Parts(pipeline, generator, store, declared, catalog, collections, orchestrators, made.pop_all())

    def _release(self) -> None:
        """Answers first, since they hold the slots; the store last, when nothing writes any more."""
        with self._opening:
            parts, self._parts = self._parts, None
        if parts is not None:
            parts.all.close()


@dataclass(frozen=True, slots=True)
class _Parts:
    pipeline: EmbeddingPipeline
    generator: LLMGenerator
    store: VectorStore
    declared: Declared
    catalog: Catalog
    collections: Collections
    orchestrators: Orchestrators
    all: ExitStack
    """Closes them in order."""


def _create_declared(declared: Declared, collections: Collections) -> None:
    """Make the declared collections that are missing."""
    for (tenant, name), settings in declared.collections.items():
        wanted = new_collection(name, **settings.model_dump())
        try:
            collections.create(tenant, wanted, exist_ok=True)
        except (CollectionExistsError, InvalidInputError) as exc:
            raise ConfigurationError(f"{declared.file}: [collections.{name}]: {exc.message}", hint=exc.hint) from exc
