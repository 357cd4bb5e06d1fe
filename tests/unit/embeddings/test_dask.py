"""Embedding on a Dask cluster of two worker processes, over this machine's loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.embeddings.dask import DaskEngine, embed_on_worker
from super_advanced_agents.errors import ConfigurationError, EmbeddingError, ModelMismatchError, ModelNotFoundError
from super_advanced_agents.tenancy.model_loading import embedding_pipeline
from super_advanced_agents.tenancy.settings import Settings

_ROOT = Path(__file__).resolve().parent.parent.parent.parent
_MODEL = "all-MiniLM-L6-v2"
_TEXTS = [f"The fact number {n} is about {'cats ' * (n % 7)}and {n * n} dogs." for n in range(300)]


class Cluster:
    """A cluster in a process of its own, whose workers are processes, too."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(process.stdout.readline())
        self.address: str = found["address"]
        self.pids: list[int] = found["pids"]

    def loaded(self) -> list[int]:
        """Return how many models each worker has loaded."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("loaded\n")
        self.process.stdin.flush()
        found: list[int] = json.loads(self.process.stdout.readline())
        return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Yield a cluster that the tests of a module share."""
    command = [sys.executable, "-m", "tests.unit.embeddings.dask_cluster"]
    process = subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield Cluster(process)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def vectors(embedder: EmbeddingPipeline) -> Any:
    """Return the vectors of the texts, computed in this process."""
    return embedder.embed_batch(_TEXTS)


def _pipeline(address: str, *, timeout_s: float = 60.0) -> EmbeddingPipeline:
    return EmbeddingPipeline(engine=DaskEngine(_MODEL, address, timeout_s=timeout_s), cache_entries=0)


def test_vectors_of_two_workers_are_those_of_this_process(
    cluster: Cluster, embedder: EmbeddingPipeline, vectors: Any
) -> None:
    """Each worker loads the model once; the model's id is the same, so that a store takes both."""
    with _pipeline(cluster.address) as pipeline:
        assert (pipeline.model_id, pipeline.dim) == (embedder.model_id, embedder.dim)
        np.testing.assert_allclose(pipeline.embed_batch(_TEXTS), vectors, atol=1e-5)
        np.testing.assert_allclose(pipeline.embed(_TEXTS[3]), vectors[3], atol=1e-5)
    assert cluster.loaded() == [1, 1]


def test_worker_without_the_model_is_named_by_its_error(cluster: Cluster, tmp_path: Path) -> None:
    """The errors of workers keep their class; texts stand in none of them."""
    engine = DaskEngine(tmp_path / "none", cluster.address)
    with EmbeddingPipeline(engine=engine) as pipeline, pytest.raises(ModelNotFoundError, match="has no"):
        pipeline.embed("a secret text")
    answer = embed_on_worker(None, ["a secret text"])  # type: ignore[arg-type]
    assert answer == {"error": "EmbeddingError", "message": "TypeError"}


def test_killed_worker_loses_no_text_and_a_lost_scheduler_is_an_error(cluster: Cluster, vectors: Any) -> None:
    """Batches of the worker run on the other one; those that wait for the scheduler end with their time limit.

    The last test of the cluster.
    """
    with _pipeline(cluster.address) as pipeline, _embedding(pipeline, _TEXTS) as results:
        os.kill(cluster.pids[0], signal.SIGKILL)
    np.testing.assert_allclose(results[0], vectors, atol=1e-5)
    with _pipeline(cluster.address, timeout_s=5) as pipeline:
        with _embedding(pipeline, _TEXTS * 20) as results:
            cluster.process.kill()
        assert isinstance(results[0], EmbeddingError)
        with pytest.raises(EmbeddingError, match="cannot be reached") as caught:
            pipeline.embed("gone")
    assert caught.value.retryable


@contextmanager
def _embedding(pipeline: EmbeddingPipeline, texts: list[str]) -> Iterator[list[Any]]:
    """Yield the result or error that embedding texts has at the end of the context, once a part is embedded."""
    results: list[Any] = []

    def embed() -> None:
        try:
            results.append(pipeline.embed_batch(texts))
        except EmbeddingError as exc:
            results.append(exc)

    thread = threading.Thread(target=embed)
    thread.start()
    while not pipeline.stats()["texts"]:
        assert thread.is_alive()
        time.sleep(0.001)
    assert pipeline.stats()["texts"] < len(texts)
    yield results
    thread.join()


@pytest.mark.parametrize("address", ["", "scheduler:8786", "http://scheduler:8786", "tcp://me:secret@scheduler:8786"])
def test_address_that_is_none_is_refused_without_being_shown(address: str) -> None:
    """It might hold a password."""
    with pytest.raises(ConfigurationError, match="tls://host:8786") as caught:
        DaskEngine(_MODEL, address)
    assert "secret" not in str(caught.value)


def test_missing_certificates_are_an_error_of_the_configuration() -> None:
    """It names the variables of Dask, and is not tried again."""
    with _pipeline("tls://127.0.0.1:1") as pipeline, pytest.raises(ConfigurationError, match="as it is configured"):
        pipeline.embed("a secret text")


def test_answers_of_other_weights_are_refused() -> None:
    """Their vectors cannot be compared; one vector for each text is expected."""
    engine = DaskEngine(_MODEL, "tcp://127.0.0.1:1")
    with pytest.raises(ModelMismatchError, match="'other'"):
        engine._checked({"model_id": "other", "vectors": np.ones((1, 384))}, 1)
    with pytest.raises(EmbeddingError, match="one vector per text"):
        engine._checked({"model_id": engine.model_id, "vectors": np.ones((1, 384))}, 2)


def test_setting_selects_the_cluster(tmp_path: Path) -> None:
    """It and the address of a server exclude each other."""
    settings = Settings.load(data_dir=tmp_path, embedding_dask="tls://scheduler:8786")
    with embedding_pipeline(settings) as pipeline:
        assert isinstance(pipeline._engine, DaskEngine)
    with pytest.raises(ConfigurationError, match="embedding_dask"):
        Settings.load(data_dir=tmp_path, embedding_dask="tls://scheduler:8786", embedding_base_url="http://a/v1")


def test_package_does_not_import_dask() -> None:
    """Neither by itself nor with the settings and the pipeline."""
    modules = "super_advanced_agents.embeddings.dask, super_advanced_agents.tenancy.runtime"
    code = f"import sys, {modules}; sys.exit(bool({{'distributed', 'dask'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
