"""The result type of the checks that the command `saa doctor` runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Hold the result of one check of the command `saa doctor`, such as of the disk space.

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
