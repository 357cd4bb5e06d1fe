"""The rows of answers to searches; one that would be too large is refused before it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.config import Limits
from super_advanced_agents.stores.postgres.codecs import packed_integers
from super_advanced_agents.stores.postgres.rows import MATCH_BYTES, MATCH_COLUMNS, as_match
from super_advanced_agents.stores.records.answer_sizes import (
    EXPLANATION_BYTES,
    AnswerNeedsReservationError,
    largest_match_bytes,
    matches_too_large,
)
from super_advanced_agents.types import ExplainedMatch, Explanation, Match


class Found(NamedTuple):
    """Hold the number of a row, its score, and its `MATCH_COLUMNS` where they were read too."""

    seq: int
    score: float
    row: tuple[Any, ...] | None


class Ranked(NamedTuple):
    """Hold rows, best first, with their similarities to the query and their explanations."""

    ranking: list[Found]
    similarities: Sequence[float | None]
    explanations: list[Explanation] | None


class MatchReader:
    """Read the rows of answers. All methods run in the event loop of the database's connections.

    Args:
        database: the database.
        limits: the limits of an answer.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._limits = limits
        self._match_bytes = largest_match_bytes(limits)
        of_seqs = "FROM {schema}.records r WHERE r.scope = ANY(%s::integer[]) AND r.seq = ANY(%s::bigint[])"
        self._rows = database.sql(f"SELECT r.seq, {MATCH_COLUMNS} {of_seqs}")
        self._bytes = database.sql(f"SELECT r.seq, {MATCH_BYTES} {of_seqs}")

    def may_be_too_large(self, matches: int, allowance: int | None) -> bool:
        """Return whether matches of the largest size would be more than an answer may hold."""
        return matches * self._match_bytes > self._most(allowance)

    async def matches(
        self, connection: Connection, numbers: list[int], ranked: Ranked, *, top_k: int, allowance: int | None
    ) -> list[Match]:
        """Return the matches of ranked rows; rows that are gone are left out."""
        ranking, similarities, explanations = ranked
        if not ranking:
            return []
        extra = EXPLANATION_BYTES if explanations is not None else 0
        [found] = await self.with_rows(connection, numbers, [ranking], top_k=top_k, allowance=allowance, extra=extra)
        matches: list[Match] = []
        for i, (_, score, row) in enumerate(found):
            if row is not None:
                match = as_match(row, score, similarities[i])
                matches.append(match if explanations is None else ExplainedMatch.of(match, explanations[i]))
        return matches

    async def with_rows(
        self,
        connection: Connection,
        numbers: list[int],
        found: list[list[Found]],
        *,
        top_k: int,
        allowance: int | None,
        extra: int = 0,
    ) -> list[list[Found]]:
        """Return ranked rows with their columns, which are None where a row is gone.

        Args:
            connection: that of the search.
            numbers: the scopes.
            found: a ranking for each query.
            top_k: the matches that each query asks for, for the message.
            allowance: the bytes that an answer may have now; None for no other limit than that of all answers.
            extra: the bytes that each match takes beside its row.

        Raises:
            InvalidInputError: the rows are larger than an answer may be.
            AnswerNeedsReservationError: they are larger than `allowance`.
        """
        seqs = packed_integers(sorted({each.seq for ranking in found for each in ranking}))
        if self.may_be_too_large(sum(map(len, found)), allowance):
            cursor = await connection.execute(self._bytes, (numbers, seqs))
            sizes: dict[int, int] = dict(await cursor.fetchall())
            listed = [sizes.get(each.seq, 0) + extra for ranking in found for each in ranking]
            if sum(listed) > self._limits.answer_bytes:
                mean = sum(listed) / len(listed)
                raise matches_too_large(self._limits, mean, top_k=top_k, queries=len(found))
            if sum(listed) > self._most(allowance):
                raise AnswerNeedsReservationError
        cursor = connection.cursor(binary=True)
        await cursor.execute(self._rows, (numbers, seqs))
        rows = {seq: tuple(row) for seq, *row in await cursor.fetchall()}
        return [[Found(seq, score, rows.get(seq)) for seq, score, _ in ranking] for ranking in found]

    def _most(self, allowance: int | None) -> int:
        return self._limits.answer_bytes if allowance is None else min(allowance, self._limits.answer_bytes)
