"""What counts as a word: the same for what is remembered and for what is asked."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

VERSION = 1
"""To be counted up with every change of what counts as a word: indexes kept under another are built anew."""

TEXT_WEIGHT = 0.5
WINDOW_WEIGHT = 1.0
"""LoCoMo evidence recall@10: a turn's own words 0.61, its window's 0.66, both so weighted, with vectors, 0.73."""

FIELDS = {"text": TEXT_WEIGHT, "window": WINDOW_WEIGHT}

_LONGEST_WORD = 64
# Words that are in most questions and say nothing of what is asked for: without them recall@10 rises from 0.64 to 0.66.
_STOP_WORDS = (  # noqa: SIM905  # eighty quoted words would hide what they are
    "a an and are as at be been being but by can could did do does for from had has have he her him his how i if in "
    "into is it its just me my no not of on or our she should so such than that the their them then there these they "
    "this to too us very was we were what when where which who will with would you your am about"
).split()

_UNSPACED = re.compile(
    "["
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "\u1100-\u11ff\uac00-\ud7ff"  # Hangul: spaced, but endings stick to words
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "]+"
)

ANALYZER = (
    TextAnalyzerBuilder(Tokenizer.simple())
    .filter(Filter.remove_long(_LONGEST_WORD))
    .filter(Filter.lowercase())
    .filter(Filter.ascii_fold())
    .filter(Filter.custom_stopword(_STOP_WORDS))
    .filter(Filter.stemmer("english"))
    .build()
)


def normalize(text: str) -> str:
    """The text as the analyzer can take it apart: composed, and with spaces where a script has none.

    A run of characters of such a script becomes its characters and its pairs of them, which stand in for words.
    """
    if text.isascii():
        return text
    return _UNSPACED.sub(_apart, unicodedata.normalize("NFKC", text))


def _apart(run: re.Match[str]) -> str:
    characters = run[0]
    pairs = [characters[i : i + 2] for i in range(len(characters) - 1)]
    return f" {' '.join([*characters, *pairs])} "


def tokenize(text: str) -> list[str]:
    """The words of a readable text, in the order they come: stems of English ones, without those that say nothing."""
    found: list[str] = ANALYZER.analyze(text)
    return found


def unique_terms(text: str) -> list[str]:
    """The words of any text, each once."""
    return list(dict.fromkeys(tokenize(normalize(text))))


class Entry(NamedTuple):
    """What is known of a row by its words: its text, and the window of it (the text with its neighbours'), readable."""

    row: int
    scope: int
    text: str
    window: str

    @classmethod
    def of(cls, row: int, scope: int, text: str, before: str, after: str) -> Entry:
        """The entry of a text between its neighbours'."""
        own = normalize(text)
        return cls(row, scope, own, f"{normalize(before)}\n{own}\n{normalize(after)}")
