"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

DataDir: TypeAlias = Annotated[
    Path, typer.Option("--data-dir", envvar="SAA_DATA_DIR", help="The folder of everything that lasts.")
]
ModelsDir: TypeAlias = Annotated[
    Path | None,
    typer.Option("--models-dir", envvar="SAA_MODELS_DIR", help="The folder of models; the user's cache if not given."),
]
AgentName: TypeAlias = Annotated[str, typer.Option("--agent", envvar="SAA_AGENT", help="Whose memories these are.")]
AnyAgent: TypeAlias = Annotated[
    str | None,
    typer.Option("--agent", "--namespace", envvar="SAA_AGENT", help="Whose memories; if not given, everybody's."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
TopK: TypeAlias = Annotated[int, typer.Option("--top-k", "-k", help="How many memories, at most.")]
WhereText: TypeAlias = Annotated[
    str | None, typer.Option("--where", help="""Only memories matching this filter, such as '{"type": "fact"}'.""")
]

DATA_DIR = Path("saa-data")
AGENT = "default"
