"""The database steps of uploads: their names, sizes and jobs, and in PostgreSQL their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from super_advanced_agents.errors import InvalidInputError, JobNotFoundError
from super_advanced_agents.jobs.backend import JobLimits
from super_advanced_agents.jobs.sql.database import Database, Row
from super_advanced_agents.types import UploadInfo

_UPLOAD = "id, name, size_bytes, job, created_at"
UNUSED_S = 86_400.0
"""The seconds after its last part for which an upload is kept that no job uses."""


def create(db: Database, tenant: str, upload_id: str, name: str, *, limits: JobLimits, now: float) -> UploadInfo:
    """Store a new upload without bytes, or return the one of this id."""
    if (known := _get(db, tenant, upload_id)) is not None:
        return known
    if db.execute("SELECT count(*) FROM job_uploads WHERE tenant = ?", (tenant,))[0][0] >= limits.uploads:
        raise InvalidInputError(f"the tenant has {limits.uploads} uploads already", hint="delete one first")
    rows = db.execute(
        "INSERT INTO job_uploads (id, tenant, name, size_bytes, created_at, changed_at) VALUES (?, ?, ?, 0, ?, ?)"  # noqa: S608
        f" RETURNING {_UPLOAD}",
        (upload_id, tenant, name, now, now),
    )
    return _info(rows[0])


def check_part(db: Database, tenant: str, upload_id: str, offset: int, size: int, *, limits: JobLimits) -> UploadInfo:
    """Return an upload to which a part may be added, or which has it already.

    Raises:
        JobNotFoundError: the tenant has no such upload.
        InvalidInputError: a job uses it, it does not end at `offset`, or there is no room.
    """
    info = _get(db, tenant, upload_id)
    if info is None:
        raise no_upload()
    if info.job is not None:
        raise InvalidInputError("a job uses the upload already", field="upload", hint="make a new upload")
    if offset + size == info.size_bytes:  # perhaps a call that is repeated, since its answer was lost
        [[last_start]] = db.execute("SELECT last_start FROM job_uploads WHERE id = ?", (upload_id,))
        if offset == last_start:
            return info
    if offset != info.size_bytes:
        raise InvalidInputError(
            f"the upload has {info.size_bytes} bytes, so no part can begin at {offset}",
            field="offset",
            hint=f"go on at {info.size_bytes}",
        )
    used = int(db.execute("SELECT coalesce(sum(size_bytes), 0) FROM job_uploads WHERE tenant = ?", (tenant,))[0][0])
    if info.size_bytes + size > limits.upload_bytes:
        raise InvalidInputError(
            f"an upload may have {limits.upload_bytes} bytes", field="upload", hint="split the files between several"
        )
    if used + size > limits.uploads_bytes:
        raise InvalidInputError(
            f"the uploads of the tenant may have {limits.uploads_bytes} bytes together",
            field="upload",
            hint="delete uploads, or wait until jobs have used them",
        )
    return info


def grow(
    db: Database, tenant: str, upload_id: str, offset: int, data: bytes, *, limits: JobLimits, now: float
) -> UploadInfo:
    """Note the bytes of a part, and store them where the database holds them."""
    info = check_part(db, tenant, upload_id, offset, len(data), limits=limits)
    if offset != info.size_bytes or not data:
        return info
    rows = db.execute(
        "UPDATE job_uploads SET last_start = size_bytes, size_bytes = size_bytes + ?, changed_at = ?"  # noqa: S608
        " WHERE id = ? AND size_bytes = ?"
        f" RETURNING {_UPLOAD}",
        (len(data), now, upload_id, offset),
    )
    if not rows:  # another call has added it in this moment
        return check_part(db, tenant, upload_id, offset, len(data), limits=limits)
    if db.shared:
        db.execute("INSERT INTO job_upload_parts (upload, start, data) VALUES (?, ?, ?)", (upload_id, offset, data))
    return _info(rows[0])


def list_uploads(db: Database, tenant: str) -> list[UploadInfo]:
    """Return a tenant's uploads, the oldest first."""
    rows = db.execute(f"SELECT {_UPLOAD} FROM job_uploads WHERE tenant = ? ORDER BY id", (tenant,))  # noqa: S608
    return [_info(row) for row in rows]


def delete(db: Database, tenant: str, upload_id: str) -> bool:
    """Delete an upload that no job uses; return False where the tenant has none of that id.

    Raises:
        InvalidInputError: a job uses it.
    """
    info = _get(db, tenant, upload_id)
    if info is not None and info.job is not None:
        raise InvalidInputError(
            "a job uses the upload", field="upload", hint="it is deleted when the job has succeeded or is cancelled"
        )
    return info is not None and bool(drop(db, "id = ?", (upload_id,)))


def use(db: Database, tenant: str, upload_id: str, job_id: str) -> None:
    """Give an upload to a job that is being submitted.

    Raises:
        InvalidInputError: the tenant has no such upload, or another job has it.
    """
    given = "UPDATE job_uploads SET job = ? WHERE id = ? AND tenant = ? AND job IS NULL RETURNING id"
    if not db.execute(given, (job_id, upload_id, tenant)):
        raise InvalidInputError(
            "there is no upload of that id that is free", field="arguments.upload", hint="each job needs its own"
        )


def of_job(db: Database, tenant: str, upload_id: str, job_id: str) -> UploadInfo:
    """Return the upload of a job.

    Raises:
        JobNotFoundError: it has no such upload.
    """
    info = _get(db, tenant, upload_id)
    if info is None or info.job != job_id:
        raise no_upload()
    return info


def drop(db: Database, condition: str, parameters: Sequence[object]) -> list[str]:
    """Delete uploads with their bytes in the database; return their ids."""
    dropped = [row[0] for row in db.execute(f"DELETE FROM job_uploads WHERE {condition} RETURNING id", parameters)]  # noqa: S608
    if db.shared:
        for upload_id in dropped:
            db.execute("DELETE FROM job_upload_parts WHERE upload = ?", (upload_id,))
    return dropped


def drop_of(db: Database, jobs: Sequence[Row]) -> bool:
    """Delete the uploads with which rows of jobs end; return whether there were any."""
    found = [upload for *_, upload in jobs if upload is not None]
    for upload in found:
        drop(db, "id = ?", (upload,))
    return bool(found)


def part_at(db: Database, upload_id: str, start: int) -> bytes:
    """Return the part of an upload that begins at a byte; empty behind the last one."""
    rows = db.execute("SELECT data FROM job_upload_parts WHERE upload = ? AND start = ?", (upload_id, start))
    return bytes(rows[0][0]) if rows else b""


def ids(db: Database) -> Iterator[str]:
    """Return the ids of all uploads."""
    return (row[0] for row in db.execute("SELECT id FROM job_uploads"))


def no_upload() -> JobNotFoundError:
    """Return the error of an upload that the tenant does not have."""
    return JobNotFoundError("there is no upload of that id", hint="list the uploads; unused ones last a day")


def _get(db: Database, tenant: str, upload_id: str) -> UploadInfo | None:
    rows = db.execute(f"SELECT {_UPLOAD} FROM job_uploads WHERE id = ? AND tenant = ?", (upload_id, tenant))  # noqa: S608
    return _info(rows[0]) if rows else None


def _info(row: Row) -> UploadInfo:
    return UploadInfo(id=row[0], name=row[1], size_bytes=int(row[2]), job=row[3], created_at=row[4])
