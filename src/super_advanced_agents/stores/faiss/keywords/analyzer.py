"""The analyzer of texts and queries: normalization, tokens, stop words, stems."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

VERSION = 1
"""The analyzer's version. A change of its tokens must raise it, so that snapshots are rebuilt."""

TEXT_WEIGHT = 0.5
WINDOW_WEIGHT = 1.0
"""The fields' weights, by LoCoMo evidence recall@10.

A turn's own text reaches 0.61, its window 0.66, both with these weights, and with vectors, 0.73.
"""

FIELDS = {"text": TEXT_WEIGHT, "window": WINDOW_WEIGHT}

_MAX_TOKEN_BYTES = 64
# Words that are in most questions and tell nothing about the topic: without them recall@10 rises from 0.64 to 0.66.
_STOP_WORDS = (  # noqa: SIM905  # eighty quoted words would be harder to read
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
    .filter(Filter.remove_long(_MAX_TOKEN_BYTES))
    .filter(Filter.lowercase())
    .filter(Filter.ascii_fold())
    .filter(Filter.custom_stopword(_STOP_WORDS))
    .filter(Filter.stemmer("english"))
    .build()
)


def normalize(text: str) -> str:
    """Normalize a text to NFKC, and insert spaces in scripts that have none, such as Chinese.

    A run of characters of such a script becomes its single characters and its bigrams, which serve as tokens.
    """
    if text.isascii():
        return text
    return _UNSPACED.sub(_split_run, unicodedata.normalize("NFKC", text))


def _split_run(run: re.Match[str]) -> str:
    characters = run[0]
    bigrams = [characters[i : i + 2] for i in range(len(characters) - 1)]
    return f" {' '.join([*characters, *bigrams])} "


def tokenize(text: str) -> list[str]:
    """Return the tokens of a normalized text in order, stemmed, without stop words."""
    tokens: list[str] = ANALYZER.analyze(text)
    return tokens


def unique_terms(text: str) -> list[str]:
    """Normalize and tokenize a text, and return its distinct terms."""
    return list(dict.fromkeys(tokenize(normalize(text))))


class Entry(NamedTuple):
    """Hold the two texts by which keyword search finds a record: its own and its window.

    The window joins the text with those of the records before and after it in its session (conversation).
    """

    row: int
    scope: int
    text: str
    window: str

    @classmethod
    def of(cls, row: int, scope: int, text: str, before: str, after: str) -> Entry:
        """Build a record's entry for the keyword index.

        `before` and `after` are the texts of the neighbouring records in its session (conversation); empty for none.
        """
        own = normalize(text)
        return cls(row, scope, own, f"{normalize(before)}\n{own}\n{normalize(after)}")
