"""Ten times the load: what is accepted is as good as before, the rest is refused early."""

from __future__ import annotations

import json
import sys

import pytest

TEXTS = 2_000


def _remember(served, count=TEXTS):
    words = ["river", "stone", "museum", "cat", "engine", "letter", "garden", "winter", "bread", "music"]
    with served.client() as client:
        for start in range(0, count, 500):
            texts = [
                {"text": f"note {n}: the {words[n % 10]} and the {words[n // 10 % 10]} number {n}"}
                for n in range(start, min(start + 500, count))
            ]
            client.post("/v1/agents/default/memories", json={"memories": texts}).raise_for_status()


def test_a_crowd_is_refused_politely_and_the_rest_is_answered(serving):
    """Every request gets an answer, or a refusal that says when to come back; afterwards nothing is held."""
    with serving(searches_in_flight=2) as served:
        _remember(served, 50)
        report = served.load(seconds=1.5, connections=40)
        assert set(report["statuses"]) == {"200", "429"}
        assert (report["broken"], report["without_retry_after"], report["never_answered"]) == (0, 0, 0)
        assert served.look()["places"] == 0
        with served.client() as client:
            assert client.post("/search", json={"query": "after"}).status_code == 200


@pytest.mark.load
def test_ten_times_the_load_costs_a_fifth_at_most(serving):
    """The best throughput first, then 80% of it, then ten times as much for a minute; all figures are printed."""
    with serving() as served:
        _remember(served)
        served.load(seconds=5, connections=64)
        best = served.load(seconds=15, connections=64)
        capacity = best["accepted_per_s"]
        served.look()
        calm = served.load(seconds=15, connections=200, rate=0.8 * capacity)
        lag = served.look()
        crowd = served.load(seconds=60, connections=900, rate=10 * capacity)
        lag_in_crowd = served.look()
        figures = {
            "best_per_s": capacity,
            "best_p99_ms": best["accepted"]["p99"],
            "at_80_percent": {"lag": lag, "report": calm},
            "at_1000_percent": {"lag": lag_in_crowd, "report": crowd},
            "kept": round(crowd["accepted_per_s"] / capacity, 3),
            "p99_ratio": round(crowd["accepted"]["p99"] / best["accepted"]["p99"], 2),
            "offered_ratio": round(crowd["sent"] / crowd["seconds"] / capacity, 2),
        }
        print(json.dumps(figures, indent=1), file=sys.stderr)
        assert crowd["broken"] == crowd["without_retry_after"] == crowd["never_answered"] == 0
        assert figures["kept"] >= 0.8
        assert figures["p99_ratio"] <= 2
        assert crowd["refused"]["p99"] <= 50
        assert lag["lag_p99_ms"] <= 20
        assert lag["lag_max_ms"] <= 100
