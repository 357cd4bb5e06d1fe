"""`saa doctor`: is everything here, whole, and writable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING

import typer

from super_advanced_agents.cli.options import DATA_DIR, AsJson, DataDir, ModelsDir
from super_advanced_agents.cli.output import FAILED, emit, reported, say, shown

if TYPE_CHECKING:
    from super_advanced_agents.cli.doctor.check import Check


@reported
def doctor(data_dir: DataDir = DATA_DIR, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """Check versions, models and the data folder."""
    from super_advanced_agents.cli.doctor.machine import check_models, check_versions
    from super_advanced_agents.cli.doctor.storage import check_data

    looking: Iterator[Check] = chain(check_versions(), check_models(models_dir), check_data(data_dir))
    checks: list[Check] = []
    for check in looking:
        checks.append(check)
        if not as_json:
            _say(check)
    well = all(check.ok for check in checks)
    if as_json:
        emit({"ok": well, "checks": [asdict(check) for check in checks]})
    else:
        say("Everything is well." if well else "Something is wrong; the hints above say what to do.")
    if not well:
        raise typer.Exit(FAILED)


def _say(check: Check) -> None:
    say(f"{'ok   ' if check.ok else 'WRONG'}  {check.name}: {shown(check.detail)}")
    if check.hint:
        say(f"       {shown(check.hint)}")
