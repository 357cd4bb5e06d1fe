"""The models that settings ask for."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.models import MODELS, ensure
from super_advanced_agents.tenancy.settings import Settings


def embedding_pipeline(settings: Settings, *, cache: Path | None = None) -> EmbeddingPipeline:
    """The pipeline that settings ask for; its model loads at first use.

    Args:
        settings: which model.
        cache: a file in which the vectors of recent texts outlast the process; None for none.
    """
    return EmbeddingPipeline(
        settings.embedding_model,
        precision=settings.embedding_precision,
        base_url=settings.embedding_base_url,
        api_key=_revealed(settings.embedding_api_key),
        models_dir=settings.models_dir,
        dim=settings.embedding_dim,
        cache_path=cache,
    )


def fetch_models(settings: Settings, *, embedding: bool = False, generation: bool = False) -> None:
    """Fetch the known models of the settings that are not here yet. Blocks.

    Models of other sources are the operator's own.

    Args:
        settings: which models.
        embedding: fetch the embedding model.
        generation: fetch the language model.
    """
    for wanted, name, url in (
        (embedding, settings.embedding_model, settings.embedding_base_url),
        (generation, settings.generation_model, settings.generation_base_url),
    ):
        if wanted and url is None and name in MODELS:
            ensure(name, models_dir=settings.models_dir)


def language_model(settings: Settings, *, pull: bool = True) -> LLMGenerator:
    """Make the generator that settings ask for; its model loads at first use.

    Args:
        settings: which model.
        pull: fetch a missing known model then; else that is an error.
    """
    return LLMGenerator(
        settings.generation_model,
        base_url=settings.generation_base_url,
        api_key=_revealed(settings.generation_api_key),
        models_dir=settings.models_dir,
        pull=pull,
        slots=settings.generation_slots,
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
