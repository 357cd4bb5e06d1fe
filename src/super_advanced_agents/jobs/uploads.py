"""`Uploads`: files of callers, sent in parts, for jobs that import them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.disk.file_parts import reading_parts
from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.config import DEFAULT_TENANT, LIMITS, checked_agent_name, checked_name
from super_advanced_agents.errors import InvalidInputError, JobError, JobNotFoundError
from super_advanced_agents.jobs.backend import JobBackend, JobLimits
from super_advanced_agents.types import JobInfo, JobState, UploadInfo


class Uploads:
    """Store files in parts, each durable on return, until a job has used them.

    An upload that no job uses is deleted a day after its last part. One that a job uses is deleted when the job has
    succeeded or was cancelled, or is deleted itself.

    Args:
        backend: stores them.
        limits: the limits of one tenant.
    """

    def __init__(self, backend: JobBackend, limits: JobLimits) -> None:
        self._backend = backend
        self._limits = limits

    async def acreate(self, name: str, *, upload_id: str | None = None, tenant: str = DEFAULT_TENANT) -> UploadInfo:
        """Begin an upload, without bytes.

        Args:
            name: the name of the file, up to 256 characters; with its path where that tells it from others.
            upload_id: the identifier, for a call that may be repeated. One is made when None.
            tenant: the tenant to which it belongs.

        Raises:
            InvalidInputError: the name is invalid, or the tenant has too many uploads.
        """
        checked_agent_name(name, "name")
        chosen = new_uids(1)[0] if upload_id is None else checked_name(upload_id, "upload_id")
        return await self._backend.acreate_upload(tenant, chosen, name, limits=self._limits)

    create = blocking(acreate)

    async def aadd_part(self, upload_id: str, offset: int, data: bytes, *, tenant: str = DEFAULT_TENANT) -> UploadInfo:
        """Add bytes to the end of an upload; a part that is sent again is added once.

        Args:
            upload_id: the upload.
            offset: the number of the bytes before, which is the upload's size.
            data: the bytes, up to 8 MiB.
            tenant: the tenant to which it belongs.

        Returns:
            The upload with its new size.

        Raises:
            JobNotFoundError: the tenant has no such upload.
            InvalidInputError: the upload has another size, a job uses it, or there is no room.
        """
        if type(offset) is not int or not 0 <= offset < 2**62:
            raise InvalidInputError("offset must be an integer from 0", field="offset")
        if not isinstance(data, bytes) or not 1 <= len(data) <= LIMITS.message_bytes:
            raise InvalidInputError(f"a part has 1 to {LIMITS.message_bytes} bytes", field="data")
        return await self._backend.aadd_part(tenant, _checked_id(upload_id), offset, data, limits=self._limits)

    add_part = blocking(aadd_part)

    async def aadd_file(
        self, file: str | os.PathLike[str], *, name: str | None = None, tenant: str = DEFAULT_TENANT
    ) -> UploadInfo:
        """Store a file in parts; return the upload, which a job can take.

        Args:
            file: the path of the file.
            name: the name under which jobs know it; the file's own when None.
            tenant: the tenant to which it belongs.

        Raises:
            InvalidInputError: the file cannot be read, or there is no room for it.
        """
        path = Path(file)
        async with reading_parts(path) as next_part:
            info = await self.acreate(path.name if name is None else name, tenant=tenant)
            while data := await next_part():
                info = await self.aadd_part(info.id, info.size_bytes, data, tenant=tenant)
        return info

    add_file = blocking(aadd_file)

    async def alist(self, *, tenant: str = DEFAULT_TENANT) -> Sequence[UploadInfo]:
        """Return the tenant's uploads, the oldest first."""
        return await self._backend.auploads(tenant)

    list = blocking(alist)

    async def adelete(self, upload_id: str, *, tenant: str = DEFAULT_TENANT) -> None:
        """Delete an upload that no job uses.

        Raises:
            JobNotFoundError: the tenant has no such upload.
            InvalidInputError: a job uses it.
        """
        if not await self._backend.adelete_upload(tenant, _checked_id(upload_id)):
            raise JobNotFoundError("there is no upload of that id", hint="list the uploads; unused ones last a day")

    delete = blocking(adelete)


def not_retried(info: JobInfo) -> JobError:
    """Return the error of a job that cannot be retried."""
    if info.state in (JobState.FAILED, JobState.CANCELLED):
        return JobError("the upload of the job is deleted", hint="upload it again, and submit a job that uses it")
    return JobError(f"the job is {info.state}", hint="only a failed or cancelled job can be retried")


def _checked_id(upload_id: str) -> str:
    return checked_name(upload_id, "upload")
