"""Embedding of texts: the pipeline, its vector cache and one file per engine (backend).

Model files and their download belong in `models`, storing and searching vectors in `stores`.
"""

from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.embeddings.cache import VectorCache
from super_advanced_agents.embeddings.onnx import OnnxEngine, OnnxFolderEngine
from super_advanced_agents.embeddings.openai import OpenAIEngine
from super_advanced_agents.embeddings.pipeline import EmbeddingPipeline
from super_advanced_agents.embeddings.sentence_transformers import SentenceTransformersEngine

__all__ = [
    "EmbeddingEngine",
    "EmbeddingPipeline",
    "OnnxEngine",
    "OnnxFolderEngine",
    "OpenAIEngine",
    "SentenceTransformersEngine",
    "VectorCache",
]
