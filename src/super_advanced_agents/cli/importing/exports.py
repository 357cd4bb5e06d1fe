"""Files that `saa export` wrote, told from others and put back as they were."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from super_advanced_agents.cli.importing.entries import SourceLocation, Trouble
from super_advanced_agents.cli.importing.files import Input, open_input
from super_advanced_agents.cli.importing.importer import StrictStopError, Summary
from super_advanced_agents.cli.session import opened_embedder, opened_store
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.transfer import Header, Imported, import_records, open_export, sniff
from super_advanced_agents.stores.transfer.jsonl import JsonlReader
from super_advanced_agents.stores.transfer.parquet import ParquetReader

_START_BYTES = 4_096
_KEPT_TROUBLES = 1_000


def is_export(given: Input) -> bool:
    """Whether a file begins as an export does; standard input can still be read from its beginning afterwards."""
    found = sniff(_start(given))
    if found == "parquet" and given.path is None:
        raise InvalidInputError(
            "Parquet cannot be read from standard input", field="paths", hint="give the file's name"
        )
    return found is not None


class ExportImporter:
    """Puts exports into the store of a data folder, which is made as the first of them was when there is none.

    Args:
        data_dir: of the store.
        models_dir: the folder of all models.
        namespace: where all records go; each to its own when None.
        reembed: embed their texts with the model of the settings; done in any case for those without vectors.
        strict: stop at the first line that cannot be imported.
        summary: kept up to date.
        on_bytes: told how many bytes were read.
        on_trouble: told about each line that cannot be imported.
    """

    def __init__(
        self,
        data_dir: Path,
        models_dir: Path | None,
        *,
        namespace: str | None,
        reembed: bool,
        strict: bool,
        summary: Summary,
        on_bytes: Callable[[int], None],
        on_trouble: Callable[[Trouble], None],
    ) -> None:
        self._data_dir = data_dir
        self._models_dir = models_dir
        self._namespace = namespace
        self._reembed = reembed
        self._strict = strict
        self._summary = summary
        self._on_bytes = on_bytes
        self._on_trouble = on_trouble

    def run(self, inputs: Iterable[Input]) -> None:
        """Import them, one after the other; what is raised leaves `summary` telling how far it came."""
        for given in inputs:
            with ExitStack() as opened:
                export = open_export(given.path or opened.enter_context(open_input(given)))
                opened.callback(export.close)
                pipeline = self._pipeline(export.header, opened)
                dim = export.header.dim if pipeline is None else pipeline.dim
                store = opened.enter_context(opened_store(self._data_dir, dim=dim, metric=export.header.metric))
                self._import(store, export, given.source, pipeline)
            self._summary.files += 1

    def _pipeline(self, header: Header, opened: ExitStack) -> EmbeddingPipeline | None:
        if header.vectors and not self._reembed:
            return None
        return opened.enter_context(opened_embedder(self._models_dir))

    def _import(
        self,
        store: VectorStore,
        export: JsonlReader | ParquetReader,
        source: str,
        pipeline: EmbeddingPipeline | None,
    ) -> None:
        done, seen = Imported(), Imported()

        def follow(_: Imported) -> None:
            self._follow(done, seen, source)

        try:
            import_records(
                store,
                export,
                namespace=self._namespace,
                embedder=pipeline,
                strict=self._strict,
                progress=done,
                on_page=follow,
            )
        except InvalidInputError as exc:
            if not (self._strict and done.troubles):
                raise
            place = SourceLocation(source, done.troubles[0].line)
            raise StrictStopError(
                f"stopped at {place}: {done.troubles[0].why}", hint="mend it, then run the same again"
            ) from exc
        finally:
            follow(done)

    def _follow(self, done: Imported, seen: Imported, source: str) -> None:
        """Add to the summary what came since `seen`, and bring that up to date."""
        self._summary.stored += done.stored - seen.stored
        self._summary.failed += done.failed - seen.failed
        self._on_bytes(done.read_bytes - seen.read_bytes)
        for told in done.troubles[len(seen.troubles) :]:
            trouble = Trouble(SourceLocation(source, told.line), told.why)
            self._on_trouble(trouble)
            if len(self._summary.troubles) < _KEPT_TROUBLES:
                self._summary.troubles.append(trouble)
        seen.stored, seen.failed, seen.read_bytes = done.stored, done.failed, done.read_bytes
        seen.troubles = list(done.troubles)


def _start(given: Input) -> bytes:
    if given.path is not None:
        with open_input(given) as file:
            return file.read(_START_BYTES)
    stdin = sys.stdin.buffer
    if isinstance(stdin, io.BufferedReader):
        return stdin.peek(_START_BYTES)
    start = stdin.read(_START_BYTES)  # not a pipe, then, but something in memory
    stdin.seek(0)
    return start
