"""Store calls and their results as bytes: one JSON header, then the vectors as packed float32.

    uint32 length of the header | header (UTF-8 JSON) | float32 payload (little endian)

An array stands in the header as `{"$array": [offset, shape]}`, `offset` in floats. Errors travel as their class's name
and fields, and come back as the same error of the tree.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents import errors
from super_advanced_agents.errors import InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.types import ExplainedMatch, Explanation, JSONValue, Match, Record, Signal

Value: TypeAlias = "JSONValue | Match | Record | NDArray[np.float32] | Sequence[Value] | Mapping[str, Value]"
"""What may travel: JSON, matches, records, arrays, and lists and dicts of them."""

_HEADER_LENGTH = struct.Struct("<I")


class _Writer:
    def __init__(self) -> None:
        self._floats = 0
        self.blocks: list[bytes] = []

    def plain(self, value: Value) -> JSONValue:
        """The value with arrays, matches and records replaced by tagged JSON; dicts of the caller are tagged too."""
        if isinstance(value, np.ndarray):
            block = np.ascontiguousarray(value, dtype="<f4")
            offset, self._floats = self._floats, self._floats + block.size
            self.blocks.append(block.tobytes())
            return {"$array": [offset, list(block.shape)]}
        if isinstance(value, Match):
            match: list[JSONValue] = [self.plain(value.metadata), value.score, value.uid]
            if isinstance(value, ExplainedMatch):
                return {"$explained": [*match, _plain(value.explanation)]}
            return {"$match": match}
        if isinstance(value, Record):
            fields = {field: getattr(value, field) for field in Record.__dataclass_fields__}
            return {"$record": {name: self.plain(field) for name, field in fields.items()}}
        if isinstance(value, str | int | float | bool | None):
            return value
        if isinstance(value, Mapping):
            return {"$dict": [[key, self.plain(item)] for key, item in value.items()]}
        return [self.plain(item) for item in value]


class _Reader:
    def __init__(self, payload: memoryview) -> None:
        self._floats = np.frombuffer(payload, dtype="<f4")

    def value(self, plain: JSONValue) -> Value:
        if isinstance(plain, list):
            return [self.value(item) for item in plain]
        if not isinstance(plain, dict):
            return plain
        tag: str
        content: Any  # what a malformed frame holds raises here, and `decoded` says so
        [(tag, content)] = plain.items()
        if tag == "$array":
            offset, shape = content
            size = int(np.prod(shape))
            return self._floats[offset : offset + size].reshape(shape).astype(np.float32)
        if tag == "$match":
            return Match(*(self.value(item) for item in content))  # type: ignore[arg-type]  # as they were encoded
        if tag == "$explained":
            metadata, score, uid, explanation = content
            return ExplainedMatch(self.value(metadata), score, uid, _explanation(explanation))  # type: ignore[arg-type]
        if tag == "$record":
            return Record(**{name: self.value(item) for name, item in content.items()})  # type: ignore[arg-type]
        return {key: self.value(item) for key, item in content}


def _plain(explanation: Explanation | None) -> JSONValue:
    if explanation is None:
        return None
    return [[list(astuple(signal)) for signal in explanation.signals], _plain(explanation.retrieved)]


def _explanation(plain: Any) -> Explanation:
    signals, retrieved = plain
    names = Signal.__dataclass_fields__
    return Explanation(
        signals=tuple(Signal(**dict(zip(names, signal, strict=True))) for signal in signals),
        retrieved=None if retrieved is None else _explanation(retrieved),
    )


def encoded(value: Value) -> bytes:
    """One frame holding `value`.

    Raises:
        InvalidInputError: the value is not of the kinds that can travel.
    """
    writer = _Writer()
    try:
        # Not orjson: what only the serving end may judge (NaN, huge integers, lone surrogates) has to get there first.
        header = json.dumps(writer.plain(value)).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidInputError("an argument cannot be sent", hint="use JSON values and numeric arrays") from exc
    return b"".join([_HEADER_LENGTH.pack(len(header)), header, *writer.blocks])


def decoded(frame: bytes) -> Value:
    """The value of one frame.

    Raises:
        InvalidInputError: the frame is malformed.
    """
    try:
        (length,) = _HEADER_LENGTH.unpack_from(frame)
        start = _HEADER_LENGTH.size
        payload = memoryview(frame)[start + length :]
        return _Reader(payload).value(json.loads(frame[start : start + length]))
    except (struct.error, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise InvalidInputError("the frame is malformed") from exc


def encoded_error(error: SuperAdvancedAgentsError) -> bytes:
    """One frame holding an error."""
    return encoded({"kind": type(error).__name__, "message": error.message, "fields": dict(vars(error))})


def decoded_error(frame: bytes) -> SuperAdvancedAgentsError:
    """The error of one frame, of its own class; of the root class when this side does not know that one."""
    content = decoded(frame)
    assert isinstance(content, dict)
    kind = getattr(errors, str(content["kind"]), SuperAdvancedAgentsError)
    message = str(content["message"])
    error: SuperAdvancedAgentsError = kind.__new__(kind, message)
    error.__dict__.update(content["fields"])
    return error
