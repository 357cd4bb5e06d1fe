"""Make or download the embedding model and the language model that the settings configure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from super_advanced_agents.embeddings import EmbeddingEngine, EmbeddingPipeline
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.models import MODELS, default_models_dir, ensure
from super_advanced_agents.tenancy.settings import Settings


def embedding_pipeline(settings: Settings, *, cache: Path | None = None) -> EmbeddingPipeline:
    """Return the configured pipeline that embeds texts; its model loads at first use.

    Args:
        settings: which model, and where it runs.
        cache: the file that keeps the vectors of recent texts across restarts; None to keep them in memory only.
    """
    return EmbeddingPipeline(
        settings.embedding_model,
        engine=None if settings.embedding_dask is None else _dask_engine(settings, settings.embedding_dask),
        precision=settings.embedding_precision,
        base_url=settings.embedding_base_url,
        api_key=_reveal(settings.embedding_api_key),
        models_dir=settings.models_dir,
        dim=settings.embedding_dim,
        cache_path=cache,
    )


def _dask_engine(settings: Settings, scheduler: str) -> EmbeddingEngine:
    from super_advanced_agents.embeddings.dask import DaskEngine

    return DaskEngine(
        settings.embedding_model,
        scheduler,
        precision=settings.embedding_precision,
        models_dir=settings.models_dir,
    )


def fetch_models(settings: Settings, *, embedding: bool = False, generation: bool = False) -> None:
    """Download the configured models that are not on disk yet. Blocks.

    Only models of the registry are downloaded; the operator provides all others.

    Args:
        settings: which models.
        embedding: download the embedding model.
        generation: download the language model.
    """
    for is_requested, name, url in (
        (embedding, settings.embedding_model, settings.embedding_base_url or settings.embedding_dask),
        (generation, settings.generation_model, settings.generation_base_url),
    ):
        if is_requested and url is None and name in MODELS:
            ensure(name, models_dir=settings.models_dir)


def check_models_dir(settings: Settings) -> None:
    """Raise if a configured model of the registry has no folder on this machine.

    Raises:
        ConfigurationError: `models_dir` is not set, and the user has no home folder.
    """
    models = (
        (settings.embedding_model, settings.embedding_base_url or settings.embedding_dask),
        (settings.generation_model, settings.generation_base_url),
    )
    if settings.models_dir is None and any(url is None and name in MODELS for name, url in models):
        default_models_dir()


def language_model(settings: Settings, *, pull: bool = True) -> LLMGenerator:
    """Return the configured generator of texts; its language model loads at first use.

    Args:
        settings: which model, and where it runs.
        pull: download a missing registry model at first use; otherwise `ModelNotFoundError` is raised then.
    """
    return LLMGenerator(
        settings.generation_model,
        base_url=settings.generation_base_url,
        api_key=_reveal(settings.generation_api_key),
        models_dir=settings.models_dir,
        pull=pull,
        slots=settings.generation_slots,
    )


def _reveal(secrets: Sequence[SecretStr] | None) -> list[str | None] | None:
    return None if secrets is None else [secret.get_secret_value() for secret in secrets]
