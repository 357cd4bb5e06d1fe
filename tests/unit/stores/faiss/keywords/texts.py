"""Texts of tests of keyword search, stores that hold them, and queries."""

from __future__ import annotations

import random

from super_advanced_agents.stores.faiss.keywords.index import FLUSH_ROWS

DIM = 8
MANY = 2 * FLUSH_ROWS
VOCABULARY = [f"{first}{second}" for first in "bcdfgklmnprst" for second in ("oto", "ania", "eru", "ick", "unam")]
QUERIES = [" ".join(random.Random(i).choices(VOCABULARY, k=3)) for i in range(20)]


def unit(axis: int) -> list[float]:
    return [1.0 if i == axis % DIM else 0.0 for i in range(DIM)]


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(VOCABULARY, k=rng.randint(1, 12)))


def fill(store, texts, **more):
    uids = []
    for start in range(0, len(texts), 1_000):
        page = texts[start : start + 1_000]
        uids += store.add_batch(
            [unit(i) for i in range(len(page))],
            [{"text": text} for text in page],
            **{
                name: value[start : start + 1_000] if isinstance(value, list) else value for name, value in more.items()
            },
        )
    return uids


def answers_of(store, queries):
    return [[(match.uid, round(match.score, 3)) for match in store.search_keywords(each, 10)] for each in queries]
