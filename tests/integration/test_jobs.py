"""Background jobs at a real server, over REST, gRPC and the command line."""

from __future__ import annotations

import json
import signal
import time

import httpx2
import pytest

from super_advanced_agents import DistributedVectorStore
from super_advanced_agents.client.remote_jobs import RemoteJobs
from super_advanced_agents.errors import InvalidInputError, JobError, JobNotFoundError, PermissionDeniedError

_BYTES = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def server_info(shared_machine):
    """Yield the addresses and the admin key of a server; a gRPC channel stays open for its threads."""
    with shared_machine.server({"SAA_GRPC_PORT": "0"}) as client:
        key = shared_machine.key
        with DistributedVectorStore(client.startup_info["grpc"], collection="kept", api_key=key, dim=2) as open_store:
            open_store.count()
            yield {**client.startup_info, "key": key}


@pytest.fixture
def client(server_info):
    """Yield an HTTP client of the server with its admin key."""
    headers = {"Authorization": f"Bearer {server_info['key']}"}
    with httpx2.Client(base_url=server_info["url"], headers=headers, timeout=120) as opened:
        yield opened


@pytest.fixture(params=["url", "grpc"])
def jobs(request, server_info):
    """Yield a client of the server's jobs for each transport."""
    with RemoteJobs(server_info[request.param], api_key=server_info["key"]) as remote:
        yield remote


def _ended(jobs, job_id):
    while not (info := jobs.get(job_id)).state.final:
        pass
    return info


def test_job_is_submitted_followed_listed_and_cancelled(jobs):
    """Its result is that of the job, also where it is no object; an ended job stays as it is."""
    submitted = jobs.submit("check_integrity")
    assert (submitted.kind, submitted.queue, submitted.arguments) == ("check_integrity", "bulk", {})
    info = _ended(jobs, submitted.id)
    assert (info.state, info.attempt) == ("succeeded", 1)
    assert info.result["databases"] > 1
    assert jobs.list(kind="check_integrity", limit=1)[0].id == submitted.id
    assert jobs.cancel(submitted.id).state == "succeeded"
    with pytest.raises(JobError, match="succeeded"):
        jobs.retry(submitted.id)


def test_wrong_jobs_are_refused_with_their_field(jobs):
    """Unknown kinds, arguments and ids."""
    for kind, arguments, field in (("nothing", {}, "kind"), ("backup", {"keep": "x"}, "arguments.keep")):
        with pytest.raises(InvalidInputError) as caught:
            jobs.submit(kind, arguments)
        assert caught.value.field == field
    for call in (jobs.get, jobs.cancel, jobs.retry):
        with pytest.raises(JobNotFoundError):
            call("nothing")


def test_schedule_is_made_paused_resumed_and_deleted(jobs):
    """It shows its next five times."""
    made = jobs.put_schedule("daily", "probe_recall", "0 7 * * *", {"top_k": 3}, zone="Europe/Berlin")
    assert (made.arguments, len(made.next_at)) == ({"top_k": 3}, 5)
    assert jobs.pause_schedule("daily").paused
    assert [each.paused for each in jobs.schedules()] == [True]
    assert len(jobs.pause_schedule("daily", paused=False).next_at) == 5
    jobs.delete_schedule("daily")
    with pytest.raises(JobNotFoundError):
        jobs.pause_schedule("daily")
    with pytest.raises(InvalidInputError):
        jobs.put_schedule("never", "probe_recall", "0 0 30 2 *")


def test_upload_comes_in_parts_for_one_job(jobs, client, tmp_path):
    """A part of a wrong type, or at a wrong place, is refused with the place that is right."""
    file = tmp_path / "notes.md"
    file.write_text("".join(f"## Note {n}\n\nThe bird number {n} sings. {'la ' * 400}\n\n" for n in range(1_000)))
    upload = jobs.upload(file)
    assert (upload.name, upload.size_bytes) == ("notes.md", file.stat().st_size)
    assert upload.size_bytes > 1024 * 1024
    assert upload.id in {each.id for each in jobs.uploads()}
    refused = client.post(f"/v1/uploads/{upload.id}?offset=3", content=b"x", headers={"Content-Type": "text/plain"})
    assert refused.status_code == 415
    refused = client.post(f"/v1/uploads/{upload.id}?offset=3", content=b"x", headers=_BYTES)
    assert (refused.status_code, refused.json()["field"]) == (422, "offset")
    assert str(upload.size_bytes) in refused.json()["hint"]
    jobs.cancel(jobs.submit("import_files", {"upload": upload.id}).id)
    other = jobs.upload(file, name="other.md")
    jobs.delete_upload(other.id)
    with pytest.raises(JobNotFoundError):
        jobs.delete_upload(other.id)
    with pytest.raises(InvalidInputError, match="no upload"):
        jobs.submit("import_files", {"upload": other.id})


def test_command_uploads_a_file_or_folder_for_its_job(shared_machine, server_info, tmp_path):
    """What was known before is known in the folder; what is hidden is left out."""
    (tmp_path / "birds.md").write_text("The blackbird sings at dawn.")
    (tmp_path / ".hidden.md").write_text("Nobody sees this.")
    for upload, stored in ((tmp_path / "birds.md", 1), (tmp_path, 0)):
        arguments = ["import_files", "--upload", upload, "--watch", "--url", server_info["url"], "--json"]
        process = shared_machine.start("jobs", "submit", *arguments, environment={"SAA_API_KEY": server_info["key"]})
        result = json.loads(process.communicate(timeout=120)[0])["result"]
        assert (result["stored"], result["stored"] + result["known"]) == (stored, 1)


def test_events_follow_a_job_to_its_end(client):
    """Each event holds the job; the last one has its result."""
    job_id = client.post("/v1/jobs", json={"kind": "check_integrity"}).raise_for_status().json()["id"]
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
    assert [event["id"] for event in events] == [job_id] * len(events)
    assert events[-1]["state"] == "succeeded"


def test_client_that_connects_again_gets_only_what_is_new(client, jobs):
    """The state that it has is not sent again; after the end there is nothing, so that a browser stays away."""
    info = jobs.submit("check_integrity", queue="unserved")
    url = f"/v1/jobs/{info.id}/events"
    ids = []
    for seen in ({}, {"Last-Event-ID": "unknown"}):
        with client.stream("GET", url, headers=seen) as response:
            lines = response.iter_lines()
            assert next(lines) == "event: job"
            ids.append(next(lines).removeprefix("id: "))
    assert ids == [ids[0]] * 2
    with client.stream("GET", url, headers={"Last-Event-ID": ids[0]}) as response:
        lines = response.iter_lines()
        assert next(lines).startswith(":")
        jobs.cancel(info.id)
        rest = [line for line in lines if line]
    assert [json.loads(line[6:])["state"] for line in rest if line.startswith("data: ")] == ["cancelled"]
    [last] = [line.removeprefix("id: ") for line in rest if line.startswith("id: ")]
    response = client.get(url, headers={"Last-Event-ID": last})
    assert (response.status_code, response.content) == (204, b"")
    assert '"cancelled"' in client.get(url, headers={"Last-Event-ID": ids[0]}).text


def test_submission_with_a_key_is_made_once(client):
    """The second answer is the first."""
    headers = {"Idempotency-Key": "submit-once"}
    ids = {client.post("/v1/jobs", json={"kind": "check_integrity"}, headers=headers).json()["id"] for _ in range(3)}
    assert len(ids) == 1


def test_administrators_job_is_refused_to_the_scope_jobs(shared_machine, server_info):
    """The scope `jobs` submits other kinds, in its own tenant."""
    key = shared_machine.json("keys", "create", "--tenant", "other", "--scope", "jobs")["key"]
    with RemoteJobs(server_info["url"], api_key=key) as other:
        with pytest.raises(PermissionDeniedError):
            other.submit("backup")
        assert other.list() == []
        failed = _ended(other, other.submit("export").id)
        assert failed.state == "failed"
        assert failed.error == "PermissionDeniedError"  # whose text the key may not read
        assert other.retry() == 1


def test_job_for_all_tenants_is_refused_to_the_administrator_of_one(shared_machine, server_info):
    """The operator's own key is of the tenant `default`."""
    key = shared_machine.json("keys", "create", "--tenant", "third", "--scope", "admin")["key"]
    with RemoteJobs(server_info["url"], api_key=key) as other:
        for kind, arguments in (("backup", {"keep": 1}), ("reembed", {"model": "x"}), ("check_integrity", {})):
            with pytest.raises(PermissionDeniedError, match="all tenants"):
                other.submit(kind, arguments)
            with pytest.raises(PermissionDeniedError, match="all tenants"):
                other.put_schedule("daily", kind, "0 7 * * *", arguments)
        assert other.list() == []


def test_long_arguments_of_schedules_are_refused(jobs):
    """All schedules of a tenant are listed in one answer."""
    with pytest.raises(InvalidInputError, match="16384"):
        jobs.put_schedule("long", "ask_agent", "0 7 * * *", {"question": "x" * 20_000})


def test_commands_work_on_the_folder_and_a_worker_runs_what_they_submit(machine):
    """The worker hands back nothing at SIGTERM, since nothing runs."""
    submitted = machine.json("jobs", "submit", "check_integrity")
    assert machine.json("jobs", "list")["jobs"][0]["note"] == "waits for a worker"
    machine.json("jobs", "schedules", "set", "daily", "0 7 * * *", "backup", "keep=3")
    environment = {"SAA_DRAIN_S": "5", "SAA_METRICS_PORT": "0", "SAA_METRICS_TENANTS": "default"}
    process = machine.start("worker", "--health-port", 0, "--json", environment=environment)
    try:
        started = json.loads(process.stdout.readline())
        assert httpx2.get(f"http://127.0.0.1:{started['health_port']}/healthz", timeout=60).json()["running"] in {0, 1}
        process.send_signal(signal.SIGUSR1)  # one level more of the log, and no end
        attempt = 'saa_job_seconds_count{kind="check_integrity",outcome="succeeded"} 1.0'
        while attempt not in (metrics := httpx2.get(started["metrics"], timeout=60).raise_for_status().text):
            time.sleep(0.1)
        assert "saa_ready 1.0" in metrics
        assert httpx2.get(started["metrics"].replace("/metrics", "/v1/jobs"), timeout=60).status_code == 404
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    machine.json("jobs", "cancel", submitted["id"])
    assert machine.json("jobs", "list")["jobs"][0]["state"] == "succeeded"
    assert machine.json("jobs", "schedules", "list")["schedules"][0]["arguments"] == {"keep": 3}
    assert "NAME=VALUE" in machine.start_and_fail("jobs", "submit", "backup", "keep")
