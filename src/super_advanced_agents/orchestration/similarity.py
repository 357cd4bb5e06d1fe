"""Grouping of answers that mean the same, even in different words."""

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
    """Hold the positions, in a list of answers, of those that mean the same.

    Attributes:
        leader: the position of the answer that stands for the group.
        members: the positions of all its answers, ascending.
    """

    leader: int
    members: tuple[int, ...]


def normalise_answer(text: str) -> str:
    """Reduce a text to its words and numbers, without case, punctuation and English articles.

    A text without any is returned in lower case and stripped of white space.
    """
    words = [word.replace(",", "") if word[0].isdigit() else word for word in _WORD.findall(text.casefold())]
    return " ".join(word for word in words if word not in _ARTICLES) or text.strip().casefold()


def group_answers(texts: Sequence[str], vectors: Matrix | None, *, min_similarity: float) -> list[AnswerGroup]:
    """Group answers that mean the same; return the groups, the largest first.

    Groups of equal size stand in the order of their first answers. Answers of equal normalised words are in one group.
    So are answers whose vectors have a cosine of at least `min_similarity` with that of the group's leader, which is
    the answer given most often, or else the first one. Answers with different numbers, or of which only one holds an
    (English) negation, are never in one group: embedding models give such pairs a high similarity.

    Args:
        texts: the answers.
        vectors: (n, dim) unit vectors of the answers; when None, only words are compared.
        min_similarity: the cosine from which two answers count as the same.
    """
    positions_by_words: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        positions_by_words.setdefault(normalise_answer(text), []).append(position)
    groups: list[tuple[int, list[int]]] = []
    for words, positions in sorted(positions_by_words.items(), key=lambda item: (-len(item[1]), item[1][0])):
        facts = _facts(words)
        for leader, members in groups:
            if vectors is None or _facts(normalise_answer(texts[leader])) != facts:
                continue
            if float(np.dot(vectors[leader], vectors[positions[0]])) >= min_similarity:
                members.extend(positions)
                break
        else:
            groups.append((positions[0], list(positions)))
    return sorted(
        (AnswerGroup(leader, tuple(sorted(members))) for leader, members in groups),
        key=lambda group: (-len(group.members), group.members[0]),
    )


def _facts(words: str) -> tuple[frozenset[str], bool]:
    # The numbers in an answer, and True if it contains a negation.
    parts = words.split()
    is_negated = any(word in _NEGATIONS or word.endswith(("n't", "n\u2019t")) for word in parts)
    return frozenset(word for word in parts if word[0].isdigit()), is_negated
