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
        assert served.look()["permits"] == 0
        with served.client() as client:
            assert client.post("/search", json={"query": "after"}).status_code == 200


def _best(served):
    _remember(served)
    served.load(seconds=5, connections=64)
    return served.load(seconds=15, connections=64)


def _compared(crowd, best):
    return {
        "best_per_s": best["accepted_per_s"],
        "offered": round(crowd["sent"] / crowd["seconds"] / best["accepted_per_s"], 2),
        "kept": round(crowd["accepted_per_s"] / best["accepted_per_s"], 3),
        "p99_ms": [best["accepted"]["p99"], crowd["accepted"]["p99"]],
        "refused_ms": crowd["refused"],
    }


def _check(crowd, best):
    assert crowd["broken"] == crowd["without_retry_after"] == crowd["never_answered"] == 0
    assert crowd["accepted_per_s"] >= 0.8 * best["accepted_per_s"]
    assert crowd["accepted"]["p99"] <= 2 * best["accepted"]["p99"]
    assert crowd["refused"]["p99"] <= 50


@pytest.mark.load
def test_ten_times_as_many_callers_who_come_back_when_told_cost_a_fifth_at_most(serving):
    """For a minute, after the best throughput of 64 callers was measured; the figures are printed."""
    with serving() as served:
        best = _best(served)
        crowd = served.load(seconds=60, connections=640, patient=True)
        print(json.dumps(_compared(crowd, best)), file=sys.stderr)
        _check(crowd, best)


@pytest.mark.load
def test_ten_times_the_requests_whatever_is_answered_cost_a_fifth_at_most(serving):
    """For a minute, from callers who do not listen, after 80% of the load showed how late the event loop is."""
    with serving() as served:
        best = _best(served)
        served.look()
        calm = served.load(seconds=15, connections=200, rate=0.8 * best["accepted_per_s"])
        lag = served.look()
        crowd = served.load(seconds=60, connections=900, rate=10 * best["accepted_per_s"])
        lags = {name: [lag[name], served_lag] for name, served_lag in served.look().items() if name.startswith("lag")}
        print(json.dumps(_compared(crowd, best) | lags), file=sys.stderr)
        _check(crowd, best)
        assert calm["broken"] == 0
        assert lag["lag_p99_ms"] <= 20
        assert lag["lag_max_ms"] <= 100
