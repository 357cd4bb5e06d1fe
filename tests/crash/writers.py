"""A process that forks a child for each line it reads; the child runs four writers until it is killed.

    python -m tests.crash.writers [FOLDER LOG SEED]

It reads FOLDER, LOG and SEED; it prints the child's pid, `ready` when its store is open and loaded, `begun` at the
first acknowledged write, and `gone`. With arguments it writes by itself, until it is killed. The writers log every
write before they request it and after it is acknowledged: a line is `>` (requested) or `<` (acknowledged), the writer's
number, and the operation as JSON. Each is one `os.write`, which a killed process either made or did not.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading

import numpy as np

from super_advanced_agents import FAISSVectorStore

DIM = 8
WRITERS = 4
BUFFER_ROWS = 32


def vector(tag: int) -> np.ndarray:
    """Return the vector of a tag: different tags, different vectors."""
    return np.random.default_rng(tag).standard_normal(DIM).astype(np.float32)


def _write(store: FAISSVectorStore, log: int, writer: int, seed: int) -> None:
    rng = random.Random(seed * WRITERS + writer)  # a plan, not a secret
    for step in range(1_000_000):
        tag = (seed * 1_000_003 + step) * WRITERS + writer
        kind = rng.choice(["batch", "batch", "one", "one", "one", "delete", "delete where"])
        names = [f"w{writer}-{rng.randrange(40):02d}" for _ in range({"batch": 10, "delete": 3}.get(kind, 1))]
        group = rng.randrange(6)
        line = json.dumps([kind, tag, names, group])
        os.write(log, f"> {writer} {line}\n".encode())
        metadata = {"tag": tag, "writer": writer, "group": group, "text": f"text {tag}"}
        if kind == "batch":
            store.add_batch([vector(tag)] * len(names), [metadata] * len(names), names)
        elif kind == "one":
            store.add(vector(tag), metadata, names[0])
        elif kind == "delete":
            store.delete(names)
        else:
            store.delete(where={"writer": writer, "group": group})
        os.write(log, f"< {writer} {line}\n".encode())
        if step == writer == 0:
            print("begun", flush=True)


def _write_until_killed(folder: str, log_path: str, seed: int) -> None:
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with FAISSVectorStore(DIM, folder, index="hnsw", buffer_rows=BUFFER_ROWS) as store:
        store.count()
        print("ready", flush=True)
        threads = [threading.Thread(target=_write, args=(store, log, i, seed)) for i in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main() -> None:
    """Fork for each line before any store is open, so that importing is paid for once."""
    if len(sys.argv) > 1:
        _write_until_killed(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    for line in sys.stdin:
        folder, log, seed = line.split()
        child = os.fork()
        if child == 0:
            print(os.getpid(), flush=True)
            _write_until_killed(folder, log, int(seed))
            os._exit(1)
        os.waitpid(child, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    main()
