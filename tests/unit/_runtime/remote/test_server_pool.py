"""Test the choice among several equal servers."""

from __future__ import annotations

import pytest

from super_advanced_agents._runtime.remote.server_pool import ServerPool, one_key_each
from super_advanced_agents.errors import ConfigurationError, EmbeddingError, OverloadedError

URLS = ["http://a:1/v1", "http://b:2/v1", "http://c:3/v1"]


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _pool(count: int = 3) -> tuple[ServerPool, Clock]:
    clock = Clock()
    return ServerPool(URLS[:count], kind="test", clock=clock), clock


def _fail(pool: ServerPool, name: str, error: Exception | None = None) -> None:
    others = []
    while (server := pool.begin(without=others)) is not None and server.name != name:
        pool.end(server, took_s=0.1)
        others.append(server)
    assert server is not None
    pool.end(server, error=error or EmbeddingError(f"{name} cannot be reached"))


def test_least_loaded_server_is_chosen_and_equals_take_turns():
    """A server that is slow has more requests in flight, and gets fewer."""
    pool, clock = _pool()
    begun = []
    for _ in range(6):
        clock.now += 1
        begun.append(pool.begin())
    assert [server.name for server in begun] == ["a:1", "b:2", "c:3"] * 2
    pool.end(begun[1], took_s=1.0)
    assert pool.begin() is begun[1]


def test_failed_server_is_left_out_longer_after_each_failure_and_then_tried_by_one_request():
    """Its state and the reason are told meanwhile."""
    pool, clock = _pool(2)
    pauses = []
    for _ in range(10):
        _fail(pool, "a:1")
        [status, _] = pool.status()
        assert (status.up, status.error) == (False, "a:1 cannot be reached")
        pauses.append(status.retry_in_s)
        assert {pool.begin().name for _ in range(5)} == {"b:2"}
        clock.now += status.retry_in_s + 0.001
    assert 0.25 <= pauses[0] <= 0.5
    assert all(15 <= pause <= 30 for pause in pauses[7:])
    probe = pool.begin()
    assert probe.name == "a:1"
    assert pool.begin().name == "b:2"  # only one request tries it
    pool.end(probe, took_s=0.1)
    [status, _] = pool.status()
    assert (status.up, status.retry_in_s, status.error, status.failures) == (True, 0.0, None, 10)


def test_requests_that_fail_together_count_as_one_failure():
    """A server that is killed with many requests in flight comes back after the first pause."""
    pool, _ = _pool(1)
    begun = [pool.begin() for _ in range(20)]
    for server in begun:
        pool.end(server, error=EmbeddingError("cut"))
    [status] = pool.status()
    assert status.failures == 20
    assert status.retry_in_s <= 0.5


def test_servers_that_all_failed_are_tried_nevertheless():
    """The one that would be tried first comes first, and none twice."""
    pool, _ = _pool(2)
    _fail(pool, "a:1")
    _fail(pool, "b:2", OverloadedError("busy", retry_after_s=20))
    first = pool.begin()
    second = pool.begin(without=[first])
    assert (first.name, second.name) == ("a:1", "b:2")
    assert pool.begin(without=[first, second]) is None
    assert pool.status()[1].retry_in_s > 15  # as long as it asked for


def test_second_requests_are_at_most_a_twentieth_of_all_and_go_to_servers_that_are_up():
    """They are sent after the time that 95% of like requests take."""
    pool, _ = _pool(2)
    hedges = 0
    for n in range(1_000):
        server = pool.begin()
        if n == 10:
            assert pool.hedge_after_s(1) is None  # too few are known
        second = pool.begin(without=[server], hedge=True)
        hedges += second is not None
        for each in (server, second):
            if each is not None:
                pool.end(each, took_s=0.1 if n % 100 < 90 else 0.7)
    assert 40 <= hedges <= 50
    assert pool.hedge_after_s(1) == 0.7
    assert pool.hedge_after_s(64) is None  # of other sizes nothing is known
    _fail(pool, "b:2")
    server = pool.begin()
    assert server.name == "a:1"
    assert pool.begin(without=[server], hedge=True) is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [(None, [None] * 2), ("k", ["k", "k"]), (["k"], ["k", "k"]), ([], [None] * 2), (["k", None], ["k", None])],
)
def test_key_is_one_for_all_servers_or_one_for_each(keys, expected):
    """A key is never sent to a server that it is not meant for."""
    assert one_key_each(keys, 2) == expected


def test_wrong_number_of_keys_or_servers_is_refused_without_a_key():
    """The message has numbers only."""
    with pytest.raises(ConfigurationError, match="2 keys for 3 servers") as caught:
        one_key_each(["secret-1", "secret-2"], 3)
    assert "secret" not in str(caught.value)
    for count in (0, 65):
        with pytest.raises(ConfigurationError, match=f"names {count} servers"):
            one_key_each(None, count)
