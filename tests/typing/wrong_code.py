"""Code with faults that a type checker must find, one in each marked line; nothing runs it."""

from __future__ import annotations

from super_advanced_agents import LLMAgent


def misuse(agent: LLMAgent) -> None:
    """Use what is not there."""
    agent.search_text("Where?", top=3)  # wrong: there is no such option
    print(agent.search_text("Where?")[0].explanation)  # wrong: only explained matches have one
    agent.search_text("Where?", where="type")  # wrong: a filter is a mapping
    agent.add_text_memory(3)  # wrong: a memory is a text
