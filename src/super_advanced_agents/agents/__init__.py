"""Agents that store text memories, search them, and answer questions from them.

Validation of their inputs and the prompts of their answers belong here; storage, embedding and generation belong to
`stores`, `embeddings` and `generation`, and several agents behind one question to `orchestration`.
"""

from super_advanced_agents.agents.agent import AsyncLLMAgent, LLMAgent, SearchMode

__all__ = ["AsyncLLMAgent", "LLMAgent", "SearchMode"]
