"""`StoreOptions`: the options for opening a vector store of any engine, and their checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from super_advanced_agents.errors import ConfigurationError

Metric: TypeAlias = Literal["cosine", "dot"]
"""The similarity of two vectors: the cosine of their angle, or their dot product."""

IndexKind: TypeAlias = Literal["auto", "flat", "hnsw", "ivf"]
"""The vector index: exact, graph, inverted file, or chosen by the number of vectors."""

Storage: TypeAlias = Literal["fp32", "fp16", "sq8"]
"""The number format of vectors in memory: 4, 2 or 1 bytes per number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Hold the options for opening a store, such as vector length, metric and kind of index.

    Attributes:
        dim: the length of every vector.
        metric: the similarity of two vectors.
        index: the kind of vector index.
        storage: the number format of vectors in memory.
        api_key: the credential for a server.
    """

    dim: int
    metric: Metric = "cosine"
    index: IndexKind = "auto"
    storage: Storage = "fp32"
    api_key: str | None = field(default=None, repr=False)


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise `ConfigurationError` unless an argument of a store has one of its values."""
    choices = tuple(choices)
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_integer(name: str, value: object, least: int, most: int) -> None:
    """Raise `ConfigurationError` unless an argument of a store is an integer between two limits."""
    if type(value) is not int or not least <= value <= most:
        raise ConfigurationError(f"{name} must be an integer from {least} to {most}, not {value!r}")
