"""Import a collection of notes, change it in every way, and import it again: the store holds what the folder does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

NOTES = 242
SUBJECTS = ("boiler", "garden", "taxes", "kite", "atlas", "tower", "harbour", "violin", "bakery", "museum")


@pytest.fixture
def saa(tmp_path):
    """Run `saa` in processes of its own, on one data folder."""

    def run(*arguments):
        command = [
            sys.executable,
            "-c",
            "from super_advanced_agents.cli.main import main; main()",
            *map(str, arguments),
        ]
        environment = {**os.environ, "SAA_DATA_DIR": str(tmp_path / "data")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def _note(chance, number):
    sections = []
    for section in range(chance.randint(1, 3)):
        subject = chance.choice(SUBJECTS)
        body = " ".join(
            f"Sentence {number}.{section}.{n} tells of the {subject}." for n in range(chance.randint(1, 20))
        )
        sections.append(f"## Section {section} on the {subject}\n\n{body}\n")
    return f"---\ntags: [{chance.choice(SUBJECTS)}]\n---\n# Note {number}\n\n" + "\n".join(sections)


def _stored(saa):
    """Return the source and the text of every memory, sorted."""
    lines = map(json.loads, saa("export", "-", "--no-vectors").splitlines())
    return sorted((line["source"], line["text"], line["metadata"]["lines"]) for line in lines if "uid" in line)


def test_second_import_of_changed_notes_leaves_exactly_what_is_in_the_folder(saa, tmp_path):
    """As if the folder had been imported once, into a new store."""
    chance = random.Random(7)
    folder = tmp_path / "vault"
    for number in range(NOTES):
        path = folder / SUBJECTS[number % 10] / f"note {number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_note(chance, number))
    first = json.loads(saa("import", folder, "--json"))
    assert first["files"] == NOTES
    assert first["stored"] == len(_stored(saa))

    notes = sorted(folder.rglob("*.md"))
    edited, deleted, shortened, moved, renamed = (notes[n : n + 8] for n in (0, 40, 80, 120, 160))
    for path in edited:
        path.write_text(path.read_text().replace("Sentence", "Line", 1) + "\n## Added\n\nSomething new.\n")
    for path in deleted:
        path.unlink()
    for path in shortened:
        path.write_text(path.read_text().rpartition("## ")[0])
    (folder / "elsewhere").mkdir()
    for path in moved:
        path.rename(folder / "elsewhere" / path.name)
    for path in renamed:
        path.rename(path.with_stem(f"{path.stem} revised"))

    preview = json.loads(saa("import", folder, "--sync", "--dry-run", "--json"))
    second = json.loads(saa("import", folder, "--sync", "--json"))
    assert sum(changes.get("deleted", 0) for changes in preview.pop("changes").values()) == preview["deleted"]
    assert {**preview, "dry_run": False} == second
    stored = _stored(saa)
    assert second["stored"] + second["known"] == len(stored)
    assert second["known"] > 300
    saa("import", folder, "--agent", "fresh", "--data-dir", tmp_path / "fresh")
    fresh = saa("export", "-", "--no-vectors", "--data-dir", tmp_path / "fresh").splitlines()
    expected = sorted(
        (line["source"], line["text"], line["metadata"]["lines"]) for line in map(json.loads, fresh) if "uid" in line
    )
    assert stored == expected
    again = json.loads(saa("import", folder, "--sync", "--json"))
    assert (again["stored"], again["deleted"], again["known"]) == (0, 0, len(stored))
