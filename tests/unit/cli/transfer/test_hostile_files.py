"""Test that `saa import` of any file ends in memories or an error of its own, and reads and writes nothing else."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zipfile

import pytest

TEXT = b"# Title\n\nSome words.\n"


def _zip(*members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _changed(raw, old, new):
    assert old in raw
    return raw.replace(old, new)


def _link(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return _zip((info, target))


def _encrypted():
    raw = bytearray(_zip(("a.md", TEXT)))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + offset] |= 1
    return bytes(raw)


def _unknown_method():
    raw = bytearray(_zip(("a.md", TEXT)))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", raw, raw.index(signature) + offset, 99)
    return bytes(raw)


def _lying_size():
    # The directory tells 10 bytes of a member that unpacks to a hundred megabytes.
    raw = bytearray(_zip(("a.md", b"a" * 100_000_000)))
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, 10)
    return bytes(raw)


def _wrong_checksum():
    stored = _zip(("a.md", TEXT), ("b.md", b"fine\n"), compression=zipfile.ZIP_STORED)
    return _changed(stored, b"Some words", b"Same words")


ARCHIVES = {
    "traversal": _zip(("../../up.md", TEXT), ("a/../../up.md", TEXT), ("/etc/root.md", TEXT), ("C:\\x\\win.md", TEXT)),
    "odd names": _zip(
        ("a\x01\x1b[31m.md", TEXT), ("x" * 60_000 + ".md", TEXT), ("\u202egnp.md", TEXT), ("~/a.md", TEXT)
    ),
    "equal names": _changed(_zip(("a.md", TEXT), ("b.md", b"other\n"), ("A.md", b"upper\n")), b"b.md", b"a.md"),
    "link": _link("link.md", "/etc/passwd"),
    "bomb": _zip(("a.md", b"a" * 200_000_000)),
    "bomb of many": _zip(*((f"{n}.md", b"a" * 4_000_000) for n in range(40))),
    "zip in a zip": _zip(("inner.zip", _zip(("a.md", TEXT))), ("b.md", TEXT)),
    "empty": _zip(),
    "cut": _zip(("a.md", TEXT))[:-30],
    "head only": b"PK\x03\x04",
    "encrypted": _encrypted(),
    "unknown method": _unknown_method(),
    "lying size": _lying_size(),
    "wrong checksum": _wrong_checksum(),
    "lzma": _zip(("a.md", TEXT), compression=zipfile.ZIP_LZMA),
    "office": _zip(("[Content_Types].xml", b"<x/>"), ("word/document.xml", b"<x/>")),
}
FILES = {
    "binary.md": bytes(range(256)) * 10,
    "nul.txt": b"a\0b\n\nfine\n",
    "latin.txt": "café\n".encode("latin-1"),
    "surrogate.jsonl": b'{"text": "bad \\ud800"}\n{"text": "x", "k\\ud800": 1}\n{"speaker": "\\ud800", "text": "x"}\n',
    "metadata.jsonl": b'{"text": "x", "m": "' + b"y" * 20_000 + b'"}\n',
    "front.md": b"---\n" + b"".join(b"k%d: %s\n" % (n, b"v" * 1_000) for n in range(100)) + b"---\ntext\n",
    "long.jsonl": b'{"text": "' + b"z" * 100_000 + b'"}\n{"text": "fine"}\n',
    "uid.jsonl": json.dumps({"text": "x", "uid": "u" * 300}).encode(),
    "deep.json": b'[{"text": "x", "m": ' + b"[" * 60 + b"]" * 60 + b"}]",
    "names.csv": b"text,\x1b[31m,$where,a.b\nx,1,2,3\n",
    "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(1_000),
    "broken.pdf": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 1 0 R>>\ntrailer<</Root 1 0 R>>\n%%EOF",
    "fake.zip": b"no zip file\n",
    "control\x1b[2J.md": TEXT,
    "speaker.jsonl": json.dumps({"speaker": "A\x1b[2J" * 100, "text": "x", "session": "\x07" * 500}).encode(),
}


def _check(saa, path, *options):
    """Import a path: no traceback, no control character on the terminal, and stored is what is there."""
    before = len(saa.json("list", "--limit", 1_000)["memories"])
    result = saa.run("import", path, "--json", *options)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1)
    assert "Traceback" not in result.stderr
    assert "\x1b" not in result.stderr
    report = json.loads(result.stdout)
    after = saa.json("list", "--limit", 1_000)["memories"]
    assert len(after) - before == report["stored"] - report["replaced"] - report["deleted"]
    assert report["files"] or report["failed"] or report["passed_over"]
    return report, after


@pytest.mark.parametrize("name", ARCHIVES)
def test_import_of_any_zip_file_ends_in_memories_or_one_error(saa, tmp_path, name):
    """Given by its name, and in a folder, twice."""
    folder = tmp_path / "in" / "deep" / "down"
    folder.mkdir(parents=True)
    (folder / "x.zip").write_bytes(ARCHIVES[name])
    there = sorted(tmp_path.rglob("*"))
    for path in (folder / "x.zip", folder, folder):
        _, memories = _check(saa, path)
    assert [path for path in sorted(tmp_path.rglob("*")) if saa.data_dir not in (path, *path.parents)] == there
    assert not any("root:" in memory["text"] for memory in memories)
    assert all(
        memory["source"].split("/")[0] in {"x.zip", "down"} or len(memory["source"]) == 1_024 for memory in memories
    )


@pytest.mark.parametrize("name", ["bomb", "bomb of many", "lying size"])
def test_zip_file_that_unpacks_to_too_much_is_refused_or_cut(saa, tmp_path, name):
    """A ratio of 200 is enough for texts, and a member gives no more than the directory tells."""
    (tmp_path / "x.zip").write_bytes(ARCHIVES[name])
    _, memories = _check(saa, tmp_path / "x.zip")
    assert sum(len(memory["text"]) for memory in memories) < 100


def test_sound_members_beside_a_damaged_one_are_imported(saa, tmp_path):
    """One member's checksum says nothing about the others."""
    (tmp_path / "x.zip").write_bytes(ARCHIVES["wrong checksum"])
    _, memories = _check(saa, tmp_path / "x.zip")
    assert [memory["text"] for memory in memories if "fine" in memory["text"]]
    assert not any("Same words" in memory["text"] for memory in memories)


@pytest.mark.parametrize("name", FILES)
def test_import_of_any_file_ends_in_memories_or_errors(saa, tmp_path, name):
    """Given by its name, in a folder, and in a zip file."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(FILES[name])
    (tmp_path / "x.zip").write_bytes(_zip((name, FILES[name])))
    for path in (folder / name, folder, tmp_path / "x.zip"):
        _check(saa, path)


def test_import_of_damaged_zip_files_ends_in_memories_or_errors(saa, tmp_path):
    """Bytes changed anywhere."""
    raw = _zip(("a.md", TEXT), ("b.jsonl", b'{"text": "x"}\n'), ("c/d.txt", b"words\n" * 100))
    chance = random.Random(5)
    for number in range(40):
        damaged = bytearray(raw)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(raw))] = chance.randrange(256)
        (tmp_path / f"{number}.zip").write_bytes(damaged)
    result = saa.run("import", tmp_path, "--json")
    assert isinstance(result.exception, SystemExit | None)
    assert json.loads(result.stdout)["complete"]


def test_files_that_are_no_files_are_passed_over(saa, tmp_path):
    """A pipe would wait for ever; a link may lead out of the folder, or around in a circle."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.md").write_bytes(TEXT)
    (tmp_path / "secret.md").write_text("secret\n")
    os.mkfifo(folder / "pipe.md")
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    (folder / "broken.md").symlink_to(tmp_path / "nowhere")
    (folder / "locked").mkdir()
    report, memories = _check(saa, folder)
    assert (report["stored"], len(memories)) == (1, 1)
    assert sum(report["passed_over"].values()) == 3
