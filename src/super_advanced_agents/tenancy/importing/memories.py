"""Memories made of a file's parts, with digests by which a later import recognizes them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from super_advanced_agents.config import LIMITS
from super_advanced_agents.formats import Part
from super_advanced_agents.stores.records.record_fields import RESERVED
from super_advanced_agents.tenancy.importing.files import Input, digest_of_location
from super_advanced_agents.types import JSONValue, Memory

PLACE_FIELDS = frozenset({"lines", "turn", "file_id", "file"})
"""Metadata that says where a memory stands; it changes when the text around it does."""

_OWN_FIELDS = PLACE_FIELDS | {"text", "type", "session", "heading"}
_TURN_FIELDS = _OWN_FIELDS | {"speaker", "created_at"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPart:
    """Hold a memory that a file holds now.

    Attributes:
        memory: the memory; its uid is the one that the file or its format fixes, or None.
        line: the line where it begins; 0 when unknown.
        digest: says what it is, without its place.
        body: the same, without the names and headings that its text begins with.
        is_global: whether the uid means the same memory in every file.
    """

    memory: Memory
    line: int
    digest: bytes
    body: bytes
    is_global: bool


@dataclass(slots=True)
class MemoryMaker:
    """Make memories of the parts of one file, in order.

    Attributes:
        file: the file.
        source: the source of its memories, unless an entry gives its own.
        memory_type: the label of memories from documents.
    """

    file: Input
    source: str
    memory_type: str
    _turns: Counter[str] = field(default_factory=Counter)

    def make(self, part: Part) -> NewPart:
        """Return the memory that a part becomes."""
        is_turn = part.speaker is not None
        extra = _without_names(part.metadata, _TURN_FIELDS if is_turn else _OWN_FIELDS)
        session = self._session(part)
        if part.heading:
            extra["heading"] = part.heading
        if is_turn:
            extra["speaker"] = part.speaker
            if part.created_at is not None:
                extra["created_at"] = part.created_at
        text = f"{part.speaker}: {part.text}" if is_turn else part.text
        memory_type = "turn" if is_turn else part.memory_type or self.memory_type
        digest = content_digest(text, memory_type, extra)
        place: dict[str, JSONValue] = {"file_id": self.file.file_id}
        if part.source:
            place["file"] = self.source
        if part.line:
            place["lines"] = [part.line, part.end_line]
        if is_turn and session is not None:
            place["turn"] = self._turns[session]
            self._turns[session] += 1
        key = f"{session} {part.key}" if part.key else None
        memory = Memory(
            text=text,
            memory_type=memory_type,
            uid=part.uid or (key and stable_uid("" if part.is_global else self.file.file_id, key)),
            extra={**extra, **place},
            expires_in_s=part.expires_in_s,
            source=part.source or self.source,
            session=session,
            priority=part.priority,
        )
        return NewPart(
            memory=memory,
            line=part.line,
            digest=digest,
            body=body_digest(text),
            is_global=part.uid is not None or (part.is_global and part.key is not None),
        )

    def _session(self, part: Part) -> str | None:
        if part.speaker is None and part.session is None:
            return None
        location, source = self.file.location, self.file.source
        if part.scope == "everywhere" and part.session:
            name = part.session
        elif part.scope == "folder":
            name = f"{part.session} {digest_of_location(location.rpartition('/')[0])[:8]}"
        else:
            name = " ".join(filter(None, (source.rpartition("/")[2][-120:], self.file.file_id[:8], part.session)))
        printable = "".join(char if char.isprintable() else " " for char in name)
        return printable[: LIMITS.uid_chars // 2].strip() or None


def content_digest(text: str, memory_type: str, extra: Mapping[str, JSONValue]) -> bytes:
    """Return the digest of a memory's text, label and metadata, without its place."""
    fields = {name: value for name, value in extra.items() if name not in PLACE_FIELDS}
    return _digest(text, memory_type, json.dumps(fields, sort_keys=True, default=str))


def digest_of(memory: Memory) -> bytes:
    """Return the digest of a memory, as that of a part of a file or of a stored memory."""
    return content_digest(memory.text, memory.memory_type, memory.extra)


def body_digest(text: str) -> bytes:
    """Return the digest of a text without its first paragraph, which holds names and headings."""
    return _digest(text.partition("\n\n")[2] or text)


def stable_uid(file_id: str, *parts: str) -> str:
    """Return a uid hashed from a key in a file; if the file is empty, from a key in the world."""
    return f"{file_id}-{_digest(*parts)[:10].hex()}" if file_id else _digest(*parts).hex()


def _digest(*parts: str) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.digest()


def _without_names(metadata: Mapping[str, JSONValue], taken: frozenset[str] | set[str]) -> dict[str, Any]:
    # A field whose name means something else in a memory gets an underscore behind it, a reserved one before it.
    return {
        f"{name}_" if name in taken else f"_{name}" if name.startswith(RESERVED) else name: value
        for name, value in metadata.items()
    }
