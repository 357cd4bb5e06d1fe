"""A Dask cluster of two worker processes: `python -m tests.unit.embeddings.dask_cluster`, until its input ends.

It prints its address and the ids of its worker processes, and for each line that it reads how many models each worker
has loaded.
"""

from __future__ import annotations

import json
import sys

from distributed import Client, LocalCluster

from super_advanced_agents.embeddings import dask


def loaded() -> int:
    """Return the number of models that this worker has loaded."""
    return len(dask._engines)


def main() -> None:
    """Run the cluster."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        pids = [nanny.pid for nanny in cluster.workers.values()]
        print(json.dumps({"address": cluster.scheduler_address, "pids": pids}), flush=True)
        for _ in sys.stdin:
            with Client(cluster, set_as_default=False) as client:
                print(json.dumps(sorted(client.run(loaded).values())), flush=True)


if __name__ == "__main__":
    main()
