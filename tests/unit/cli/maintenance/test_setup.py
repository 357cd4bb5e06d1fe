"""Test the settings file and the command that writes it."""

from __future__ import annotations

import os
import stat

import pytest
from typer.testing import CliRunner

from super_advanced_agents.cli.commands.maintenance import setup as setup_command
from super_advanced_agents.cli.main import app
from super_advanced_agents.cli.settings_file import apply_settings_file, read_settings, settings_path, write_settings
from super_advanced_agents.errors import ConfigurationError


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("SAA_SETTINGS", str(tmp_path / "config" / "settings.env"))
    return settings_path()


def _setup(*arguments, stdin=None):
    return CliRunner().invoke(app, ["setup", *map(str, arguments)], input=stdin)


def test_setup_with_options_writes_a_private_file_and_names_the_next_command(path, tmp_path):
    """What is not named keeps its setting."""
    result = _setup("--model", "Qwen2.5-Coder-0.5B-Instruct", "--data-dir", tmp_path / "notes")
    assert "saa pull Qwen2.5-Coder-0.5B-Instruct" in result.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_settings(path) == {
        "SAA_GENERATION_MODEL": "Qwen2.5-Coder-0.5B-Instruct", "SAA_DATA_DIR": str(tmp_path / "notes"),
    }  # fmt: skip
    _setup("--base-url", "http://127.0.0.1:8080/v1", "--model", "big", "--api-key", "-", stdin="secret\n")
    settings = read_settings(path)
    assert (settings["SAA_GENERATION_API_KEY"], settings["SAA_DATA_DIR"]) == ("secret", str(tmp_path / "notes"))
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_another_server_does_not_get_the_key_of_the_one_before(path):
    """A key belongs to its server."""
    _setup("--base-url", "http://one.example/v1", "--model", "big", "--api-key", "secret")
    _setup("--base-url", "http://two.example/v1", "--model", "big")
    assert set(read_settings(path)) == {"SAA_GENERATION_BASE_URL", "SAA_GENERATION_MODEL"}
    _setup("--model", "SmolLM2-135M-Instruct")
    assert read_settings(path) == {"SAA_GENERATION_MODEL": "SmolLM2-135M-Instruct"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no terminal"),
        (["--model", "no-such-model"], "unknown"),
        (["--model", "all-MiniLM-L6-v2"], "vectors"),
        (["--base-url", "http://127.0.0.1/v1"], "name of its model"),
        (["--base-url", "ftp://x", "--model", "m"], "http"),
        (["--api-key", "x"], "server"),
        (["--data-dir", "a\nb"], "characters"),
    ],
)
def test_wrong_choices_write_nothing(path, arguments, said):
    """The error says what to give."""
    result = _setup(*arguments)
    assert result.exit_code in {1, 2}
    assert said in result.stderr
    assert not path.exists()


def test_setup_asks_on_a_terminal(path, tmp_path, monkeypatch):
    """The answers are those of the options."""
    monkeypatch.setattr(setup_command, "_has_terminal", lambda: True)
    result = _setup(stdin=f"4\nhttp://127.0.0.1:8080/v1\nbig\nsecret\n{tmp_path}\n")
    assert result.exit_code == 0, result.output
    assert "secret" not in result.output
    assert read_settings(path) == {
        "SAA_GENERATION_BASE_URL": "http://127.0.0.1:8080/v1", "SAA_GENERATION_MODEL": "big",
        "SAA_GENERATION_API_KEY": "secret", "SAA_DATA_DIR": str(tmp_path),
    }  # fmt: skip


def test_settings_file_sets_only_variables_that_the_environment_lacks(path, monkeypatch):
    """A missing file sets nothing."""
    apply_settings_file()
    write_settings(path, {"SAA_DATA_DIR": "/a=b c", "SAA_AGENT": "file"})
    monkeypatch.delenv("SAA_DATA_DIR", raising=False)
    monkeypatch.setenv("SAA_AGENT", "environment")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    apply_settings_file()
    assert (os.environ["SAA_DATA_DIR"], os.environ["SAA_AGENT"]) == ("/a=b c", "environment")


@pytest.mark.parametrize("content", [b"PATH=/bin\n", b"SAA_AGENT\n", b"\xff", b"#" * 70_000])
def test_damaged_settings_file_is_refused_by_its_path(path, content):
    """It may set no variable of other programs."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="settings"):
        read_settings(path)
