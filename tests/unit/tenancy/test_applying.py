"""Test that the summary of an import counts exactly what became durable, also of a batch that was broken off."""

from __future__ import annotations

from contextlib import closing

import pytest

from super_advanced_agents import FAISSVectorStore, LLMAgent, Memory
from super_advanced_agents.tenancy.importing.applying import Applier
from super_advanced_agents.tenancy.importing.plan import Delete, Plan, Store
from super_advanced_agents.tenancy.importing.summary import Summary

_BATCH = 64  # the least that one write has


class _Interrupted(LLMAgent):
    """Is interrupted by Ctrl-C at its second write of memories: before it, or after it is durable."""

    writes_before_interruption = True
    calls = 0

    def add_text_memories(self, items, **options):
        self.calls += 1
        if self.calls == 2 and not self.writes_before_interruption:
            raise KeyboardInterrupt
        uids = super().add_text_memories(items, **options)
        if self.calls == 2:
            raise KeyboardInterrupt
        return uids


@pytest.fixture
def agent(embedder):
    with FAISSVectorStore(dim=384) as store:
        yield _Interrupted("tester", store, embedder)


def _apply(agent, steps):
    summary, durable = Summary(), []
    with closing(Plan()) as plan:
        for step in steps:
            plan.append(step)
        applier = Applier(agent, summary=summary, on_stored=durable.append, on_rejected=lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            applier.apply(plan)
    return summary


@pytest.mark.parametrize("writes", [True, False])
def test_interrupted_import_counts_the_batch_that_was_broken_off_if_it_is_durable(agent, writes):
    """What it says to have stored is what is there."""
    agent.writes_before_interruption = writes
    steps = [Store(Memory(text=f"note {n}", uid=f"u{n}"), "a.md", n, replaces=False) for n in range(3 * _BATCH)]
    summary = _apply(agent, steps)
    assert agent.count() == (2 if writes else 1) * _BATCH
    assert (summary.stored, summary.replaced) == (agent.count(), 0)


@pytest.mark.parametrize("writes", [True, False])
def test_interrupted_import_counts_replaced_texts_by_what_stands_there_now(agent, writes):
    """An older text under the same uid does not count as stored."""
    uids = [f"u{n}" for n in range(2 * _BATCH)]
    agent.vector_store.add_batch(
        agent.embedding_pipeline.embed_batch(["old"] * len(uids)),
        [{"text": "old", "type": "document"}] * len(uids),
        uids,
        namespace=agent.namespace,
        model_id=agent.embedding_pipeline.model_id,
    )
    agent.writes_before_interruption = writes
    steps = [Store(Memory(text=f"new {uid}", uid=uid), "a.md", 1, replaces=True) for uid in uids]
    summary = _apply(agent, steps)
    replaced = sum(record.text != "old" for record in agent.scan(limit=1_000))
    assert (summary.stored, summary.replaced) == (replaced, replaced)


def test_interrupted_import_counts_no_deletion_that_it_did_not_reach(agent):
    """The plan may hold many that come later."""
    stored = [Store(Memory(text=f"note {n}", uid=f"u{n}"), "a.md", n, replaces=False) for n in range(2 * _BATCH)]
    summary = _apply(agent, [*stored[:_BATCH], Delete("u0"), *stored[_BATCH:], Delete("u1"), Delete("u2")])
    assert (summary.stored, summary.deleted, agent.count()) == (2 * _BATCH, 1, 2 * _BATCH - 1)
