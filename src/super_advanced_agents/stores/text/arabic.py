"""A light stemmer of Arabic: the article, joined particles and common endings are taken off.

It is that of "light10" (Larkey, Ballesteros and Connell, 2007), which search engines use. Snowball's leaves the ending
of feminine nouns on a word with an article, so that the two forms of the word would not meet.
"""

# ruff: noqa: RUF001  # Arabic letters

from __future__ import annotations

_PREFIXES = ("وال", "بال", "كال", "فال", "ال", "لل")
_AND = "و"
_ENDINGS = ("ها", "ان", "ات", "ون", "ين", "يه", "ه", "ي")
_LEAST = 2
_LEAST_AFTER_AND = 3


def stem(word: str) -> str:
    """Return the stem of a word whose letters are folded: one form of alef, ya and ta marbuta."""
    prefix = next((each for each in _PREFIXES if word.startswith(each) and len(word) - len(each) >= _LEAST), "")
    if not prefix and word.startswith(_AND) and len(word) - 1 >= _LEAST_AFTER_AND:
        prefix = _AND
    word = word[len(prefix) :]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST:
            word = word[: -len(ending)]
    return word
