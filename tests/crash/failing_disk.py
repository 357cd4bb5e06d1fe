"""A child process whose flushes fail while a file is there; prints what happened, one word a line.

python failing_disk.py FOLDER   (with FAIL_SYNC in the environment)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import StoreError


def main() -> None:
    """Write, fail, stay stopped, and open again."""
    flag = Path(os.environ["FAIL_SYNC"])
    with FAISSVectorStore(4, sys.argv[1]) as store:
        store.add(np.ones(4), {"n": 1}, "before")
        flag.touch()
        _try(store, "during")
        flag.unlink()
        _try(store, "after")
        print(f"found {len(store.search(np.ones(4)))} {len(store.get(['before']))} {store.count({'n': 1})}")
    with FAISSVectorStore(4, sys.argv[1]) as store:
        print(f"reopened {len(store.get(['before']))}")
        _try(store, "again")


def _try(store: FAISSVectorStore, name: str) -> None:
    try:
        store.add(np.ones(4), None, name)
        print(f"{name} stored")
    except StoreError as exc:
        print(f"{name} {type(exc).__name__} {exc}")


if __name__ == "__main__":
    main()
