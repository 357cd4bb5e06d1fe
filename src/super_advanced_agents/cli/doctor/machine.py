"""Checks of `saa doctor` for Python, the required libraries and the default models' files."""

from __future__ import annotations

import importlib
import platform
import sqlite3
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from super_advanced_agents.cli.doctor.check import Check
from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.stores.local.maintenance import LIBRARIES

if TYPE_CHECKING:
    from super_advanced_agents.tenancy.settings import Settings

_LIBRARIES = (
    *LIBRARIES,
    ("onnxruntime", "onnxruntime"),
    ("tokenizers", "tokenizers"),
    ("xllamacpp", "xllamacpp"),
)


def check_versions() -> Iterator[Check]:
    """Yield check results for Python, SQLite and each library that must be importable.

    The detail of each result is the version.
    """
    yield Check(name="python", ok=True, detail=f"{platform.python_version()} on {platform.machine()}")
    yield Check(name="sqlite", ok=True, detail=sqlite3.sqlite_version)
    from super_advanced_agents.models.runtime import load_onnxruntime

    for module, distribution in _LIBRARIES:
        try:
            load_onnxruntime() if module == "onnxruntime" else importlib.import_module(module)
            yield Check(name=distribution, ok=True, detail=metadata.version(distribution))
        except (ImportError, OSError) as exc:  # OSError: a shared library it needs is missing
            yield Check(
                name=distribution,
                ok=False,
                detail=f"cannot be imported: {exc}",
                hint="install super-advanced-agents again: pip install --force-reinstall super-advanced-agents",
            )


def check_embedding(data_dir: Path) -> Iterator[Check]:
    """Yield a check result: whether the configured model made the data folder's vectors.

    There is none if no model made vectors there.
    """
    from super_advanced_agents.stores.local.maintenance import model_id_in
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load_for_folder(data_dir=data_dir)
    stored = model_id_in(settings.store_dir)
    if stored is not None and settings.has_own_store:
        yield model_check(stored, settings)


def model_check(stored: str, settings: Settings) -> Check:
    """Return a check result: whether the configured model made the vectors of a store.

    Args:
        stored: the identifier of the model that made them.
        settings: the settings, with the configured model.
    """
    from super_advanced_agents.models import MODELS, known_model

    known = known_model(stored)
    made_by = stored if known is None else " ".join(known)
    configured = f"{settings.embedding_model} {settings.embedding_precision}"
    if settings.embedding_base_url is not None or (known is None and settings.embedding_model not in MODELS):
        return Check(name="embedding model", ok=True, detail=f"{made_by} made the vectors")  # only searches can tell
    return Check(
        name="embedding model",
        ok=made_by == configured,
        detail=f"{made_by} made the vectors"
        if made_by == configured
        else f"{made_by} made the vectors, and {configured} is configured",
        hint="" if made_by == configured else "unset SAA_EMBEDDING_MODEL and SAA_EMBEDDING_PRECISION, or: saa reembed",
    )


def model_dim(settings: Settings) -> int | None:
    """Return the length of the configured model's vectors; None where it is unknown."""
    from super_advanced_agents.models import MODELS

    model = MODELS.get(settings.embedding_model)
    return None if model is None or settings.embedding_base_url is not None else model.dim


def check_models(models_dir: Path | None) -> Iterator[Check]:
    """Yield a check result for each default model, after verifying its files' checksums."""
    from super_advanced_agents.models import verify

    for name in (DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL):
        try:
            folder = verify(name, models_dir=models_dir)
        except SuperAdvancedAgentsError as exc:
            yield Check(name=name, ok=False, detail=exc.message, hint=exc.hint)
        else:
            yield Check(name=name, ok=True, detail=f"whole, in {str(folder.path)!r}")
