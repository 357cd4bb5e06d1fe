"""Explanations of scores that consist of one signal; they need no help from the store."""

from __future__ import annotations

from collections.abc import Iterable

from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Signal


def explained(matches: Iterable[Match], name: str) -> list[Match]:
    """Return the matches with explanations in which the signal `name` is the whole score."""
    return [ExplainedMatch.of(match, Explanation(signals=(one_signal(name, match.score),))) for match in matches]


def one_signal(name: str, score: float) -> Signal:
    """Return a signal that is the whole score."""
    return Signal(name=name, value=score, scaled=score, weight=1.0, added=score)
