"""A child process: four writers that log every write to a file, before they ask for it and after they were told.

    python writers.py FOLDER LOG SEED

A line is `>` (asked) or `<` (told), the writer's number, and the operation as JSON. Each line is one `os.write`, which
a killed process either made or did not. `ready` is printed when the store is open and `begun` at the first told write.
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


def vector(tag: int) -> np.ndarray:
    """The vector of a tag: different tags, different vectors."""
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


def main() -> None:
    """Write until killed."""
    folder, log_path, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with FAISSVectorStore(DIM, folder, index="hnsw", buffer_rows=64) as store:
        print("ready", flush=True)
        store.count()
        threads = [threading.Thread(target=_write, args=(store, log, i, seed)) for i in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
