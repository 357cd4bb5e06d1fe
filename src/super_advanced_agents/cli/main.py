"""The `saa` command line, to which every subcommand is added here."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from typing import Annotated

import typer
from typer.exceptions import TyperException

from super_advanced_agents.cli.commands.maintenance.audit import audit
from super_advanced_agents.cli.commands.maintenance.compact import compact
from super_advanced_agents.cli.commands.maintenance.doctor import doctor
from super_advanced_agents.cli.commands.maintenance.pull import pull
from super_advanced_agents.cli.commands.maintenance.reembed import reembed
from super_advanced_agents.cli.commands.maintenance.setup import setup
from super_advanced_agents.cli.commands.memories.add_list_forget import add, forget, list_
from super_advanced_agents.cli.commands.memories.agents import agents
from super_advanced_agents.cli.commands.memories.chat import chat
from super_advanced_agents.cli.commands.memories.get_edit import edit, get
from super_advanced_agents.cli.commands.memories.search_ask import ask, search
from super_advanced_agents.cli.commands.server.jobs import jobs
from super_advanced_agents.cli.commands.server.keys import keys
from super_advanced_agents.cli.commands.server.mcp import mcp
from super_advanced_agents.cli.commands.server.serve import serve
from super_advanced_agents.cli.commands.server.worker import worker
from super_advanced_agents.cli.commands.transfer.backup_restore import backup, restore
from super_advanced_agents.cli.commands.transfer.export import export
from super_advanced_agents.cli.commands.transfer.import_ import import_
from super_advanced_agents.cli.commands.transfer.migrate import migrate
from super_advanced_agents.cli.output import (
    INTERRUPTED,
    WRONG_USAGE,
    exit_with_error,
    open_missing_streams,
    print_error_json,
    substitute_unencodable,
)
from super_advanced_agents.cli.settings_file import apply_settings_file
from super_advanced_agents.errors import ConfigurationError

_YOUNG_OBJECTS = 50_000
"""The new objects after which garbage is looked for, in place of 700.

Loading modules makes 300,000 objects and no garbage: looking for some took 0.08 s of 0.7 s of a processor.
"""

app = typer.Typer(
    name="saa",
    help="Agents that remember: store texts, find them by meaning, and answer from them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in plain text starts twice as fast
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version  # takes a third of the time of `saa --help`

        typer.echo(version("super-advanced-agents"))
        raise typer.Exit


@app.callback()
def _global_options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del show_version


for _name, _command in (
    ("setup", setup),
    ("pull", pull),
    ("add", add),
    ("import", import_),
    ("search", search),
    ("ask", ask),
    ("chat", chat),
    ("list", list_),
    ("agents", agents),
    ("get", get),
    ("edit", edit),
    ("forget", forget),
    ("export", export),
    ("backup", backup),
    ("restore", restore),
    ("migrate", migrate),
    ("compact", compact),
    ("reembed", reembed),
    ("serve", serve),
    ("worker", worker),
    ("mcp", mcp),
    ("doctor", doctor),
):
    app.command(_name)(_command)
app.add_typer(keys, name="keys")
app.add_typer(jobs, name="jobs")
app.add_typer(audit, name="audit")


def main() -> None:
    """Run the `saa` command with the process's arguments, and exit.

    Raises:
        SystemExit: always; its code is 0 (done), 1 (failed), 2 (wrong usage) or 130 (interrupted).
    """
    gc.set_threshold(_YOUNG_OBJECTS)
    open_missing_streams()
    substitute_unencodable()
    _with_settings_file()
    if "--json" not in sys.argv:
        app(prog_name="saa")
    try:
        code = app(prog_name="saa", standalone_mode=False)
    except TyperException as exc:  # an unknown command, option or value
        print_error_json("UsageError", exc.format_message(), hint="see the command with --help")
        code = exc.exit_code
    except typer.Abort:
        code = INTERRUPTED
    raise SystemExit(code)


def _with_settings_file() -> None:
    try:
        apply_settings_file()
    except ConfigurationError as exc:
        with suppress(typer.Exit):
            exit_with_error(exc, as_json="--json" in sys.argv, code=WRONG_USAGE)
        raise SystemExit(WRONG_USAGE) from None
