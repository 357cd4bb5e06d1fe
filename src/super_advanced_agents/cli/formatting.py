"""Output formats of memories and search results: JSON for programs, lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import orjson

from super_advanced_agents.cli.output import one_line, print_result, without_controls
from super_advanced_agents.protocol.json_codec import json_of_match, json_of_result
from super_advanced_agents.types import Answer, ExplainedMatch, JSONValue, Match, Record


def match_json(match: Match) -> dict[str, JSONValue]:
    """Return a search result as the JSON object that the REST API returns for it."""
    members: dict[str, JSONValue] = orjson.loads(orjson.dumps(json_of_match(match)))
    return members


def record_json(record: Record) -> dict[str, JSONValue]:
    """Return a stored memory as a JSON object, without its vector and its agent's name."""
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
        "priority": record.priority,
    }


def print_record(record: Record) -> None:
    """Print one memory: its text, then its other parts, a line each."""
    print_result(without_controls(record.text or "(a vector without text)"))
    print_result()
    metadata = {name: value for name, value in record.metadata.items() if name != "text"}
    parts = {
        "uid": record.uid,
        "source": record.source,
        "session": record.session,
        "metadata": json.dumps(metadata, ensure_ascii=False) if metadata else None,
        "priority": None if record.priority is None else f"{record.priority:g}",
        "model": record.model_id,
        "created": iso_time(record.created_at),
        "updated": iso_time(record.updated_at),
        "expires": iso_time(record.expires_at),
    }
    for name, value in parts.items():
        if value is not None:
            print_result(f"{name + ':':<10}{without_controls(value)}")


def iso_time(seconds: float | None) -> str | None:
    """Return a time as people read it, in UTC by ISO 8601; None stays None.

    JSON has seconds since the epoch in all commands, as the REST API does.
    """
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def answer_json(answer: Answer) -> dict[str, JSONValue]:
    """Return an answer as the JSON object that the REST API returns for it."""
    members: dict[str, JSONValue] = orjson.loads(orjson.dumps(json_of_result(answer)))
    return members


def not_grounded(unsupported: Sequence[str]) -> str:
    """Return the sentence about an answer's names and numbers that stand in no source."""
    return f"Not grounded: no source has {', '.join(one_line(term) for term in unsupported)}."


def print_sources(sources: Sequence[Match]) -> None:
    """Print the memories that an answer is made from, numbered, before the answer."""
    if not sources:
        return
    print_result("Sources:")
    for rank, match in enumerate(sources, start=1):
        origin = f"  ({one_line(match.source)})" if match.source else ""
        print_result(f"  [{rank}] {one_line(match.text)}{origin}")
    print_result()


def print_matches(matches: Sequence[Match]) -> None:
    """Print search results as lines: rank, score, text, id (uid), similarity and source.

    Results of a search with `explain` have a line for each part of the score, too.
    """
    for rank, match in enumerate(matches, start=1):
        print_result(f"{rank:>3}. {match.score:.3f}  {one_line(match.text, 400)}")
        print_result(f"            {'  '.join(_details(match))}")
        if isinstance(match, ExplainedMatch):
            for signal in match.explanation.signals:
                product = f"{signal.scaled:.3f} x {signal.weight:.3f}"
                print_result(
                    f"            {signal.added:+.3f}  {signal.name:<8}  {product}  (measured {signal.value:.3f})"
                )


def _details(match: Match) -> Iterator[str]:
    yield without_controls(match.uid)
    if match.similarity is not None:
        yield f"similarity {match.similarity:.3f}"
    if match.source is not None:
        yield without_controls(match.source)
    if match.session is not None:
        yield f"session {without_controls(match.session)}"
    if match.created_at is not None:
        yield str(iso_time(match.created_at))
