"""New vectors beside the old ones: a table that is filled while the store is used, and takes the place of the other.

`staged_vectors` and the setting `reembedding` exist from the beginning of a re-embedding to its switch. Rows are staged
in the order of their numbers, and a written record always gets a new, higher number: so whatever is above the highest
staged row is what is left to do, also after a kill. Dropping the old table takes 5 s for a million rows, so the switch
renames it to `dropped_vectors`, which is emptied in steps afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import orjson

from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.types import Matrix

_SETTING = "reembedding"
_STEP_ROWS = 2_000


class Staging:
    """The staged vectors of one store; what writes is called inside a transaction of the writer thread."""

    def __init__(self, rows: RecordTable) -> None:
        self._rows = rows

    # -- reading, by any thread -----------------------------------------------------------------------------------

    def page(self, after: int, n: int) -> list[tuple[int, str]]:
        """(row, text) of the next n rows that have a text."""
        query = "SELECT seq, text FROM records WHERE seq > ? AND text IS NOT NULL ORDER BY seq LIMIT ?"
        return self._rows._all(query, (after, n))

    def bare(self) -> int:
        """How many rows have no text to embed."""
        [(n,)] = self._rows._all("SELECT count(*) FROM records WHERE text IS NULL")
        return int(n)

    def left(self, after: int) -> int:
        """How many rows with a text come after row `after`."""
        [(n,)] = self._rows._all("SELECT count(*) FROM records WHERE seq > ? AND text IS NOT NULL", (after,))
        return int(n)

    def is_needed(self, model_id: str, dim: int) -> bool:
        """Whether a vector is not of this model, or none could be."""
        query = "SELECT 1 FROM records LEFT JOIN models ON models.id = model WHERE model_id IS NOT ? LIMIT 1"
        return self._rows.setting("dim") != str(dim) or bool(self._rows._all(query, (model_id,)))

    def count(self) -> int:
        """How many rows there are."""
        [(n,)] = self._rows._all("SELECT count(*) FROM records")
        return int(n)

    def name_of(self, seq: int) -> str:
        """The uid of a row; empty when it is gone."""
        return next((uid for _, uid in self._rows.uids([seq])), "")

    # -- writing, by the writer thread ----------------------------------------------------------------------------

    def begin(self, model_id: str, dim: int) -> int:
        """Make the table, or go on with that of an attempt with the same model.

        Returns:
            The last row that is staged.
        """
        writer = self._rows._writer
        wanted = orjson.dumps({"model_id": model_id, "dim": dim}).decode()
        found = writer.execute("SELECT value FROM settings WHERE name = ?", (_SETTING,)).fetchone()
        if found is not None and found[0] == wanted:
            return int(writer.execute("SELECT coalesce(max(seq), 0) FROM staged_vectors").fetchone()[0])
        self.forget()
        writer.execute("CREATE TABLE staged_vectors (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL)")
        self._rows.set_setting(_SETTING, wanted)
        return 0

    def forget(self) -> None:
        """Drop what an attempt that was broken off has left."""
        for table in ("staged_vectors", "dropped_vectors"):
            self._rows._writer.execute(f"DROP TABLE IF EXISTS {table}")
        self._rows._writer.execute("DELETE FROM settings WHERE name = ?", (_SETTING,))

    def clear_some(self) -> bool:
        """Delete some of the vectors that were replaced; returns whether there are more."""
        some = "DELETE FROM dropped_vectors WHERE seq IN (SELECT seq FROM dropped_vectors ORDER BY seq LIMIT ?)"
        deleted = self._rows._writer.execute(some, (_STEP_ROWS,))
        if deleted.rowcount == _STEP_ROWS:
            return True
        self._rows._writer.execute("DROP TABLE dropped_vectors")
        return False

    def keep(self, seqs: Sequence[int], vectors: Matrix) -> None:
        """Stage the (n, dim) vectors of n rows; those deleted meanwhile go with the switch."""
        self._rows._writer.executemany(
            "INSERT OR REPLACE INTO staged_vectors VALUES (?, ?)",
            ((seq, vector.tobytes()) for seq, vector in zip(seqs, vectors, strict=True)),
        )

    def drop_bare(self) -> int:
        """Delete the rows without a text; returns how many."""
        writer = self._rows._writer
        writer.execute("DELETE FROM vectors WHERE seq IN (SELECT seq FROM records WHERE text IS NULL)")
        return int(writer.execute("DELETE FROM records WHERE text IS NULL").rowcount)

    def switch(self, model_id: str, dim: int) -> tuple[int, str]:
        """Put the staged vectors in the place of the others, as those of `model_id` in a store of a new identity.

        Snapshots of the old vectors fit neither that identity nor, their names being forgotten, this table.

        Returns:
            How many records there are, and the new identity, which the caller lets `RecordTable` know after the commit.

        Raises:
            StoreError: a row has no staged vector; the transaction must not be committed.
        """
        writer = self._rows._writer
        writer.execute("DELETE FROM staged_vectors WHERE seq NOT IN (SELECT seq FROM records)")
        [records, staged] = writer.execute(
            "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM staged_vectors)"
        ).fetchone()
        if records != staged:
            raise StoreError(f"of {records} records {records - staged} have no new vector", hint="nothing was switched")
        writer.execute("DROP TABLE IF EXISTS dropped_vectors")  # of a process that was killed while it emptied it
        writer.execute("ALTER TABLE vectors RENAME TO dropped_vectors")
        writer.execute("ALTER TABLE staged_vectors RENAME TO vectors")
        model = self._rows._model_id(model_id)
        writer.execute("UPDATE records SET model = ?1 WHERE model IS NOT ?1", (model,))
        writer.execute("UPDATE scopes SET model = ?1 WHERE model IS NOT ?1", (model,))
        for (scope,) in writer.execute("SELECT id FROM scopes").fetchall():
            self._rows._scope_models.set(scope, model)
        identity = uuid4().hex
        self._rows.set_setting("dim", str(dim))
        self._rows.set_setting("identity", identity)
        writer.execute("DELETE FROM settings WHERE name IN (?, 'snapshots')", (_SETTING,))
        return int(records), identity
