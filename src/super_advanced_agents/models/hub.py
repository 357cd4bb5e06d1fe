"""Download of model files from a Hugging Face hub.

The hub's client honours `HF_ENDPOINT`, `HF_HUB_OFFLINE` and `HF_TOKEN`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from super_advanced_agents._runtime.remote.proxies import socks_error
from super_advanced_agents.errors import ModelNotFoundError
from super_advanced_agents.models.registry import HubSource, ModelFile

_METADATA_TIMEOUT_S = 5.0


def fetch(source: HubSource, file: ModelFile, target: Path, on_bytes: Callable[[int], None]) -> None:
    """Download one model file from a Hugging Face hub to `target`, resuming if interrupted.

    Args:
        source: the repository and its revision.
        file: the file to download.
        target: the path to write; an existing file is replaced.
        on_bytes: receives the number of bytes of the file that have arrived, each time more have.

    Raises:
        ModelNotFoundError: the hub cannot be reached, is switched off, or does not have the file.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils.tqdm import tqdm

    class Reporter(tqdm):  # the client reports progress only through a tqdm class
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            self.arrived = int(options.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.arrived += int(n or 0)
            on_bytes(min(self.arrived, file.size_bytes))
            return None

    folder = target.parent / "hub"
    try:
        fetched = hf_hub_download(
            source.repo,
            source.paths[file.name],
            revision=source.revision,
            local_dir=folder,
            etag_timeout=_METADATA_TIMEOUT_S,
            tqdm_class=Reporter,
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as exc:
        raise ModelNotFoundError(f"the hub cannot be reached for {source.repo!r}, or is switched off") from exc
    except HfHubHTTPError as exc:
        status = exc.response.status_code if exc.response is not None else "no"
        raise ModelNotFoundError(f"the hub answered {status} for {source.repo!r}") from exc
    except ImportError as exc:  # the only package that the hub's client may miss
        raise ModelNotFoundError(str(socks_error())) from exc
    except ValueError as exc:
        raise ModelNotFoundError(f"the hub refused the request for {source.repo!r}: {exc}") from exc
    shutil.move(fetched, target)
