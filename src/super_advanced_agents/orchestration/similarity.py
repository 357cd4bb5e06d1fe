"""Which answers say the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from super_advanced_agents.types import Matrix

_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_ARTICLES = frozenset({"a", "an", "the"})
_NEGATIONS = frozenset({"no", "not", "never", "none", "nothing", "nobody", "cannot", "neither", "nor", "without"})


@dataclass(frozen=True, slots=True)
class AnswerGroup:
    """Answers that say the same.

    Attributes:
        leader: the place of the one that stands for all.
        members: the places of all of them, in order.
    """

    leader: int
    members: tuple[int, ...]


def normalised(text: str) -> str:
    """A text by its words and numbers alone: no case, no punctuation, no English articles."""
    words = [word.replace(",", "") if word[0].isdigit() else word for word in _WORD.findall(text.casefold())]
    return " ".join(word for word in words if word not in _ARTICLES) or text.strip().casefold()


def grouped(texts: Sequence[str], vectors: Matrix | None, *, least: float) -> list[AnswerGroup]:
    """Put answers that say the same together; the largest group first, among equals the one that began first.

    Answers of the same words are one. So are those whose meanings have a cosine of `least` or more with that of the
    group's leader, which is the one said most often, or else first; but never two with different numbers, nor one that
    denies (in English) with one that does not: models find those alike.

    Args:
        texts: the answers.
        vectors: (n, dim), their meanings, unit length; only the words count when None.
        least: which similarity is the same, a cosine.
    """
    said: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        said.setdefault(normalised(text), []).append(place)
    groups: list[tuple[int, list[int]]] = []
    for words, places in sorted(said.items(), key=lambda item: (-len(item[1]), item[1][0])):
        mark = _facts(words)
        for leader, members in groups:
            if vectors is None or _facts(normalised(texts[leader])) != mark:
                continue
            if float(np.dot(vectors[leader], vectors[places[0]])) >= least:
                members.extend(places)
                break
        else:
            groups.append((places[0], list(places)))
    return sorted(
        (AnswerGroup(leader, tuple(sorted(members))) for leader, members in groups),
        key=lambda group: (-len(group.members), group.members[0]),
    )


def _facts(words: str) -> tuple[frozenset[str], bool]:
    """What must agree whatever the similarity: the numbers, and whether it denies."""
    parts = words.split()
    denies = any(word in _NEGATIONS or word.endswith(("n't", "n\u2019t")) for word in parts)
    return frozenset(word for word in parts if word[0].isdigit()), denies
