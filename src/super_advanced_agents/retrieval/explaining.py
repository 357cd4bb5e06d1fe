"""Explanations of scores that consist of a single signal, such as vector similarity."""

from __future__ import annotations

from collections.abc import Iterable

from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Signal


def explained(matches: Iterable[Match], name: str) -> list[Match]:
    """Explain each match's score by the single signal `name`; return the explained matches."""
    return [ExplainedMatch.of(match, Explanation(signals=(one_signal(name, match.score),))) for match in matches]


def one_signal(name: str, score: float) -> Signal:
    """Return a `Signal` that makes up the whole score."""
    return Signal(name=name, value=score, scaled=score, weight=1.0, added=score)
