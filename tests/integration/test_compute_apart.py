"""Servers that embed and generate on other servers of the same kind, some of which are killed."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.generation import LLMGenerator

MODELS = {"embedding_model": "all-MiniLM-L6-v2", "generation_model": "SmolLM2-135M-Instruct"}


@pytest.fixture
def computing(new_machine, tmp_path):
    """Run two servers that compute for others, and yield their clients and keys."""
    with ExitStack() as stack:
        machines = [new_machine(tmp_path / f"compute-{n}") for n in range(2)]
        clients = [stack.enter_context(machine.server({"SAA_GRPC": "false"})) for machine in machines]
        yield [(client, machine.key) for client, machine in zip(clients, machines, strict=True)]


def _urls(computing):
    return [f"{client.startup_info['url']}/v1" for client, _ in computing]


def test_server_computes_on_two_others_and_says_when_one_of_them_is_down(machine, computing):
    """It stores, finds and answers as before; addresses and keys are told to nobody."""
    urls, keys = _urls(computing), [key for _, key in computing]
    environment = {
        "SAA_EMBEDDING_BASE_URL": ",".join(urls),
        "SAA_EMBEDDING_API_KEY": ",".join(keys),
        "SAA_GENERATION_BASE_URL": ",".join(urls),
        "SAA_GENERATION_API_KEY": ",".join(keys),
        "SAA_EMBEDDING_MODEL": MODELS["embedding_model"],
        "SAA_GENERATION_MODEL": MODELS["generation_model"],
        "SAA_KEEP_EMBEDDINGS": "false",
    }
    with machine.server(environment) as server:
        while not server.get("/readyz").json()["ready"]:
            pass
        assert server.get("/readyz").json()["degraded"] == []
        text = "The Eiffel Tower is in Paris."
        server.post("/v1/agents/guide/memories", json={"text": text}).raise_for_status()
        assert (
            "Paris"
            in server.post("/v1/agents/guide/ask", json={"question": "Where is the Eiffel Tower?"}).json()["text"]
        )
        computing[0][0].process.kill()
        computing[0][0].process.wait()
        for n in range(20):
            found = server.post("/v1/agents/guide/search", json={"query": f"a tower in a city {n}"}).raise_for_status()
            assert found.json()["results"][0]["text"] == text
        answer = server.post(
            "/v1/agents/guide/ask", json={"question": "Where does the tower stand?"}
        ).raise_for_status()
        assert answer.json()["text"]
        readiness = server.get("/readyz")
        assert readiness.status_code == 200
        assert "of 2 embedding servers, number 1 failed" in "; ".join(readiness.json()["degraded"])
        told = readiness.text
    assert not any(secret in told for secret in [*keys, *(url.split("/")[2] for url in urls)])


def test_no_request_is_lost_when_one_of_two_servers_is_killed_under_load(computing):
    """Each of 300 texts gets its vector, and the vectors are those of the default model here."""
    texts = [f"text number {n} about {'abc'[n % 3] * (1 + n % 50)}" for n in range(300)]
    options = {"base_url": _urls(computing), "api_key": [key for _, key in computing]}
    vectors, errors = {}, []
    reached = threading.Semaphore(0)
    with EmbeddingPipeline(MODELS["embedding_model"], **options) as pipeline:

        def embed(share):
            for text in share:
                try:
                    vectors[text] = pipeline.embed(text)
                except Exception as exc:
                    errors.append(exc)
                reached.release()

        threads = [threading.Thread(target=embed, args=(texts[n::6],)) for n in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            assert reached.acquire(timeout=60)
        computing[0][0].process.kill()
        for thread in threads:
            thread.join(120)
        killed, working = pipeline.server_status()
    assert errors == []
    assert len(vectors) == 300
    assert (killed.up, working.up, working.failures) == (False, True, 0)
    with EmbeddingPipeline() as here:
        expected = here.embed_batch(texts)
    assert all(vectors[text] @ row > 0.99 for text, row in zip(texts, expected, strict=True))


def test_answers_go_to_the_other_server_when_one_is_gone(computing):
    """They are the same text, since both have the same model and decode greedily."""
    options = {"base_url": _urls(computing), "api_key": [key for _, key in computing]}
    with LLMGenerator(MODELS["generation_model"], **options) as llm:
        first = [llm.generate("Say hello.", 12) for _ in range(2)]
        computing[1][0].process.kill()
        computing[1][0].process.wait()
        second = [llm.generate("Say hello.", 12) for _ in range(3)]
        assert len({*first, *second}) == 1
        assert [status.up for status in llm.server_status()] == [True, False]
