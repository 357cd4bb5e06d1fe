"""The command `saa doctor`, which checks the installation, the data folder and databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from super_advanced_agents.cli.options import AsJson, DataDir, ModelsDir
from super_advanced_agents.cli.output import FAILED, print_json, print_result, report_errors, without_controls

if TYPE_CHECKING:
    from super_advanced_agents.cli.doctor.check import Check


@report_errors
def doctor(
    data_dir: DataDir,
    models_dir: ModelsDir = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="First put right modes of files, older schemas and a damaged index.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation: libraries, the default models' files and the data folder.

    A store and a state in PostgreSQL are checked, too. Prints one line for each check. The exit code is 1 when a check
    fails.
    """
    from super_advanced_agents.cli.doctor.databases import check_databases
    from super_advanced_agents.cli.doctor.fixing import fixed
    from super_advanced_agents.cli.doctor.machine import check_embedding, check_models, check_versions
    from super_advanced_agents.cli.doctor.storage import check_data
    from super_advanced_agents.cli.doctor.tenants import check_server_data

    results: Iterator[Check] = chain(
        fixed(data_dir) if fix else (),
        check_versions(),
        check_models(models_dir),
        check_data(data_dir),
        check_embedding(data_dir),
        check_databases(data_dir),
        check_server_data(data_dir),
    )
    checks: list[Check] = []
    for check in results:
        checks.append(check)
        if not as_json:
            _print_check(check)
    all_ok = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": all_ok, "checks": [asdict(check) for check in checks]})
    else:
        print_result("All checks passed." if all_ok else "Some checks failed; the hints above say what to do.")
    if not all_ok:
        raise typer.Exit(FAILED)


def _print_check(check: Check) -> None:
    print_result(f"{'ok   ' if check.ok else 'WRONG'}  {check.name}: {without_controls(check.detail)}")
    if check.hint:
        print_result(f"       {without_controls(check.hint)}")
