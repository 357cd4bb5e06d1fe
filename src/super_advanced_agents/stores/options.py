"""What a store may be made with, by name, whatever engine it is."""

from __future__ import annotations

from typing import Literal, TypeAlias

Metric: TypeAlias = Literal["cosine", "dot"]
"""How vectors are compared: by their angle, or by the dot product where their length means something."""

IndexKind: TypeAlias = Literal["auto", "flat", "hnsw", "ivf"]
"""How vectors are found: exactly (`flat`), by graphs, by inverted files, or as the number of vectors suggests."""

Storage: TypeAlias = Literal["fp32", "fp16", "sq8"]
"""How many bytes a number of a vector takes in memory: four, two or one."""
