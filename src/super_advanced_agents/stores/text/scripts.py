"""Tokens of a text in any script, and the terms of those that are not Latin."""

# ruff: noqa: RUF001  # letters of many scripts

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from super_advanced_agents.stores.text.arabic import stem

_MAX_TOKEN_CHARACTERS = 64

_UNSPACED = (
    "\u3040-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul: spaced, but endings stick to words
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\uaa60-\uaa7f"  # Thai, Lao, Burmese, Khmer
)
_PICTOGRAPHS = (
    "\u231a\u231b\u2328\u23cf\u23e9-\u23fa\u25fb-\u25fe\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
    "\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff"
)
_FLAG_LETTERS = "\U0001f1e6-\U0001f1ff"
_JOINER = "\u200d"

_KIND = re.compile(
    "(?P<latin>[\x00-\u036f\u1e00-\u1eff\u2c60-\u2c7f\ua720-\ua7ff])"
    "|(?P<greek>[\u0370-\u03ff\u1f00-\u1fff])"
    "|(?P<cyrillic>[\u0400-\u052f\u1c80-\u1c8f\ua640-\ua69f])"
    "|(?P<arabic>[\u0600-\u06ff\u0750-\u077f\u0870-\u08ff])"
    "|(?P<tamil>[\u0b80-\u0bff])"
    f"|(?P<unspaced>[{_UNSPACED}])"
    f"|(?P<emoji>[{_PICTOGRAPHS}])"
    "|(?P<other>)"
)
_TOKENS = TextAnalyzerBuilder(  # Python's `re` knows no class of marks, without which Indic words fall apart
    Tokenizer.regex(
        rf"[{_PICTOGRAPHS}](?:{_JOINER}[{_PICTOGRAPHS}])*"
        rf"|[{_FLAG_LETTERS}]{{2}}"
        rf"|[[\p{{L}}\p{{M}}\p{{N}}]&&[{_UNSPACED}]]+"
        rf"|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}{_PICTOGRAPHS}]]+"
    )
).build()
_WORDS = TextAnalyzerBuilder(Tokenizer.simple()).build()

# Invisible characters (Unicode's Default_Ignorable_Code_Point, without the joiner), and skin tones.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001f3fb-\U0001f3ff\U000e0000-\U000e0fff]"
)
_LONE_JOINER = re.compile(f"(?<![{_PICTOGRAPHS}]){_JOINER}")
_HYPHENS = re.compile("[\u2010\u2011\ufe63\uff0d]")
_LATIN_LETTERS = "[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+"
_HYPHENATED = re.compile(rf"(?<![\w-]){_LATIN_LETTERS}(?:-{_LATIN_LETTERS})+(?![\w-])")
# Typographic punctuation, apostrophes that count as letters, and trademark signs, which NFKC turns into letters.
_PUNCTUATION = re.compile("[\u2012-\u2027\u2030-\u205e\u2120\u2122\u02b9-\u02bf]+")
_BEYOND_LATIN = re.compile("[^\x00-\u02ff\u1e00-\u1eff]")
_MARKS = re.compile(
    "["
    "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u2de0-\u2dff\ufe20-\ufe2f"  # of many scripts
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew vowels and accents
    "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u08d3-\u08e1\u08e3-\u08ff"
    "\u0711\u0730-\u074a"  # Arabic and Syriac vowels, and the Arabic stroke that lengthens words
    "]"
)
_DIGITS = re.compile(r"[^\D0-9]")
_ARABIC_LETTERS = str.maketrans("أإآٱىیکۀةۃ", "اااايي\u0643ههه")


# Writers of Devanagari leave out the dot that marks foreign sounds, and exchange the two signs of nasal vowels.
_DEVANAGARI_SIGNS = str.maketrans({"\u093c": None, "\u0901": "\u0902"})


def clean(text: str) -> str:
    """Return a text in NFKC with ASCII digits, without optional marks and unseen characters.

    Punctuation of typographers becomes a space, so that most English texts are in ASCII afterwards.
    """
    if text.isascii():
        return text
    text = _PUNCTUATION.sub(" ", _HYPHENS.sub("-", text))
    if text.isascii():
        return text
    text = _UNSEEN.sub("", _MARKS.sub("", unicodedata.normalize("NFKC", text)))
    if _JOINER in text:
        text = _LONE_JOINER.sub("", text)
    return _DIGITS.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


def fold_case(text: str) -> str:
    """Return a cleaned text in small letters (Unicode's case folding)."""
    return _MARKS.sub("", unicodedata.normalize("NFC", text.casefold()))  # "İ" folds to a letter with a mark


def split(text: str) -> tuple[str, list[str]]:
    """Split a cleaned text into its Latin words, as they are, and the terms of other scripts."""
    if text.isascii() or not _BEYOND_LATIN.search(text):
        return text, []
    by_kind: dict[str | None, list[str]] = defaultdict(list)
    for token in _TOKENS.analyze(text):
        by_kind[_kind(token)].append(token)
    latin = " ".join(by_kind.pop("latin", []))
    return latin, [term for kind, tokens in by_kind.items() for term in _TERMS[kind or "other"](tokens)]


def joined_words(text: str) -> str:
    """Return the hyphenated words of a cleaned text without hyphens: " email" for "e-mail"."""
    return "".join(f" {word.replace('-', '')}" for word in _HYPHENATED.findall(text)) if "-" in text else ""


def words_of(latin: str) -> list[str]:
    """Return the words of a text in Latin script, as they are."""
    words: list[str] = _WORDS.analyze(latin)
    return words


def _kind(token: str) -> str | None:
    found = _KIND.match(token)
    return found and found.lastgroup


def _stemming(
    language: str, fold: Callable[[str], str], *, stop_words: bool = False
) -> Callable[[Sequence[str]], list[str]]:
    builder = TextAnalyzerBuilder(Tokenizer.whitespace())
    if stop_words:
        builder = builder.filter(Filter.stopword(language))
    analyzer: TextAnalyzer = builder.filter(Filter.stemmer(language)).build()
    return lambda tokens: _short(analyzer.analyze(fold(" ".join(tokens))))


def _fold_greek(text: str) -> str:
    return _MARKS.sub("", unicodedata.normalize("NFD", text)).casefold()  # case folding makes a mark of "ῃ" a letter


def _fold_cyrillic(text: str) -> str:
    return fold_case(text).replace("ё", "е")


def _arabic(tokens: Sequence[str]) -> list[str]:
    words = fold_case(" ".join(tokens)).translate(_ARABIC_LETTERS).split()
    return _short([stem(word) for word in words])


def _parts_of_runs(runs: Sequence[str]) -> list[str]:
    # The characters of a run without spaces, and its pairs of characters.
    return [part for run in runs for part in (*run, *map("".join, pairwise(run)))]


def _parts_of_emoji(sequences: Sequence[str]) -> list[str]:
    # The terms of an emoji sequence: each emoji that it joins, and the whole sequence.
    parts = []
    for sequence in sequences:
        members = sequence.split(_JOINER)
        parts += members if len(members) == 1 else [*members, sequence]
    return parts


def _other(tokens: Sequence[str]) -> list[str]:
    return _short(fold_case(" ".join(tokens)).translate(_DEVANAGARI_SIGNS).split())


def _short(terms: Sequence[str]) -> list[str]:
    return [term for term in terms if len(term) <= _MAX_TOKEN_CHARACTERS]


_TERMS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "greek": _stemming("greek", _fold_greek),
    "cyrillic": _stemming("russian", _fold_cyrillic, stop_words=True),
    "arabic": _arabic,
    "tamil": _stemming("tamil", fold_case),
    "unspaced": _parts_of_runs,
    "emoji": _parts_of_emoji,
    "other": _other,
}
