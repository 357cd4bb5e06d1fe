"""A filter that takes repeated sentences out of a model's answer, and notices when it loops."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

_END = re.compile(r"[.!?](?=\s)|[\u3002\uff01\uff1f\n]")
"""The end of a sentence or a line; a period within a number or a name is none."""

_MIN_WORDS = 4
_MAX_REPEATED = 3
_MAX_PHRASE_WORDS = 8
_MAX_PHRASES = 4
_MAX_SAME_WORDS = 8
_MAX_SENTENCE_CHARS = 2_000
"""The characters that are kept of a longer sentence, so that each piece costs the same."""


class RepetitionFilter:
    """Pass on streamed text without the sentences and lines that it had before.

    Small models end in loops: the default one wrote 132 repeated sentences in 13 answers of five chats, and without
    this filter the next answers of a chat repeat them too. Penalties in the sampler stop loops as well, but change what
    an answer quotes: with DRY, "blue-harbor-77" became "blue-harbor-78". Here all other text stays as the model wrote
    it. Sentences of less than four words may come again, and so may short lines of code.

    Attributes:
        looping: True once three sentences in a row came again, or a phrase in a sentence comes for the fourth time in a
            row: the model has nothing new to say.
    """

    def __init__(self) -> None:
        self.looping = False
        self._known: set[str] = set()
        self._sentence = ""
        self._passed = 0  # the characters of the sentence that were passed on
        self._repeated = 0
        self._is_cut = False  # the beginning of the sentence is not kept

    def feed(self, piece: str) -> str:
        """Take the next piece of text, and return what can be passed on.

        A sentence is held back while it may become an earlier one.
        """
        self._sentence += piece
        passed: list[str] = []
        while not self.looping and (end := _END.search(self._sentence)):
            rest = self._sentence[end.end() :]
            self._sentence = self._sentence[: end.end()]
            passed.append(self._finish())
            self._sentence = rest
        if not self.looping and (self._passed or not self._may_repeat()):
            passed.append(self._sentence[self._passed :])
            self._passed = len(self._sentence)
            self.looping = _repeats_a_phrase(self._sentence)
            if len(self._sentence) > 2 * _MAX_SENTENCE_CHARS:
                self._sentence = self._sentence[-_MAX_SENTENCE_CHARS:]
                self._passed, self._is_cut = len(self._sentence), True
        return "".join(passed)

    def flush(self) -> str:
        """Return the text that was held back, at the end of the answer."""
        return "" if self.looping else self._finish()

    def _finish(self) -> str:
        sentence, passed, is_cut = self._sentence, self._passed, self._is_cut
        self._sentence, self._passed, self._is_cut = "", 0, False
        if is_cut:
            return sentence[passed:]
        key = _key(sentence)
        if len(key.split()) >= _MIN_WORDS:
            if not passed and key in self._known:
                self._repeated += 1
                self.looping = self._repeated >= _MAX_REPEATED
                return ""
            self._known.add(key)
            self._repeated = 0
        return sentence[passed:]

    def _may_repeat(self) -> bool:
        key = _key(self._sentence)
        return any(known.startswith(key) for known in self._known)


def _repeats_a_phrase(sentence: str) -> bool:
    # Whether it ends with four times the same two to eight words, or eight times the same one. Rows of tables have
    # marks and numbers that are no words.
    words = sentence.casefold().split()[-_MAX_PHRASE_WORDS * _MAX_PHRASES - 1 : -1]  # the last one may grow
    for size in range(1, _MAX_PHRASE_WORDS + 1):
        count = size * (_MAX_PHRASES if size > 1 else _MAX_SAME_WORDS)
        phrase = words[-size:]
        if len(words) >= count and words[-count:] == phrase * (count // size):
            return (size == 1 or len(set(phrase)) > 1) and all(any(map(str.isalpha, word)) for word in phrase)
    return False


async def without_repetition(stream: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """Yield a model's text without repeated sentences, and leave its stream when it loops."""
    repetition = RepetitionFilter()
    async with aclosing(stream) as pieces:
        async for piece in pieces:
            if text := repetition.feed(piece):
                yield text
            if repetition.looping:
                return
    if rest := repetition.flush():
        yield rest


def _key(sentence: str) -> str:
    return " ".join(sentence.casefold().split())
