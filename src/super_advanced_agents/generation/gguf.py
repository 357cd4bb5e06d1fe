"""Parser of GGUF file headers, since llama.cpp may abort the process on a damaged file.

Source: the GGUF specification, github.com/ggml-org/ggml, docs/gguf.md (versions 2 and 3).
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from super_advanced_agents.errors import ModelNotFoundError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAGIC = int.from_bytes(b"GGUF", "little")
_CONTROL_TOKEN = 3
_MAX_ITEMS = 1 << 24
_MAX_STRING_BYTES = 1 << 26

Value = bool | int | float | str | list["Value"]


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """The parts of a GGUF model file's header that this package uses.

    Attributes:
        architecture: the model's architecture, such as `"llama"`.
        context_tokens: the longest context for which the model was trained; 0 when the file does not state it.
        control_tokens: the texts of the tokens that structure a chat (ends of turns, roles); none is empty.
        digest: the sha256 of header and file size, in hex.
    """

    architecture: str
    context_tokens: int
    control_tokens: tuple[str, ...]
    digest: str


def read_header(path: Path) -> GGUFHeader:
    """Parse and validate the header of the GGUF model file at `path`.

    Raises:
        ModelNotFoundError: the file does not exist, is not a GGUF file, or ends before its last tensor begins.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _parse(content)
    except FileNotFoundError as exc:
        raise ModelNotFoundError(
            f"there is no model file {str(path)!r}",
            hint="give the path of a .gguf file, or the name of a model fetched with: saa pull",
        ) from exc
    except OSError as exc:
        raise ModelNotFoundError(f"the model file {str(path)!r} cannot be read: {exc.strerror}") from exc
    except (ValueError, struct.error, UnicodeDecodeError) as exc:
        raise ModelNotFoundError(
            f"the model file {str(path)!r} is damaged or not a GGUF file: {exc}",
            hint="fetch it again, for a known model with: saa pull",
        ) from exc


def _parse(content: mmap.mmap) -> GGUFHeader:
    reader = _Reader(content)
    magic, version, tensors, pairs = reader.unpack("IIQQ")
    if magic != _MAGIC or version not in {2, 3}:
        raise ValueError("it does not begin with a GGUF header of version 2 or 3")
    if not 0 < tensors < _MAX_ITEMS or pairs > _MAX_ITEMS:
        raise ValueError(f"its header claims {tensors} tensors and {pairs} values")
    values: dict[str, Value] = {}
    for _ in range(pairs):
        key = reader.string()
        values[key] = reader.value(reader.unpack("I")[0])
    last_offset = max(_tensor_offset(reader) for _ in range(tensors))
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError("its alignment is not a positive integer")
    begin = -(-reader.position // alignment) * alignment
    if begin + last_offset >= len(content):
        raise ValueError(f"it ends after {len(content)} bytes, before its last tensor begins")
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str):
        raise ValueError("it does not name its architecture")  # noqa: TRY004 - the file is wrong, not a type
    trained = values.get(f"{architecture}.context_length", 0)
    digest = hashlib.sha256(content[: reader.position] + len(content).to_bytes(8, "little")).hexdigest()
    return GGUFHeader(architecture, trained if isinstance(trained, int) else 0, _control_tokens(values), digest)


def _tensor_offset(reader: _Reader) -> int:
    reader.string()
    dimensions: int = reader.unpack("I")[0]
    if dimensions > 8:
        raise ValueError(f"a tensor has {dimensions} dimensions")
    offset: int = reader.unpack(f"{dimensions}QIQ")[-1]
    return offset


def _control_tokens(values: dict[str, Value]) -> tuple[str, ...]:
    tokens, kinds = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list) or not isinstance(kinds, list):
        return ()
    pairs = zip(tokens, kinds, strict=False)
    return tuple(token for token, kind in pairs if kind == _CONTROL_TOKEN and isinstance(token, str) and len(token) > 1)


class _Reader:
    # Values are little-endian. Past the end, the methods raise `struct.error` or `ValueError`.

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self.position = 0

    def unpack(self, form: str) -> tuple[int, ...]:
        shape = struct.Struct("<" + form)
        values = shape.unpack_from(self._content, self.position)
        self.position += shape.size
        return values

    def string(self) -> str:
        length = self.unpack("Q")[0]
        end = self.position + length
        if length > _MAX_STRING_BYTES or end > len(self._content):
            raise ValueError("it ends inside its header")
        text = self._content[self.position : end].decode(errors="replace")
        self.position = end
        return text

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.unpack(_scalar(kind))[0]
        item_kind, length = self.unpack("IQ")
        if length > _MAX_ITEMS:
            raise ValueError(f"a list in its header has {length} items")
        if item_kind == _STRING:
            return [self.string() for _ in range(length)]
        return list(self.unpack(f"{length}{_scalar(item_kind)}"))


def _scalar(kind: int) -> str:
    form = _SCALARS.get(kind)
    if form is None:
        raise ValueError(f"a value in its header has the unknown type {kind}")
    return form
