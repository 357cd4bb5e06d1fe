"""Context managers that open agents, stores and embedding pipelines for commands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from super_advanced_agents.cli.output import print_note

if TYPE_CHECKING:
    from super_advanced_agents.agents import AsyncLLMAgent
    from super_advanced_agents.embeddings import EmbeddingPipeline
    from super_advanced_agents.stores import VectorStore
    from super_advanced_agents.stores.local import LocalStore


OpenedT = TypeVar("OpenedT")

_WAIT_S = 10.0
_NOTE_S = 1.0
_PAUSE_S = 0.05


def in_turn(open_: Callable[[], OpenedT]) -> OpenedT:
    """Open a folder, and wait up to 10 s for another process that uses it.

    Raises:
        StoreLockedError: the folder is still in use.
    """
    from super_advanced_agents.errors import StoreLockedError

    begun, noted = time.monotonic(), False
    while True:
        try:
            return open_()
        except StoreLockedError as exc:
            waited_s = time.monotonic() - begun
            if waited_s >= _WAIT_S:
                raise
            if waited_s >= _NOTE_S and not noted:
                noted = True
                print_note(f"Waiting up to {_WAIT_S:.0f} s: {exc.message}.")
        time.sleep(_PAUSE_S)


@contextmanager
def open_agent(data_dir: Path, models_dir: Path | None, agent: str, *, embeds: bool = False) -> Iterator[AsyncLLMAgent]:
    """Enter a context that yields an agent, and closes its store and models at the end.

    Args:
        data_dir: the data folder; the store in it is created when it is missing.
        models_dir: the folder of all models.
        agent: the agent's name.
        embeds: the command embeds texts; a missing embedding model is fetched first.
    """
    _use_one_blas_thread()
    from super_advanced_agents.agents import AsyncLLMAgent
    from super_advanced_agents.stores.opening import open_store
    from super_advanced_agents.tenancy.model_loading import embedding_pipeline, fetch_models, language_model
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir, models_dir=models_dir, agent=agent)
    with (
        embedding_pipeline(settings) as pipeline,
        language_model(settings) as generator,
        in_turn(lambda: open_store(settings.store_url, dim=pipeline.dim)) as store,
    ):
        # Fetched here and not at the first use: Ctrl-C ends a download only in this thread.
        fetch_models(settings, embedding=embeds)
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


@contextmanager
def open_memories(data_dir: Path, agent: str) -> Iterator[tuple[VectorStore, str]]:
    """Enter a context that yields the open store and an agent's namespace; load no models.

    The namespace is the part of the store that contains the agent's memories.

    Where the data folder has no store, an empty store in memory is yielded.

    Args:
        data_dir: the data folder.
        agent: the agent's name.
    """
    _use_one_blas_thread()
    from super_advanced_agents.stores.local import LocalStore, has_store, open_local_store
    from super_advanced_agents.stores.opening import folder_of
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir, agent=agent)
    folder = folder_of(settings.store_url)
    if folder is None:
        with open_agent(data_dir, None, agent) as llm_agent:
            yield llm_agent.vector_store, llm_agent.namespace
        return
    with in_turn(lambda: open_local_store(folder)) if has_store(folder) else LocalStore(1) as store:
        yield store, settings.agent


@contextmanager
def open_folder_store(data_dir: Path, *, dim: int | None = None, metric: str | None = None) -> Iterator[LocalStore]:
    """Enter a context that yields a data folder's store; create a missing one if `dim` is given.

    Args:
        data_dir: the data folder.
        dim: the length of the vectors when the store is created; when None, the store must exist.
        metric: the metric when the store is created.

    Raises:
        StoreError: there is no store, and `dim` was not given.
        ConfigurationError: the settings name a store that is not in a folder of this machine.
    """
    from super_advanced_agents.errors import ConfigurationError, StoreError
    from super_advanced_agents.stores.local import has_store, open_local_store
    from super_advanced_agents.stores.opening import folder_of
    from super_advanced_agents.tenancy.settings import Settings

    folder = folder_of(Settings.load(data_dir=data_dir).store_url)
    if folder is None:
        raise ConfigurationError("this command works on a store in a folder only", hint="unset SAA_STORE")
    if dim is None and not has_store(folder):
        raise StoreError(f"nothing is remembered in {str(data_dir)!r} yet", hint="check --data-dir, or begin: saa add")
    with in_turn(lambda: open_local_store(folder, dim=dim, metric=metric)) as store:
        yield store


@contextmanager
def open_embedder(
    models_dir: Path | None, *, model: str | None = None, precision: str | None = None
) -> Iterator[EmbeddingPipeline]:
    """Enter a context that yields an embedding pipeline; download its model if missing.

    The model and the precision are the configured ones unless given.
    """
    from super_advanced_agents.tenancy.model_loading import embedding_pipeline, fetch_models
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(models_dir=models_dir, embedding_model=model, embedding_precision=precision)
    fetch_models(settings, embedding=True)
    with embedding_pipeline(settings) as pipeline:
        yield pipeline


def _use_one_blas_thread() -> None:
    # More threads spin for 0.1 s of processor time when NumPy is imported, and commands have no large products.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
