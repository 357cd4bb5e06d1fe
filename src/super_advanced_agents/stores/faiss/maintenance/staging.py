"""The staging table of a re-embedding, which at the end becomes the table of vectors.

It is filled while the store is used. The table `staged_vectors` and the setting `reembedding` exist from the start of a
re-embedding to its switch. Rows are staged in the order of their numbers, and a written record always gets a new,
higher number: so the rows above the highest staged one remain to be embedded, also after a kill. Dropping the old table
takes 5 s for a million rows, so the switch renames it to `dropped_vectors`, which is emptied in steps afterwards.
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
    """Read and write the SQLite table that collects the new vectors of a re-embedding.

    Methods that write are called inside a transaction of the writer thread.
    """

    def __init__(self, rows: RecordTable) -> None:
        self._rows = rows

    # -- reading, by any thread -----------------------------------------------------------------------------------

    def page(self, after: int, n: int) -> list[tuple[int, str]]:
        """Return (row number, text) of the first n rows above row `after` that have a text."""
        query = "SELECT seq, text FROM records WHERE seq > ? AND text IS NOT NULL ORDER BY seq LIMIT ?"
        return self._rows._all(query, (after, n))

    def count_without_text(self) -> int:
        """Count the rows that have no text to embed."""
        [(n,)] = self._rows._all("SELECT count(*) FROM records WHERE text IS NULL")
        return int(n)

    def count_after(self, after: int) -> int:
        """Count the rows with a text whose number is above `after`."""
        [(n,)] = self._rows._all("SELECT count(*) FROM records WHERE seq > ? AND text IS NOT NULL", (after,))
        return int(n)

    def is_needed(self, model_id: str, dim: int) -> bool:
        """Return True if any vector is of another embedding model or length than the given ones."""
        query = "SELECT 1 FROM records LEFT JOIN models ON models.id = model WHERE model_id IS NOT ? LIMIT 1"
        return self._rows.setting("dim") != str(dim) or bool(self._rows._all(query, (model_id,)))

    def count(self) -> int:
        """Count all records of the store."""
        [(n,)] = self._rows._all("SELECT count(*) FROM records")
        return int(n)

    def uid_of(self, seq: int) -> str:
        """Return the record id (uid) of a row number; an empty string if the row was deleted."""
        return next((uid for _, uid in self._rows.uids([seq])), "")

    # -- writing, by the writer thread ----------------------------------------------------------------------------

    def begin(self, model_id: str, dim: int) -> int:
        """Create the table for the new vectors, or reuse that of an interrupted re-embedding.

        It is reused only for the same embedding model and vector length.

        Returns:
            The last staged row; 0 for none.
        """
        writer = self._rows._writer
        setting = orjson.dumps({"model_id": model_id, "dim": dim}).decode()
        stored = writer.execute("SELECT value FROM settings WHERE name = ?", (_SETTING,)).fetchone()
        if stored is not None and stored[0] == setting:
            return int(writer.execute("SELECT coalesce(max(seq), 0) FROM staged_vectors").fetchone()[0])
        self.discard()
        writer.execute("CREATE TABLE staged_vectors (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL)")
        self._rows.set_setting(_SETTING, setting)
        return 0

    def discard(self) -> None:
        """Drop the tables and the setting that an interrupted re-embedding left behind."""
        for table in ("staged_vectors", "dropped_vectors"):
            self._rows._writer.execute(f"DROP TABLE IF EXISTS {table}")
        self._rows._writer.execute("DELETE FROM settings WHERE name = ?", (_SETTING,))

    def delete_some_replaced(self) -> bool:
        """Delete one batch of the vectors that were replaced; return True while some are left."""
        query = "DELETE FROM dropped_vectors WHERE seq IN (SELECT seq FROM dropped_vectors ORDER BY seq LIMIT ?)"
        deleted = self._rows._writer.execute(query, (_STEP_ROWS,))
        if deleted.rowcount == _STEP_ROWS:
            return True
        self._rows._writer.execute("DROP TABLE dropped_vectors")
        return False

    def stage(self, seqs: Sequence[int], vectors: Matrix) -> None:
        """Write the (n, dim) new vectors of n rows to the staging table.

        The vectors of rows that are deleted meanwhile are dropped by `switch`.
        """
        self._rows._writer.executemany(
            "INSERT OR REPLACE INTO staged_vectors VALUES (?, ?)",
            ((seq, vector.tobytes()) for seq, vector in zip(seqs, vectors, strict=True)),
        )

    def delete_without_text(self) -> int:
        """Delete the records that have no text, and return how many there were."""
        writer = self._rows._writer
        writer.execute("DELETE FROM vectors WHERE seq IN (SELECT seq FROM records WHERE text IS NULL)")
        return int(writer.execute("DELETE FROM records WHERE text IS NULL").rowcount)

    def switch(self, model_id: str, dim: int) -> tuple[int, str]:
        """Replace the table of vectors by the staging table, and give the store a new identity.

        The identity is a random id. Snapshots of the old vectors become invalid: they name the old identity, and their
        tokens are deleted.

        Returns:
            The number of records, and the new identity, which the caller sets in `RecordTable` after the commit.

        Raises:
            StoreError: a row has no staged vector; the transaction must not be committed.
        """
        writer = self._rows._writer
        writer.execute("DELETE FROM staged_vectors WHERE seq NOT IN (SELECT seq FROM records)")
        [records, staged] = writer.execute(
            "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM staged_vectors)"
        ).fetchone()
        if records != staged:
            raise StoreError(
                f"of {records} records {records - staged} have no new vector",
                hint="the old vectors stay in use; re-embed again",
            )
        writer.execute(
            "DROP TABLE IF EXISTS dropped_vectors"
        )  # left by a process that was killed while it emptied the table
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
