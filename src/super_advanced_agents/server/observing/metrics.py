"""The metrics of a process in Prometheus' text format, gathered when they are asked for.

They are read from counters that exist anyway, so requests pay nothing for them. None names a tenant, unless the
operator lists it, and none holds what users send.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.jobs.jobs import Jobs
from super_advanced_agents.server.observing.metric_names import COUNTERS, GAUGES, HISTOGRAMS, PREFIX
from super_advanced_agents.telemetry import counters, histograms, queues
from super_advanced_agents.tenancy.runtime import Runtime, Stage
from super_advanced_agents.types import JobState

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FRESH_S = 1.0
"""Scrapes within this time get the same text, so that many cost no more than one."""
_STATS_S = 2.0
_STAGES = {Stage.WAITING: 0, Stage.LOADING: 0, Stage.READY: 1, Stage.FAILED: 0}
_STORE_COUNTERS = ("added", "replaced", "updated", "deleted", "deduplicated", "swept")


class Sample(NamedTuple):
    """One value of a metric.

    Attributes:
        name: the metric, without the prefix.
        value: the value.
        labels: the labels.
    """

    name: str
    value: float
    labels: Mapping[str, str] = MappingProxyType({})


class Metrics:
    """Gather the metrics of a server or a worker and write them as text.

    It belongs to one event loop.

    Args:
        runtime: the store and the models.
        jobs: the background jobs; None in a process without.
        of_process: returns what only this kind of process has, such as the permits of a server.
    """

    def __init__(self, runtime: Runtime, jobs: Jobs | None, of_process: Callable[[], Iterable[Sample]]) -> None:
        self._runtime = runtime
        self._jobs = jobs
        self._of_process = of_process
        self._running: asyncio.Task[bytes] | None = None
        self._text, self._gathered_at = b"", -_FRESH_S

    async def aread(self) -> bytes:
        """Return the metrics as text; several readers at once share one text."""
        if time.monotonic() - self._gathered_at < _FRESH_S:
            return self._text
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._gather(), name="gather metrics")
        return await asyncio.shield(self._running)

    async def _gather(self) -> bytes:
        samples = [
            _build_info(),
            *self._of_process(),
            *self._of_models(),
            *await self._of_stores(),
            *await self._of_jobs(),
        ]
        text = await in_thread(lambda: _as_text(samples), name="write metrics")
        self._text, self._gathered_at = text, time.monotonic()
        return text

    def _of_models(self) -> Iterator[Sample]:
        runtime = self._runtime
        for model, stage in (("embedding", runtime.embedding), ("generation", runtime.generation)):
            yield Sample("model_ready", _STAGES[stage], {"model": model})
        embedded = runtime.pipeline.stats()
        yield Sample("embedded_texts", embedded["texts"])
        yield Sample("embedding_batches", embedded["batches"])
        yield Sample("embedding_cache_hits", embedded["cache_hits"])
        yield Sample("embedding_cache_misses", embedded["cache_misses"])
        yield Sample("embedding_cache_entries", embedded["cache_entries"])
        yield Sample("embedding_cache_bytes", embedded["cache_bytes"])
        generated = runtime.generator.stats()
        yield Sample("generations", generated["requests"])
        yield Sample("generated_tokens", generated["tokens"])
        yield Sample("generations_active", generated["active"])
        results = runtime.results.stats()
        yield Sample("result_cache_entries", results["entries"])
        for outcome in ("hits", "misses", "shared", "bypassed"):
            yield Sample("result_cache_lookups", results[outcome], {"outcome": outcome})

    async def _of_jobs(self) -> list[Sample]:
        if self._jobs is None:
            return []
        try:
            async with asyncio.timeout(_STATS_S):
                counts = await self._jobs.backend.acount()
        except (SuperAdvancedAgentsError, TimeoutError):
            return []
        return [Sample("jobs", counts.get(state, 0), {"state": str(state)}) for state in JobState]

    async def _of_stores(self) -> list[Sample]:
        runtime = self._runtime
        samples = [Sample("collections_open", runtime.collections.open_count)]
        try:
            async with asyncio.timeout(_STATS_S):
                stats = await runtime.store.astats()
        except (SuperAdvancedAgentsError, TimeoutError):
            return [*samples, Sample("store_up", 0)]
        samples.append(Sample("store_up", 1))
        for name, key in (
            ("store_records", "records"),
            ("store_rows", "rows"),
            ("store_segments", "segments"),
            ("store_tail_rows", "tail_rows"),
            ("store_bytes", "size_bytes"),
            ("store_log_bytes", "log_bytes"),
            ("store_namespaces", "namespaces"),
            ("store_commits", "commits"),
        ):
            if isinstance(value := stats.get(key), int | float):
                samples.append(Sample(name, value))
        modes = stats.get("searches_by_mode")
        for name, label, counts in (
            ("store_changes", "change", {change: stats.get(change) for change in _STORE_COUNTERS}),
            ("store_searches", "mode", modes if isinstance(modes, dict) else {}),
        ):
            samples += [Sample(name, n, {label: key}) for key, n in counts.items() if isinstance(n, int)]
        return samples


def _build_info() -> Sample:
    return Sample("build_info", 1, {"version": version("super-advanced-agents"), "python": platform.python_version()})


def _queue_samples() -> Iterator[Sample]:
    for name, measured in queues().items():
        yield Sample("queue_depth", measured.depth, {"queue": name})
        yield Sample("queue_refused", measured.refused, {"queue": name})


def _as_text(samples: Iterable[Sample]) -> bytes:
    # In a thread: the import takes 50 ms, and the text of all queues and operations 10 to 20 ms.
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    class Gathered:
        def collect(self) -> Iterator[Metric]:
            return iter([*_scalars([*samples, *_queue_samples()]), *_distributions()])

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(Gathered())
    return generate_latest(registry)


def _scalars(samples: Iterable[Sample]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    counted = [Sample(name, each.value, dict(labels)) for name, labels, each in counters()]
    by_name: dict[str, list[Sample]] = {}
    for sample in (*samples, *counted):
        by_name.setdefault(sample.name, []).append(sample)
    for name, same in by_name.items():
        labels = tuple(same[0].labels)
        family: CounterMetricFamily | GaugeMetricFamily
        if name in COUNTERS:
            family = CounterMetricFamily(PREFIX + name, COUNTERS[name], labels=labels)
        else:
            family = GaugeMetricFamily(PREFIX + name, GAUGES[name], labels=labels)
        for sample in same:
            family.add_metric([sample.labels[label] for label in labels], sample.value)
        yield family


def _distributions() -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    measured = [
        *((name, dict(labels), each) for name, labels, each in histograms()),
        *(
            (name, {"queue": queue}, each)
            for queue, metrics in queues().items()
            for name, each in (
                ("queue_wait_seconds", metrics.waits),
                ("batch_seconds", metrics.runs),
                ("batch_items", metrics.sizes),
            )
        ),
    ]
    families: dict[str, HistogramMetricFamily] = {}
    for name, labels, each in measured:
        family = families.get(name)
        if family is None:
            family = families[name] = HistogramMetricFamily(PREFIX + name, HISTOGRAMS[name], labels=tuple(labels))
        counted = each.counted()
        bounds = [*(str(float(bound)) for bound in each.bounds), "+Inf"]
        family.add_metric(list(labels.values()), list(zip(bounds, counted.buckets, strict=True)), counted.total)
    yield from families.values()
