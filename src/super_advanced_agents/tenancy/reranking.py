"""Who may have the language model look again at matches, and what that costs: for REST and gRPC alike."""

from __future__ import annotations

from super_advanced_agents.errors import PermissionDeniedError
from super_advanced_agents.retrieval import Reranker
from super_advanced_agents.tenancy.context import Access, RequestContext
from super_advanced_agents.tenancy.workspace import Workspace

_TOKENS = 80
"""What a language model writes, about, to put twenty matches into order."""


async def chosen_reranker(
    asked: bool | None, agent: str, workspace: Workspace, context: RequestContext
) -> bool | Reranker | None:
    """What re-ranks; charged for, and allowed to those alone who may have the language model write.

    Args:
        asked: what the request says; as the agent is set when None.
        agent: its name.
        workspace: whose agent.
        call: who asks.

    Raises:
        PermissionDeniedError: it is asked for without the scope `generate`.
        RateLimitedError: the allowance is used up.
    """
    if asked and not context.principal.allows(Access.GENERATE):
        raise PermissionDeniedError(f"'rerank' needs the scope {Access.GENERATE.value!r}")
    if reranks(asked, agent, workspace):
        await context.charge(_TOKENS)
    return workspace.reranker if asked else asked


def reranks(asked: bool | None, agent: str, workspace: Workspace) -> bool:
    """Return whether the language model looks again at what a search finds; as the agent is set for None."""
    return asked or (asked is None and workspace.agent_settings(agent).rerank)
