"""Opening what a command works on, and fetching models that are missing, with a bar where someone watches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from super_advanced_agents.agents import AsyncLLMAgent
    from super_advanced_agents.embeddings import EmbeddingPipeline
    from super_advanced_agents.stores import VectorStore
    from super_advanced_agents.stores.local import LocalStore


@contextmanager
def opened(
    data_dir: Path, models_dir: Path | None, agent: str, *, embeds: bool = False, answers: bool = False
) -> Iterator[AsyncLLMAgent]:
    """The agent, its store open; closed again at the end.

    Args:
        data_dir: where the store is, or will be.
        models_dir: the folder of all models.
        agent: the agent's name.
        embeds: the command embeds texts; a missing model is fetched first.
        answers: the command asks the language model; likewise.
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
        open_store(settings.store_url, dim=pipeline.dim) as store,
    ):
        # Here and not at the first use: in this thread, where Ctrl-C ends a download.
        fetch_models(settings, embedding=embeds, generation=answers)
        yield AsyncLLMAgent(settings.agent, store, pipeline, generator)


@contextmanager
def opened_memories(data_dir: Path, agent: str) -> Iterator[tuple[VectorStore, str]]:
    """The store and an agent's namespace, for what needs no model; where there is no store, an empty one in memory.

    Args:
        data_dir: where the store is.
        agent: the agent's name.
    """
    _use_one_blas_thread()
    from super_advanced_agents.stores.local import LocalStore, has_store, open_local_store
    from super_advanced_agents.stores.opening import folder_of
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir, agent=agent)
    folder = folder_of(settings.store_url)
    if folder is None:
        with opened(data_dir, None, agent) as mind:
            yield mind.vector_store, mind.namespace
        return
    with open_local_store(folder) if has_store(folder) else LocalStore(1) as store:
        yield store, settings.agent


@contextmanager
def opened_store(data_dir: Path, *, dim: int | None = None, metric: str | None = None) -> Iterator[LocalStore]:
    """The store of a data folder as it was made, whatever model it was made with; closed again at the end.

    Args:
        data_dir: where it is.
        dim: the length of a new one's vectors; when None there must be one.
        metric: of a new one.

    Raises:
        StoreError: there is none, and `dim` was not given.
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
    with open_local_store(folder, dim=dim, metric=metric) as store:
        yield store


@contextmanager
def opened_embedder(
    models_dir: Path | None, *, model: str | None = None, precision: str | None = None
) -> Iterator[EmbeddingPipeline]:
    """The pipeline of the settings, or of another model; a missing one is fetched first."""
    from super_advanced_agents.tenancy.model_loading import embedding_pipeline, fetch_models
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(models_dir=models_dir, embedding_model=model, embedding_precision=precision)
    fetch_models(settings, embedding=True)
    with embedding_pipeline(settings) as pipeline:
        yield pipeline


def _use_one_blas_thread() -> None:
    """Further ones spin for 0.1 s of processor time when NumPy is imported, and what commands add up needs none."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
