"""Random messages for the methods of a server, and random damage to their bytes."""

from __future__ import annotations

import random
import struct

from google.protobuf.descriptor import FieldDescriptor as Field

TEXTS = ["", "fuzz", "other", "a", "u1", "the Louvre is a museum", "../x", "\0", "\u00e9", "x" * 300, " ", "default"]
JSON = [
    b"", b"{}", b'{"a":1}', b'{"text":"a zebra","n":2}', b'{"a":{"$gt":1}}', b'{"$or":[{"a":1},{"b":{"$in":[1,"x"]}}]}',
    b"[]", b"null", b"{", b'{"a":1e999}', b'{"a":' * 200 + b"1" + b"}" * 200, b'{"\xff":1}',
    b'{"a":18446744073709551616}',
    b'{"$not":{}}', b'{"text":1}', b'{"type":"fact"}',
]  # fmt: skip
VECTORS = [
    struct.pack("<4f", 1, 0, 0, 0), struct.pack("<4f", 0.1, 0.2, 0.3, 0.4), struct.pack("<8f", *range(8)),
    struct.pack("<4f", float("nan"), 0, 0, 0), bytes(16), b"", b"123", struct.pack("<3f", 1, 2, 3),
    struct.pack("<4f", 3e38, 3e38, 0, 0),
]  # fmt: skip
NUMBERS = [0, 1, 2, 4, 5, 100, 1_000, 1_001, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63)]
REALS = [0.0, 1.0, -1.0, 0.5, 1e-9, 1e300, -1e300, float("nan"), float("inf"), 60.0]
VECTOR_FIELDS = {"vectors", "vector", "query_vectors", "query_vector"}
COMMON = {"collection": "fuzz", "dim": 4, "top_k": 3, "limit": 10, "answer_tokens": 1, "exist_ok": True}
"""Values with which most requests are carried out rather than refused at once."""


def random_message(kind, draw: random.Random, depth=0):
    """Return a message of a class whose fields have usual and odd values."""
    filled = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.name in COMMON and draw.random() < 0.9:
            setattr(filled, field.name, COMMON[field.name])
        elif draw.random() < (0.6 if depth < 3 else 0.1):
            _fill(filled, field, draw, depth)
    return filled


def _fill(filled, field, draw, depth):
    if field.is_repeated:
        for _ in range(draw.choice([0, 1, 1, 2, 3])):
            if field.message_type is not None:
                kind = type(getattr(filled, field.name).add())
                del getattr(filled, field.name)[-1]
                getattr(filled, field.name).append(random_message(kind, draw, depth + 1))
            else:
                getattr(filled, field.name).append(_random_value(field, draw))
    elif field.message_type is not None:
        inner = getattr(filled, field.name)
        inner.CopyFrom(random_message(type(inner), draw, depth + 1))
    else:
        setattr(filled, field.name, _random_value(field, draw))


def _random_value(field, draw):
    if field.type == Field.TYPE_STRING:
        return draw.choice(TEXTS)
    if field.type == Field.TYPE_BYTES:
        return draw.choice(VECTORS if field.name in VECTOR_FIELDS else JSON)
    if field.type in (Field.TYPE_DOUBLE, Field.TYPE_FLOAT):
        return draw.choice(REALS)
    if field.type == Field.TYPE_BOOL:
        return draw.random() < 0.5
    if field.type == Field.TYPE_ENUM:
        return draw.choice([0, 1, 2, 3, 99])
    least, most = {
        Field.TYPE_INT32: (-(2**31), 2**31 - 1),
        Field.TYPE_UINT32: (0, 2**32 - 1),
        Field.TYPE_INT64: (-(2**63), 2**63 - 1),
        Field.TYPE_UINT64: (0, 2**64 - 1),
    }[field.type]
    return draw.choice([number for number in NUMBERS if least <= number <= most])


def mutated(frame: bytes, draw: random.Random) -> bytes:
    """Return the frame with up to four random changes, perhaps none."""
    changed = bytearray(frame)
    for _ in range(draw.choice([0, 1, 1, 1, 2, 4])):
        at = draw.randrange(len(changed) + 1)
        change = draw.randrange(7)
        if change == 0 and changed:
            changed[at % len(changed)] ^= 1 << draw.randrange(8)
        elif change == 1:
            del changed[at:]
        elif change == 2:
            changed[at:at] = draw.randbytes(draw.randrange(1, 6))
        elif change == 3:
            del changed[at : at + draw.randrange(1, 9)]
        elif change == 4:
            changed += changed[at : at + 40]
        elif change == 5:
            changed[at : at + 1] = b"\xff" * draw.randrange(1, 11)
        elif changed:
            changed[at % len(changed)] = draw.randrange(256)
    return bytes(changed)
