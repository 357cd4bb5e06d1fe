"""The result of one check of `saa doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check of `saa doctor`, such as that of a library or the disk.

    Attributes:
        name: the subject of the check.
        ok: whether the subject is in order.
        detail: the finding.
        hint: the next step when it is not in order.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""
