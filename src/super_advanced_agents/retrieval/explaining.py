"""Explanations of scores that are one signal, which the searches of one kind need no help of the store for."""

from __future__ import annotations

from collections.abc import Iterable

from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Signal


def explained(matches: Iterable[Match], name: str) -> list[Match]:
    """The same matches, each saying that its score is the signal `name` and nothing else."""
    return [ExplainedMatch.of(match, Explanation(signals=(one_signal(name, match.score),))) for match in matches]


def one_signal(name: str, score: float) -> Signal:
    """A signal that is the whole score."""
    return Signal(name=name, value=score, scaled=score, weight=1.0, added=score)
