"""Search results as messages, both ways; the metadata of a stored row goes as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.packing import json_object
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Signal
from super_advanced_agents.types.objects import ABOUT_A_MATCH

_MAX_DEPTH = 16
_SIGNAL = tuple(Signal.__dataclass_fields__)


def match_message(match: Match, field: str = "") -> shared.Match:
    """Make a message of a search result."""
    del field
    message = shared.Match(
        uid=match.uid,
        score=match.score,
        metadata=match.metadata_json,
        text=match.text,
        similarity=match.similarity,
        source=match.source,
        session=match.session,
        created_at=match.created_at,
        updated_at=match.updated_at,
    )
    if isinstance(match, ExplainedMatch):
        message.explanation.CopyFrom(_explanation_message(match.explanation))
    return message


def match_of(message: shared.Match, field: str = "matches") -> Match:
    """Make a search result of a message."""
    metadata = json_object(message.metadata, field=field, or_nothing=True)
    optional: dict[str, Any] = {
        name: getattr(message, name) if message.HasField(name) else None for name in ABOUT_A_MATCH
    }
    if message.HasField("text"):
        metadata = {"text": message.text, **metadata}
    match = Match(metadata, message.score, message.uid, **optional)
    if not message.HasField("explanation"):
        return match
    return ExplainedMatch.of(match, _explanation_of(message.explanation))


def matches_message(matches: Iterable[Match], field: str = "") -> shared.Matches:
    """Make a message of what one search found."""
    del field
    return shared.Matches(matches=map(match_message, matches))


def matches_of(message: shared.Matches, field: str = "matches") -> list[Match]:
    """Make what one search found of a message."""
    return [match_of(each, field) for each in message.matches]


def _explanation_message(explanation: Explanation) -> shared.Explanation:
    retrieved = explanation.retrieved
    return shared.Explanation(
        signals=[shared.Signal(**asdict(each)) for each in explanation.signals],
        retrieved=None if retrieved is None else _explanation_message(retrieved),
    )


def _explanation_of(message: shared.Explanation, depth: int = 0) -> Explanation:
    if depth > _MAX_DEPTH:
        raise InvalidInputError("matches are explained too deeply", field="matches")
    return Explanation(
        signals=tuple(Signal(**{name: getattr(each, name) for name in _SIGNAL}) for each in message.signals),
        retrieved=_explanation_of(message.retrieved, depth + 1) if message.HasField("retrieved") else None,
    )
