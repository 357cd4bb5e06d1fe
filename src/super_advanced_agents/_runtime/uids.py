"""Time-ordered unique names: UUID version 7 (RFC 9562, section 5.7).

Time order keeps SQLite's unique index append-only; with random uids inserts fall to a third at 300k rows.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence

_lock = threading.Lock()
_last = 0
_COUNTER_BITS = 12
_COUNTED = (1 << _COUNTER_BITS) - 1
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)  # another thread of the parent may have held it


def new_uids(n: int) -> list[str]:
    """Make `n` UUIDv7 strings, each greater than every one this process made before, also when the clock goes back."""
    global _last
    with _lock:
        # Milliseconds and the 12-bit counter are one number: a full counter borrows from the future, never repeats.
        first = max((time.time_ns() // 1_000_000) << _COUNTER_BITS, _last + 1)
        _last = first + n - 1
    return _written(first, os.urandom(8 * n))


def filled_in(
    given: Sequence[str | None] | None, n: int, make: Callable[[int], Sequence[str]] = new_uids
) -> Sequence[str]:
    """Return `n` uids: those given, and for the others such as `make` makes, in order."""
    uids = [None] * n if given is None else given
    made = iter(make(sum(uid is None for uid in uids)))
    return [next(made) if uid is None else uid for uid in uids]


def uids_of(seed: bytes, at: float, start: int, n: int) -> list[str]:
    """The `n` UUIDv7 strings of a seed from its `start`-th on: the same at every call, in order, as random as the seed.

    Args:
        seed: random, unlike any other's.
        at: seconds since the epoch; when the first of them counts as made.
        start: how many of the seed were made before.
        n: how many.
    """
    noise = hashlib.shake_128(seed).digest(8 * (start + n))[8 * start :]
    return _written((int(at * 1_000) << _COUNTER_BITS) + start, noise)


def _written(first: int, noise_bytes: bytes) -> list[str]:
    """UUIDs whose time and counter, as one number, go up by one from `first`; eight random bytes for each."""
    noise = noise_bytes.hex()
    uids, milliseconds, prefix = [], -1, ""
    for i, at in enumerate(range(0, len(noise), 16), start=first):
        if i >> _COUNTER_BITS != milliseconds:
            milliseconds = i >> _COUNTER_BITS
            prefix = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7"
        variant = _VARIANTS[noise[at]]
        uids.append(f"{prefix}{i & _COUNTED:03x}-{variant}{noise[at + 1 : at + 4]}-{noise[at + 4 : at + 16]}")
    return uids
