"""Encode the results of server operations as gRPC reply messages, and decode them."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast, get_args

from google.protobuf.message import Message

from super_advanced_agents.protocol.codec import decode, decode_nested, encode, message_class
from super_advanced_agents.protocol.match_messages import match_message, matches_message, matches_of
from super_advanced_agents.protocol.packing import json_bytes, json_object
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.types import Match, Record

M = TypeVar("M", bound=Message)


def encode_reply(result: Any, message: type[M], member: str, *, vectors: bool = True) -> M:
    """Encode the result of a server operation as its gRPC reply message.

    Args:
        result: a value, a list of values, or None for an empty reply.
        message: the class of the reply.
        member: the field that holds the result; the reply is the result itself when empty.
        vectors: False leaves out the vectors of records.
    """
    if result is None:
        return message()
    if not member:
        if dataclasses.is_dataclass(result):
            return encode(result, message)
        [only] = message.DESCRIPTOR.fields
        return message(**{only.name: json_bytes(result, field=only.name)})
    descriptor = message.DESCRIPTOR.fields_by_name[member]
    if descriptor.message_type is None:
        return message(**{member: result})
    kind = message_class(descriptor)
    if descriptor.is_repeated:
        return message(**{member: [_value_message(each, kind, vectors=vectors) for each in result]})
    return message(**{member: _value_message(result, kind, vectors=vectors)})


def _value_message(value: Any, kind: type[Message], *, vectors: bool) -> Message:
    if isinstance(value, Match):
        return match_message(value)
    if isinstance(value, list):  # the results of one query of a batch
        return matches_message(value)
    if isinstance(value, Record) and not vectors:
        return encode(value, kind, vector=b"")
    return encode(value, kind)


def decode_reply(message: Any, member: str, hint: Any) -> Any:
    """Decode the result of a server operation from its gRPC reply message.

    Args:
        message: as received.
        member: the field that holds the result; the reply is the result itself when empty.
        hint: the type of the result, such as `list[Record]`.

    Raises:
        InvalidInputError: the reply is malformed.
    """
    if hint is type(None):
        return None
    cls = next((each for each in (hint, *get_args(hint)) if dataclasses.is_dataclass(each)), None)
    if not member:
        if cls is not None:
            return decode(message, cast("type[Any]", cls))
        [only] = message.DESCRIPTOR.fields
        return json_object(getattr(message, only.name), field=only.name)
    value = getattr(message, member)
    descriptor = message.DESCRIPTOR.fields_by_name[member]
    if descriptor.message_type is None:
        return list(value) if descriptor.is_repeated else value
    if not descriptor.is_repeated:
        return _value_of(value, cls, member) if message.HasField(member) else None
    return [_value_of(each, cls, f"{member}[{i}]") for i, each in enumerate(value)]


def _value_of(message: Any, cls: Any, field: str) -> Any:
    if isinstance(message, shared.Matches):
        return matches_of(message)
    return decode_nested(message, cls, field)
