"""The choice of an agent for a question, by task, user and similarity of descriptions."""

from __future__ import annotations

import numpy as np

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import AgentNotFoundError, ConfigurationError
from super_advanced_agents.orchestration.members import Member

_DIGITS = 4
"""Decimals of a similarity that count: vectors differ slightly between batch sizes."""


async def rank_members(
    members: list[Member],
    query: str,
    *,
    task: str | None,
    user_id: str | None,
    pipeline: EmbeddingPipeline | None,
    min_similarity: float,
    default: str | None,
) -> list[tuple[Member, str]]:
    """Rank the agents that suit a question, best first; return each with the reason.

    The reasons are `task`, `user`, `similarity`, `only` and `default`.

    Args:
        members: all agents, in the order that decides ties.
        query: the question.
        task: the topic of the question, as `normalise_task` returns it.
        user_id: the user who asks.
        pipeline: embeds the question and the agents' descriptions.
        min_similarity: the cosine below which an agent does not fit.
        default: the name of the agent that is added last.

    Raises:
        AgentNotFoundError: no agent fits.
        ConfigurationError: the choice depends on similarity, and there is no pipeline.
    """
    allowed = [member for member in members if not member.users or user_id in member.users]
    if task is not None:
        allowed = [member for member in allowed if task in member.tasks or not member.tasks]
    if not allowed:
        raise AgentNotFoundError(
            "the orchestrator has no agent for this " + ("task and user" if task is not None else "user"),
            hint="register one that names them, or one that names neither",
        )
    similarities = await _similarities(allowed, query, pipeline, needed=any(not _reason(m, task) for m in allowed))
    if len(allowed) == 1:
        return [(allowed[0], _reason(allowed[0], task) or "only")]
    order = sorted(
        (member for member in allowed if _reason(member, task) or similarities.get(member, 0.0) >= min_similarity),
        key=lambda member: (
            task is None or task not in member.tasks,
            not member.users,
            -similarities.get(member, 0.0),  # sorting is stable: equal agents stay in the order of registration
        ),
    )
    ranked = [(member, _reason(member, task) or "similarity") for member in order]
    ranked += [(m, "default") for m in allowed if m.name == default and m not in order]
    if not ranked:
        best = max(similarities.values(), default=0.0)
        raise AgentNotFoundError(
            f"no agent's description fits the question (the best similarity is {best:.2f}, below {min_similarity:.2f})",
            hint="name a task, improve the descriptions, or give Orchestrator(default=...)",
        )
    return ranked


def _reason(member: Member, task: str | None) -> str:
    if task is not None and task in member.tasks:
        return "task"
    return "user" if member.users else ""


async def _similarities(
    members: list[Member], query: str, pipeline: EmbeddingPipeline | None, *, needed: bool
) -> dict[Member, float]:
    # The cosine of the question with each agent's profile; {} if no choice depends on it.
    if len(members) < 2:
        return {}
    if pipeline is None:
        if not needed:
            return {}
        raise ConfigurationError(
            "choosing an agent by its description needs an embedding pipeline, and there is none",
            hint="give Orchestrator(embedding_pipeline=...), or route by task",
        )
    model_id = pipeline.model_id
    stale = [member for member in members if member.vector is None or member.vector[0] != model_id]
    if stale:
        vectors = await pipeline.aembed_batch([member.profile for member in stale])
        for member, vector in zip(stale, vectors, strict=True):
            member.vector = (model_id, vector)
    query_vector = await pipeline.aembed(query)
    return {
        member: round(float(np.dot(member.vector[1], query_vector)), _DIGITS)
        for member in members
        if member.vector is not None
    }
