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


def test_submit_with_watch_is_refused_where_no_worker_can_run_the_job(saa):
    """The command has the jobs of the folder to itself, so it would wait for ever."""
    failed = saa("jobs", "submit", "export", "--watch", code=2)
    assert "no worker" in failed.stderr
    assert "--url" in failed.stderr
    assert saa.json("jobs", "list")["jobs"] == []


def test_watch_shows_ended_job_and_refuses_to_wait_for_queued_one(saa):
    """Whatever has ended needs no worker."""
    job_id = saa("jobs", "submit", "export").stdout.strip()
    assert "no worker" in saa("jobs", "watch", job_id, code=2).stderr
    saa("jobs", "cancel", job_id)
    assert "cancelled" in saa("jobs", "watch", job_id, code=1).stdout
