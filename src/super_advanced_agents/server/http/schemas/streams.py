"""Schemas of server-sent events: what the `data` of each event of a stream holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from super_advanced_agents.server.http.schemas.examples import EXAMPLES

_TEXT = {"type": "string"}


def _object(title: str, description: str, **members: Mapping[str, Any]) -> dict[str, Any]:
    properties = {name: dict(schema) for name, schema in members.items()}
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def streamed(description: str, *alternatives: dict[str, Any], examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return the media type object of an event stream, whose schema is that of an event's data.

    Args:
        description: which events there are.
        alternatives: the schemas of their data.
        examples: data by the name of the event.
    """
    return {
        "schema": {"type": "object", "description": description, "anyOf": list(alternatives)},
        "examples": {name: {"value": data} for name, data in examples.items()},
    }


ASK_STREAM = streamed(
    "The data of one event: `sources` (once), `text` (repeated), then `done` or `error`.",
    _object(
        "SourcesEvent",
        "The data of `sources`: the memories that the answer is made from.",
        results={"type": "array", "items": {"$ref": "#/components/schemas/MatchOut"}},
    ),
    _object("TextEvent", "The data of `text`: the next piece of the answer.", text=_TEXT),
    _object(
        "DoneEvent",
        "The data of `done`: the whole answer, and what in it stands in no source.",
        text=_TEXT,
        grounded={"type": "boolean"},
        unsupported={"type": "array", "items": _TEXT},
        quoted={"type": "boolean"},
    ),
    {"$ref": "#/components/schemas/Problem"},
    examples={
        "sources": {"results": []},
        "text": {"text": "Paris"},
        "done": {"text": "Paris", "grounded": True, "unsupported": [], "quoted": False},
    },
)

_CHUNK = {
    "title": "ChatChunk",
    "description": "The next piece of the message.",
    "type": "object",
    "properties": {
        "id": _TEXT,
        "object": {"const": "chat.completion.chunk"},
        "created": {"type": "integer"},
        "model": _TEXT,
        "choices": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "delta": {"type": "object", "properties": {"role": _TEXT, "content": _TEXT}},
                    "finish_reason": {"type": ["string", "null"]},
                    "logprobs": {"type": "null"},
                },
                "required": ["index", "delta", "finish_reason"],
            },
        },
        "usage": {"anyOf": [{"$ref": "#/components/schemas/ChatUsage"}, {"type": "null"}]},
        "sources": {"type": "array", "items": {"$ref": "#/components/schemas/MatchOut"}},
    },
    "required": ["id", "object", "created", "model", "choices"],
}

CHAT_STREAM = streamed(
    "The data of one event; that of the last is the text `[DONE]`.",
    _CHUNK,
    {"$ref": "#/components/schemas/ErrorOut"},
    examples={
        "chunk": {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "guide",
            "choices": [{"index": 0, "delta": {"content": "Paris"}, "finish_reason": None}],
        }
    },
)

JOB_STREAM = streamed(
    "The data of one event `job`: the job as it is then; that of `error` is a problem.",
    {"$ref": "#/components/schemas/JobOut"},
    {"$ref": "#/components/schemas/Problem"},
    examples={"job": EXAMPLES["JobOut"]},
)
