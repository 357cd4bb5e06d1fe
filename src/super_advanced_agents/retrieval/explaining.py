"""Explanations of search scores that come from a single signal, such as vector similarity."""

from __future__ import annotations

from collections.abc import Iterable

from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Signal


def explained(matches: Iterable[Match], name: str) -> list[Match]:
    """Return the search results with explanations that attribute each score to one signal."""
    return [ExplainedMatch.of(match, Explanation(signals=(one_signal(name, match.score),))) for match in matches]


def one_signal(name: str, score: float) -> Signal:
    """Build the `Signal` (part of a score) that accounts for a search result's whole score."""
    return Signal(name=name, value=score, scaled=score, weight=1.0, added=score)
