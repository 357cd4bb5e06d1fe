"""Test `saa jobs` on a data folder that has no jobs yet."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["jobs", "list"], 0),
        (["jobs", "schedules", "list"], 0),
        (["jobs", "retry", "--all"], 0),
        (["jobs", "cancel", "nobody"], 1),
        (["jobs", "schedules", "delete", "nobody"], 1),
    ],
)
def test_jobs_command_makes_no_folder_when_it_submits_nothing(saa, arguments, code):
    """Reading never makes a data folder."""
    saa(*arguments, code=code)
    assert not saa.data_dir.exists()


def test_submitted_job_is_listed(saa):
    """The first job makes the folder."""
    job_id = saa("jobs", "submit", "export").stdout.strip()
    assert job_id in saa("jobs", "list", "-k", "3").stdout
