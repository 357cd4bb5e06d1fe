"""A fixture that records what keyword indexes do."""

from __future__ import annotations

import pytest

from super_advanced_agents.stores.faiss.keywords.buffer import KeywordBuffer
from super_advanced_agents.stores.faiss.keywords.postings import PostingsIndex


class Activity:
    """The work of keyword indexes since `reset`, counted at their public methods.

    Attributes:
        indexed: how often entries were written to an index on disk.
        buffered: how many rows were put into a buffer.
        buffer_rows: the size of the buffer at each search that found a term in it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was recorded."""
        self.indexed, self.buffered, self.buffer_rows = 0, 0, []


@pytest.fixture
def activity(monkeypatch) -> Activity:
    """Record what keyword indexes do."""
    recorded, add, put, scores = Activity(), PostingsIndex.add, KeywordBuffer.put, KeywordBuffer.scores

    def recording_add(index, entries):
        recorded.indexed += 1
        add(index, entries)

    def recording_put(buffer, row, entry):
        recorded.buffered += 1
        put(buffer, row, entry)

    def recording_scores(buffer, *arguments):
        recorded.buffer_rows.append(len(buffer.rows))
        return scores(buffer, *arguments)

    monkeypatch.setattr(PostingsIndex, "add", recording_add)
    monkeypatch.setattr(KeywordBuffer, "put", recording_put)
    monkeypatch.setattr(KeywordBuffer, "scores", recording_scores)
    return recorded
