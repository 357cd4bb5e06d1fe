"""Numbers that a table gave, known to readers only once they are committed."""

from __future__ import annotations

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class TransactionalDict(Generic[Key, Value]):
    """What is committed, read by any thread, and what the open transaction adds, seen by the writer alone.

    After a rollback a table gives the same number again, to something else.
    """

    def __init__(self, committed: dict[Key, Value]) -> None:
        self._committed = committed
        self._pending: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self._committed)

    def get(self, key: Key) -> Value | None:
        """What is committed under `key`."""
        return self._committed.get(key)

    def latest(self, key: Key) -> Value | None:
        """What the writer sees under `key`, committed or not."""
        found = self._pending.get(key) if self._pending else None
        return self._committed.get(key) if found is None else found

    def set(self, key: Key, value: Value) -> None:
        """Note what the open transaction wrote."""
        self._pending[key] = value

    def items(self) -> list[tuple[Key, Value]]:
        """What is committed, at this moment."""
        return list(self._committed.items())

    def commit(self) -> None:
        """Let readers see it."""
        self._committed.update(self._pending)
        self._pending.clear()

    def roll_back(self) -> None:
        """Forget what was noted since the last commit."""
        self._pending.clear()
