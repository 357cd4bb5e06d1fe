"""Command-line options that several `saa` commands share, such as `--data-dir`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer


def _default_data_dir() -> Path:
    from super_advanced_agents.tenancy.data_folder.place import default_data_dir  # not for `saa --help`

    return default_data_dir()


def _server_url(context: typer.Context, url: str | None) -> str | None:
    # `--data-dir` on the command line takes precedence over `SAA_URL` in the environment.
    def typed(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    return None if typed("data_dir") and not typed("url") else url


DataDir: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="SAA_DATA_DIR",
        default_factory=_default_data_dir,
        show_default="./saa-data if it exists, else a folder of the user's",
        help="The data folder: memories, server state and keys.",
    ),
]
ServerURL: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SAA_URL",
        callback=_server_url,
        help="Run this on a server, with the key in SAA_API_KEY, not on a data folder.",
    ),
]
ModelsDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--models-dir", envvar="SAA_MODELS_DIR", help="The folder of the models; the user's cache if not given."
    ),
]
AgentName: TypeAlias = Annotated[
    str, typer.Option("--agent", envvar="SAA_AGENT", help="The agent that has the memories.")
]
AnyAgent: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--agent", "--namespace", envvar="SAA_AGENT", help="The agent that has the memories; all agents if not given."
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
TopK: TypeAlias = Annotated[int, typer.Option("--top-k", "-k", help="The maximum number of memories.")]
MinSimilarity: TypeAlias = Annotated[
    float | None,
    typer.Option("--min-similarity", help="Leave out what is less similar to the query, -1 to 1; 0.3 cuts most noise."),
]
Instructions: TypeAlias = Annotated[
    str | None, typer.Option("--instructions", help="Further instructions, such as a language or a tone.")
]
WhereText: TypeAlias = Annotated[
    str | None, typer.Option("--where", help="""Only memories that match this filter, such as '{"type": "fact"}'.""")
]

EncryptTo: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--encrypt-to", metavar="AGE1...", help="Encrypt with age to this public key; may be repeated."),
]
Identity: TypeAlias = Annotated[
    Path | None, typer.Option("--identity", help="The file with the secret key of age that decrypts it.")
]

AGENT = "default"
