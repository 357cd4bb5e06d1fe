"""The command `saa reembed`, which computes the vectors of all memories with another model."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.options import AsJson, DataDir, ModelsDir
from super_advanced_agents.cli.output import INTERRUPTED, print_json, print_note, print_result, report_errors
from super_advanced_agents.cli.session import open_embedder, open_folder_store


@report_errors
def reembed(
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", envvar="SAA_EMBEDDING_MODEL", help="A known embedding model, or a folder with one."),
    ] = None,
    precision: Annotated[
        Literal["int8", "fp32"] | None,
        typer.Option("--precision", envvar="SAA_EMBEDDING_PRECISION", help="The precision of a known model."),
    ] = None,
    drop_bare: Annotated[
        bool, typer.Option("--drop-bare", help="Delete records without text, which cannot be embedded.")
    ] = False,
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Compute the vectors of all stored texts (memories) again, with another embedding model.

    The store switches to the new vectors in one step. After an interruption the same command continues; until the
    switch the store is unchanged.
    """
    from super_advanced_agents.models import MODELS

    with (
        open_folder_store(
            data_dir, otherwise="submit it to that store's servers or workers: saa jobs submit reembed model=NAME"
        ) as store,
        open_embedder(data_dir, models_dir, model=model, precision=precision) as embedder,
        bar(unit="memories") as progress,
    ):
        task = progress.add_task("embedding", total=None) if progress else None

        def on_progress(done: int, total: int) -> None:
            if progress is not None and task is not None:
                progress.update(task, completed=done, total=total)

        try:
            done = store.reembed(embedder, drop_bare=drop_bare, on_progress=on_progress)
        except KeyboardInterrupt:
            print_note("Interrupted; the store is as it was. The same command again goes on from here.")
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(
            {
                "records": done.records,
                "embedded": done.embedded,
                "dropped": done.dropped,
                "model_id": done.model_id,
                "dim": done.dim,
            }
        )
        return
    dropped = f", {done.dropped} without text were deleted" if done.dropped else ""
    print_result(f"All {done.records} memories have vectors of {done.model_id} now{dropped}.")
    if not done.model_id.startswith(tuple(f"{name}:" for name in MODELS)):
        print_note(f"Name this model to other commands and servers: SAA_EMBEDDING_MODEL={model}")
        return
    named = [name for name in ("SAA_EMBEDDING_MODEL", "SAA_EMBEDDING_PRECISION") if os.environ.get(name)]
    if named:
        print_note(
            f"All commands use this model now where no other is named: unset {' and '.join(named)}, or adapt it."
        )
    else:
        print_note("All commands and servers on this data folder use this model from now on.")
