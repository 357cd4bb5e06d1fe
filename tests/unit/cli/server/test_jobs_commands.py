"""Test `saa jobs` on a data folder that has no jobs yet."""

from __future__ import annotations

import sqlite3
from contextlib import closing

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


@pytest.mark.parametrize("value", ["2024", "1.50", "true", "null", "NaN"])
def test_text_that_looks_like_another_value_stays_a_text(saa, value):
    """A folder may be called 2024, and a number stays one where the job takes a number."""
    shown = saa.json("jobs", "submit", "import_files", f"path={value}", "shard_size=7")
    assert shown["arguments"] == {"path": value, "shard_size": 7}
    saa("jobs", "schedules", "set", "daily", "0 7 * * *", "import_files", f"path={value}")
    assert saa.json("jobs", "schedules", "list")["schedules"][0]["arguments"] == {"path": value}


def test_value_that_fits_neither_way_is_refused_as_it_was_written(saa):
    """The first reason is about the number, not about a text."""
    assert "unable to parse" not in saa("jobs", "submit", "import_files", "path=x", "shard_size=1.5", code=2).stderr


def test_list_of_schedules_names_what_went_wrong(saa):
    """Otherwise only the JSON output would tell that a schedule submits nothing."""
    saa("jobs", "schedules", "set", "daily", "0 7 * * *", "export")
    with closing(sqlite3.connect(saa.data_dir / "jobs" / "jobs.db")) as database, database:
        database.execute("UPDATE job_schedules SET error = 'there is no room', zone = 'Mars/Olympus'")
    assert "there is no room" in saa("jobs", "schedules", "list").stdout
