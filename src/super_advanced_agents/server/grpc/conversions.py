"""Parsing of long gRPC messages and encoding of long replies, in slices off the event loop."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.match_messages import matches_message
from super_advanced_agents.protocol.replies import encode_reply

M = TypeVar("M", bound=Message)

MAX_FIELDS = 50_000
"""The limit on the fields of a message, each entry of a repeated field counted."""
FEW_ITEMS = 64
"""The most records or matches in a reply that is encoded on the event loop."""

_SLICE_FIELDS = 4_096


def parse(frame: bytes, message: type[M]) -> M:
    """Parse a protobuf message.

    Raises:
        InvalidInputError: it is malformed.
    """
    parsed = message()
    try:
        parsed.ParseFromString(frame)
    except (DecodeError, RecursionError) as exc:
        raise InvalidInputError(f"the message is not a valid {message.DESCRIPTOR.name}", field="message") from exc
    return parsed


def parse_in_slices(frame: bytes, message: type[M]) -> Generator[None, None, M]:
    """Count the fields of a long protobuf message, then parse it; yield after each slice.

    Protobuf keeps the GIL while it parses: 0.5 s for 8 MiB of empty records, a few milliseconds for `MAX_FIELDS`.

    Raises:
        InvalidInputError: it is malformed, or holds too many fields.
    """
    place = count = 0
    while place < len(frame):
        place = _end_of_field(frame, place)
        count += 1
        if count > MAX_FIELDS:
            raise InvalidInputError(
                f"the message holds more than {MAX_FIELDS:,} fields", field="message", hint="send several messages"
            )
        if count % _SLICE_FIELDS == 0:
            yield
    yield
    return parse(frame, message)


def _end_of_field(frame: bytes, place: int) -> int:
    # Whatever is not a field ends the count; the parser finds the mistake.
    tag, place = _varint(frame, place)
    match tag & 7:
        case 0:
            return _varint(frame, place)[1]
        case 1:
            return place + 8
        case 2:
            length, place = _varint(frame, place)
            return place + length
        case 5:
            return place + 4
        case _:
            return len(frame)


def _varint(frame: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(frame):
        byte = frame[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 63:
            return value, place
    return 0, len(frame)


def is_long(result: Any) -> bool:
    """Return whether a result has too many items for its reply to be encoded on the event loop."""
    if not isinstance(result, list):
        return False
    return sum(len(item) if isinstance(item, list) else 1 for item in result) > FEW_ITEMS


def encode_in_slices(
    result: list[Any], message: type[Message], member: str, *, vectors: bool
) -> Generator[None, None, bytes]:
    """Encode a long list as the bytes of its reply message, a few items after the other.

    The bytes of messages that hold parts of a repeated field are, one after the other, those of the whole message.
    """
    parts: list[bytes] = []
    if isinstance(result[0], list):
        tag = message.DESCRIPTOR.fields_by_name[member].number << 3 | 2
        for matches in result:
            place = len(parts)
            for few in _few(matches):
                parts.append(matches_message(few).SerializeToString())
                yield
            parts.insert(place, _varint_of(tag) + _varint_of(sum(map(len, parts[place:]))))
            yield
        return b"".join(parts)
    for few in _few(result):
        parts.append(encode_reply(few, message, member, vectors=vectors).SerializeToString())
        yield
    return b"".join(parts)


def _few(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), FEW_ITEMS):
        yield items[start : start + FEW_ITEMS]


def _varint_of(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
