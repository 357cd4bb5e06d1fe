"""Conversion of search results to protobuf messages, and back.

The stored bytes of a row's metadata are sent unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.packing import json_object
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Signal
from super_advanced_agents.types.objects import OPTIONAL_MATCH_MEMBERS

_MAX_DEPTH = 16
_SIGNAL = tuple(Signal.__dataclass_fields__)


def match_message(match: Match, field: str = "") -> shared.Match:
    """Encode one search result as a protobuf message.

    Args:
        match: the search result.
        field: not used.
    """
    del field  # the signature is that of every encoder in `codec`
    message = shared.Match(
        uid=match.uid,
        score=match.score,
        metadata=match.metadata_json,
        text=match.stored_text,
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
    """Decode one search result from its protobuf message.

    Args:
        message: as received.
        field: the name of the message in errors.

    Raises:
        InvalidInputError: the metadata is not a JSON object, or the explanation is nested too deeply.
    """
    metadata = json_object(message.metadata, field=field, allow_empty=True)
    optional: dict[str, Any] = {
        name: getattr(message, name) if message.HasField(name) else None for name in OPTIONAL_MATCH_MEMBERS
    }
    if message.HasField("text"):
        metadata = {"text": message.text, **metadata}
    match = Match(metadata, message.score, message.uid, **optional)
    if not message.HasField("explanation"):
        return match
    return ExplainedMatch.of(match, _explanation_of(message.explanation))


def matches_message(matches: Iterable[Match], field: str = "") -> shared.Matches:
    """Encode the search results of one query as a protobuf message.

    Args:
        matches: the search results, best first.
        field: not used.
    """
    del field
    return shared.Matches(matches=map(match_message, matches))


def matches_of(message: shared.Matches, field: str = "matches") -> list[Match]:
    """Decode the search results of one query from a protobuf message.

    Raises:
        InvalidInputError: the metadata of a result is not a JSON object, or its explanation is nested too deeply.
    """
    return [match_of(match, field) for match in message.matches]


def _explanation_message(explanation: Explanation) -> shared.Explanation:
    retrieved = explanation.retrieved
    return shared.Explanation(
        signals=[shared.Signal(**asdict(signal)) for signal in explanation.signals],
        retrieved=None if retrieved is None else _explanation_message(retrieved),
    )


def _explanation_of(message: shared.Explanation, depth: int = 0) -> Explanation:
    if depth > _MAX_DEPTH:
        raise InvalidInputError("the explanation of a match is nested too deeply", field="matches")
    return Explanation(
        signals=tuple(Signal(**{name: getattr(signal, name) for name in _SIGNAL}) for signal in message.signals),
        retrieved=_explanation_of(message.retrieved, depth + 1) if message.HasField("retrieved") else None,
    )
