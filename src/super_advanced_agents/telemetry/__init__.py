"""Loggers, measurements and traces, which cost next to nothing when nobody reads them."""

from super_advanced_agents.telemetry.instruments import (
    COUNTS,
    SECONDS,
    Counter,
    Histogram,
    counter,
    counters,
    histogram,
    histograms,
)
from super_advanced_agents.telemetry.logs import get_logger
from super_advanced_agents.telemetry.queues import QueueMetrics, queue_metrics, queues
from super_advanced_agents.telemetry.stages import (
    StageClock,
    current_request_id,
    outgoing_headers,
    request_id,
    stage,
    timed,
)

__all__ = [
    "COUNTS",
    "SECONDS",
    "Counter",
    "Histogram",
    "QueueMetrics",
    "StageClock",
    "counter",
    "counters",
    "current_request_id",
    "get_logger",
    "histogram",
    "histograms",
    "outgoing_headers",
    "queue_metrics",
    "queues",
    "request_id",
    "stage",
    "timed",
]
