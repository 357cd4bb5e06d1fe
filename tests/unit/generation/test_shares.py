"""Test how tenants share one generator: slots, turns, and who is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from super_advanced_agents._runtime.queues.shares import active_share
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.generation import GenerationEngine, GenerationOptions, LLMGenerator
from super_advanced_agents.generation.base import Emit, OnInterruptible
from super_advanced_agents.types import ChatMessage


class HeldEngine(GenerationEngine):
    """Answer each prompt with itself, in the order of arrival, once `may_run` has been released for it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.entered = threading.Semaphore(0)
        self.may_run = threading.Semaphore(0)

    @property
    def model_id(self) -> str:
        return "held"

    @property
    def max_prompt_bytes(self) -> int:
        return 1_000

    def open(self) -> None:
        return

    def generate(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        emit: Emit,
        on_interruptible: OnInterruptible,
    ) -> None:
        self.begun.append(messages[-1].content)
        self.entered.release()
        self.may_run.acquire()
        emit(messages[-1].content)

    def close(self) -> None:
        self.may_run.release(1_000)


@pytest.fixture
def engine() -> HeldEngine:
    """Make an engine that holds every generation."""
    return HeldEngine()


@pytest.fixture
def generator(engine: HeldEngine) -> Iterator[LLMGenerator]:
    """Make a generator with four slots and a queue of eight."""
    opened = LLMGenerator(engine=engine, slots=4, max_queue=8)
    yield opened
    engine.may_run.release(1_000)
    opened.close()


async def _until_begun(engine: HeldEngine, count: int) -> None:
    while len(engine.begun) < count:  # noqa: ASYNC110 - worker threads set no event of this loop
        await asyncio.sleep(0)


def _ask(generator: LLMGenerator, share: str, prompt: str) -> asyncio.Task[str]:
    with active_share(share):
        return asyncio.create_task(generator.agenerate(prompt))


async def test_answer_of_a_tenant_begins_at_once_beside_all_that_another_asks(
    generator: LLMGenerator, engine: HeldEngine
) -> None:
    """One tenant's answers leave a slot of four free."""
    hostile = [_ask(generator, "hostile", f"hostile {number}") for number in range(8)]
    await _until_begun(engine, 3)
    late = _ask(generator, "late", "late")
    await _until_begun(engine, 4)
    assert engine.begun[3] == "late"
    assert all(prompt.startswith("hostile") for prompt in engine.begun[:3])
    engine.may_run.release(100)
    assert await late == "late"
    assert await asyncio.gather(*hostile) == [f"hostile {number}" for number in range(8)]


async def test_waiting_prompts_of_two_tenants_are_answered_in_turn(generator: LLMGenerator, engine: HeldEngine) -> None:
    """The later tenant's second prompt does not wait behind all of the first one's."""
    tasks = [_ask(generator, "hostile", f"hostile {number}") for number in range(8)]
    await _until_begun(engine, 3)
    tasks += [_ask(generator, "late", f"late {number}") for number in range(3)]
    await _until_begun(engine, 4)
    for count in range(5, 9):
        engine.may_run.release()
        await _until_begun(engine, count)
    engine.may_run.release(100)
    await asyncio.gather(*tasks)
    assert sum(prompt.startswith("late") for prompt in engine.begun[3:8]) >= 2  # 0 or 1 in order of arrival


async def test_prompts_without_a_tenant_use_every_slot(generator: LLMGenerator, engine: HeldEngine) -> None:
    """An embedded library keeps no slot free."""
    tasks = [_ask(generator, "", f"prompt {number}") for number in range(4)]
    await _until_begun(engine, 4)
    engine.may_run.release(100)
    await asyncio.gather(*tasks)


async def test_full_queue_refuses_the_tenant_with_the_most_waiting_prompts(
    generator: LLMGenerator, engine: HeldEngine
) -> None:
    """Its youngest prompt gives way, as a text or as a stream, and the other tenant is answered."""
    hostile = [_ask(generator, "hostile", f"hostile {number}") for number in range(9)]
    await _until_begun(engine, 3)

    async def read() -> list[str]:
        with active_share("hostile"):
            return [piece async for piece in generator.astream("a stream")]

    for number in range(9, 10):
        hostile.append(_ask(generator, "hostile", f"hostile {number}"))
    await asyncio.sleep(0)
    stream = asyncio.create_task(read())
    await asyncio.sleep(0)
    assert generator.stats()["queued"] == 8
    late = [_ask(generator, "late", f"late {number}") for number in range(3)]
    await asyncio.wait([stream])
    with pytest.raises(OverloadedError):
        await stream
    engine.may_run.release(100)
    assert await asyncio.gather(*late) == ["late 0", "late 1", "late 2"]
    outcomes = await asyncio.gather(*hostile, return_exceptions=True)
    refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, OverloadedError)]
    assert refused == list(range(10 - len(refused), 10))


async def test_stream_that_is_left_before_its_turn_leaves_the_queue(
    generator: LLMGenerator, engine: HeldEngine
) -> None:
    """Its prompt is never given to the engine."""
    running = [_ask(generator, "", f"prompt {number}") for number in range(4)]
    await _until_begun(engine, 4)
    stream: AsyncIterator[str] = generator.astream("left")
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert generator.stats()["queued"] == 1
    reader.cancel()
    await asyncio.wait([reader])
    assert generator.stats()["queued"] == 0
    engine.may_run.release(100)
    await asyncio.gather(*running)
    await generator.agenerate("another")
    assert "left" not in engine.begun
