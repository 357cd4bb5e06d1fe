"""Text from language models: one face, one file per engine."""

from super_advanced_agents.generation.base import GenerationEngine, GenerationOptions, MessageLike, Usage
from super_advanced_agents.generation.generator import LLMGenerator
from super_advanced_agents.generation.llamacpp import LlamaCppEngine
from super_advanced_agents.generation.openai import OpenAIEngine
from super_advanced_agents.generation.wrapper import AsyncLLMWrapper

__all__ = [
    "AsyncLLMWrapper",
    "GenerationEngine",
    "GenerationOptions",
    "LLMGenerator",
    "LlamaCppEngine",
    "MessageLike",
    "OpenAIEngine",
    "Usage",
]
