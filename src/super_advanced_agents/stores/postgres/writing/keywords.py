"""The keyword index in tables: an entry for each text, and a posting for each of its terms.

A posting says how often the term is in the record's text and in its window, which joins the text with those of the
records before and after it in its session. Entries and postings are written in the transaction of their records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from super_advanced_agents._runtime.postgres import Connection, Database
from super_advanced_agents.stores.postgres.codecs import packed_integers, packed_texts
from super_advanced_agents.stores.postgres.scopes import Delta, Scope
from super_advanced_agents.stores.text.analyzer import NO_TEXT, Analysis, analyze, term_counts, window_terms
from super_advanced_agents.stores.text.bm25 import length_code, lengths_of
from super_advanced_agents.stores.text.languages import ENGLISH

_MAX_COUNT = 32_767


class Turn(NamedTuple):
    """Hold where a record is in its session, for finding the records whose windows it changes."""

    session: str
    place: int
    seq: int


class KeywordWriter:
    """Keep entries and postings in step with the records, within the transaction of a write.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._remove = database.sql(
            """WITH gone AS (
                DELETE FROM {schema}.entries WHERE seq = ANY(%s::bigint[])
                RETURNING seq, text_length, window_length, terms
            ), dropped AS (
                DELETE FROM {schema}.postings p USING (SELECT seq, unnest(terms) AS term FROM gone) g
                WHERE p.tenant = %s AND p.term = g.term AND p.scope = %s AND p.seq = g.seq
            )
            SELECT count(*), coalesce(sum(text_length), 0)::bigint, coalesce(sum(window_length), 0)::bigint FROM gone"""
        )
        self._touched = database.sql(
            """WITH touched AS (
                SELECT DISTINCT n.seq FROM unnest(%(sessions)s::text[], %(places)s::bigint[], %(seqs)s::bigint[])
                    AS p(session, place, seq)
                CROSS JOIN LATERAL (
                    SELECT p.seq
                    UNION ALL (SELECT b.seq FROM {schema}.records b WHERE b.scope = %(scope)s AND b.session = p.session
                        AND (b.place, b.seq) < (p.place, p.seq) ORDER BY b.place DESC, b.seq DESC LIMIT 1)
                    UNION ALL (SELECT a.seq FROM {schema}.records a WHERE a.scope = %(scope)s AND a.session = p.session
                        AND (a.place, a.seq) > (p.place, p.seq) ORDER BY a.place, a.seq LIMIT 1)
                ) n
            )
            SELECT r.seq, r.text, b.seq, b.text, a.seq, a.text
            FROM touched t JOIN {schema}.records r ON r.scope = %(scope)s AND r.seq = t.seq
            LEFT JOIN LATERAL (SELECT x.seq, x.text FROM {schema}.records x
                WHERE x.scope = %(scope)s AND x.session = r.session AND (x.place, x.seq) < (r.place, r.seq)
                ORDER BY x.place DESC, x.seq DESC LIMIT 1) b ON TRUE
            LEFT JOIN LATERAL (SELECT x.seq, x.text FROM {schema}.records x
                WHERE x.scope = %(scope)s AND x.session = r.session AND (x.place, x.seq) > (r.place, r.seq)
                ORDER BY x.place, x.seq LIMIT 1) a ON TRUE
            WHERE r.text IS NOT NULL"""
        )
        self._add_entries = database.sql(
            """INSERT INTO {schema}.entries (seq, text_length, window_length, terms)
            SELECT seq, text_length, window_length, string_to_array(terms, ' ')
            FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::text[])
                AS e(seq, text_length, window_length, terms)"""
        )
        self._add_postings = database.sql(
            "COPY {schema}.postings (seq, tenant, scope, text_length, window_length, text_count, window_count, term) "
            "FROM STDIN"
        )

    async def follow(
        self,
        connection: Connection,
        scope: Scope,
        delta: Delta,
        *,
        removed: Sequence[int],
        added: Mapping[int, Analysis],
        turns: Sequence[Turn],
    ) -> None:
        """Bring the index up to date after records were removed and added in the open transaction.

        Args:
            connection: that of the transaction.
            scope: the locked scope of the records.
            delta: counts the change.
            removed: the numbers of removed rows.
            added: the terms of the texts of added rows.
            turns: the removed and the added rows that are in sessions.
        """
        entries = {} if not added else {seq: ("", each.terms, "") for seq, each in added.items()}
        others: set[int] = set()
        if turns:
            windows = await self._windows(connection, scope, turns, added, delta)
            others = windows.keys() - added.keys()
            entries.update(windows)
        gone = [*removed, *others]
        if gone:
            cursor = await connection.execute(self._remove, (packed_integers(gone), scope.tenant, scope.number))
            row = await cursor.fetchone()
            assert row is not None
            delta.texts -= row[0]
            delta.text_terms -= row[1]
            delta.window_terms -= row[2]
        delta.languages.update({each.language for each in added.values()} - {ENGLISH})
        if entries:
            await self._insert(connection, scope, delta, entries)

    async def _windows(
        self, connection: Connection, scope: Scope, turns: Sequence[Turn], added: Mapping[int, Analysis], delta: Delta
    ) -> dict[int, tuple[str, str, str]]:
        sessions, places, seqs = zip(*turns, strict=True)
        cursor = await connection.execute(
            self._touched,
            {
                "sessions": packed_texts(sessions),
                "places": packed_integers(places),
                "seqs": packed_integers(seqs),
                "scope": scope.number,
            },
        )
        known = dict(added)

        def terms(seq: int | None, text: str | None) -> str:
            if seq is None or text is None:
                return NO_TEXT.terms
            if seq not in known:
                known[seq] = analyze(text)
            return known[seq].terms

        return {
            seq: (terms(before, before_text), terms(seq, text), terms(after, after_text))
            for seq, text, before, before_text, after, after_text in await cursor.fetchall()
        }

    async def _insert(
        self, connection: Connection, scope: Scope, delta: Delta, entries: Mapping[int, tuple[str, str, str]]
    ) -> None:
        rows = _Rows.of(scope, entries)
        delta.texts += len(rows.seqs)
        delta.text_terms += sum(rows.text_lengths)
        delta.window_terms += sum(rows.window_lengths)
        await connection.execute(
            self._add_entries,
            (packed_integers(rows.seqs), packed_integers(rows.text_lengths, size=4),
             packed_integers(rows.window_lengths, size=4), packed_texts(rows.distinct)),
        )  # fmt: skip
        if rows.postings:
            # In the order of their index, which makes a batch a third faster; COPY spares another third.
            lines = [f"{posting}\t{term}\n" for term, posting in sorted(rows.postings)]
            async with connection.cursor().copy(self._add_postings) as copy:
                await copy.write("".join(lines))


class _Rows(NamedTuple):
    seqs: list[int]
    text_lengths: list[int]
    window_lengths: list[int]
    distinct: list[str]
    postings: list[tuple[str, str]]

    @classmethod
    def of(cls, scope: Scope, entries: Mapping[int, tuple[str, str, str]]) -> _Rows:
        rows = cls([], [], [], [], [])
        for seq, (before, text, after) in entries.items():
            of_text = term_counts(text)
            of_window = term_counts(window_terms(before, text, after)) if before or after else of_text
            text_length, window_length = of_text.total(), of_window.total()
            rows.seqs.append(seq)
            rows.text_lengths.append(text_length)
            rows.window_lengths.append(window_length)
            rows.distinct.append(" ".join(of_window))
            lengths = f"{_scored_length(text_length)}\t{_scored_length(window_length)}"
            row = f"{seq}\t{scope.tenant}\t{scope.number}\t{lengths}"
            rows.postings.extend(
                (term.replace("\\", "\\\\"), f"{row}\t{min(of_text[term], _MAX_COUNT)}\t{min(count, _MAX_COUNT)}")
                for term, count in of_window.items()
            )
        return rows


def _scored_length(length: int) -> int:
    # As the embedded store scores it: longer fields share a length with others.
    return _LENGTHS[length_code(length)]


_LENGTHS = [int(each) for each in lengths_of(np.arange(256, dtype=np.uint8))]
