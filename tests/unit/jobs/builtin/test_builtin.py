"""The kinds of jobs that every server has, on a real store with real models."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from super_advanced_agents.errors import (
    ConfigurationError,
    InvalidInputError,
    JobError,
    PermissionDeniedError,
    RateLimitedError,
)
from super_advanced_agents.jobs import Jobs, Worker, WorkerOptions
from super_advanced_agents.jobs.builtin.webhooks import call_webhook, checked_url
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings

_FACTS = [f"The number {n} follows the number {n - 1}" for n in range(1, 40)]


@asynccontextmanager
async def working(jobs: Jobs) -> AsyncIterator[Worker]:
    """Run a worker with all queues inside the block."""
    stop = asyncio.Event()
    worker = jobs.worker(options=WorkerOptions(queues={"default": 2, "bulk": 1}))
    task = asyncio.create_task(worker.arun(stop, drain_s=0))
    try:
        yield worker
    finally:
        stop.set()
        await task


async def test_backup_makes_a_folder_and_keeps_the_newest(jobs: Jobs, runtime: Runtime, settings: Settings) -> None:
    """Each is a data folder; a folder that is no backup is left alone."""
    await runtime.agent("ann").aadd_text_memories(_FACTS)
    (settings.data_dir / "backups" / "backup-mine").mkdir(parents=True)
    async with working(jobs):
        made = [await jobs.asubmit("backup", {"keep": 2}) for _ in range(3)]
        results = [await jobs.aresult(info.id, timeout_s=60) for info in made]
    assert [each["deleted"] for each in results if isinstance(each, dict)].count(1) == 1
    names = sorted(path.name for path in (settings.data_dir / "backups").iterdir())
    assert len(names) == 3
    assert "backup-mine" in names


async def test_integrity_check_names_a_damaged_database(jobs: Jobs, runtime: Runtime, settings: Settings) -> None:
    """By its place in the data folder."""
    await runtime.agent("ann").aadd_text_memory("one")
    async with working(jobs):
        good = await jobs.asubmit("check_integrity")
        result = await jobs.aresult(good.id, timeout_s=60)
        assert isinstance(result, dict)
        assert result["databases"] >= 2
        damaged = settings.data_dir / "server" / "other.db"
        await asyncio.to_thread(_write_damaged, damaged)
        bad = await jobs.asubmit("check_integrity")
        async for info in jobs.awatch(bad.id):
            if info.error:
                assert "server/other.db is damaged" in info.error
                assert str(settings.data_dir) not in info.error
                break


def _write_damaged(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (a TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
        connection.commit()
    data = bytearray(file.read_bytes())
    data[5000:9000] = b"\xff" * 4000
    file.write_bytes(data)


async def test_recall_of_an_exact_index_is_one(jobs: Jobs, runtime: Runtime) -> None:
    """A few memories are all compared; an agent without any has none."""
    memories = runtime.memories("default")
    await runtime.agent_of(memories, "default", "ann").aadd_text_memories(_FACTS)
    async with working(jobs):
        probe = await jobs.asubmit("probe_recall", {"agent": "ann", "sample": 10, "top_k": 5})
        result = await jobs.aresult(probe.id, timeout_s=60)
        assert result == {"recall": 1.0, "sample": 10, "top_k": 5, "records": len(_FACTS)}
        empty = await jobs.asubmit("probe_recall", {"agent": "nobody"})
        assert await jobs.aresult(empty.id, timeout_s=60) == {"recall": None, "sample": 0, "records": 0}


async def test_export_writes_the_tenants_memories_only(jobs: Jobs, runtime: Runtime, settings: Settings) -> None:
    """Into its own folder, where the newest are kept; a caller that may not read is refused."""
    for tenant in ("default", "other"):
        agent = runtime.agent_of(runtime.memories(tenant), tenant, "ann")
        await agent.aadd_text_memory(f"a secret of {tenant}")
    async with working(jobs):
        for _ in range(3):
            info = await jobs.asubmit("export", {"vectors": False, "keep": 2})
            result = await jobs.aresult(info.id, timeout_s=60)
            assert isinstance(result, dict)
        assert result["deleted"] == 1
        assert len(list((settings.data_dir / "files" / "default" / "exports").iterdir())) == 2
        text = (settings.data_dir / "files" / "default" / str(result["name"])).read_text()
        assert "a secret of default" in text
        assert "a secret of other" not in text
        writer = Principal(tenant="default", scopes=frozenset({Access.JOBS, Access.WRITE}), key_id="writer")
        refused = await jobs.asubmit("export", by=writer)
        with pytest.raises(JobError, match="PermissionDeniedError"):
            await jobs.aresult(refused.id, timeout_s=60)
        with pytest.raises(PermissionDeniedError):
            await jobs.asubmit("backup", by=writer)


@asynccontextmanager
async def receiving(statuses: list[int]) -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Serve HTTP on a port of this machine with these statuses, one a request; yield the URL and what was sent."""
    received: list[tuple[dict[str, str], bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
        received.append((headers, await reader.readexactly(int(headers["content-length"]))))
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        writer.write(b"HTTP/1.1 %d X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", received


async def test_prompt_is_answered_remembered_and_sent_once(jobs: Jobs, runtime: Runtime) -> None:
    """The webhook fails first; the signature can be checked with the secret."""
    agent = runtime.agent_of(runtime.memories("default"), "default", "ann")
    await agent.aadd_text_memory("The Louvre is a museum in Paris")
    async with receiving([503, 200]) as (url, received), working(jobs):
        arguments = {"question": "What is the Louvre?", "agent": "ann", "webhook": url}
        info = await jobs.asubmit("ask_agent", arguments)  # type: ignore[arg-type]
        result = await jobs.aresult(info.id, timeout_s=120)
    assert isinstance(result, dict)
    answers = [record async for record in _answers(agent)]
    assert answers == [(result["uid"], result["text"])]
    assert len(received) == 2
    headers, body = received[-1]
    assert json.loads(body)["text"] == result["text"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.digest(b"a secret of 16 bytes", signed, hashlib.sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert headers["webhook-id"] == info.id


async def _answers(agent: object) -> AsyncIterator[tuple[str, str]]:
    for record in await agent.ascan(where={"type": "answer"}):  # type: ignore[attr-defined]
        yield record.uid, record.text


async def test_webhook_follows_no_redirect_and_gives_up_where_it_is_refused(settings: Settings) -> None:
    """A redirect is no delivery."""
    for status in (302, 404):
        async with receiving([status]) as (url, received):
            with pytest.raises(InvalidInputError, match=f"status {status}"):
                await call_webhook(url, {"job": "1"}, settings)
            assert len(received) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/",
        "https://localhost/",
        "https://0.0.0.0/",
        "https://192.168.1.1:8443/",
        "https://2130706433/",
    ],
)
async def test_webhook_to_a_private_address_is_refused(url: str, tmp_path: Path) -> None:
    """In whatever form it is written."""
    settings = Settings.load(data_dir=tmp_path, webhook_secret="a secret of 16 bytes")
    with pytest.raises((InvalidInputError, JobError)):
        await call_webhook(url, {"job": "1"}, settings)


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/", "file:///etc/passwd", "https://u:p@example.org/", "https://", "x"),
        *("https://example.org\t/", "https://exa mple.org/", "https://example.org/\r\nX-Own: header"),
    ],
)
def test_wrong_url_of_a_webhook_is_refused(url: str, tmp_path: Path) -> None:
    """Before the agent is asked; without a secret there are no webhooks."""
    with pytest.raises(InvalidInputError):
        checked_url(url, Settings.load(data_dir=tmp_path, webhook_secret="a secret of 16 bytes"))
    with pytest.raises(ConfigurationError, match="not configured"):
        checked_url(url, Settings.load(data_dir=tmp_path))


async def test_process_uses_the_new_model_after_reembedding(jobs: Jobs, runtime: Runtime) -> None:
    """Searches find memories from before, with vectors of the other weights; an unknown model is refused."""
    agent = runtime.agent_of(runtime.memories("default"), "default", "ann")
    await agent.aadd_text_memories(_FACTS)
    before = runtime.pipeline.model_id
    async with working(jobs):
        info = await jobs.asubmit("reembed", {"model": "all-MiniLM-L6-v2", "precision": "fp32"})
        result = await jobs.aresult(info.id, timeout_s=120)
        assert isinstance(result, dict)
        assert (result["embedded"], runtime.pipeline.model_id) == (len(_FACTS), result["model_id"])
        assert runtime.pipeline.model_id != before
        again = runtime.agent_of(runtime.memories("default"), "default", "ann")
        assert (await again.asearch_text(_FACTS[6], 1))[0].text == _FACTS[6]
        unknown = await jobs.asubmit("reembed", {"model": "/etc/passwd"})
        with pytest.raises(JobError, match="no known embedding model"):
            await jobs.aresult(unknown.id, timeout_s=60)


async def test_import_follows_files_and_goes_on_after_a_bad_one(
    jobs: Jobs, runtime: Runtime, settings: Settings
) -> None:
    """A second import doubles nothing; a file that is not UTF-8 is named, and the rest is stored."""
    folder = settings.data_dir / "files" / "default" / "notes"
    await asyncio.to_thread(_write_notes, folder)
    agent = runtime.agent_of(runtime.memories("default"), "default", "ann")
    async with working(jobs):
        results = []
        for _ in range(2):
            info = await jobs.asubmit("import_files", {"path": "notes", "agent": "ann"})
            results.append(await jobs.aresult(info.id, timeout_s=120))
        first, second = results
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        assert (first["stored"], second["stored"], second["known"]) == (2, 0, 2)
        assert first["failed"] or first["passed_over"]
        assert await agent.acount() == 2
        assert str(settings.data_dir) not in str(first)
        for path in ("../other", "/etc/passwd", "nothing", "notes/../../other"):
            wrong = await jobs.asubmit("import_files", {"path": path})
            with pytest.raises(JobError, match="no file"):
                await jobs.aresult(wrong.id, timeout_s=60)


async def test_each_way_to_write_a_path_is_one_import(jobs: Jobs, runtime: Runtime, settings: Settings) -> None:
    """Two imports of a folder at once would store its files twice."""
    folder = settings.data_dir / "files" / "default" / "notes"
    await asyncio.to_thread(_write_notes, folder)
    (folder.parent / "link").symlink_to(folder)
    async with working(jobs):
        for path in ("notes", "notes/", "./notes", "link", "other/../notes"):
            await jobs.aresult((await jobs.asubmit("import_files", {"path": path, "agent": "ann"})).id, timeout_s=60)
    with closing(sqlite3.connect(settings.data_dir / "jobs" / "jobs.db")) as database:
        assert database.execute("SELECT DISTINCT key FROM jobs").fetchall() == [("import_files:notes",)]
    assert await runtime.agent_of(runtime.memories("default"), "default", "ann").acount() == 2


def _write_notes(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder.parent.parent / "other").mkdir()
    (folder / "a.md").write_text("# Paris\n\nThe Louvre is a museum.\n")
    (folder / "b.txt").write_bytes(b"\x00\x01\x02\xff" * 99)
    (folder / "c.txt").write_text("Cats sleep all day.\n")


async def test_webhook_whose_answer_never_ends_is_left_with_its_job(runtime: Runtime) -> None:
    """The receiver sees the end of the connection, though it sends a byte now and then."""
    came, left = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while not reader.at_eof():
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(0.02):
                    await reader.read(65_536)
            writer.write(b"x")
            came.set()
        left.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        calling = asyncio.create_task(call_webhook(url, {"job": "j"}, runtime.settings))
        await came.wait()
        calling.cancel()
        await asyncio.wait({calling})
        await left.wait()


async def test_webhook_of_an_impossible_host_is_not_tried_again(runtime: Runtime) -> None:
    """The characters of its name are none of a host."""
    with pytest.raises(InvalidInputError, match="no URL"):
        await call_webhook("https://\u24dbocalhost/", {"job": "j"}, runtime.settings)


async def test_webhook_of_an_address_inside_another_one_is_refused(runtime: Runtime) -> None:
    """Gateways send these prefixes on to the IPv4 address inside; fec0::/10 is a site's own."""
    settings = runtime.settings.model_copy(update={"webhook_private": False})
    for address in (
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "64:ff9b:1::a00:1",
        "fec0::1",
        "fe80::1",
    ):
        with pytest.raises(InvalidInputError, match="private network"):
            await call_webhook(f"https://[{address}]/", {"job": "j"}, settings)


class _Allowance:
    """Refuse the first charges."""

    def __init__(self, refusals: int) -> None:
        self.charged: list[tuple[str, str, int]] = []
        self._refusals = refusals

    async def charge(self, principal: Principal, cost: int) -> None:
        """Refuse, or note the cost."""
        if self._refusals:
            self._refusals -= 1
            raise RateLimitedError("used up", retry_after_s=0.1)
        self.charged.append((principal.tenant, principal.key_id, cost))

    async def settle(self, principal: Principal, cost: int) -> None:
        """Do nothing."""


async def test_question_of_a_job_is_charged_to_its_tenant_and_waits_for_units(jobs: Jobs, runtime: Runtime) -> None:
    """Refusals count as no attempts."""
    allowance, stop = _Allowance(7), asyncio.Event()
    worker = jobs.worker(options=WorkerOptions(queues={"default": 2}), limiter=allowance)
    task = asyncio.create_task(worker.arun(stop, drain_s=0))
    by = Principal(tenant="acme", scopes=frozenset(Access), key_id="k")
    await runtime.agent_of(runtime.memories("acme"), "acme", "ann").aadd_text_memory("The Louvre is in Paris")
    arguments = {"question": "Where is the Louvre?", "agent": "ann", "remember": False}
    info = await jobs.asubmit("ask_agent", arguments, by=by)  # type: ignore[arg-type]
    await jobs.aresult(info.id, timeout_s=60, tenant="acme")
    stop.set()
    await task
    assert (await jobs.aget(info.id, tenant="acme")).attempt == 1
    [answer, prompt] = allowance.charged
    assert answer == ("acme", "jobs", 200)
    assert prompt[:2] == ("acme", "jobs")
