"""Context managers that open agents, stores and embedding pipelines for commands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from super_advanced_agents.cli.output import print_note
from super_advanced_agents.cli.recording import recorded_expiries
from super_advanced_agents.cli.waiting import wait_for_server, when_free

if TYPE_CHECKING:
    from super_advanced_agents.agents import AsyncLLMAgent
    from super_advanced_agents.client import RemoteAgent
    from super_advanced_agents.embeddings import EmbeddingPipeline
    from super_advanced_agents.stores import VectorStore
    from super_advanced_agents.stores.local.maintenance import LocalStore
    from super_advanced_agents.types import Record, Where


class Memories(Protocol):
    """Read and delete the memories of one agent, in a data folder or at a server."""

    def scan(self, where: Where | None = None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        """Return one page of memories, in the order of their uids."""

    def count(self, where: Where | None = None) -> int:
        """Return the number of memories that match a filter, or of all when it is None."""

    def get(self, uid: str) -> Record | None:
        """Return the memory with this uid, or None if there is none."""

    def forget(self, uids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Delete memories by their uids, by a filter or by both; return the number deleted."""


@contextmanager
def open_agent(
    data_dir: Path,
    models_dir: Path | None,
    agent: str,
    *,
    url: str | None,
    writes: bool = False,
    embeds: bool = False,
) -> Iterator[AsyncLLMAgent | RemoteAgent]:
    """Enter a context that yields an agent of a server or, when `url` is None, of a folder.

    The arguments are those of `open_remote_agent` and `open_local_agent`.
    """
    with (
        open_local_agent(data_dir, models_dir, agent, writes=writes, embeds=embeds)
        if url is None
        else open_remote_agent(url, agent) as opened
    ):
        yield opened


@contextmanager
def open_local_agent(
    data_dir: Path, models_dir: Path | None, agent: str, *, writes: bool = False, embeds: bool = False
) -> Iterator[AsyncLLMAgent]:
    """Enter a context that yields an agent of a data folder.

    Its store and models are closed at the end.

    Args:
        data_dir: the data folder.
        models_dir: the folder of all models.
        agent: the agent's name.
        writes: the command stores memories; a missing store is created. Without it, an empty store in memory is used.
        embeds: the command embeds texts; a missing embedding model is fetched first.
    """
    _use_one_blas_thread()
    from super_advanced_agents._runtime.concurrency.futures import in_thread
    from super_advanced_agents.agents import AsyncLLMAgent
    from super_advanced_agents.stores.local.maintenance import LocalStore, has_store
    from super_advanced_agents.stores.opening import folder_of, open_store
    from super_advanced_agents.stores.text.languages import fix_language
    from super_advanced_agents.tenancy.model_loading import embedding_pipeline, fetch_models, language_model
    from super_advanced_agents.tenancy.settings import Settings

    _check_is_folder(data_dir)
    settings = Settings.load_for_folder(data_dir=data_dir, models_dir=models_dir, agent=agent)
    fix_language(settings.text_language)
    folder = folder_of(settings.store_url)
    is_missing = folder is not None and not has_store(folder)
    with (
        recorded_expiries(data_dir),
        embedding_pipeline(settings) as pipeline,
        language_model(settings) as generator,
        LocalStore(pipeline.dim)
        if is_missing and not writes
        else when_free(data_dir, lambda: open_store(settings.store_url, dim=pipeline.dim)) as store,
    ):
        # Fetched here and not at the first use: Ctrl-C ends a download only in this thread.
        fetch_models(settings, embedding=embeds)
        if embeds and folder is not None:
            # Reading 20,000 rows and loading the model take 0.1 s each. An error comes up again at the first use.
            in_thread(store.count, name="read store")
        yield AsyncLLMAgent(settings.agent, store, pipeline, generator)


def fetch_language_model(models_dir: Path | None, *, advise: bool = True) -> bool:
    """Download the configured language model if it is missing, with a progress line.

    Args:
        models_dir: the folder of all models.
        advise: print a note if the model is known to be weak.

    Returns:
        False if it cannot be had; a note says why.
    """
    from super_advanced_agents.errors import ModelNotFoundError
    from super_advanced_agents.models import MODELS
    from super_advanced_agents.tenancy.model_loading import fetch_models
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(models_dir=models_dir)
    try:
        fetch_models(settings, generation=True)
    except ModelNotFoundError as exc:
        print_note(f"No language model: {exc}.")
        return False
    spec = MODELS.get(settings.generation_model) if settings.generation_base_url is None else None
    if advise and spec is not None and spec.advice is not None:
        print_note(f"{spec.advice}.")
    return True


def server_key() -> str | None:
    """Return the key to send to the server that `--url` names."""
    return os.environ.get("SAA_API_KEY") or None


@contextmanager
def open_remote_agent(url: str, agent: str) -> Iterator[RemoteAgent]:
    """Enter a context that yields an agent of a server.

    The key to send is in `SAA_API_KEY`.

    Args:
        url: the server's URL, of REST or gRPC.
        agent: the agent's name.
    """
    from super_advanced_agents.client import RemoteAgent

    wait_for_server(url)
    with RemoteAgent(url, agent, api_key=server_key()) as remote:
        yield remote


@contextmanager
def open_memories(data_dir: Path, agent: str, *, url: str | None = None) -> Iterator[Memories]:
    """Enter a context that yields an agent's memories to read and delete; load no models.

    Where the data folder has no store, there are no memories; none is created.

    Args:
        data_dir: the data folder.
        agent: the agent's name.
        url: the URL of the server that has the agent; the data folder has it when None.
    """
    if url is not None:
        with open_remote_agent(url, agent) as remote:
            yield remote
        return
    with open_namespace(data_dir, agent) as (store, namespace):
        yield _StoredMemories(store, namespace)


@contextmanager
def open_namespace(data_dir: Path, agent: str) -> Iterator[tuple[VectorStore, str]]:
    """Enter a context that yields the open store and an agent's namespace; load no models.

    The namespace is the part of the store that contains the agent's memories.

    Where the data folder has no store, an empty store in memory is yielded.

    Args:
        data_dir: the data folder.
        agent: the agent's name.
    """
    _use_one_blas_thread()
    from super_advanced_agents.stores.local.maintenance import LocalStore, has_store, open_local_store
    from super_advanced_agents.stores.opening import folder_of, open_store
    from super_advanced_agents.tenancy.settings import Settings

    _check_is_folder(data_dir)
    settings = Settings.load(data_dir=data_dir, agent=agent)
    folder = folder_of(settings.store_url)
    if folder is None:
        from super_advanced_agents.tenancy.model_loading import embedding_pipeline

        with (
            recorded_expiries(data_dir),
            embedding_pipeline(settings) as pipeline,
            open_store(settings.store_url, dim=pipeline.dim) as store,
        ):
            yield store, settings.agent
    elif has_store(folder):
        with recorded_expiries(data_dir), when_free(data_dir, lambda: open_local_store(folder)) as local:
            yield local, settings.agent
    else:
        with LocalStore(1) as empty:
            yield empty, settings.agent


@dataclass(frozen=True, slots=True)
class _StoredMemories:
    store: VectorStore
    namespace: str

    def scan(self, where: Where | None = None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        return self.store.scan(where, after=after, limit=limit, namespace=self.namespace)

    def count(self, where: Where | None = None) -> int:
        return self.store.count(where, namespace=self.namespace)

    def get(self, uid: str) -> Record | None:
        return next(iter(self.store.get([uid], namespace=self.namespace)), None)

    def forget(self, uids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        return self.store.delete(uids, where=where, namespace=self.namespace)


@contextmanager
def open_folder_store(
    data_dir: Path, *, otherwise: str, dim: int | None = None, metric: str | None = None
) -> Iterator[LocalStore]:
    """Enter a context that yields a data folder's store; create a missing one if `dim` is given.

    Args:
        data_dir: the data folder.
        otherwise: the hint of the error when the store is not in a folder.
        dim: the length of the vectors when the store is created; when None, the store must exist.
        metric: the metric when the store is created.

    Raises:
        StoreError: there is no store, and `dim` was not given.
        ConfigurationError: the settings name a store that is not in a folder of this machine.
    """
    from super_advanced_agents.errors import ConfigurationError, StoreError
    from super_advanced_agents.stores.local.maintenance import has_store, open_local_store
    from super_advanced_agents.stores.opening import folder_of
    from super_advanced_agents.tenancy.settings import Settings

    folder = folder_of(Settings.load(data_dir=data_dir).store_url)
    if folder is None:
        raise ConfigurationError("this command works on a store in a folder only", hint=otherwise)
    if dim is None and not has_store(folder):
        raise StoreError(f"nothing is remembered in {str(data_dir)!r} yet", hint="check --data-dir, or begin: saa add")
    with (
        recorded_expiries(data_dir),
        when_free(data_dir, lambda: open_local_store(folder, dim=dim, metric=metric)) as store,
    ):
        yield store


@contextmanager
def open_embedder(
    data_dir: Path, models_dir: Path | None, *, model: str | None = None, precision: str | None = None
) -> Iterator[EmbeddingPipeline]:
    """Enter a context that yields an embedding pipeline; download its model if missing.

    The model and the precision are the configured ones unless given; where none are, those of the data folder.
    """
    from super_advanced_agents.tenancy.model_loading import embedding_pipeline, fetch_models
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load_for_folder(
        data_dir=data_dir, models_dir=models_dir, embedding_model=model, embedding_precision=precision
    )
    fetch_models(settings, embedding=True)
    with embedding_pipeline(settings) as pipeline:
        yield pipeline


def _check_is_folder(data_dir: Path) -> None:
    from super_advanced_agents.errors import ConfigurationError

    if data_dir.is_file():
        raise ConfigurationError(f"{str(data_dir)!r} is a file, no data folder", hint="give another --data-dir")


def _use_one_blas_thread() -> None:
    # More threads spin for 0.1 s of processor time when NumPy is imported, and commands have no large products.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
