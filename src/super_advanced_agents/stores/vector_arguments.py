"""Checks of the vectors of one call, before they are copied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from super_advanced_agents.config import Limits
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.validation import checked_matrix
from super_advanced_agents.types import Matrix, Vector


def length(vectors: object) -> int:
    """Return `len(vectors)`, or 0 if the argument, which is not validated yet, has no length."""
    try:
        return len(vectors)  # type: ignore[arg-type]  # validation refuses it later
    except TypeError:
        return 0


def checked_vectors(vectors: ArrayLike | Sequence[ArrayLike], dim: int, *, field: str, limits: Limits) -> Matrix:
    """Return vectors as an (n, dim) float32 matrix.

    Raises:
        InvalidInputError: they are too many for one batch, or not finite vectors of `dim` numbers.
    """
    n, limit = length(vectors), limits.batch_records
    if n > limit:  # refused here, before it is copied
        raise InvalidInputError(
            f"{field} has {n} entries, the limit of one batch is {limit}",
            field=field,
            hint="send several batches, or raise limits.batch_records",
        )
    return checked_matrix(vectors, dim, field=field)


def checked_vector(vector: ArrayLike, dim: int, *, field: str) -> Vector:
    """Return one vector as a (dim,) float32 array.

    Raises:
        InvalidInputError: it is not a finite vector of `dim` numbers.
    """
    rows = vector[np.newaxis] if isinstance(vector, np.ndarray) and vector.ndim == 1 else [vector]
    row: Vector = checked_matrix(rows, dim, field=field)[0]
    return row
