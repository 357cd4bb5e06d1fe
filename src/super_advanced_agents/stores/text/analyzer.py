"""The analyzer of texts and queries: Unicode normalization, tokens, stop words, stems.

The terms of a text depend on that text alone. A query has no language of its own: each of its words becomes the terms
that the languages of the indexed texts make of it.
"""

# ruff: noqa: RUF001  # Turkish letters

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from super_advanced_agents.stores.text.languages import ENGLISH, detect_language, fixed_language, latin_analyzer
from super_advanced_agents.stores.text.scripts import clean, fold_case, joined_words, split, words_of

VERSION = f"4, Unicode {unicodedata.unidata_version}"
"""The analyzer's version. A change of its terms must change it, so that snapshots are rebuilt."""

_MAX_QUERY_WORDS = 1_000
"""The distinct words of a query that are stemmed in each language, which takes 2 µs."""
_MAX_DETECTED = 4_096
"""The characters at the start of a text that tell its language."""


class Analysis(NamedTuple):
    """Hold the terms of a text, separated by spaces, and its language, as `languages` names it."""

    terms: str
    language: str = ENGLISH


NO_TEXT = Analysis("")


def analyze(text: str) -> Analysis:
    """Return the terms of a text that is indexed.

    Those of a word in Latin script carry the text's language, unless it is English: "de/haus".
    """
    text = clean(text)
    latin, terms = split(text)
    language = fixed_language()
    if language is None:
        detected = latin[:_MAX_DETECTED].lower().replace("'", " ").replace(",", " ").replace(".", " ")
        letters = set() if detected.isascii() else {each for each in set(detected) if each > "\x7f" and each.isalpha()}
        language = detect_language(set(detected.split()), letters)
    return Analysis(" ".join([*_latin_terms(latin + joined_words(text), language), *terms]), language)


def window_terms(before: str, text: str, after: str) -> str:
    """Join the terms of a record with those of its neighbours; a missing one has empty terms."""
    return f"{before} {text} {after}"


def term_counts(terms: str) -> Counter[str]:
    """Return how often each term occurs; the total is the length of the field."""
    return Counter(terms.split())


def query_terms(text: str, languages: Collection[str]) -> list[tuple[str, ...]]:
    """Return the terms of each distinct word of a query.

    Args:
        text: the query.
        languages: the languages of the indexed texts other than English.

    Returns:
        For each word the terms that texts of these languages have in its place, and of English.
    """
    text = clean(text)
    latin, terms = split(text)
    latin += joined_words(text)
    if languages:
        by_language = [ENGLISH, *languages]
        distinct = list(dict.fromkeys(words_of(latin)))[:_MAX_QUERY_WORDS]
        words = [tuple(t for language in by_language for t in _latin_terms(word, language)) for word in distinct]
    else:
        words = [(term,) for term in _latin_terms(latin, ENGLISH)]
    return [word for word in dict.fromkeys([*words, *((term,) for term in terms)]) if word]


def _latin_terms(text: str, language: str) -> list[str]:
    if language == "tr":
        text = text.replace("I", "ı")
    terms: list[str] = latin_analyzer(language).analyze(text if text.isascii() else fold_case(text))
    return terms if language == ENGLISH else [f"{language}/{term}" for term in terms]
