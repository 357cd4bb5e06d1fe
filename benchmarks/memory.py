"""Peak memory of importing and searching, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Bench, Row

DIM = 384
BATCH = 1_000
_TEXT_CHARS = 120


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the peak of the whole process: interpreter, libraries, rows, and building graphs."""
    count = 20_000 if bench.quick else 100_000
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(count), str(bench.folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    ratio = measured["peak_bytes"] / measured["data_bytes"]
    yield Row(
        f"peak memory, importing and searching {count:,} x {DIM}",
        f"{measured['peak_bytes'] / 2**20:,.0f} MiB",
        f"{measured['data_bytes'] / 2**20:,.0f} MiB vectors + texts",
        f"{ratio:.2f}x",
        "<= 2.5x" if not bench.quick else "",
        ratio <= 2.5 if not bench.quick else None,  # in a small store the libraries take most of the memory
        measured,
    )


def measure(count: int, folder: Path) -> dict[str, float]:
    """Import `count` records, search between the batches, and wait until all graphs are built."""
    import numpy as np

    from benchmarks.engines import wait_until_quiet
    from super_advanced_agents import FAISSVectorStore

    random = np.random.default_rng(0)
    filler = "and so it went on for quite a while, as such things do, until somebody said that it was enough. " * 2
    text_bytes = 0
    with (
        tempfile.TemporaryDirectory(dir=folder) as temporary,
        FAISSVectorStore(DIM, Path(temporary) / "store") as store,
    ):
        before = peak_bytes()
        began = time.perf_counter()
        for start in range(0, count, BATCH):
            vectors = random.standard_normal((BATCH, DIM), dtype=np.float32)
            texts = [f"memory number {i} {filler}"[:_TEXT_CHARS] for i in range(start, start + BATCH)]
            store.add_batch(vectors, [{"text": text, "type": "fact"} for text in texts])
            store.search(vectors[0], 10)
            text_bytes += sum(map(len, texts))
        imported = time.perf_counter() - began
        sealed_s = wait_until_quiet(store)
        results = store.search_batch(random.standard_normal((200, DIM), dtype=np.float32), 10)
        assert all(len(matches) == 10 for matches in results)
        return {
            "records": count,
            "data_bytes": count * DIM * 4 + text_bytes,
            "peak_bytes": peak_bytes(),
            "peak_bytes_before": before,
            "import_s": imported,
            "sealing_s_after_import": sealed_s,
        }


def peak_bytes() -> int:
    """Return the peak resident memory of this process.

    Linux reports it as VmHWM; ru_maxrss would include the parent's memory from before the exec.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), Path(sys.argv[2]))))
