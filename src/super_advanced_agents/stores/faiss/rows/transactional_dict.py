"""A dictionary whose writes readers see only after the transaction has committed."""

from __future__ import annotations

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class TransactionalDict(Generic[Key, Value]):
    """Map keys to committed values for readers, and to pending ones for the writer.

    Any thread may read; only the writer thread sees and sets pending values. They must not reach readers early: after
    a rollback SQLite assigns the same row id again, to another key.
    """

    def __init__(self, committed: dict[Key, Value]) -> None:
        self._committed = committed
        self._pending: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self._committed)

    def get(self, key: Key) -> Value | None:
        """Return the committed value of a key; None when there is none."""
        return self._committed.get(key)

    def latest(self, key: Key) -> Value | None:
        """Return the value that the writer sees, pending or committed; None when there is none."""
        pending = self._pending.get(key) if self._pending else None
        return self._committed.get(key) if pending is None else pending

    def set(self, key: Key, value: Value) -> None:
        """Set a value that readers see only after `commit`."""
        self._pending[key] = value

    def items(self) -> list[tuple[Key, Value]]:
        """Return a copy of the committed items."""
        return list(self._committed.items())

    def commit(self) -> None:
        """Make the pending values visible to readers."""
        self._committed.update(self._pending)
        self._pending.clear()

    def roll_back(self) -> None:
        """Discard the pending values."""
        self._pending.clear()
