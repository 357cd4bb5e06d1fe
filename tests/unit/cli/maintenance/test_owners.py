"""Test that commands of the administrator leave a data folder usable for the user who owns it."""

from __future__ import annotations

import os
import shutil

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator gives files away")
_OWNER = 12_345


def _foreign(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.lstat().st_uid != _OWNER)


def test_files_that_root_makes_in_a_folder_of_another_user_belong_to_that_user(saa):
    """A server that runs as that user would be kept out of its audit log, keys and memories."""
    saa.data_dir.mkdir()
    os.chown(saa.data_dir, _OWNER, _OWNER)
    saa("keys", "create", "--scope", "memories:read")
    saa("add", "one")
    saa("doctor", "--fix", code=None)
    saa("jobs", "schedules", "set", "morning", "0 7 * * *", "backup")
    saa("forget", "--all", "--yes", code=None)
    saa("compact")
    assert {path.name for path in saa.data_dir.iterdir()} >= {"audit", "server", "store"}
    assert _foreign(saa.data_dir) == []


def test_files_that_exist_keep_their_owner(saa):
    """A user could plant a link to a file of root's otherwise, and be given that."""
    saa("keys", "create", "--scope", "memories:read")
    other = saa.data_dir.parent / "other"
    other.write_text("")
    for path in [saa.data_dir, *saa.data_dir.rglob("*")]:
        os.chown(path, _OWNER, _OWNER)
    (saa.data_dir / "audit" / "lock").unlink()
    (saa.data_dir / "audit" / "lock").symlink_to(other)
    saa("keys", "create", "--scope", "memories:read")
    assert other.stat().st_uid == 0
    shutil.rmtree(saa.data_dir)
