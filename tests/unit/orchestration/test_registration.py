"""Test registering and supervising agents, and the blocking forms of an orchestrator."""

from __future__ import annotations

import asyncio
import threading

import pytest
from small_agents import AnsweringAgent, FailingAgent, WaitingAgent

from super_advanced_agents import FAISSVectorStore, LLMAgent, Orchestrator
from super_advanced_agents.errors import AgentError, AgentNotFoundError, ConfigurationError, InvalidInputError


def test_registered_name_is_taken_until_its_agent_is_unregistered():
    """The message about an unknown name lists the registered ones."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", AnsweringAgent("1"))
    with pytest.raises(InvalidInputError, match="already"):
        orchestrator.register_agent("a", AnsweringAgent("2"))
    orchestrator.unregister_agent("a")
    orchestrator.register_agent("a", AnsweringAgent("3"))
    assert (orchestrator.agents, orchestrator.route("q").text) == (("a",), "3")
    with pytest.raises(AgentNotFoundError, match=r"no agent 'b'.*there are a"):
        orchestrator.unregister_agent("b")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": "a\tb"}, "name"),
        ({"agent": "nobody"}, "agent"),
        ({"agent": AnsweringAgent}, "agent"),
        ({"tasks": "billing"}, "tasks"),
        ({"tasks": ["x", " "]}, "tasks[1]"),
        ({"users": [3]}, "users[0]"),
        ({"description": "x" * 5_000}, "description"),
    ],
)
def test_register_agent_names_an_invalid_argument(arguments, field):
    """Nothing is registered then."""
    orchestrator = Orchestrator()
    with pytest.raises(InvalidInputError) as caught:
        orchestrator.register_agent(**{"name": "a", "agent": AnsweringAgent("x"), **arguments})
    assert (caught.value.field, orchestrator.agents) == (field, ())


def test_register_agent_refuses_a_blocking_agent_and_names_the_right_class(embedder):
    """An `LLMAgent` has no `aask`."""
    with FAISSVectorStore(dim=384) as store, pytest.raises(InvalidInputError, match="AsyncLLMAgent"):
        Orchestrator().register_agent("a", LLMAgent("a", store, embedder))


@pytest.mark.parametrize(
    "options",
    [{"timeout_s": 0}, {"failures": 0}, {"cool_down_s": -1}, {"min_similarity": "x"}, {"context_chars": 1.5}],
)
def test_orchestrator_constructor_names_an_invalid_setting(options):
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Orchestrator(**options)


async def test_orchestrator_cannot_be_an_agent_of_itself():
    """Circles are refused at registration; a hidden one ends by its depth."""
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


async def test_agent_that_returns_no_answer_object_raises_agent_error():
    """The message names the type that a custom agent has returned."""

    class ReturnsStr:
        async def aask(self, question, top_k=5):
            return "yes"

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", ReturnsStr())
    with pytest.raises(AgentError, match="returned a str, not an Answer"):
        await orchestrator.aroute("q")


async def test_supervise_reports_the_outcomes_of_each_agents_calls():
    """It has health, counts, latencies and the last error, and no text of a question or an error."""
    waits, orchestrator = WaitingAgent(), Orchestrator(failures=2, cool_down_s=900)
    orchestrator.register_agent("good", AnsweringAgent("Yes.", " "), description="Agrees", tasks=["a", "B"])
    orchestrator.register_agent("bad", FailingAgent(OSError("secret")))
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


def test_blocking_forms_of_an_orchestrator_work_without_an_event_loop():
    """Each operation has one."""
    orchestrator = Orchestrator()
    for name, text in (("a", "Lyon"), ("b", "Paris"), ("c", "paris")):
        orchestrator.register_agent(name, AnsweringAgent(text), tasks=[name])
    assert orchestrator.route("q", task="b").text == "Paris"
    assert orchestrator.chain("q", ["a", "b"]).agents == ("a", "b")
    assert orchestrator.fallback("q", "a", "b").agent == "a"
    assert orchestrator.parallel("q", wait="all").agents == ("a", "b", "c")
    assert orchestrator.collaborate("q", ["a", "b", "c"]).agents == ("b", "c")
    assert orchestrator.supervise()["healthy"] == 3


@pytest.mark.blocks_loop
async def test_blocking_forms_of_an_orchestrator_work_inside_a_running_loop():
    """They block the loop, as in a notebook."""
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", AnsweringAgent("Yes."))
    orchestrator.register_agent("bad", FailingAgent(OSError()))
    assert orchestrator.parallel("q").text == "Yes."
    with pytest.raises(AgentError):
        orchestrator.chain("q", ["bad"])


def test_threads_can_share_an_orchestrator():
    """Twenty threads each have their own loop, and each call is counted."""
    orchestrator = Orchestrator()
    for name in "ab":
        orchestrator.register_agent(name, AnsweringAgent(name))
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
