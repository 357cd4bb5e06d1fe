"""Test the answers of agents over a real store, with a real language model or one that says what a test wants."""

from __future__ import annotations

import pytest

from super_advanced_agents import AsyncLLMAgent, AsyncLLMWrapper, FAISSVectorStore, LLMAgent, LLMGenerator
from super_advanced_agents.errors import InvalidInputError, ModelNotFoundError
from super_advanced_agents.generation import GenerationEngine


class RepeatingEngine(GenerationEngine):
    """Answer every prompt with one text, and keep the prompts."""

    model_id = "repeating"
    max_prompt_bytes = 1 << 20

    def __init__(self, text):
        self.text, self.prompts = text, []
        self.error = None
        self.limit = 10_000

    @property
    def context_tokens(self):
        """Return a small context."""
        return 2_048

    def open(self):
        """Do nothing."""

    def generate(self, messages, options, emit, on_interruptible):
        """Send the text in two pieces."""
        self.prompts.append(list(messages))
        if self.error is not None:
            raise self.error
        if sum(len(message.content) for message in messages) > self.limit:
            raise InvalidInputError("the prompt is too long", field="prompt")
        emit(self.text[:9])
        emit(self.text[9:])

    def close(self):
        """Do nothing."""


@pytest.fixture
def store():
    with FAISSVectorStore(dim=384) as opened:
        yield opened


@pytest.fixture
def agent(store, embedder):
    return AsyncLLMAgent("tester", store, embedder)


async def test_ask_returns_an_answer_with_its_sources(store, embedder, llm):
    """The sources are the memories shown to the model."""
    agent = AsyncLLMAgent("teller", store, embedder, AsyncLLMWrapper(llm))
    await agent.aadd_text_memories(["The Eiffel Tower is in Paris.", "Cats sleep a lot."])
    answer = await agent.aask("In which city is the Eiffel Tower?", top_k=1)
    assert "Paris" in answer.text
    assert [source.metadata["text"] for source in answer.sources] == ["The Eiffel Tower is in Paris."]
    assert (await agent.aask("In which city is the Eiffel Tower?", top_k=1)).text == answer.text


async def test_joined_pieces_of_stream_answer_equal_the_answer_of_ask(store, embedder, llm):
    """A stream may be closed early."""
    agent = AsyncLLMAgent("teller", store, embedder, llm)
    await agent.aadd_text_memory("The Eiffel Tower is in Paris.")
    question = "In which city is the Eiffel Tower?"
    pieces = [piece async for piece in agent.astream_answer(question)]
    assert len(pieces) > 1
    assert "".join(pieces).strip() == (await agent.aask(question)).text
    sources = await agent.asearch_text(question)
    stream = agent.astream_answer(question, sources=sources)
    assert await anext(stream)
    await stream.aclose()


async def test_ask_events_begin_with_the_sources_before_the_model_is_called(store, embedder, llm):
    """The last event has the whole text and its check."""
    agent = AsyncLLMAgent("teller", store, embedder, llm)
    uid = await agent.aadd_text_memory("The Eiffel Tower is in Paris.")
    before = llm.stats()["requests"]
    events = agent.aask_events("In which city is the Eiffel Tower?")
    first = await anext(events)
    assert ([source.uid for source in first.sources], llm.stats()["requests"]) == ([uid], before)
    *pieces, last = [event async for event in events]
    assert "".join(piece.text for piece in pieces).strip() == last.done
    assert (last.grounded, last.unsupported, last.quoted) == (True, [], False)


async def test_answer_names_what_stands_in_no_source(store, embedder):
    """The model of this test invents a name and a year."""
    text = "Zoe built the Eiffel Tower in 1789."
    async with LLMGenerator(engine=RepeatingEngine(text)) as llm:
        agent = AsyncLLMAgent("teller", store, embedder, llm)
        await agent.aadd_text_memory("The Eiffel Tower was built in 1889.")
        answer = await agent.aask("Who built the Eiffel Tower?")
        assert (answer.text, answer.grounded, answer.unsupported) == (text, False, ["Zoe", "1789"])
        last = [event async for event in agent.aask_events("Who built the Eiffel Tower?")][-1]
        assert (last.done, last.grounded, last.unsupported) == (text, False, ["Zoe", "1789"])


def test_blocking_stream_answer_needs_no_event_loop(store, embedder, llm):
    """It is an ordinary generator."""
    agent = LLMAgent("teller", store, embedder, llm)
    agent.add_text_memory("The Eiffel Tower is in Paris.")
    assert "Paris" in "".join(agent.stream_answer("In which city is the Eiffel Tower?"))


async def test_ask_without_memories_does_not_call_the_model(store, embedder, llm):
    """The agent answers that it does not know, and names no source."""
    agent = AsyncLLMAgent("empty", store, embedder, llm)
    before = llm.stats()["requests"]
    answer = await agent.aask("Who am I?")
    assert (answer.sources, "not know" in answer.text) == ([], True)
    assert [piece async for piece in agent.astream_answer("Who am I?")] == [answer.text]
    assert llm.stats()["requests"] == before


@pytest.mark.parametrize("options", [{}, {"llm": False}])
async def test_answer_without_a_language_model_quotes_the_best_memories(store, embedder, llm, options):
    """The stream gives the same text, and nothing is generated."""
    agent = AsyncLLMAgent("quoter", store, embedder, llm if options else None)
    uids = await agent.aadd_text_memories(["The Eiffel Tower is in Paris.", "Cats sleep a lot."])
    before = llm.stats()["requests"]
    answer = await agent.aask("Where is the Eiffel Tower?", 2, **options)
    assert ([source.uid for source in answer.sources], answer.quoted, answer.grounded) == (uids, True, True)
    assert "[1] “The Eiffel Tower is in Paris.”\n[2] “Cats sleep a lot.”" in answer.text
    first, piece, last = [event async for event in agent.aask_events("Where is the Eiffel Tower?", 2, **options)]
    assert [source.uid for source in first.sources] == uids
    assert (piece.text, last.done, last.quoted) == (answer.text, answer.text, True)
    assert (await agent.aask("Where?", sources=[], **options)).quoted is False
    assert llm.stats()["requests"] == before


async def test_answer_quotes_memories_when_the_model_file_is_missing(store, embedder, tmp_path):
    """A model that its server does not know stays an error."""
    async with LLMGenerator(tmp_path / "none.gguf") as llm:
        agent = AsyncLLMAgent("quoter", store, embedder, llm)
        await agent.aadd_text_memory("The Eiffel Tower is in Paris.")
        assert (await agent.aask("Where is the Eiffel Tower?")).quoted
        *_, last = [event async for event in agent.aask_events("Where is the Eiffel Tower?")]
        assert last.quoted
    engine = RepeatingEngine("")
    engine.error = ModelNotFoundError("no such model")
    async with LLMGenerator(engine=engine) as llm:
        agent = AsyncLLMAgent("quoter", store, embedder, llm)
        agent.namespace = "quoter"
        with pytest.raises(ModelNotFoundError):
            await agent.aask("Where is the Eiffel Tower?")


async def test_where_instructions_and_history_reach_search_and_prompt(store, embedder):
    """What the user said before counts as a source, and what the model said does not."""
    engine = RepeatingEngine("Ann lives in Rome, Bob in Oslo.")
    history = [{"role": "user", "content": "I met Bob."}, {"role": "assistant", "content": "In Oslo?"}]
    async with LLMGenerator(engine=engine) as llm:
        agent = AsyncLLMAgent("teller", store, embedder, llm)
        await agent.aadd_text_memory("Ann lives in Rome.", "fact")
        await agent.aadd_text_memory("Ann lives in Paris.", "rumour")
        answer = await agent.aask(
            "Where is Ann?", where={"type": "fact"}, instructions="Answer in Latin.", history=history
        )
    assert [source.text for source in answer.sources] == ["Ann lives in Rome."]
    assert answer.unsupported == ["Oslo"]
    [prompt] = engine.prompts
    assert [message.role for message in prompt] == ["system", "user", "assistant", "user"]
    assert "Answer in Latin." in prompt[0].content


async def test_prompt_is_made_shorter_when_the_model_counts_more_tokens(store, embedder):
    """Tokens are estimated; the last error is raised where nothing helps."""
    engine = RepeatingEngine("yes")
    engine.limit = 2_000
    async with LLMGenerator(engine=engine) as llm:
        agent = AsyncLLMAgent("teller", store, embedder, llm)
        await agent.aadd_text_memory("word " * 1_000)
        assert (await agent.aask("word?")).text == "yes"
        assert len(engine.prompts) > 1
        with pytest.raises(InvalidInputError, match="too long") as caught:
            await agent.aask("word? " * 1_000)
        assert caught.value.field == "question"
        with pytest.raises(InvalidInputError, match="too long") as caught:
            await agent.achat("word? " * 1_000)
        assert caught.value.field == "message"


@pytest.mark.parametrize(("option", "value"), [("instructions", "x" * 8_193), ("history", [{"role": "tool"}])])
async def test_invalid_options_of_a_question_are_refused(agent, option, value):
    """Nothing is searched for; an unknown option is a wrong call."""
    with pytest.raises(InvalidInputError) as caught:
        await agent.aask("where?", **{option: value})
    assert caught.value.field.startswith(option)
    with pytest.raises(TypeError):
        await agent.aask("where?", tok_k=5)
