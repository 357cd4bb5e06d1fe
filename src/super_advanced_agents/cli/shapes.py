"""Memories and matches as commands print them, for programs and for people."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from super_advanced_agents.cli.output import one_line, say, shown
from super_advanced_agents.protocol.json_codec import json_of_match
from super_advanced_agents.types import ExplainedMatch, JSONValue, Match, Record


def match_json(match: Match) -> dict[str, JSONValue]:
    """One search result, in the same shape as the server's."""
    shown: dict[str, JSONValue] = orjson.loads(orjson.dumps(json_of_match(match)))
    return shown


def record_json(record: Record) -> dict[str, JSONValue]:
    """One memory, in the same shape as the server's."""
    return {
        "uid": record.uid,
        "text": record.text,
        "metadata": record.metadata,
        "source": record.source,
        "session": record.session,
        "model_id": record.model_id,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "expires_at": record.expires_at,
    }


def say_matches(matches: Sequence[Match]) -> None:
    """Search results for people: rank, score, text, name; below them what the score is made of, if that is known."""
    for rank, match in enumerate(matches, start=1):
        say(f"{rank:>3}. {match.score:.3f}  {one_line(str(match.metadata.get('text', '')), 400)}")
        say(f"            {shown(match.uid)}")
        if isinstance(match, ExplainedMatch):
            for signal in match.explanation.signals:
                counted = f"{signal.scaled:.3f} x {signal.weight:.3f}"
                say(f"            {signal.added:+.3f}  {signal.name:<8}  {counted}  (measured {signal.value:.3f})")
