"""A filter for the thoughts that some language models write before their answer."""

from __future__ import annotations

import re

_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>", "<thought>": "</thought>", "[THINK]": "[/THINK]"}
_OPENING = re.compile(rf"(?:\A|\n)[ \t]*({'|'.join(map(re.escape, _TAGS))})")


class ThoughtFilter:
    """Leave thoughts, such as `<think>...</think>`, out of streamed text.

    A thought begins at the start of the text or of a line, so that an answer may write about the tags. One that is not
    closed reaches to the end of the text.
    """

    def __init__(self) -> None:
        self._pending = ""
        self._closing = ""
        self._at_line_start = True
        self._skips_space = False

    def feed(self, piece: str) -> str:
        """Take the next piece of streamed text, and return the text that can be passed on.

        A suffix that may begin a tag is held back until a later call decides.
        """
        text, passed = self._pending + piece, ""
        while text:
            if self._closing:
                _, found, rest = text.partition(self._closing)
                if not found:
                    text = text[-len(self._closing) + 1 :]
                    break
                text, self._closing, self._skips_space = rest, "", True
                continue
            if self._skips_space:
                text = text.lstrip()
                self._skips_space = not text
                self._at_line_start = True
                continue
            opening = _OPENING.search(text) if self._at_line_start else _OPENING.search(f" {text}", 1)
            if opening is None:
                held = self._held(text)
                passed += text[: len(text) - held]
                text = text[len(text) - held :]
                break
            start = opening.start(1) - (not self._at_line_start)
            passed += text[:start].rstrip(" \t")
            text = text[start + len(opening[1]) :]
            self._closing = _TAGS[opening[1]]
        if passed:
            self._at_line_start = passed.endswith("\n")
        self._pending = text
        return passed

    def flush(self) -> str:
        """Return the text held back as a possible tag, at the end of the stream."""
        pending, self._pending = self._pending, ""
        return "" if self._closing else pending

    def _held(self, text: str) -> int:
        # The length of the last line if it may begin with a tag, else 0.
        _, line_end, line = text.rpartition("\n")
        may_begin = (line_end or self._at_line_start) and any(tag.startswith(line.lstrip(" \t")) for tag in _TAGS)
        return len(line) if may_begin else 0
