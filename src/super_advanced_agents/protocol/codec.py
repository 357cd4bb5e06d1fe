"""Encode dataclasses of the library as protobuf messages, and decode them, field by field.

A field of a dataclass is the field of the same name in the message. The two types of a field select its encoding:

| in the message | in the dataclass | encoding |
|---|---|---|
| `bytes` | an array | little-endian float32; the field `dim` of the message holds the length of a matrix's rows |
| `bytes` | `bytes` | as they are |
| `bytes`, `repeated bytes` | anything else | JSON |
| `repeated string`, `repeated double` | values or None | "" and NaN stand for None; an empty column for no column |
| `repeated string` with a flag `by_...` | a list or None | the flag is set for a list, even an empty one |
| an enum | a literal | the value's name without its prefix, in lower case; 0 for the default |
| a message | a dataclass | its own fields |
| `optional` | None | absent; in a partial update (`...` keeps a value) `clear` names the fields that become None |

Decoding raises `InvalidInputError` with the name of a malformed field; an absent field has the dataclass's default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType, UnionType
from typing import Any, NamedTuple, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.match_messages import match_message, match_of, matches_message, matches_of
from super_advanced_agents.protocol.packing import (
    FLOAT,
    json_bytes,
    json_object,
    pack_vectors,
    unpack_matrix,
    unpack_vector,
)
from super_advanced_agents.protocol.v1 import agents_pb2 as agents
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.types import Match, Record, Turn

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_Codec: TypeAlias = tuple[Callable[[Any, str], Any], Callable[[Any, str], Any]]
"""The functions that encode and decode a value, given also its name in errors."""


class _FieldCodec(NamedTuple):
    name: str
    encode: Callable[[Any, str], Any]
    decode: Callable[[Any, str], Any]
    presence: bool  # the message knows whether the field is set
    repeated: bool
    required: bool  # the dataclass has no default
    matrix: bool
    keepable: bool  # `...` leaves the stored value unchanged
    flagged: bool  # a field `by_...` is set for a list


# -- dataclasses ------------------------------------------------------------------------------------------------------


def encode(value: Any, message: type[M], *, field: str = "", **others: Any) -> M:
    """Encode a dataclass instance as a protobuf message.

    Args:
        value: the instance.
        message: the class of the message.
        field: the name of the value in errors; when empty, its fields are named without a prefix.
        others: further fields of the message, such as the collection's name; they replace those of `value`.

    Raises:
        InvalidInputError: a field holds something that cannot be encoded.
    """
    fields: dict[str, Any] = others
    clear: list[str] = []
    for codec in _field_codecs(type(value), message.DESCRIPTOR):
        if codec.name in others:
            continue
        member = getattr(value, codec.name)
        if member is ...:
            continue
        if member is None:
            if codec.keepable:
                clear.append(codec.name)
            continue
        fields[codec.name] = codec.encode(member, f"{field}.{codec.name}" if field else codec.name)
        if codec.flagged:
            fields[f"by_{codec.name}"] = True
        if codec.matrix:
            fields["dim"] = member.shape[1]
    if clear:
        fields["clear"] = clear
    return message(**fields)


def decode(message: Message, cls: type[T], *, field: str = "", **others: Any) -> T:
    """Decode a protobuf message to a dataclass instance; absent fields have their defaults.

    Args:
        message: as received.
        cls: the dataclass.
        field: the name of the message in errors.
        others: further arguments of the dataclass, such as a store's bounds.

    Raises:
        InvalidInputError: a field is malformed, or the dataclass refuses it.
    """
    return cls(**decode_fields(message, cls, field=field), **others)


def decode_fields(message: Message, cls: type[Any], *, field: str = "") -> dict[str, Any]:
    """Decode a protobuf message to a dict of arguments for a dataclass; omit absent fields.

    Args:
        message: as received.
        cls: the dataclass.
        field: the name of the message in errors.

    Raises:
        InvalidInputError: a field is malformed.
    """
    arguments: dict[str, Any] = {}
    for codec in _field_codecs(cls, message.DESCRIPTOR):
        if codec.presence and not message.HasField(codec.name):
            if codec.required:
                arguments[codec.name] = None
            continue
        member = getattr(message, codec.name)
        if codec.flagged and _is_flagged(message, codec.name, member):
            arguments[codec.name] = list(member)
            continue
        if codec.repeated and not member and not codec.required:
            continue
        path = f"{field}.{codec.name}" if field else codec.name
        if codec.matrix:
            arguments[codec.name] = unpack_matrix(member, message.dim, path)  # type: ignore[attr-defined]  # it has one
        elif (decoded := codec.decode(member, path)) is not None:
            arguments[codec.name] = decoded
    for name in getattr(message, "clear", ()):
        _apply_clear(name, cls, message, arguments)
    return arguments


def count_records(message: Any) -> int:
    """Estimate the number of records in a protobuf message, without decoding the records.

    Messages with many records are decoded in a thread.
    """
    names = message.DESCRIPTOR.fields_by_name
    if "vectors" in names:
        rows: int = len(message.vectors) // (FLOAT.itemsize * max(1, message.dim))
        return rows
    return next((len(getattr(message, name)) for name in ("records", "memories", "turns") if name in names), 1)


def _is_flagged(message: Any, name: str, member: Sequence[str]) -> bool:
    flagged = bool(getattr(message, f"by_{name}"))
    if member and not flagged:
        raise InvalidInputError(f"{name} needs by_{name}", field=f"by_{name}", hint="set it to true")
    return flagged


def _apply_clear(name: str, cls: type[Any], message: Message, arguments: dict[str, Any]) -> None:
    clearable = sorted(codec.name for codec in _field_codecs(cls, message.DESCRIPTOR) if codec.keepable)
    if name not in clearable:
        raise InvalidInputError(f"clear may name {', '.join(clearable)}", field="clear")
    if arguments.get(name) is not None:
        raise InvalidInputError(f"{name} is set and cleared at once", field=name)
    arguments[name] = None


_FIELD_CODECS: dict[tuple[type[Any], str], tuple[_FieldCodec, ...]] = {}


def _field_codecs(cls: type[Any], descriptor: Any) -> tuple[_FieldCodec, ...]:
    codecs = _FIELD_CODECS.get((cls, descriptor.full_name))
    if codecs is None:
        hints, names = get_type_hints(cls), descriptor.fields_by_name
        codecs = _FIELD_CODECS[cls, descriptor.full_name] = tuple(
            _field_codec(member, hints[member.name], names[member.name], names)
            for member in dataclasses.fields(cls)
            if member.init and member.name in names
        )
    return codecs


def _field_codec(
    member: dataclasses.Field[Any], hint: Any, descriptor: FieldDescriptor, names: Mapping[str, FieldDescriptor]
) -> _FieldCodec:
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    encode_one, decode_one = _value_codec(alternatives, descriptor)
    has_default = member.default is not dataclasses.MISSING or member.default_factory is not dataclasses.MISSING
    return _FieldCodec(
        name=member.name,
        encode=encode_one,
        decode=decode_one,
        presence=bool(descriptor.has_presence) and not descriptor.is_repeated,
        repeated=bool(descriptor.is_repeated),
        required=not has_default,
        matrix="dim" in names and descriptor.type == FieldDescriptor.TYPE_BYTES and any(map(_is_array, alternatives)),
        keepable=EllipsisType in alternatives,
        flagged=f"by_{member.name}" in names,
    )


def _value_codec(alternatives: Sequence[Any], descriptor: FieldDescriptor) -> _Codec:
    if descriptor.message_type is shared.Matches.DESCRIPTOR:
        return matches_message, matches_of
    if descriptor.message_type is not None:
        return _nested_codec(_dataclass_in(alternatives), descriptor)
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return _bytes_codec(alternatives, descriptor)
    if descriptor.enum_type is not None:
        return _enum_codec(descriptor)
    if descriptor.is_repeated:
        missing: Any = "" if descriptor.type == FieldDescriptor.TYPE_STRING else np.nan
        if not any(type(None) in get_args(element) for each in alternatives for element in get_args(each)):
            return (lambda value, _: list(value)), (lambda value, _: list(value))
        return (
            (lambda value, _: [missing if each is None else each for each in value]),
            (lambda value, _: [None if each != each or each == "" else each for each in value]),  # noqa: PLR0124  # NaN
        )
    return _identity, _identity


def _bytes_codec(alternatives: Sequence[Any], descriptor: FieldDescriptor) -> _Codec:
    if any(_is_array(each) for each in alternatives):
        return (lambda value, _: pack_vectors(value)), unpack_vector
    if bytes in alternatives:
        return _identity, _identity
    return _json_codec(descriptor, any_value=str in alternatives)


def _identity(value: Any, field: str) -> Any:
    del field
    return value


def _json_codec(descriptor: FieldDescriptor, *, any_value: bool = False) -> _Codec:
    if any_value:  # such as a job's result, which need not be an object
        return (lambda value, field: json_bytes(value, field=field)), (lambda data, _: orjson.loads(data))
    if not descriptor.is_repeated:
        allow_empty = not descriptor.has_presence  # no bytes stand for an empty object
        return (
            lambda value, field: json_bytes(value, field=field),
            lambda data, field: json_object(data, field=field, allow_empty=allow_empty),
        )
    return (
        lambda values, field: [
            b"" if value is None else json_bytes(value, field=f"{field}[{i}]") for i, value in enumerate(values)
        ],
        lambda column, field: [
            json_object(data, field=f"{field}[{i}]", allow_empty=True) for i, data in enumerate(column)
        ],
    )


def _enum_codec(descriptor: FieldDescriptor) -> _Codec:
    assert descriptor.enum_type is not None
    prefix = descriptor.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    values = [value for value in descriptor.enum_type.values if value.number]
    numbers = {value.name.removeprefix(prefix).lower(): value.number for value in values}
    names = {number: name for name, number in numbers.items()}

    def decoded(number: int, field: str) -> str | None:
        if number and number not in names:
            raise InvalidInputError(f"{field} has no meaning {number}", field=field)
        return names.get(number)

    return (lambda value, _: numbers[value]), decoded


def _nested_codec(cls: type[Any], descriptor: FieldDescriptor) -> _Codec:
    kind = message_class(descriptor)
    encode_one, decode_one = _CUSTOM_CODECS.get(
        cls,
        (
            lambda value, field: encode(value, kind, field=field),
            lambda message, field: decode(message, cls, field=field),
        ),
    )
    if not descriptor.is_repeated:
        return encode_one, decode_one
    return (
        lambda values, field: [encode_one(value, f"{field}[{i}]") for i, value in enumerate(values)],
        lambda messages, field: [decode_one(message, f"{field}[{i}]") for i, message in enumerate(messages)],
    )


def _dataclass_in(alternatives: Sequence[Any]) -> type[Any]:
    for each in alternatives:
        if dataclasses.is_dataclass(each) and isinstance(each, type):
            return each
        if inner := get_args(each):
            return _dataclass_in(inner)
    raise TypeError(f"{alternatives} holds no dataclass")


def _is_array(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) is np.ndarray


# -- replies ----------------------------------------------------------------------------------------------------------


def message_class(descriptor: Any) -> type[Message]:
    """Return the generated class of the messages that a protobuf field holds."""
    return cast("type[Message]", getattr(descriptor.message_type, "_concrete_class"))  # noqa: B009  # its stubs lack it


def decode_nested(message: Any, cls: Any, field: str) -> Any:
    """Decode a protobuf message that is nested in another one to an instance of `cls`.

    Matches, records and turns have codecs of their own; other dataclasses are decoded field by field.
    """
    custom = _CUSTOM_CODECS.get(cls)
    return decode(message, cls, field=field) if custom is None else custom[1](message, field)


# -- types with a codec of their own ----------------------------------------------------------------------------------


def _record_of(message: shared.Record, field: str) -> Record:
    arguments = decode_fields(message, Record, field=field)
    # a copy: the decoded vector is a read-only view of the message's bytes
    return Record(**{**arguments, "vector": arguments["vector"].copy()})


def _turn_message(turn: Turn, field: str) -> agents.Turn:
    time = {"said_at" if isinstance(turn.created_at, str) else "said_at_s": turn.created_at}
    return encode(turn, agents.Turn, field=field, **time)


def _turn_of(message: agents.Turn, field: str) -> Turn:
    time = message.WhichOneof("created_at")
    return decode(message, Turn, field=field, created_at=None if time is None else getattr(message, time))


_CUSTOM_CODECS: dict[type[Any], _Codec] = {
    Match: (match_message, match_of),
    Record: (lambda record, field: encode(record, shared.Record, field=field), _record_of),
    Turn: (_turn_message, _turn_of),
}
