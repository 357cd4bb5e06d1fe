"""The engine of the extra: what to install, and what cannot be loaded."""

from __future__ import annotations

import importlib.util

import pytest

from super_advanced_agents.embeddings import EmbeddingPipeline, SentenceTransformersEngine
from super_advanced_agents.errors import ConfigurationError, ModelNotFoundError

INSTALLED = importlib.util.find_spec("sentence_transformers") is not None


@pytest.mark.skipif(INSTALLED, reason="the extra is installed")
def test_without_the_extra_the_error_says_what_to_install() -> None:
    """Making the engine costs nothing; its first use names the extra."""
    with EmbeddingPipeline(engine=SentenceTransformersEngine("any", dim=384)) as pipeline:
        assert pipeline.dim == 384
        assert pipeline.model_id == "any:sentence-transformers"
        with pytest.raises(ConfigurationError, match=r"super-advanced-agents\[sentence-transformers\]"):
            pipeline.embed("a text")


@pytest.mark.skipif(not INSTALLED, reason="needs the extra")
def test_a_model_name_that_cannot_be_loaded_is_an_error_of_the_tree(tmp_path: object) -> None:
    """An empty folder is no model."""
    engine = SentenceTransformersEngine(str(tmp_path))
    with EmbeddingPipeline(engine=engine) as pipeline, pytest.raises(ModelNotFoundError):
        pipeline.embed("a text")
