"""An agent that makes and owns its store, embedding pipeline and language model."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents import AsyncLLMAgent, EmbeddingPipeline, FAISSVectorStore, LLMAgent
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, ResourceClosedError, StoreLockedError
from super_advanced_agents.tenancy.settings import Settings


async def test_agent_remembers_over_two_openings_and_answers(tmp_path):
    """The folder keeps the memories, and the default models embed and answer."""
    async with AsyncLLMAgent.open(tmp_path / "memory", name="guide") as agent:
        await agent.aadd_text_memory("The Eiffel Tower is in Paris.")
    async with AsyncLLMAgent.open(str(tmp_path / "memory"), name="guide") as agent:
        answer = await agent.aask("In which city is the Eiffel Tower?", top_k=1)
    assert "Paris" in answer.text
    assert [source.text for source in answer.sources] == ["The Eiffel Tower is in Paris."]


def test_blocking_agent_is_a_context_manager_too(tmp_path):
    """Without a language model, it quotes what it found; after the end, it is closed."""
    with LLMAgent.open(tmp_path, llm=False) as agent:
        agent.add_text_memory("The Prado is in Madrid.")
        assert agent.ask("Where is the Prado?").quoted
        assert (agent.name, agent.namespace, agent.llm_generator) == ("default", "default", None)
    agent.close()
    with pytest.raises(ResourceClosedError):
        agent.count()
    with pytest.raises(ResourceClosedError):
        agent.embedding_pipeline.embed("a text")


async def test_agent_works_without_a_with_and_many_first_calls_share_the_opening(tmp_path):
    """No call blocks the event loop; one that is cancelled does not disturb the others."""
    agent = AsyncLLMAgent.open(tmp_path, llm=False)
    try:
        calls = [asyncio.create_task(agent.acount()) for _ in range(20)]
        await asyncio.sleep(0)
        calls[0].cancel()
        assert await asyncio.gather(*calls[1:]) == [0] * 19
    finally:
        await agent.aclose()
        await agent.aclose()


async def test_cancelled_entering_leaves_nothing_open(tmp_path):
    """The folder can be opened again at once."""
    entering = asyncio.create_task(AsyncLLMAgent.open(tmp_path, llm=False).__aenter__())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    async with AsyncLLMAgent.open(tmp_path, llm=False) as agent:
        assert await agent.acount() == 0


async def test_folder_in_use_is_refused_and_left_alone(tmp_path):
    """The refused agent is closed; the other one goes on."""
    async with AsyncLLMAgent.open(tmp_path, llm=False) as agent:
        refused = AsyncLLMAgent.open(tmp_path, llm=False)
        with pytest.raises(StoreLockedError):
            await refused.__aenter__()
        with pytest.raises(ResourceClosedError):
            await refused.acount()
        assert await agent.acount() == 0


def test_folder_is_the_data_folder_of_the_command_line(tmp_path):
    """Its store is where `saa --data-dir` and the server look for it."""
    with LLMAgent.open(tmp_path, llm=False) as agent:
        agent.add_text_memory("The Prado is in Madrid.")
    settings = Settings.load(data_dir=tmp_path)
    with FAISSVectorStore(384, settings.store_dir) as store:
        assert store.count(namespace=settings.agent) == 1


def test_folder_of_a_store_and_its_url_are_opened_as_they_are(tmp_path):
    """What `FAISSVectorStore` made is found under either name."""
    with FAISSVectorStore(384, tmp_path / "plain") as store, EmbeddingPipeline() as embedder:
        LLMAgent("guide", store, embedder).add_text_memory("The Prado is in Madrid.")
    for location in (tmp_path / "plain", f"faiss:{tmp_path}/plain"):
        with LLMAgent.open(location, "guide", llm=False) as agent:
            assert agent.count() == 1


def test_folder_is_opened_with_the_model_that_made_its_vectors(tmp_path):
    """As after `saa reembed`: the folder's model embeds, by the folder of the data as by that of the store."""
    with FAISSVectorStore(384, tmp_path / "store") as store, EmbeddingPipeline(precision="fp32") as exact:
        LLMAgent("guide", store, exact).add_text_memory("The Prado is in Madrid.")
        stored = exact.model_id
    for location in (tmp_path, tmp_path / "store", f"faiss:{tmp_path}/store"):
        with LLMAgent.open(location, "guide", llm=False) as agent:
            assert agent.embedding_pipeline.model_id == stored
            uid = agent.add_text_memory(f"The Louvre is in Paris, by {location}.")
            record = agent.get(uid)
            assert record is not None
            assert record.model_id == stored
    with LLMAgent.open(tmp_path, "guide", llm=False, embedding_model="all-MiniLM-L6-v2") as agent:
        assert agent.embedding_pipeline.model_id != stored  # one that is named goes first


def test_folder_of_an_unknown_model_is_refused_with_the_models_name(tmp_path):
    """Vectors of another model would only look alike by chance."""
    with FAISSVectorStore(384, tmp_path / "store") as store:
        store.add([1.0, *[0.0] * 383], {"text": "a text"}, model_id="another-model:1")
    with (
        pytest.raises(ConfigurationError, match="'another-model:1', which is not known here"),
        LLMAgent.open(tmp_path, llm=False),
    ):
        pass


def test_agent_made_of_parts_leaves_them_open(tmp_path):
    """The code that made them closes them."""
    with FAISSVectorStore(384) as store, EmbeddingPipeline() as embedder:
        with LLMAgent("guide", store, embedder) as agent:
            assert agent.count() == 0
        assert agent.count() == 0


def test_wrong_arguments_leave_nothing_behind(tmp_path):
    """Name, folder and model are checked, and no folder is made."""
    for arguments, error in (
        ({"location": tmp_path / "new", "name": "a\nb"}, InvalidInputError),
        ({"location": ""}, ConfigurationError),
        ({"location": tmp_path / "new", "llm": ""}, ConfigurationError),
    ):
        with pytest.raises(error):
            LLMAgent.open(**arguments)
    with pytest.raises(ConfigurationError, match="no store has a URL"), LLMAgent.open("unknown://x", llm=False):
        pass
    assert not (tmp_path / "new").exists()
