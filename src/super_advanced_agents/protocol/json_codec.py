"""Between dataclasses of the library and JSON, both ways, driven by their fields as `codec` is for messages.

A member of an object is the field of the same name. Vectors are sent as base64 of little-endian float32 (a fifth of the
size of numbers, and exact); what stays as it is (`...`) and what has its default (None) is left out.
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
from super_advanced_agents.types.objects import ABOUT_A_MATCH

VectorFormat: TypeAlias = Literal["numbers", "base64", "none"]
"""How vectors are told: lists of numbers, base64 of little-endian float32, or not at all."""


def json_of_vector(vector: Vector, form: VectorFormat = "base64") -> object:
    """Return a vector as it is told in JSON; orjson writes arrays itself."""
    if form == "none":
        return None
    if form == "numbers":
        return vector
    return base64.b64encode(vector.astype(FLOAT, copy=False).tobytes()).decode("ascii")


def json_of_request(request: Any) -> dict[str, Any]:
    """Return the body that says what a request says; see the module."""
    keeps = _keeping(type(request))
    body: dict[str, Any] = {}
    for each in dataclasses.fields(request):
        value = getattr(request, each.name)
        if not each.init or value is ... or (value is None and each.name not in keeps):
            continue
        if each.name == "where":  # may hold integers that orjson does not write
            body[each.name] = orjson.Fragment(json_bytes(value, field="where"))
        else:
            body[each.name] = _json(value)
    return body


def _json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return json_of_vector(value) if value.ndim == 1 else [json_of_vector(row) for row in value]
    if dataclasses.is_dataclass(value):
        named = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        whole = isinstance(value, Record)  # which says each of its members
        return {name: _json(member) for name, member in named.items() if whole or member is not None}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_json(each) for each in value]
    return value


_KEEPING: dict[type[Any], frozenset[str]] = {}


def _keeping(cls: type[Any]) -> frozenset[str]:
    """Return the fields of a change of which `...` keeps what is there, so that None must be said."""
    known = _KEEPING.get(cls)
    if known is None:
        hints = get_type_hints(cls)
        known = _KEEPING[cls] = frozenset(name for name, hint in hints.items() if EllipsisType in get_args(hint))
    return known


# -- results ----------------------------------------------------------------------------------------------------------


def json_of_result(result: Any, *, vectors: VectorFormat = "numbers") -> Any:
    """Return an operation's result for `orjson`, with `OPT_SERIALIZE_NUMPY`.

    The text of a match stands once, beside its metadata, which goes as it is stored.
    """
    if isinstance(result, Match):
        return json_of_match(result)
    if isinstance(result, Record):
        named = {each.name: getattr(result, each.name) for each in dataclasses.fields(Record)}
        return {**named, "vector": json_of_vector(result.vector, vectors)}
    if isinstance(result, list | tuple):
        return [json_of_result(each, vectors=vectors) for each in result]
    if dataclasses.is_dataclass(result):
        named = {each.name: getattr(result, each.name) for each in dataclasses.fields(result)}
        return {name: json_of_result(member, vectors=vectors) for name, member in named.items()}
    return result


def json_of_match(match: Match) -> dict[str, Any]:
    """Return a search result for `orjson`."""
    shown = {
        "uid": match.uid,
        "text": match.text,
        "score": match.score,
        "similarity": match.similarity,
        "metadata": orjson.Fragment(match.metadata_json),
        "source": match.source,
        "session": match.session,
        "created_at": match.created_at,
        "updated_at": match.updated_at,
    }
    if isinstance(match, ExplainedMatch):
        shown["explanation"] = json_of_result(match.explanation)
    return shown


def result_of_json(value: Any, hint: Any) -> Any:
    """Make a result of the JSON that a server answered.

    Args:
        value: as parsed.
        hint: the type of the result, such as `list[Match]`; values of plain types pass as they are.

    Raises:
        TypeError, KeyError, ValueError, AttributeError: it is not what a server of this protocol answers.
    """
    if value is None:
        return None
    if get_origin(hint) in (Union, UnionType):
        [hint] = [each for each in get_args(hint) if each is not type(None)]
    if get_origin(hint) in (list, tuple):
        element = get_args(hint)[0]
        made = [result_of_json(each, element) for each in value]
        return tuple(made) if get_origin(hint) is tuple else made
    special = _SPECIAL.get(hint)
    if special is not None:
        return special(value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{name: result_of_json(value[name], hints[name]) for name in hints if name in value})
    return value


def _match_of(value: Mapping[str, Any]) -> Match:
    metadata, text = value["metadata"], value["text"]
    if text is not None:
        metadata = {"text": text, **metadata}
    others = {name: value[name] for name in ABOUT_A_MATCH}
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
    names = {each.name for each in dataclasses.fields(Record)}
    given = {name: member for name, member in value.items() if name in names}
    return Record(**{"namespace": "", **given, "vector": vector})  # memories of an agent come without one


_SPECIAL: dict[Any, Callable[[Any], Any]] = {Match: _match_of, Record: _record_of, Explanation: _explanation_of}
"""What does not come member by member."""
