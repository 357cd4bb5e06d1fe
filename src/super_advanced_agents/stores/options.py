"""What a store may be made with, by name, whatever engine it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Metric: TypeAlias = Literal["cosine", "dot"]
"""How vectors are compared: by their angle, or by the dot product where their length means something."""

IndexKind: TypeAlias = Literal["auto", "flat", "hnsw", "ivf"]
"""How vectors are found: exactly (`flat`), by graphs, by inverted files, or as the number of vectors suggests."""

Storage: TypeAlias = Literal["fp32", "fp16", "sq8"]
"""How many bytes a number of a vector takes in memory: four, two or one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What a store is made with.

    Attributes:
        dim: the length of every vector.
        metric: see `Metric`.
        index: see `IndexKind`.
        storage: see `Storage`.
        api_key: the credential for a store on a server.
    """

    dim: int
    metric: Metric = "cosine"
    index: IndexKind = "auto"
    storage: Storage = "fp32"
    api_key: str | None = field(default=None, repr=False)
