"""Encode dataclasses of the library as JSON, and decode them, field by field.

A member of an object is the field of the same name. Vectors are sent as base64 of little-endian float32, which is exact
and a fifth of the size of decimal numbers. Fields that keep their value (`...`) or have their default (None) are left
out.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np
import orjson

from super_advanced_agents.protocol.packing import FLOAT, json_bytes
from super_advanced_agents.types import ExplainedMatch, Explanation, Match, Record, Signal, Vector
from super_advanced_agents.types.objects import OPTIONAL_MATCH_MEMBERS

VectorFormat: TypeAlias = Literal["numbers", "base64", "none"]
"""The forms of vectors in JSON: lists of numbers, base64 of little-endian float32, or null."""


def json_of_vector(vector: Vector, form: VectorFormat = "base64") -> object:
    """Return a vector as an array, base64 text or None, which `orjson` can serialize.

    The array needs the option `OPT_SERIALIZE_NUMPY`.
    """
    if form == "none":
        return None
    if form == "numbers":
        return vector
    return base64.b64encode(vector.astype(FLOAT, copy=False).tobytes()).decode("ascii")


def json_of_request(request: Any) -> dict[str, Any]:
    """Return a request dataclass as a dict that `orjson` can serialize, without unset fields.

    A field is unset when it is `...`, or when it is None and None does not stand for a change.

    Raises:
        InvalidInputError: a filter holds something that JSON cannot represent.
    """
    nullable = _nullable_fields(type(request))
    body: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if not field.init or value is ... or (value is None and field.name not in nullable):
            continue
        if field.name == "where":  # may hold integers that orjson does not write
            body[field.name] = orjson.Fragment(json_bytes(value, field="where"))
        else:
            body[field.name] = _encode_value(value)
    return body


def _encode_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return json_of_vector(value) if value.ndim == 1 else [json_of_vector(row) for row in value]
    if dataclasses.is_dataclass(value):
        members = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        with_nulls = isinstance(value, Record)  # a record is sent with all its members
        return {name: _encode_value(member) for name, member in members.items() if with_nulls or member is not None}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_encode_value(item) for item in value]
    return value


_NULLABLE_FIELDS: dict[type[Any], frozenset[str]] = {}


def _nullable_fields(cls: type[Any]) -> frozenset[str]:
    # where `...` keeps the stored value, None is a change and must be sent
    names = _NULLABLE_FIELDS.get(cls)
    if names is None:
        hints = get_type_hints(cls)
        names = _NULLABLE_FIELDS[cls] = frozenset(
            name for name, hint in hints.items() if EllipsisType in get_args(hint)
        )
    return names


# -- results ----------------------------------------------------------------------------------------------------------


def json_of_result(result: Any, *, vectors: VectorFormat = "numbers") -> Any:
    """Convert an operation's result to dicts, lists and values that `orjson` can serialize.

    The serialization needs the option `OPT_SERIALIZE_NUMPY`.

    A match's text becomes the field `text` beside `metadata`, and is left out of `metadata`. The store keeps metadata
    as JSON without the text, so those bytes go into the output without being parsed.

    Args:
        result: a value, a list of values, or None.
        vectors: how the vectors of records are written: as numbers, as base64, or not at all.
    """
    if isinstance(result, Match):
        return json_of_match(result)
    if isinstance(result, Record):
        members = {field.name: getattr(result, field.name) for field in dataclasses.fields(Record)}
        return {**members, "vector": json_of_vector(result.vector, vectors)}
    if isinstance(result, list | tuple):
        return [json_of_result(item, vectors=vectors) for item in result]
    if dataclasses.is_dataclass(result):
        members = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        return {name: json_of_result(member, vectors=vectors) for name, member in members.items()}
    return result


def json_of_match(match: Match) -> dict[str, Any]:
    """Return one search result as a dict that `orjson` can serialize."""
    members = {
        "uid": match.uid,
        "text": match.stored_text,
        "score": match.score,
        "similarity": match.similarity,
        "metadata": orjson.Fragment(match.metadata_json),
        "source": match.source,
        "session": match.session,
        "created_at": match.created_at,
        "updated_at": match.updated_at,
    }
    if isinstance(match, ExplainedMatch):
        members["explanation"] = json_of_result(match.explanation)
    return members


def result_of_json(value: Any, hint: Any) -> Any:
    """Convert the parsed JSON of a server's response to a given type, such as `list[Match]`.

    Args:
        value: the parsed JSON.
        hint: the type of the result, such as `list[Match]`; values of plain types are returned unchanged.

    Raises:
        TypeError, KeyError, ValueError, AttributeError: the JSON does not have the form of that type.
    """
    if value is None:
        return None
    if get_origin(hint) in (Union, UnionType):
        alternatives = [each for each in get_args(hint) if each is not type(None)]
        if len(alternatives) > 1:  # any JSON
            return value
        [hint] = alternatives
    if get_origin(hint) in (list, tuple):
        element = get_args(hint)[0]
        items = [result_of_json(item, element) for item in value]
        return tuple(items) if get_origin(hint) is tuple else items
    custom = _CUSTOM_DECODERS.get(hint)
    if custom is not None:
        return custom(value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{name: result_of_json(value[name], hints[name]) for name in hints if name in value})
    return value


def _match_of(value: Mapping[str, Any]) -> Match:
    metadata, text = value["metadata"], value["text"]
    if text is not None:
        metadata = {"text": text, **metadata}
    others = {name: value[name] for name in OPTIONAL_MATCH_MEMBERS}
    match = Match(metadata, value["score"], value["uid"], **others)
    explanation = value.get("explanation")
    return match if explanation is None else ExplainedMatch.of(match, _explanation_of(explanation))


def _explanation_of(value: Mapping[str, Any]) -> Explanation:
    retrieved = value.get("retrieved")
    return Explanation(
        signals=tuple(Signal(**signal) for signal in value["signals"]),
        retrieved=None if retrieved is None else _explanation_of(retrieved),
    )


def _record_of(value: Mapping[str, Any]) -> Record:
    encoded = value.get("vector")
    vector = np.frombuffer(base64.b64decode(encoded or ""), dtype=FLOAT).astype(np.float32)
    names = {field.name for field in dataclasses.fields(Record)}
    members = {name: member for name, member in value.items() if name in names}
    return Record(**{"namespace": "", **members, "vector": vector})  # an agent's memories have no namespace in JSON


_CUSTOM_DECODERS: dict[Any, Callable[[Any], Any]] = {Match: _match_of, Record: _record_of, Explanation: _explanation_of}
"""The decoders of the types that are not decoded field by field."""
