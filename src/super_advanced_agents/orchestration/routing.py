"""Which agent a question is for."""

from __future__ import annotations

import numpy as np

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import AgentNotFoundError, ConfigurationError
from super_advanced_agents.orchestration.members import Member

_DIGITS = 4
"""Similarityes that differ by less than this many digits show are a tie: batches of other sizes round differently."""


async def aranked(
    members: list[Member],
    query: str,
    *,
    task: str | None,
    user_id: str | None,
    pipeline: EmbeddingPipeline | None,
    least: float,
    default: str | None,
) -> list[tuple[Member, str]]:
    """Those who may answer, the fittest first, each with the reason: `task`, `user`, `similarity`, `only`, `default`.

    Args:
        members: everybody, in the order in which ties go.
        query: the question.
        task: what it is about, as `same_label` writes it.
        user_id: who asks.
        pipeline: compares the question with what agents say they do.
        least: the similarity below which an agent does not fit.
        default: who answers when nobody fits.

    Raises:
        AgentNotFoundError: nobody fits.
        ConfigurationError: only similarity can tell, and there is no pipeline.
    """
    allowed = [member for member in members if not member.users or user_id in member.users]
    if task is not None:
        allowed = [member for member in allowed if task in member.tasks or not member.tasks]
    if not allowed:
        raise AgentNotFoundError(
            "the orchestrator has no agent for this " + ("task and user" if task is not None else "user"),
            hint="register one that names them, or one that names neither",
        )
    similarity = await _similarities(allowed, query, pipeline, needed=any(not _reason(m, task) for m in allowed))
    if len(allowed) == 1:
        return [(allowed[0], _reason(allowed[0], task) or "only")]
    order = sorted(
        (member for member in allowed if _reason(member, task) or similarity.get(member, 0.0) >= least),
        key=lambda member: (
            task is None or task not in member.tasks,
            not member.users,
            -similarity.get(member, 0.0),  # sorting is stable: who came first stays first among equals
        ),
    )
    ranked = [(member, _reason(member, task) or "similarity") for member in order]
    ranked += [(m, "default") for m in allowed if m.name == default and m not in order]
    if not ranked:
        best = max(similarity.values(), default=0.0)
        raise AgentNotFoundError(
            f"no agent says that it does anything like this (the best similarity is {best:.2f}, below {least:.2f})",
            hint="name a task, improve the descriptions, or give Orchestrator(default=...)",
        )
    return ranked


def _reason(member: Member, task: str | None) -> str:
    """Why it fits, apart from similarity; empty when only that can tell."""
    if task is not None and task in member.tasks:
        return "task"
    return "user" if member.users else ""


async def _similarities(
    members: list[Member], query: str, pipeline: EmbeddingPipeline | None, *, needed: bool
) -> dict[Member, float]:
    """How much the question is like what each says it does: cosines; nothing where there is nothing to choose."""
    if len(members) < 2:
        return {}
    if pipeline is None:
        if not needed:
            return {}
        raise ConfigurationError(
            "only the similarity of descriptions can tell which agent fits, and nothing here compares texts",
            hint="give Orchestrator(embedding_pipeline=...), or route by task",
        )
    model_id = pipeline.model_id
    unknown = [member for member in members if member.vector is None or member.vector[0] != model_id]
    if unknown:
        vectors = await pipeline.aembed_batch([member.about for member in unknown])
        for member, vector in zip(unknown, vectors, strict=True):
            member.vector = (model_id, vector)
    asked = await pipeline.aembed(query)
    return {
        member: round(float(np.dot(member.vector[1], asked)), _DIGITS)
        for member in members
        if member.vector is not None
    }
