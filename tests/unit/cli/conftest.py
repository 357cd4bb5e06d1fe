"""The command line, run in this process."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from super_advanced_agents.cli.main import app


class Saa:
    """`saa` on one data folder."""

    def __init__(self, data_dir):
        self.data_dir = data_dir

    def __call__(self, *arguments, stdin=None, code=0):
        """Run it, check the exit code, return what happened."""
        environment = {"SAA_DATA_DIR": str(self.data_dir)}
        done = CliRunner().invoke(app, [str(each) for each in arguments], input=stdin, env=environment)
        assert done.exit_code == code, f"{done.exit_code}: {done.output}"
        return done

    def json(self, *arguments, stdin=None, code=0):
        """Run it with `--json` and return what it printed."""
        return json.loads(self(*arguments, "--json", stdin=stdin, code=code).stdout)


@pytest.fixture
def saa(tmp_path):
    """`saa` on an empty data folder."""
    return Saa(tmp_path / "data")
