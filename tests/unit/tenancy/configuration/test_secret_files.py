"""Secrets come from files: those that `SAA_..._FILE` names, and the credentials of systemd."""

from __future__ import annotations

import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
def secret_file(tmp_path, monkeypatch):
    """Write a secret, name its file in a variable, and return the file."""

    def write(content, variable="SAA_GENERATION_API_KEY_FILE"):
        file = tmp_path / "secret"
        file.write_bytes(content)
        monkeypatch.setenv(variable, str(file))
        return file

    return write


def _keys(settings):
    return [key.get_secret_value() for key in settings.generation_api_key]


def test_secret_is_read_from_the_file_that_a_variable_names(secret_file):
    """Docker and Kubernetes mount secrets as files; editors end them with a newline."""
    secret_file(b"sk-secret\n")
    settings = Settings.load()
    assert _keys(settings) == ["sk-secret"]
    assert "sk-secret" not in repr(settings)


def test_url_of_a_store_is_a_secret_too(secret_file):
    """It may hold a password."""
    secret_file(b"faiss:./elsewhere", "SAA_STORE_FILE")
    assert Settings.load().store_url == "faiss:./elsewhere"


def test_credential_of_systemd_is_read_and_a_variable_goes_before_it(tmp_path, monkeypatch):
    """`LoadCredential=saa_generation_api_key:/etc/saa/key` makes such a folder."""
    (tmp_path / "saa_generation_api_key").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert _keys(Settings.load()) == ["from systemd"]
    monkeypatch.setenv("SAA_GENERATION_API_KEY", "from the environment")
    assert _keys(Settings.load()) == ["from the environment"]


def test_secret_given_twice_is_refused(secret_file, monkeypatch):
    """Which one is meant cannot be known."""
    secret_file(b"one")
    monkeypatch.setenv("SAA_GENERATION_API_KEY", "another")
    with pytest.raises(ConfigurationError, match="are both set") as caught:
        Settings.load()
    assert "another" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b" \n", "empty"), (b"x" * 70_000, "64 KiB"), (b"\xff", "not text")]
)
def test_file_without_a_usable_secret_is_refused_in_one_sentence(secret_file, content, message):
    """The message names the variable and not what the file holds."""
    secret_file(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Settings.load()
    assert "SAA_GENERATION_API_KEY_FILE" in str(caught.value)


def test_missing_file_of_a_secret_is_refused(monkeypatch, tmp_path):
    """A server must not start without the password it was given."""
    monkeypatch.setenv("SAA_GENERATION_API_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="SAA_GENERATION_API_KEY_FILE cannot be read: No such file"):
        Settings.load()


def test_keys_of_several_servers_are_lines_of_one_file(tmp_path, monkeypatch):
    """Or separated by commas, as the addresses are; none is shown."""
    (tmp_path / "keys").write_text("sk-one\nsk-two\n")
    monkeypatch.setenv("SAA_GENERATION_API_KEY_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("SAA_GENERATION_BASE_URL", "http://a:1/v1, http://b:2/v1")
    settings = Settings.load()
    assert _keys(settings) == ["sk-one", "sk-two"]
    assert settings.generation_base_url == ("http://a:1/v1", "http://b:2/v1")
    assert "sk-" not in repr(settings)
