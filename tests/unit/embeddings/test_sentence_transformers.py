"""Test the engine of the extra `sentence-transformers`: missing package and missing model."""

from __future__ import annotations

import importlib.util

import pytest

from super_advanced_agents.embeddings import EmbeddingPipeline, SentenceTransformersEngine
from super_advanced_agents.errors import ConfigurationError, ModelNotFoundError

INSTALLED = importlib.util.find_spec("sentence_transformers") is not None


@pytest.mark.skipif(INSTALLED, reason="the extra is installed")
def test_sentence_transformers_engine_without_the_extra_names_it_on_first_use() -> None:
    """Constructing the engine does not need the package."""
    with EmbeddingPipeline(engine=SentenceTransformersEngine("any", dim=384)) as pipeline:
        assert pipeline.dim == 384
        assert pipeline.model_id == "any:sentence-transformers"
        with pytest.raises(ConfigurationError, match=r"super-advanced-agents\[sentence-transformers\]"):
            pipeline.embed("a text")


@pytest.mark.skipif(not INSTALLED, reason="needs the extra")
def test_sentence_transformers_engine_raises_model_not_found_for_an_empty_folder(tmp_path: object) -> None:
    """The package's own error is not raised."""
    engine = SentenceTransformersEngine(str(tmp_path))
    with EmbeddingPipeline(engine=engine) as pipeline, pytest.raises(ModelNotFoundError):
        pipeline.embed("a text")
