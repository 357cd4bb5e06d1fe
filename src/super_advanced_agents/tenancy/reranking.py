"""Permission and cost of re-ranking search results with the language model."""

from __future__ import annotations

from super_advanced_agents.errors import PermissionDeniedError
from super_advanced_agents.retrieval import Reranker
from super_advanced_agents.tenancy.context import Access, RequestContext
from super_advanced_agents.tenancy.workspace import Workspace

_TOKENS = 80
"""The approximate number of tokens that a language model writes to rank twenty matches."""


async def chosen_reranker(
    rerank: bool | None, agent: str, workspace: Workspace, context: RequestContext
) -> bool | Reranker | None:
    """Return the re-ranker for a search, after checking the scope and charging the rate limit.

    Args:
        rerank: the request's choice; None for the agent's setting.
        agent: the agent's name.
        workspace: the workspace of the agent.
        context: the context of the request.

    Returns:
        The workspace's re-ranker when the request asks for one; otherwise `rerank` unchanged.

    Raises:
        PermissionDeniedError: the request asks for re-ranking without the scope `generate`.
        RateLimitedError: the allowance is used up.
    """
    if rerank and not context.principal.allows(Access.GENERATE):
        raise PermissionDeniedError(
            f"'rerank' needs the scope {Access.GENERATE.value!r}",
            hint=f"leave it out, or use a key of `saa keys create --scope {Access.GENERATE.value}`",
        )
    if reranks(rerank, agent, workspace):
        await context.charge(_TOKENS)
    return workspace.reranker if rerank else rerank


def reranks(rerank: bool | None, agent: str, workspace: Workspace) -> bool:
    """Return whether a search's results are re-ranked; `rerank=None` uses the agent's setting."""
    return rerank or (rerank is None and workspace.agent_settings(agent).rerank)
