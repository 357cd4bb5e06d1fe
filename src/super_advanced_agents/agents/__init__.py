"""Agents that remember: what users hold."""

from super_advanced_agents.agents.agent import AsyncLLMAgent, LLMAgent, SearchMode

__all__ = ["AsyncLLMAgent", "LLMAgent", "SearchMode"]
