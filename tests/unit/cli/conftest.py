"""The command line, run in the process of the tests."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from super_advanced_agents.cli.main import app


class CommandLine:
    """Run `saa` on one data folder."""

    def __init__(self, data_dir):
        self.data_dir = data_dir

    def run(self, *arguments, stdin=None):
        """Run a command, and return its result."""
        environment = {"SAA_DATA_DIR": str(self.data_dir)}
        return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin, env=environment)

    def __call__(self, *arguments, stdin=None, code=0):
        """Run a command, check its exit code unless that is None, and return its result."""
        result = self.run(*arguments, stdin=stdin)
        assert code in (None, result.exit_code), f"{result.exit_code}: {result.output}"
        return result

    def json(self, *arguments, stdin=None, code=0):
        """Run a command with `--json`, and return what it printed."""
        return json.loads(self(*arguments, "--json", stdin=stdin, code=code).stdout)

    def records(self):
        """Return the memories of the default agent."""
        return self.json("list", "--limit", 1_000)["memories"]

    def texts(self):
        """Return their texts, sorted."""
        return sorted(record["text"] for record in self.records())


@pytest.fixture
def saa(tmp_path):
    """Run `saa` on an empty data folder."""
    return CommandLine(tmp_path / "data")
