"""Opening what a command works on, and fetching models that are missing, with a bar where someone watches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from super_advanced_agents.agents import AsyncLLMAgent
    from super_advanced_agents.embeddings import EmbeddingPipeline
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
    from super_advanced_agents.tenancy.runtime import Engines
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir, models_dir=models_dir, agent=agent)
    with Engines(settings) as engines:
        engines.open()
        wanted = [
            name
            for name, url, needed in (
                (settings.embedding_model, settings.embedding_base_url, embeds),
                (settings.generation_model, settings.generation_base_url, answers),
            )
            if needed and url is None
        ]
        pull_missing(wanted, settings.models_dir)
        yield engines.agent(settings.agent)


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
    from super_advanced_agents.tenancy.runtime import embedding_pipeline
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(models_dir=models_dir, embedding_model=model, embedding_precision=precision)
    if settings.embedding_base_url is None:
        pull_missing([settings.embedding_model], settings.models_dir)
    with embedding_pipeline(settings) as pipeline:
        yield pipeline


def pull_missing(names: Sequence[str], models_dir: Path | None) -> None:
    """Fetch the known models among `names` that are not here yet."""
    from super_advanced_agents.models import MODELS, ensure

    for name in names:
        if name in MODELS:
            ensure(name, models_dir=models_dir)
