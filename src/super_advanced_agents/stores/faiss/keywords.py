"""Words: a BM25 index over texts and over their windows (a turn with its neighbours), kept by tantivy.

Derived from rows like everything else in memory: it follows when a search asks, so that a write never waits for it and
a search sees every acknowledged write. A folder of its own holds it while the store is open; opening builds it anew.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray
from pyroaring import BitMap
from tantivy import Filter, Occur, Query, TextAnalyzerBuilder, Tokenizer

from super_advanced_agents.stores.faiss.attributes import array_of
from super_advanced_agents.stores.faiss.links import Links
from super_advanced_agents.stores.faiss.rows import Rows
from super_advanced_agents.stores.faiss.view import View
from super_advanced_agents.telemetry import get_logger

_log = get_logger("store")

TEXT_WEIGHT = 0.5
WINDOW_WEIGHT = 1.0
"""LoCoMo evidence recall@10: a turn's own words 0.61, its window's 0.66, both so weighted, with vectors, 0.73."""

_MAX_WORDS = 48
_FEW = 512
"""Up to this many candidates are named in the query; beyond, hits are looked up among them."""
_PAGE = 1_000
_HEAP_BYTES = 32 * 1024 * 1024
_LONGEST_WORD = 64
_HOME_PREFIX = "words-"

# Words that are in most questions and say nothing of what is asked for: without them recall@10 rises from 0.64 to 0.66.
_STOP_WORDS = (  # noqa: SIM905  # eighty quoted words would hide what they are
    "a an and are as at be been being but by can could did do does for from had has have he her him his how i if in "
    "into is it its just me my no not of on or our she should so such than that the their them then there these they "
    "this to too us very was we were what when where which who will with would you your am about"
).split()


class Keywords:
    """The keyword index of one store; used by one worker thread at a time."""

    def __init__(self, rows: Rows, links: Links, folder: Path | None) -> None:
        self._rows = rows
        self._links = links
        self._folder = folder
        self._in_memory = False
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._index: tantivy.Index | None = None
        self._indexed = BitMap()
        self._followed: View | None = None

    def search(
        self, view: View, text: str, scope: int | None, candidates: BitMap, k: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The k candidates that share the most telling words with `text`, best first: rows (n,) and BM25 scores (n,).

        Every word counts by itself; nothing in `text` is syntax. Fewer than k where fewer share a word.
        """
        words = self._words(text)
        if not words or not candidates:
            return np.empty(0, np.uint32), np.empty(0, np.float32)
        with self._lock:
            try:
                searcher = self._follow(view).searcher()
            except (ValueError, OSError) as exc:  # how tantivy tells of a full or failing disk
                # Reads go on while writes wait for room, so what is derived moves into memory.
                _log.warning("store.words_in_memory", extra={"reason": str(exc)[:200]})
                self._discard()
                self._folder, self._in_memory = None, True
                searcher = self._follow(view).searcher()
            except BaseException:
                self._discard()  # half of the rows may be in it, and would be added again
                raise
        named = len(candidates) <= _FEW
        query = self._query(words, scope, array_of(candidates).tolist() if named else None)
        limit = k if named else 2 * k
        while True:
            hits = searcher.search(query, limit, count=False).hits
            found = np.array(searcher.fast_field_values("row", [address for _, address in hits]), dtype=np.uint32)
            scores = np.array([score for score, _ in hits], dtype=np.float32)
            chosen = np.fromiter((row in candidates for row in found.tolist()), dtype=bool, count=len(found))
            if chosen.sum() >= k or len(hits) < limit:
                return found[chosen][:k], scores[chosen][:k]
            limit *= 4  # most hits were filtered out

    def close(self) -> None:
        """Let go of the index and its folder."""
        with self._lock:
            self._discard()

    def _discard(self) -> None:
        if self._index is None:
            return
        try:
            self._writer.wait_merging_threads()
        except ValueError:
            _log.debug("store.words_merge_failed")  # nothing of it is kept
        self._index, self._indexed, self._followed = None, BitMap(), None
        if self._home is not None:
            self._home.cleanup()

    def _open(self) -> tantivy.Index:
        if self._index is None:
            schema = tantivy.SchemaBuilder()
            schema.add_unsigned_field("row", indexed=True, fast=True)
            schema.add_unsigned_field("scope", indexed=True)
            for field in ("text", "window"):
                schema.add_text_field(field, tokenizer_name="words", index_option="freq")
            self._schema = schema.build()
            for left_over in () if self._folder is None else self._folder.glob(f"{_HOME_PREFIX}*"):
                shutil.rmtree(left_over, ignore_errors=True)  # of a process that was killed
            # On disk a commit takes 5 to 8 ms; tantivy's own directory in memory takes 29 to 87 ms.
            self._home = None if self._in_memory else _new_home(self._folder)
            self._index = tantivy.Index(self._schema, None if self._home is None else self._home.name)
            self._index.register_tokenizer("words", _ANALYZER)
            self._writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        return self._index

    def _follow(self, view: View) -> tantivy.Index:
        """Bring the index to what the view shows."""
        index = self._open()
        if self._followed is view:
            return index
        gone = self._indexed - view.live
        changed = ((view.live - self._indexed) | self._links.take_touched()) & view.live
        stale = gone | (changed & self._indexed)
        if stale:  # by query: deleting by term misses unsigned fields without a word
            rows = array_of(stale).tolist()
            self._writer.delete_documents_by_query(Query.term_set_query(self._schema, "row", rows))
        waiting = array_of(changed)
        for start in range(0, len(waiting), _PAGE):
            self._add(waiting[start : start + _PAGE])
        if gone or changed:
            self._writer.commit()
            index.reload()
        self._indexed = view.live
        self._followed = view
        return index

    def _add(self, rows: NDArray[np.uint32]) -> None:
        before, after = self._links.neighbours(rows)
        wanted = {*rows.tolist(), *before.tolist(), *after.tolist()} - {0}
        texts = self._rows.texts(sorted(wanted))
        for row, *beside in zip(rows.tolist(), before.tolist(), after.tolist(), strict=True):
            if row not in texts:
                continue  # it has no text, or was deleted meanwhile
            scope, text = texts[row]
            first, last = (texts[near][1] if near in texts else "" for near in beside)
            document = {"row": row, "scope": scope, "text": text, "window": f"{first}\n{text}\n{last}"}
            self._writer.add_document(tantivy.Document.from_dict(document, self._schema))

    def _query(self, words: Iterable[str], scope: int | None, rows: list[int] | None) -> Query:
        schema = self._schema
        either = [
            (Occur.Should, Query.boost_query(Query.term_query(schema, field, word, "freq"), weight))
            for word in words
            for field, weight in (("text", TEXT_WEIGHT), ("window", WINDOW_WEIGHT))
        ]
        clauses = [(Occur.Must, Query.boolean_query(either))]
        if rows is not None:
            clauses.append((Occur.Must, Query.const_score_query(Query.term_set_query(schema, "row", rows), 0.0)))
        elif scope is not None:
            clauses.append((Occur.Must, Query.const_score_query(Query.term_query(schema, "scope", scope), 0.0)))
        return Query.boolean_query(clauses)

    @staticmethod
    def _words(text: str) -> list[str]:
        return list(dict.fromkeys(_ANALYZER.analyze(text)))[:_MAX_WORDS]


def _new_home(folder: Path | None) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=_HOME_PREFIX, dir=folder, ignore_cleanup_errors=True)


_ANALYZER = (
    TextAnalyzerBuilder(Tokenizer.simple())
    .filter(Filter.remove_long(_LONGEST_WORD))
    .filter(Filter.lowercase())
    .filter(Filter.ascii_fold())
    .filter(Filter.custom_stopword(_STOP_WORDS))
    .filter(Filter.stemmer("english"))
    .build()
)
