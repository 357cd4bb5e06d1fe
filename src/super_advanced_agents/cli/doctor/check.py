"""The result of looking at one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: what was found, and what to do if it is not well."""

    name: str
    ok: bool
    detail: str
    hint: str = ""
