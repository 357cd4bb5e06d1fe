"""The runtime of a process: the store, models and catalog that all tenants share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking, run_sync
from super_advanced_agents._runtime.disk.files import restrict
from super_advanced_agents._runtime.memory import return_memory
from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.config import CATALOG_FILE, COLLECTIONS_FOLDER, DEFAULT_NAMESPACE, checked_agent_name
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import (
    CollectionExistsError,
    ConfigurationError,
    InvalidInputError,
    ResourceClosedError,
    StoreLockedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.retrieval import LLMReranker
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.local.folder import StoreFolder
from super_advanced_agents.stores.opening import folder_of, open_store
from super_advanced_agents.stores.text.languages import fix_language
from super_advanced_agents.stores.wrappers.guarded import EngineGuard, GuardedStore
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.catalog import Catalog, SQLiteCatalog, new_collection
from super_advanced_agents.tenancy.catalog.postgres import PostgresCatalog
from super_advanced_agents.tenancy.collection_places import place_of
from super_advanced_agents.tenancy.collection_pool import Collections
from super_advanced_agents.tenancy.config_file import Declared, load_declared
from super_advanced_agents.tenancy.data_folder.saving import check_catalog_is_there
from super_advanced_agents.tenancy.data_folder.server_address import naming_server
from super_advanced_agents.tenancy.model_loading import embedding_pipeline, fetch_models, language_model
from super_advanced_agents.tenancy.orchestrators import Connect, Orchestrators, OrchestratorServices
from super_advanced_agents.tenancy.result_cache import ResultCache
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.shared_state import SharedState, is_shared, shared_state
from super_advanced_agents.tenancy.store_wrappers import CachedStore

_log = get_logger("server")
_DATA_NAMES = {"store", "server", "collections", "cache", "jobs", "files", "backups", "audit", "backup.json"}
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_PAUSE_WORKING_S = 5.0, 60.0, 600.0  # WORKING: searches already work


class Stage(Enum):
    """The states of loading a model: waiting, loading, ready or failed."""

    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class Runtime(Resource):
    """Open and share the components of a process: store, models, catalog and collections.

    Agents are made from them on demand. The constructor does no I/O; `aopen` locks and opens the store, and the models
    load at first use or by `aload`.

    Args:
        settings: the settings of the process.
        connect: makes clients of agents on other servers, for declared orchestrators that contain such agents.
        embedding_cache: the file that keeps the vectors of recent texts across restarts; None to keep them in memory.

    Attributes:
        settings: the settings of the process.
        embedding: the loading state of the embedding model and of the store's index.
        generation: the loading state of the language model.
        results: the cache of search results.
        reason: the error of the last attempt to load; empty when it succeeded.
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
        self._components: _Components | None = None

    @property
    def store(self) -> VectorStore:
        """The vector store that all agents share; available after `aopen`."""
        return self._checked_components.store

    @property
    def pipeline(self) -> EmbeddingPipeline:
        """The pipeline that turns texts into vectors; available after `aopen`."""
        return self._checked_components.pipeline

    @property
    def generator(self) -> LLMGenerator:
        """The generator of texts, which runs the language model; available after `aopen`."""
        return self._checked_components.generator

    @property
    def declared(self) -> Declared:
        """The content of the configuration file; available after `aopen`."""
        return self._checked_components.declared

    @property
    def catalog(self) -> Catalog:
        """The catalog of all tenants' collections and agent settings; available after `aopen`."""
        return self._checked_components.catalog

    @property
    def engine_reachable(self) -> bool:
        """False while the engine of the store, on another machine, is regarded as away."""
        components = self._components
        return components is None or components.guard is None or components.guard.reachable

    @property
    def state(self) -> SharedState | None:
        """The database of what servers share, available after `aopen`; None for the data folder."""
        return self._checked_components.state

    @property
    def collections(self) -> Collections:
        """The pool of the collections' open vector stores; available after `aopen`."""
        return self._checked_components.collections

    @property
    def orchestrators(self) -> Orchestrators:
        """The orchestrators, which distribute questions among agents; available after `aopen`."""
        return self._checked_components.orchestrators

    @property
    def reranker(self) -> LLMReranker:
        """A re-ranker of search results by the language model; available after `aopen`."""
        return LLMReranker(self.generator)

    async def aopen(self) -> None:
        """Lock the data folder and open the store and the catalog, creating them when missing.

        Raises:
            StoreLockedError: another process holds the lock.
            StoreError: the store cannot be used.
            ConfigurationError: the store has vectors of another dimension, or the configuration file is invalid.
        """
        self._check_open()
        if self._components is None:
            await in_thread(self._open, name="open store")

    open = blocking(aopen)

    async def aload(self) -> None:
        """Download missing models, then load the embedding model, the index and the language model.

        A language model that fails to load is only logged, since everything but generation works without it.

        Raises:
            SuperAdvancedAgentsError: the embedding model or the index could not be loaded; calling again retries.
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
            await in_thread(return_memory, name="return memory")  # 16 MB of what loading took

    load = blocking(aload)

    async def akeep_loading(self, *, pause: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Load the embedding and language models; retry with backoff until both are loaded.

        The pauses double from 5 s, up to 60 s while the embedding model is missing (the network may not be up yet), and
        up to 600 s when only the language model is missing.

        Args:
            pause: waits the given number of seconds before the next attempt.
        """
        pause_s, ready = _FIRST_PAUSE_S, False
        while True:
            try:
                await self.aload()
            except Exception as exc:
                is_expected = isinstance(exc, SuperAdvancedAgentsError)
                _log.warning("server.not_ready", extra={"reason": str(exc)}, exc_info=None if is_expected else exc)
            if self.embedding is Stage.READY and not ready:
                ready = True
                _log.info("server.ready", extra={"model_id": self.pipeline.model_id})
            if ready and self.generation is Stage.READY:
                return
            await pause(pause_s)
            pause_s = min(_LONGEST_PAUSE_WORKING_S if ready else _LONGEST_PAUSE_S, 2 * pause_s)

    def agent(self, name: str) -> AsyncLLMAgent:
        """Return an agent with default settings that keeps its texts in the shared store.

        Raises:
            InvalidInputError: `name` is not a valid name.
        """
        checked_agent_name(name, "agent")
        return AsyncLLMAgent(name, self.store, self.pipeline, self.generator)

    def memories(self, tenant: str) -> VectorStore:
        """Return a view of the shared store with only one tenant's records; it caches searches."""
        view = tenant_view(self.store, tenant)
        return CachedStore(view, self.results, store_key=f"{tenant}/memories")

    def agent_of(
        self, memories: VectorStore, tenant: str, name: str, *, answer_tokens: int | None = None
    ) -> AsyncLLMAgent:
        """Return a tenant's agent by name, with its settings from the catalog or the defaults.

        Args:
            memories: the tenant's view of the store; see `memories`.
            tenant: the tenant.
            name: the name of the agent.
            answer_tokens: the maximum length of an answer in tokens; the agent's setting when None.

        Raises:
            InvalidInputError: `name` is not a valid name.
        """
        settings = self.catalog.agent_settings(tenant, checked_agent_name(name, "agent"))
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

    def use_pipeline(self, pipeline: EmbeddingPipeline) -> None:
        """Embed texts with another pipeline from now on, which this runtime closes at its end.

        For a store that has just switched to the vectors of another model.
        """
        components = self._checked_components
        components.all.push(pipeline)  # it closes first, as the store must outlive its callers
        self._components = replace(components, pipeline=pipeline)

    def check_files(self) -> None:
        """Raise if a file of a database was removed, replaced, emptied or cut by others.

        Raises:
            StoreError: one was; what it belongs to accepts no more writes.
        """
        components = self._components
        if components is not None:
            components.store.check_files()
            components.catalog.check_files()
            components.collections.check_files()

    @property
    def _checked_components(self) -> _Components:
        self._check_open()
        if self._components is None:
            raise ResourceClosedError("the store is not open yet", hint="call open() or await aopen() first")
        return self._components

    def _open(self) -> None:
        with self._opening:
            if self._components is None:
                try:
                    self._components = self._open_components()
                except StoreLockedError as exc:
                    raise naming_server(exc, self.settings.data_dir) from exc

    def _open_components(self) -> _Components:
        settings = self.settings
        declared = Declared() if settings.config is None else load_declared(settings.config)
        _restrict_data_folder(settings.data_dir)
        with ExitStack() as stack:  # closes what is open already when a later component fails
            pipeline = stack.enter_context(embedding_pipeline(settings, cache=self._embedding_cache))
            state = shared_state(settings)
            if state is None and not settings.has_own_store:
                # The lock of the default store guards the whole data folder, the catalog and the collections included.
                stack.callback(StoreFolder(settings.store_dir).release)
            guard = None if folder_of(settings.store_url) is not None else EngineGuard()
            fix_language(settings.text_language)
            opened = open_store(settings.store_url, dim=pipeline.dim)
            store = stack.enter_context(opened if guard is None else GuardedStore(opened, guard))
            if state is not None:  # after the store, whose driver prepares the connections that both share
                stack.enter_context(state).open()
            if is_shared(settings.store_url):  # so that a start fails where every request would
                run_sync(store.aversion(DEFAULT_NAMESPACE))
            if state is None:
                check_catalog_is_there(settings.data_dir)
            limits = {"max_collections": settings.max_collections, "max_agents": settings.max_agents}
            catalog: Catalog = stack.enter_context(
                SQLiteCatalog(settings.data_dir / CATALOG_FILE, declared, **limits)
                if state is None
                else PostgresCatalog(state, declared, **limits)
            )
            place = place_of(settings.store_url, settings.data_dir / COLLECTIONS_FOLDER, guard)
            collections = stack.enter_context(Collections(catalog, place, max_open=settings.max_open_collections))
            _create_declared(declared, collections)
            stack.enter_context(pipeline)  # entered again: it must close before the stores that its callers write to
            generator = stack.enter_context(
                language_model(settings, pull=False)  # no caller waits for a download: `aload` downloads
            )
            services = OrchestratorServices(
                declared=declared,
                catalog=catalog,
                pipeline=pipeline,
                generator=generator,
                agent=lambda tenant, name: self.agent_of(self.memories(tenant), tenant, name),
            )
            orchestrators = stack.enter_context(Orchestrators(services, self._connect))
            orchestrators.open()
            return _Components(
                pipeline, generator, store, declared, catalog, collections, orchestrators, state, guard, stack.pop_all()
            )

    def _release(self) -> None:
        # The stack closes the generator before the stores that its answers use.
        with self._opening:
            components, self._components = self._components, None
        if components is not None:
            components.all.close()


@dataclass(frozen=True, slots=True)
class _Components:
    pipeline: EmbeddingPipeline
    generator: LLMGenerator
    store: VectorStore
    declared: Declared
    catalog: Catalog
    collections: Collections
    orchestrators: Orchestrators
    state: SharedState | None
    guard: EngineGuard | None
    all: ExitStack
    """Closes the components in reverse order of opening."""


def _restrict_data_folder(data_dir: Path) -> None:
    # One that also holds files of somebody else keeps its mode; the folders in it are private all the same.
    if not data_dir.is_dir():
        return
    if {entry.name for entry in data_dir.iterdir()} <= _DATA_NAMES:
        restrict([data_dir])
    for name in _DATA_NAMES:
        restrict([data_dir / name, *(data_dir / name).glob("*")])


def _create_declared(declared: Declared, collections: Collections) -> None:
    for (tenant, name), settings in declared.collections.items():
        info = new_collection(name, **settings.model_dump())
        try:
            collections.create(tenant, info, exist_ok=True)
        except (CollectionExistsError, InvalidInputError) as exc:
            raise ConfigurationError(f"{declared.file}: [collections.{name}]: {exc.message}", hint=exc.hint) from exc
