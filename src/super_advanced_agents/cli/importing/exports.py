"""Import of files that `saa export` wrote: recognize them and restore their records."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from super_advanced_agents._runtime.concurrency.sync_bridge import run_sync
from super_advanced_agents.cli.session import open_embedder, open_folder_store
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.formats import NotUnderstoodError
from super_advanced_agents.stores.local.folder import StoreFolder
from super_advanced_agents.stores.transfer import Header, Imported, open_export, sniff
from super_advanced_agents.stores.transfer.importing import check_compatible
from super_advanced_agents.stores.transfer.jsonl import JsonlReader
from super_advanced_agents.stores.transfer.parquet import ParquetReader
from super_advanced_agents.stores.transfer.storing import aimport_parts
from super_advanced_agents.tenancy.data_folder.importing import DataFolderTargets
from super_advanced_agents.tenancy.importing.files import Input
from super_advanced_agents.tenancy.importing.summary import RejectedLine, SourceLocation, StrictStopError, Summary
from super_advanced_agents.tenancy.settings import Settings

_START_BYTES = 4_096


def is_export(file_input: Input) -> bool:
    """Return whether a file's first bytes show that `saa export` wrote it.

    Standard input can still be read from its beginning afterwards.

    Raises:
        InvalidInputError: the export is Parquet and comes from standard input.
    """
    export_format = sniff(_read_start(file_input))
    if export_format == "parquet" and file_input.path is None:
        raise InvalidInputError(
            "Parquet cannot be read from standard input", field="paths", hint="give the file's name"
        )
    return export_format is not None


class ExportImporter:
    """Copy the memories in `saa export` files to a data folder's store.

    A missing store is created with the dimension and the metric of the first export.

    Args:
        data_dir: the data folder.
        models_dir: the folder of all models.
        namespace: the namespace of all imported records; when None, each record keeps its own.
        tenant: the tenant that gets everything; when None, each record goes to its own.
        from_tenant: the only tenant in the exports that is imported; all of them when None.
        reembed: embed the texts with the model of the settings; an export without vectors is always embedded.
        strict: stop at the first line that cannot be imported.
        summary: updated while the import runs.
        on_bytes: called with the number of bytes read since the last call.
        on_rejected: called with each line that cannot be imported.
    """

    def __init__(
        self,
        data_dir: Path,
        models_dir: Path | None,
        *,
        namespace: str | None,
        tenant: str | None,
        from_tenant: str | None,
        reembed: bool,
        strict: bool,
        summary: Summary,
        on_bytes: Callable[[int], None],
        on_rejected: Callable[[RejectedLine], None],
    ) -> None:
        self._data_dir = data_dir
        self._models_dir = models_dir
        self._namespace = namespace
        self._tenant = tenant
        self._from_tenant = from_tenant
        self._reembed = reembed
        self._strict = strict
        self._summary = summary
        self._on_bytes = on_bytes
        self._on_rejected = on_rejected

    def run(self, inputs: Iterable[Input]) -> None:
        """Import the given `saa export` files in order, and count the progress in `summary`.

        When an error is raised, `summary` contains the counts up to the error.
        """
        for file_input in inputs:
            with ExitStack() as stack:
                export = open_export(file_input.path or sys.stdin.buffer)
                stack.callback(export.close)
                pipeline = self._pipeline(export.header, stack)
                dim = export.header.dim if pipeline is None else pipeline.dim
                hint = "start a server on that store, and name it with --url"
                opened = open_folder_store(self._data_dir, otherwise=hint, dim=dim, metric=export.header.metric)
                store = stack.enter_context(opened)
                check_compatible(export.header, store, self._namespace, pipeline)
                settings = Settings.load(data_dir=self._data_dir)
                if not settings.has_own_store:  # that store's lock does not guard the catalog and the collections
                    stack.callback(StoreFolder(settings.store_dir).release)
                targets = DataFolderTargets(
                    settings,
                    store,
                    stack,
                    export.header,
                    tenant=self._tenant,
                    from_tenant=self._from_tenant,
                    namespace=self._namespace,
                )
                try:
                    self._import(targets, export, file_input.source, pipeline)
                finally:
                    self._summary.agents += targets.agents
                    self._summary.collections += targets.collections
            if export.header.version == 1:
                self._summary.untold.append(file_input.source)
            self._summary.files += 1

    def _pipeline(self, header: Header, stack: ExitStack) -> EmbeddingPipeline | None:
        if header.vectors and not self._reembed:
            return None
        return stack.enter_context(open_embedder(self._data_dir, self._models_dir))

    def _import(
        self,
        targets: DataFolderTargets,
        export: JsonlReader | ParquetReader,
        source: str,
        pipeline: EmbeddingPipeline | None,
    ) -> None:
        done = Imported()
        reporter = _Reporter(self._summary, source, self._on_bytes, self._on_rejected)

        def on_page(_: Imported) -> None:
            reporter.report(done)

        try:
            run_sync(
                aimport_parts(
                    export,
                    targets,
                    namespace=self._namespace,
                    embedder=pipeline,
                    strict=self._strict,
                    progress=done,
                    on_page=on_page,
                )
            )
        except InvalidInputError as exc:
            if not (self._strict and done.troubles):
                raise
            location = SourceLocation(source, done.troubles[0].line)
            raise StrictStopError(
                f"stopped at {location}: {done.troubles[0].why}",
                hint="correct the line, then run the same command again",
            ) from exc
        finally:
            on_page(done)
            self._summary.left_out.update(done.left_out)


class _Reporter:
    # Brings the totals of one export into the summary of all. Ctrl-C may come between any two lines: reporting the same
    # totals again then counts nothing twice.

    def __init__(
        self,
        summary: Summary,
        source: str,
        on_bytes: Callable[[int], None],
        on_rejected: Callable[[RejectedLine], None],
    ) -> None:
        self._summary = summary
        self._source = source
        self._on_bytes = on_bytes
        self._on_rejected = on_rejected
        self._stored_before, self._failed_before = summary.stored, summary.failed
        self._read_bytes = 0
        self._rejected = 0

    def report(self, done: Imported) -> None:
        """Count what was done until now, and report the lines that failed since the last call."""
        summary = self._summary
        while self._rejected < len(done.troubles):
            invalid = done.troubles[self._rejected]
            self._rejected += 1
            rejected = RejectedLine(SourceLocation(self._source, invalid.line), invalid.why)
            summary.reject(rejected)
            self._on_rejected(rejected)
        summary.stored = self._stored_before + done.stored
        summary.failed = self._failed_before + done.failed
        before, self._read_bytes = self._read_bytes, done.read_bytes
        self._on_bytes(done.read_bytes - before)


def _read_start(file_input: Input) -> bytes:
    if file_input.path is not None:
        try:
            return file_input.content.head[:_START_BYTES]
        except NotUnderstoodError:  # it cannot be read, as the import of other files will say
            return b""
    stdin = sys.stdin.buffer
    if isinstance(stdin, io.BufferedReader):
        return stdin.peek(_START_BYTES)
    start = stdin.read(_START_BYTES)  # no pipe but a stream in memory, as tests use
    stdin.seek(0)
    return start
