"""Agents come, go, and are watched; blocking twins; circles."""

from __future__ import annotations

import asyncio
import threading

import pytest
from small_agents import Fails, Says, Waits

from super_advanced_agents import FAISSVectorStore, LLMAgent, Orchestrator
from super_advanced_agents.errors import AgentError, AgentNotFoundError, ConfigurationError, InvalidInputError


def test_agents_come_and_go_by_name():
    """A name is taken once, and free again when its agent has gone."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", Says("1"))
    with pytest.raises(InvalidInputError, match="already"):
        orchestrator.register_agent("a", Says("2"))
    orchestrator.unregister_agent("a")
    orchestrator.register_agent("a", Says("3"))
    assert (orchestrator.agents, orchestrator.route("q").text) == (("a",), "3")
    with pytest.raises(AgentNotFoundError, match=r"no agent 'b'.*there are a"):
        orchestrator.unregister_agent("b")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"agent": "nobody"}, "agent"),
        ({"agent": Says}, "agent"),
        ({"tasks": "billing"}, "tasks"),
        ({"tasks": ["x", " "]}, "tasks[1]"),
        ({"users": [3]}, "users[0]"),
        ({"description": "x" * 5_000}, "description"),
    ],
)
def test_a_wrong_registration_is_refused(arguments, field):
    """By the argument that is wrong; nothing is registered."""
    orchestrator = Orchestrator()
    with pytest.raises(InvalidInputError) as caught:
        orchestrator.register_agent(**{"name": "a", "agent": Says("x"), **arguments})
    assert (caught.value.field, orchestrator.agents) == (field, ())


def test_a_blocking_agent_is_refused_with_the_right_class(embedder):
    """An `LLMAgent` has no `aask`."""
    with FAISSVectorStore(dim=384) as store, pytest.raises(InvalidInputError, match="AsyncLLMAgent"):
        Orchestrator().register_agent("a", LLMAgent("a", store, embedder))


@pytest.mark.parametrize(
    "options",
    [{"timeout_s": 0}, {"failures": 0}, {"cool_down_s": -1}, {"min_similarity": "x"}, {"context_chars": 1.5}],
)
def test_a_wrong_setting_is_refused(options):
    """When the orchestrator is made."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Orchestrator(**options)


async def test_an_orchestrator_never_asks_itself():
    """Not directly, not through others; what registration cannot see ends by its depth."""
    a, b, c = Orchestrator(), Orchestrator(), Orchestrator()
    a.register_agent("b", b)
    b.register_agent("c", c)
    for circle in (a, b, c):
        with pytest.raises(ConfigurationError, match="ask itself"):
            c.register_agent("circle", circle)

    class Hidden:
        async def aask(self, question, top_k=5):
            return await a.aask(question, top_k)

    c.register_agent("hidden", Hidden())
    with pytest.raises(AgentError, match="deep"):
        await a.aroute("q")


async def test_what_is_no_answer_is_a_failure():
    """An agent of one's own that returns a string is told what it did."""

    class Careless:
        async def aask(self, question, top_k=5):
            return "yes"

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", Careless())
    with pytest.raises(AgentError, match="returned a str, not an Answer"):
        await orchestrator.aroute("q")


async def test_supervision_counts_what_became_of_every_call():
    """Health, counts, latencies and the last error of each agent; nothing of what was said."""
    waits, orchestrator = Waits(), Orchestrator(failures=2, cool_down_s=900)
    orchestrator.register_agent("good", Says("Yes.", " "), description="Agrees", tasks=["a", "B"])
    orchestrator.register_agent("bad", Fails(OSError("secret")))
    orchestrator.register_agent("slow", waits)
    for _ in range(3):
        await orchestrator.aparallel("q", ["good", "bad"], wait="all")
    task = asyncio.create_task(orchestrator.achain("q", ["slow"]))
    await waits.begun.wait()
    report = await orchestrator.asupervise()
    waits.go.set()
    await task
    assert (report["healthy"], report["recovering"], report["sick"]) == (2, 0, 1)
    good, bad, slow = (report["agents"][name] for name in ("good", "bad", "slow"))
    assert (good["calls"], good["answered"], good["empty"], good["last_error"]) == (3, 1, 2, None)
    assert 0 <= good["latency_p50_s"] <= good["latency_p95_s"]
    assert (good["description"], good["tasks"]) == ("Agrees", ["a", "b"])
    assert (bad["health"], bad["circuit"], bad["calls"], bad["failed"]) == ("sick", "open", 2, 2)
    assert (bad["skipped"], bad["last_error"], bad["latency_p50_s"]) == (1, "OSError", None)
    assert 800 < bad["retry_after_s"] <= 900
    assert (slow["in_flight"], slow["calls"]) == (1, 0)
    assert "secret" not in str(report)


def test_blocking_twins_run_the_same_operations():
    """Without a loop, in this thread."""
    orchestrator = Orchestrator()
    for name, text in (("a", "Lyon"), ("b", "Paris"), ("c", "paris")):
        orchestrator.register_agent(name, Says(text), tasks=[name])
    assert orchestrator.route("q", task="b").text == "Paris"
    assert orchestrator.chain("q", ["a", "b"]).agents == ("a", "b")
    assert orchestrator.fallback("q", "a", "b").agent == "a"
    assert orchestrator.parallel("q", wait="all").agents == ("a", "b", "c")
    assert orchestrator.collaborate("q", ["a", "b", "c"]).agents == ("b", "c")
    assert orchestrator.supervise()["healthy"] == 3


@pytest.mark.blocks_loop
async def test_blocking_twins_work_inside_a_running_loop():
    """As in a notebook: they block, as their name says."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", Says("Yes."))
    orchestrator.register_agent("bad", Fails(OSError()))
    assert orchestrator.parallel("q").text == "Yes."
    with pytest.raises(AgentError):
        orchestrator.chain("q", ["bad"])


def test_threads_and_loops_share_an_orchestrator():
    """Twenty threads at once, each with a loop of its own; every call is counted."""
    orchestrator = Orchestrator()
    for name in "ab":
        orchestrator.register_agent(name, Says(name))
    texts = []
    threads = [
        threading.Thread(target=lambda: texts.append(orchestrator.parallel("q", wait="all").text)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["a"] * 20
    assert [report["answered"] for report in orchestrator.supervise()["agents"].values()] == [20, 20]
