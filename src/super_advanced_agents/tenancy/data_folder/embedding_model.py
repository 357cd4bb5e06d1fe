"""The embedding model of a data folder: the one that made the vectors of its memories."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from super_advanced_agents.errors import SuperAdvancedAgentsError

_NEWEST = """
SELECT model_id FROM (SELECT model FROM records ORDER BY seq DESC LIMIT 100) JOIN models ON models.id = model LIMIT 1
"""


def model_id_in(database: Path) -> str | None:
    """Return the id of the model that made the newest vectors of a store.

    Only its last 100 records are read.

    Returns:
        None if no model made them, if there is no store, or if it cannot be read.
    """
    if not database.is_file():
        return None
    from super_advanced_agents.stores.local import open_read_only  # heavy, and most processes of a server load it once

    try:
        with open_read_only(database) as connection:
            row = connection.execute(_NEWEST).fetchone()
    except (sqlite3.Error, SuperAdvancedAgentsError):
        return None  # opening the store says what is wrong with it
    return row[0] if row is not None and isinstance(row[0], str) else None


def known_model(model_id: str | None) -> tuple[str, str] | None:
    """Return the name and precision of a known model by its id; None for any other model."""
    from super_advanced_agents.models.registry import MODELS

    name, _, rest = (model_id or "").partition(":")
    precision = rest.partition(":")[0]
    return (name, precision) if name in MODELS and precision in {"int8", "fp32"} else None
