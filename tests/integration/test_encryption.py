"""Exports and backups are encrypted to public keys of age, and read again with an identity only."""

from __future__ import annotations

import pytest

pyrage = pytest.importorskip("pyrage")

TEXT = "The safe's number is 4711."


@pytest.fixture
def identity(tmp_path):
    """Return a secret key of age, and write it to the file `identity`."""
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"# a comment, as age-keygen writes one\n{key}\n")
    return key


@pytest.fixture
def filled(machine):
    """Return a machine with one memory."""
    machine.saa("add", TEXT)
    return machine


def test_encrypted_export_is_imported_with_its_identity(filled, identity, new_machine, tmp_path):
    """Nothing of the text stands in the file, and no copy in the clear stays behind."""
    file = tmp_path / "export.jsonl.age"
    assert filled.json("export", file, "--encrypt-to", identity.to_public())["exported"] == 1
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    assert TEXT.encode() not in file.read_bytes()
    assert TEXT.encode() in pyrage.decrypt(file.read_bytes(), [identity])
    other = new_machine(tmp_path / "other")
    other.saa("import", file, "--identity", tmp_path / "identity")
    assert other.json("list")["memories"][0]["text"] == TEXT
    assert list(other.data_dir.glob(".saa-*")) == []


def test_encrypted_backup_is_restored_with_its_identity(filled, identity, new_machine, tmp_path):
    """It is one file; the folder in the clear that it was made of is gone."""
    file = tmp_path / "backup.age"
    assert filled.json("backup", file, "--encrypt-to", identity.to_public())["records"] == 1
    assert file.stat().st_mode & 0o777 == 0o600
    other = new_machine(tmp_path / "other")
    assert other.json("restore", file, "--identity", tmp_path / "identity")["records"] == 1
    assert other.json("list")["memories"][0]["text"] == TEXT
    assert list(tmp_path.glob(".saa-*")) == []


def test_wrong_identities_and_changed_files_are_refused_in_one_sentence(filled, identity, new_machine, tmp_path):
    """Nothing is stored, and nothing is told of the keys."""
    file, changed = tmp_path / "backup.age", tmp_path / "changed.age"
    filled.saa("backup", file, "--encrypt-to", identity.to_public())
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    changed.write_bytes(content)
    (tmp_path / "wrong").write_text(str(pyrage.x25519.Identity.generate()))
    (tmp_path / "none").write_text("no key")
    other = new_machine(tmp_path / "other")
    for source, key, sentence in (
        (file, "wrong", "can decrypt"),
        (file, "none", "holds no secret key of age"),
        (file, "missing", "No such file"),
        (changed, "identity", "was changed"),
    ):
        errors = other.start_and_fail("restore", source, "--identity", tmp_path / key)
        assert sentence in errors
        assert "Traceback" not in errors
        assert str(identity) not in errors
    assert not other.data_dir.exists()
    assert "is encrypted" in other.start_and_fail("import", file)
    assert "no public key of age" in filled.start_and_fail("export", tmp_path / "x.age", "--encrypt-to", "me")
    assert not (tmp_path / "x.age").exists()
