"""The commands `saa jobs ...`, which submit, follow, cancel and retry background jobs."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypeVar
from zipfile import ZIP_DEFLATED, ZipFile
from zoneinfo import ZoneInfo

import typer

from super_advanced_agents._runtime.progress import bar
from super_advanced_agents.cli.options import AsJson, DataDir, ServerURL
from super_advanced_agents.cli.output import (
    FAILED,
    one_line,
    print_json,
    print_note,
    print_result,
    report_errors,
    without_controls,
)
from super_advanced_agents.cli.session import server_key

if TYPE_CHECKING:
    from super_advanced_agents.client.remote_jobs import RemoteJobs
    from super_advanced_agents.jobs import Jobs
    from super_advanced_agents.types import JobInfo, JSONValue, ScheduleInfo

jobs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Submit, list, watch, cancel and retry background jobs; `saa serve` and `saa worker` run them.",
)
schedules = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make, list, pause and delete schedules of background jobs."
)
jobs.add_typer(schedules, name="schedules")

JobId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The id of the job.")]
Name: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The name of the schedule.")]
Kind: TypeAlias = Annotated[str, typer.Argument(metavar="KIND", help="The kind of job, such as backup.")]
Arguments: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME=VALUE]...", help="Arguments of the job; a value may be JSON."),
]
_PAUSE_S = 0.5
InfoT = TypeVar("InfoT")


@jobs.command("submit")
@report_errors
def submit(
    *,
    kind: Kind,
    arguments: Arguments = None,
    queue: Annotated[str | None, typer.Option("--queue", help="The queue; that of the kind if not given.")] = None,
    upload: Annotated[
        Path | None, typer.Option("--upload", help="A file or folder for the job, such as one to import.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job until it has ended.")] = False,
    data_dir: DataDir,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Submit a background job, and print its id."""
    with _open(data_dir, url, creates=True) as opened:
        parsed = _parsed(arguments)
        if watch:
            _check_worker(data_dir, url)
        if upload is not None:
            with _packed(upload) as file:
                parsed["upload"] = _upload(opened, file)
        info = _sent(partial(opened.submit, kind, queue=queue), parsed, arguments)
        if watch:
            _follow(opened, info.id, as_json=as_json)
            return
    if as_json:
        print_json(_members(info))
    else:
        print_result(info.id)
        print_note(f"Submitted; `saa jobs watch {info.id}` follows it.")


@jobs.command("list")
@report_errors
def list_(
    *,
    state: Annotated[
        Literal["queued", "running", "succeeded", "failed", "cancelled"] | None,
        typer.Option("--state", help="Only jobs in this state; the failed ones can be retried."),
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only jobs of this kind.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", "-k", help="The most jobs, 1 to 1,000.")] = 100,
    data_dir: DataDir,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """List background jobs, newest first."""
    with _open(data_dir, url) as opened:
        found = opened.list(state=state, kind=kind, limit=limit)
    if as_json:
        print_json({"jobs": [_members(info) for info in found]})
        return
    for info in found:
        print_result(_line(info))
    if not found:
        print_note("There are no such jobs.")


@jobs.command("watch")
@report_errors
def watch(*, job_id: JobId, data_dir: DataDir, url: ServerURL = None, as_json: AsJson = False) -> None:
    """Follow a background job until it has ended; exit with 1 if it did not succeed."""
    with _open(data_dir, url) as opened:
        if not opened.get(job_id).state.final:
            _check_worker(data_dir, url)
        _follow(opened, job_id, as_json=as_json)


@jobs.command("cancel")
@report_errors
def cancel(*, job_id: JobId, data_dir: DataDir, url: ServerURL = None, as_json: AsJson = False) -> None:
    """Cancel a background job; one that runs stops within a second or two.

    A failed job is given up: its upload and its shards, which a retry would need, are deleted.
    """
    with _open(data_dir, url) as opened:
        info = opened.cancel(job_id)
    if as_json:
        print_json(_members(info))
    else:
        print_result(_line(info))


@jobs.command("retry")
@report_errors
def retry(
    *,
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The id of the job.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All failed jobs.")] = False,
    data_dir: DataDir,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Queue a failed or cancelled background job again, or all failed ones."""
    from super_advanced_agents.errors import InvalidInputError

    if (job_id is None) is not every:
        raise InvalidInputError("give the id of one job, or --all", hint="`saa jobs list --state failed` shows the ids")
    with _open(data_dir, url) as opened:
        retried = opened.retry(job_id)
    if as_json:
        print_json({"retried": retried})
    else:
        print_result(f"{retried} jobs wait again.")


@schedules.command("set")
@report_errors
def set_(
    *,
    name: Name,
    cron: Annotated[str, typer.Argument(metavar="CRON", help="Five fields, such as '0 7 * * *' for every day at 7.")],
    kind: Kind,
    arguments: Arguments = None,
    zone: Annotated[str, typer.Option("--zone", help="The time zone of the fields, such as Europe/Berlin.")] = "UTC",
    missed: Annotated[
        Literal["skip", "one", "all"],
        typer.Option("--missed", help="After downtime: skip the missed times, run one job for them, or all."),
    ] = "one",
    data_dir: DataDir,
    url: ServerURL = None,
    as_json: AsJson = False,
) -> None:
    """Make or replace a schedule, and show its next five times."""
    with _open(data_dir, url, creates=True) as opened:
        put = partial(opened.put_schedule, name, kind, cron, zone=zone, missed=missed)
        info = _sent(put, _parsed(arguments), arguments)
    _show_schedules([info], as_json=as_json)


@schedules.command("list")
@report_errors
def list_schedules(*, data_dir: DataDir, url: ServerURL = None, as_json: AsJson = False) -> None:
    """List the schedules with their next times."""
    with _open(data_dir, url) as opened:
        found = list(opened.schedules())
    _show_schedules(found, as_json=as_json)
    if not found:
        print_note("There are no schedules. `saa jobs schedules set` makes one.")


@schedules.command("pause")
@report_errors
def pause(*, name: Name, data_dir: DataDir, url: ServerURL = None, as_json: AsJson = False) -> None:
    """Pause a schedule."""
    with _open(data_dir, url) as opened:
        _show_schedules([opened.pause_schedule(name)], as_json=as_json)


@schedules.command("resume")
@report_errors
def resume(*, name: Name, data_dir: DataDir, url: ServerURL = None, as_json: AsJson = False) -> None:
    """Resume a paused schedule; what it missed is skipped."""
    with _open(data_dir, url) as opened:
        _show_schedules([opened.pause_schedule(name, paused=False)], as_json=as_json)


@schedules.command("delete")
@report_errors
def delete(*, name: Name, data_dir: DataDir, url: ServerURL = None, as_json: AsJson = False) -> None:
    """Delete a schedule; the jobs that it submitted are kept."""
    with _open(data_dir, url) as opened:
        opened.delete_schedule(name)
    if as_json:
        print_json({"deleted": name})
    else:
        print_result(f"Deleted {without_controls(name)}.")


@contextmanager
def _open(data_dir: Path, url: str | None, *, creates: bool = False) -> Iterator[Jobs | RemoteJobs]:
    # Only what submits makes the folder of the jobs; anything else finds an empty place without one.
    if url is not None:
        from super_advanced_agents.cli.waiting import wait_for_server
        from super_advanced_agents.client.remote_jobs import RemoteJobs

        wait_for_server(url)
        with RemoteJobs(url, api_key=server_key()) as remote:
            yield remote
        return
    from super_advanced_agents.cli.waiting import when_free
    from super_advanced_agents.jobs.opening import jobs_of, jobs_place
    from super_advanced_agents.tenancy.settings import Settings

    settings = Settings.load(data_dir=data_dir)
    with ExitStack() as stack:
        place = jobs_place(settings)
        if isinstance(place, Path) and not place.exists() and not creates:
            empty = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="saa-jobs-")))
            settings = settings.model_copy(update={"data_dir": empty})
        yield stack.enter_context(when_free(data_dir, lambda: jobs_of(settings).open()))


def _parsed(arguments: list[str] | None) -> dict[str, JSONValue]:
    from super_advanced_agents.errors import InvalidInputError

    found: dict[str, JSONValue] = {}
    for argument in arguments or ():
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise InvalidInputError(f"{argument[:80]!r} is no argument of a job", hint="write NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:  # no JSON: the value is a text
            found[name] = value
    return found


def _sent(
    send: Callable[[dict[str, JSONValue]], InfoT], values: dict[str, JSONValue], words: list[str] | None
) -> InfoT:
    # Only the job knows its types: a value such as 2024 that it refuses is sent again as text, such as a folder's name.
    from super_advanced_agents.errors import InvalidInputError

    texts = dict(word.partition("=")[::2] for word in words or ())
    refusals: dict[str, InvalidInputError] = {}
    while True:
        try:
            return send(values)
        except InvalidInputError as exc:
            name = exc.field.removeprefix("arguments.")
            if name in refusals or name not in texts or not isinstance(values[name], int | float | None):
                raise refusals.get(name, exc) from None
            refusals[name] = exc
            values = {**values, name: texts[name]}


@contextmanager
def _packed(path: Path) -> Iterator[Path]:
    # An upload is one file, so a folder becomes a zip file of its name, without what is hidden or a link.
    if not path.is_dir():
        yield path
        return
    root = path.resolve()
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder, f"{root.name or 'files'}.zip")
        with ZipFile(packed, "w", ZIP_DEFLATED, strict_timestamps=False) as archive:
            for each in sorted(root.rglob("*")):
                inner = each.relative_to(root)
                if each.is_file() and not each.is_symlink() and not any(part.startswith(".") for part in inner.parts):
                    archive.write(each, inner.as_posix())
        yield packed


def _upload(opened: Jobs | RemoteJobs, file: Path) -> str:
    from super_advanced_agents.client.remote_jobs import RemoteJobs

    return (opened.upload(file) if isinstance(opened, RemoteJobs) else opened.uploads.add_file(file)).id


def _follow(opened: Jobs | RemoteJobs, job_id: str, *, as_json: bool) -> None:
    info = opened.get(job_id)
    with bar(unit="done") as progress:
        task = progress.add_task(info.kind, total=None) if progress else None
        while not info.state.final:
            if progress is not None and task is not None:
                progress.update(task, completed=info.done or 0, total=info.total, description=info.note or info.kind)
            time.sleep(_PAUSE_S)
            info = opened.get(job_id)
    if as_json:
        print_json(_members(info))
    else:
        print_result(_line(info))
        if info.result is not None:
            print_result(json.dumps(info.result, ensure_ascii=False))
    if info.state != "succeeded":
        raise typer.Exit(FAILED)


def _check_worker(data_dir: Path, url: str | None) -> None:
    # The jobs in a data folder have one owner: while this command watches them, no worker can take any.
    from super_advanced_agents.errors import ConfigurationError
    from super_advanced_agents.jobs.opening import jobs_place
    from super_advanced_agents.tenancy.settings import Settings

    if url is None and isinstance(jobs_place(Settings.load(data_dir=data_dir)), Path):
        raise ConfigurationError(
            "no worker runs the jobs of this data folder",
            hint="start `saa serve`, and add --url with its address; it also runs what was submitted before",
        )


def _line(info: JobInfo) -> str:
    share = f"{100 * info.done / info.total:.0f} %" if info.done is not None and info.total else ""
    left = f"{info.left_s:.0f} s left" if info.left_s is not None else ""
    failed_at = datetime.fromtimestamp(info.finished_at, UTC) if info.state == "failed" and info.finished_at else None
    since = f"since {failed_at:%Y-%m-%d %H:%M}" if failed_at is not None else ""
    words = [info.id, f"{info.state:<9}", info.kind, since, share, left, one_line(info.error or info.note)]
    return "  ".join(word for word in words if word)


def _members(info: JobInfo | ScheduleInfo) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(info)


def _show_schedules(found: list[ScheduleInfo], *, as_json: bool) -> None:
    if as_json:
        print_json({"schedules": [_members(info) for info in found]})
        return
    for info in found:
        state = "paused" if info.paused else "; ".join(_shown(at, info.zone) for at in info.next_at)
        words = [info.name, info.cron, info.zone, info.kind, state, one_line(info.error)]
        print_result("  ".join(word for word in words if word))


def _shown(at: float, zone: str) -> str:
    try:
        known = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # this machine may know fewer zones than the server
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return datetime.fromtimestamp(at, known).strftime("%Y-%m-%d %H:%M")
