"""Text generation: the generator, its options and one file per engine (model backend).

Prompts about memories belong in `agents`, model files and their download in `models`.
"""

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
