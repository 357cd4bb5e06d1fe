"""Between dataclasses of the library and messages of the protocol, both ways, driven by their fields.

A field of a dataclass is the field of the same name in the message. How a value travels follows from the two types:

| in the message | in the dataclass | rule |
|---|---|---|
| `bytes` | an array | little-endian float32; `dim` beside it says how long each row of a matrix is |
| `bytes`, `repeated bytes` | anything else | JSON |
| `repeated string`, `repeated double` | values or None | "" and NaN stand for None; an empty column for no column |
| `repeated string` with `by_...` beside it | a list or None | the flag says that the list counts |
| an enum | a literal | the value's name without its prefix, in lower case; 0 for the default |
| a message | a dataclass | by its own fields |
| `optional` | None | absent; for a change (`...` keeps what is there) `clear` names what becomes None |

What reads a message raises `InvalidInputError` naming the field; an absent field has the dataclass's default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType, UnionType
from typing import Any, NamedTuple, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.match_messages import match_message, match_of, matches_message, matches_of
from super_advanced_agents.protocol.packing import FLOAT, json_bytes, json_object, matrix_of, packed, vector_of
from super_advanced_agents.protocol.v1 import agents_pb2 as agents
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.types import Match, Record, Turn

M = TypeVar("M", bound=Message)
T = TypeVar("T")


_Ways: TypeAlias = tuple[Callable[[Any, str], Any], Callable[[Any, str], Any]]
"""How a value becomes the message's, and back; both are told what the value is called in errors."""


class _Field(NamedTuple):
    """How one field travels."""

    name: str
    encode: Callable[[Any, str], Any]
    decode: Callable[[Any, str], Any]
    presence: bool
    repeated: bool
    required: bool  # by the dataclass
    matrix: bool
    keeps: bool  # `...` stands for what stays as it is
    flagged: bool


# -- dataclasses ------------------------------------------------------------------------------------------------------


def encode(value: Any, message: type[M], *, field: str = "", **others: Any) -> M:
    """Make a message of a dataclass's value.

    Args:
        value: what is sent.
        message: the class of the message.
        field: what the value is called in errors; its own fields are named alone when empty.
        others: further fields of the message, such as the collection's name, or some in place of the value's.

    Raises:
        InvalidInputError: a member cannot travel.
    """
    given: dict[str, Any] = others
    clear: list[str] = []
    for each in _plan(type(value), message.DESCRIPTOR):
        if each.name in others:
            continue
        member = getattr(value, each.name)
        if member is ...:
            continue
        if member is None:
            if each.keeps:
                clear.append(each.name)
            continue
        given[each.name] = each.encode(member, f"{field}.{each.name}" if field else each.name)
        if each.flagged:
            given[f"by_{each.name}"] = True
        if each.matrix:
            given["dim"] = member.shape[1]
    if clear:
        given["clear"] = clear
    return message(**given)


def decode(message: Message, cls: type[T], *, field: str = "", **others: Any) -> T:
    """Make a dataclass's value of a message; what is absent has the dataclass's default.

    Args:
        message: as it came.
        cls: the dataclass.
        field: what the message is called in errors.
        others: further arguments of the dataclass, such as a store's bounds.

    Raises:
        InvalidInputError: a field is malformed, or the dataclass refuses it.
    """
    given = members_of(message, cls, field=field)
    return cls(**given, **others)


def members_of(message: Message, cls: type[Any], *, field: str = "") -> dict[str, Any]:
    """Return the arguments of a dataclass that a message holds; see `decode`."""
    given: dict[str, Any] = {}
    for each in _plan(cls, message.DESCRIPTOR):
        if each.presence and not message.HasField(each.name):
            if each.required:
                given[each.name] = None
            continue
        member = getattr(message, each.name)
        if each.flagged and _flag(message, each.name, member):
            given[each.name] = list(member)
            continue
        if each.repeated and not member and not each.required:
            continue
        named = f"{field}.{each.name}" if field else each.name
        if each.matrix:
            given[each.name] = matrix_of(member, message.dim, named)  # type: ignore[attr-defined]  # it has one
        elif (decoded := each.decode(member, named)) is not None:
            given[each.name] = decoded
    for name in getattr(message, "clear", ()):
        _clear(name, cls, message, given)
    return given


def size_of(message: Any) -> int:
    """Return how many records a message brings, about; many are read off the event loop."""
    names = message.DESCRIPTOR.fields_by_name
    if "vectors" in names:
        size: int = len(message.vectors) // (FLOAT.itemsize * max(1, message.dim))
        return size
    return len(message.records) if "records" in names else 1


def _flag(message: Any, name: str, member: Sequence[str]) -> bool:
    counts = bool(getattr(message, f"by_{name}"))
    if member and not counts:
        raise InvalidInputError(f"{name} counts only with by_{name}", field=f"by_{name}", hint="set it")
    return counts


def _clear(name: str, cls: type[Any], message: Message, given: dict[str, Any]) -> None:
    clearable = sorted(each.name for each in _plan(cls, message.DESCRIPTOR) if each.keeps)
    if name not in clearable:
        raise InvalidInputError(f"clear may name {', '.join(clearable)}", field="clear")
    if given.get(name) is not None:
        raise InvalidInputError(f"{name} is set and cleared at once", field=name)
    given[name] = None


_PLANS: dict[tuple[type[Any], str], tuple[_Field, ...]] = {}


def _plan(cls: type[Any], descriptor: Any) -> tuple[_Field, ...]:
    """Return how the fields that a dataclass and a message share travel; worked out once."""
    known = _PLANS.get((cls, descriptor.full_name))
    if known is None:
        hints, names = get_type_hints(cls), descriptor.fields_by_name
        known = _PLANS[cls, descriptor.full_name] = tuple(
            _field(each, hints[each.name], names[each.name], names)
            for each in dataclasses.fields(cls)
            if each.init and each.name in names
        )
    return known


def _field(
    member: dataclasses.Field[Any], hint: Any, wire: FieldDescriptor, names: Mapping[str, FieldDescriptor]
) -> _Field:
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    encode_one, decode_one = _value(alternatives, wire)
    has_default = member.default is not dataclasses.MISSING or member.default_factory is not dataclasses.MISSING
    return _Field(
        name=member.name,
        encode=encode_one,
        decode=decode_one,
        presence=bool(wire.has_presence) and not wire.is_repeated,
        repeated=bool(wire.is_repeated),
        required=not has_default,
        matrix="dim" in names and wire.type == FieldDescriptor.TYPE_BYTES and any(map(_is_array, alternatives)),
        keeps=EllipsisType in alternatives,
        flagged=f"by_{member.name}" in names,
    )


def _value(alternatives: Sequence[Any], wire: FieldDescriptor) -> _Ways:
    """How a field's values travel, by its two types."""
    if wire.message_type is shared.Matches.DESCRIPTOR:
        return matches_message, matches_of
    if wire.message_type is not None:
        return _nested(_dataclass_in(alternatives), wire)
    if wire.type == FieldDescriptor.TYPE_BYTES:
        if any(_is_array(each) for each in alternatives):
            return (lambda value, _: packed(value)), vector_of
        return _json(wire)
    if wire.enum_type is not None:
        return _enum(wire)
    if wire.is_repeated:
        missing: Any = "" if wire.type == FieldDescriptor.TYPE_STRING else np.nan
        if not any(type(None) in get_args(element) for each in alternatives for element in get_args(each)):
            return (lambda value, _: list(value)), (lambda value, _: list(value))
        return (
            (lambda value, _: [missing if each is None else each for each in value]),
            (lambda value, _: [None if each != each or each == "" else each for each in value]),  # noqa: PLR0124  # NaN
        )
    return _as_it_is, _as_it_is


def _as_it_is(value: Any, field: str) -> Any:
    del field
    return value


def _json(wire: FieldDescriptor) -> _Ways:
    if not wire.is_repeated:
        bare = not wire.has_presence  # nothing stands for an empty object
        return (
            lambda value, field: json_bytes(value, field=field),
            lambda data, field: json_object(data, field=field, or_nothing=bare),
        )
    return (
        lambda values, field: [
            b"" if value is None else json_bytes(value, field=f"{field}[{i}]") for i, value in enumerate(values)
        ],
        lambda column, field: [
            json_object(data, field=f"{field}[{i}]", or_nothing=True) for i, data in enumerate(column)
        ],
    )


def _enum(wire: FieldDescriptor) -> _Ways:
    assert wire.enum_type is not None
    prefix = wire.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    numbers = {value.name.removeprefix(prefix).lower(): value.number for value in wire.enum_type.values if value.number}
    names = {number: name for name, number in numbers.items()}

    def decoded(number: int, field: str) -> str | None:
        if number and number not in names:
            raise InvalidInputError(f"{field} has no meaning {number}", field=field)
        return names.get(number)

    return (lambda value, _: numbers[value]), decoded


def _nested(cls: type[Any], wire: FieldDescriptor) -> tuple[Callable[[Any, str], Any], Callable[[Any, str], Any]]:
    kind = _class_of(wire)
    to_message, of_message = _SPECIAL.get(
        cls,
        (
            lambda value, field: encode(value, kind, field=field),
            lambda message, field: decode(message, cls, field=field),
        ),
    )
    if not wire.is_repeated:
        return to_message, of_message
    return (
        lambda values, field: [to_message(value, f"{field}[{i}]") for i, value in enumerate(values)],
        lambda messages, field: [of_message(message, f"{field}[{i}]") for i, message in enumerate(messages)],
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


def encode_reply(result: Any, message: type[M], member: str, *, vectors: bool = True) -> M:
    """Make the reply of an operation's result.

    Args:
        result: a value, a list of values, or None for nothing.
        message: the class of the reply.
        member: the field that holds the result; the reply is the result itself when empty.
        vectors: False leaves the vectors of records behind.
    """
    if result is None:
        return message()
    if not member:
        if dataclasses.is_dataclass(result):
            return encode(result, message)
        [only] = message.DESCRIPTOR.fields
        return message(**{only.name: json_bytes(result, field=only.name)})
    wire = message.DESCRIPTOR.fields_by_name[member]
    if wire.message_type is None:
        return message(**{member: result})
    kind = _class_of(wire)
    if wire.is_repeated:
        return message(**{member: [_value_message(each, kind, vectors=vectors) for each in result]})
    return message(**{member: _value_message(result, kind, vectors=vectors)})


def _value_message(value: Any, kind: type[Message], *, vectors: bool) -> Message:
    if isinstance(value, Match):
        return match_message(value)
    if isinstance(value, list):  # what one of many searches found
        return matches_message(value)
    if isinstance(value, Record) and not vectors:
        return encode(value, kind, vector=b"")
    return encode(value, kind)


def decode_reply(message: Any, member: str, hint: Any) -> Any:
    """Make the result of an operation's reply.

    Args:
        message: as it came.
        member: the field that holds the result; the reply is the result itself when empty.
        hint: the type of the result, such as `list[Record]`.

    Raises:
        InvalidInputError: it is malformed.
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
    wire = message.DESCRIPTOR.fields_by_name[member]
    if wire.message_type is None:
        return list(value) if wire.is_repeated else value
    if not wire.is_repeated:
        return _value_of(value, cls, member) if message.HasField(member) else None
    return [_value_of(each, cls, f"{member}[{i}]") for i, each in enumerate(value)]


def _value_of(message: Any, cls: Any, field: str) -> Any:
    if isinstance(message, shared.Matches):
        return matches_of(message)
    special = _SPECIAL.get(cls)
    return decode(message, cls, field=field) if special is None else special[1](message, field)


def _class_of(wire: Any) -> type[Message]:
    return cast("type[Message]", getattr(wire.message_type, "_concrete_class"))  # noqa: B009  # its stubs lack it


# -- what does not travel field by field ------------------------------------------------------------------------------


def _record_of(message: shared.Record, field: str) -> Record:
    """Make a record of a message; its vector is the caller's own."""
    members = members_of(message, Record, field=field)
    return Record(**{**members, "vector": members["vector"].copy()})


def _turn_message(turn: Turn, field: str) -> agents.Turn:
    said = {"said_at" if isinstance(turn.created_at, str) else "said_at_s": turn.created_at}
    return encode(turn, agents.Turn, field=field, **said)


def _turn_of(message: agents.Turn, field: str) -> Turn:
    said = message.WhichOneof("created_at")
    return decode(message, Turn, field=field, created_at=None if said is None else getattr(message, said))


_SPECIAL: dict[type[Any], _Ways] = {
    Match: (match_message, match_of),
    Record: (lambda record, field: encode(record, shared.Record, field=field), _record_of),
    Turn: (_turn_message, _turn_of),
}
