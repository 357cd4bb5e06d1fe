"""What routes ask for by type."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from super_advanced_agents.agents import AsyncLLMAgent
from super_advanced_agents.server.engines import Engines


async def _engines(request: Request) -> Engines:
    engines = request.app.state.engines
    assert isinstance(engines, Engines)
    return engines


TheEngines = Annotated[Engines, Depends(_engines)]
"""The engines of this process."""


async def _agent(engines: TheEngines, agent: Annotated[str, Path()]) -> AsyncLLMAgent:
    return engines.agent(agent)


TheAgent = Annotated[AsyncLLMAgent, Depends(_agent)]
"""The agent that the path names."""
