"""A child process that makes or restores a backup or an export and kills itself on the way.

    python saving.py backup|restore|export|import SOURCE TARGET N

It is killed at the N-th thing it does to a file (opening, renaming, removing, a folder, 4 MB, a page), and prints
`done` if it comes to its end before.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.maintenance.backup import back_up
from super_advanced_agents.stores.faiss.maintenance.restore import restore
from super_advanced_agents.stores.transfer import export_records, import_records

_SEEN = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "sqlite3.connect/handle", "shutil.copyfile"}


def main() -> None:
    """Run one operation, and kill the process on the way."""
    what, source, target, left = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])

    def on_event(event: str, arguments: object) -> None:
        nonlocal left
        if event in _SEEN:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(on_event)
    if what == "backup":
        back_up(source, target, on_copied=lambda done, total: on_event("open", ()))
    elif what == "restore":
        restore(source, target, force=True)
    elif what == "export":
        with FAISSVectorStore(4, source) as store:
            export_records(store, target, on_records=lambda _: on_event("open", ()))
    else:
        with FAISSVectorStore(4, target) as store:
            import_records(store, source, on_page=lambda _: on_event("open", ()))
    print("done", flush=True)


if __name__ == "__main__":
    main()
