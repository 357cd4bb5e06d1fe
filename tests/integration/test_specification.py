"""The specification's examples run as written, with missing imports and `...` filled in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from super_advanced_agents.config import DEFAULT_GENERATION_MODEL
from super_advanced_agents.models import WheelSource, find

_IMPORTS = "from super_advanced_agents import FAISSVectorStore\n"

ASYNC_AGENT = """
from async_llm_agent import AsyncLLMAgent, EmbeddingPipeline
import asyncio
store = FAISSVectorStore(dim=384)
embedder = EmbeddingPipeline()
agent = AsyncLLMAgent("AsyncDemo", store, embedder)

async def main():
    await agent.aadd_text_memory("Async: The Eiffel Tower is in Paris.")
    results = await agent.asearch_text("museum")
    print(results)
asyncio.run(main())
"""

ASYNC_WRAPPER = """
from super_advanced_agents import LLMGenerator
from super_advanced_agents import AsyncLLMWrapper
llm = LLMGenerator()
async_llm = AsyncLLMWrapper(llm)
async def demo():
    result = await async_llm.agenerate("Say hello!", max_length=20)
    print(result)
"""

DISTRIBUTED_STUB = """
from super_advanced_agents import DistributedVectorStoreStub
store = FAISSVectorStore(dim=384)
dist_store = DistributedVectorStoreStub(store)
dist_store.add(...)
results = dist_store.search(...)
"""

FASTAPI = """
from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()

class QueryRequest(BaseModel):
    query: str
    top_k: int = 5

@app.post("/search")
def search(req: QueryRequest):
    results = agent.search_text(req.query, top_k=req.top_k)
    return {"results": results}
"""


def _run(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_async_agent_example_prints_its_match():
    """The example closes nothing, and its process ends all the same."""
    output = _run(_IMPORTS + ASYNC_AGENT)
    assert "Match(metadata={'text': 'Async: The Eiffel Tower is in Paris.'" in output


def test_async_llm_example_prints_a_generated_text():
    """The example only defines `demo`, so the test runs it."""
    output = _run(ASYNC_WRAPPER + "\nimport asyncio\nasyncio.run(demo())\n")
    assert output.strip()


def test_async_llm_example_downloads_a_missing_model(tmp_path):
    """The package index is a local folder, and the machine has no models."""
    folder, index = find(DEFAULT_GENERATION_MODEL), tmp_path / "index"
    index.mkdir()
    source = next(each for each in folder.spec.sources if isinstance(each, WheelSource))
    name = source.distribution.replace("-", "_")
    info = f"{name}-{source.version}.dist-info"
    with zipfile.ZipFile(index / f"{name}-{source.version}-py3-none-any.whl", "w") as wheel:
        for file, member in source.members.items():
            wheel.write(folder.file(file), member)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {source.distribution}\nVersion: {source.version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    output = _run(
        ASYNC_WRAPPER + "\nimport asyncio\nasyncio.run(demo())\n",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(index),
        PIP_CONFIG_FILE="/dev/null",
    )
    assert output.strip()
    assert find(DEFAULT_GENERATION_MODEL, models_dir=tmp_path / "cache" / "super-advanced-agents" / "models")


def test_distributed_store_example_finds_the_added_vector():
    """A vector with metadata and a query replace the example's `...`."""
    filled = DISTRIBUTED_STUB.replace("add(...)", "add([1.0] * 384, {'text': 'here'})").replace(
        "search(...)", "search([1.0] * 384, 1)"
    )
    output = _run(_IMPORTS + filled + "print(results)\n")
    assert "'text': 'here'" in output
    assert "score=1.0" in output


def test_fastapi_example_answers_a_search():
    """It uses the agent of the asynchronous example."""
    ask = (
        "\nfrom starlette.testclient import TestClient\n"
        "print(TestClient(app).post('/search', json={'query': 'museum'}).json())\n"
    )
    output = _run(_IMPORTS + ASYNC_AGENT + FASTAPI + ask)
    assert "{'results': [{'metadata': {'text': 'Async: The Eiffel Tower is in Paris.', 'type': 'fact'}" in output


def test_copies_of_the_examples_equal_the_specification(project_root: Path):
    """The test is skipped where the specification is not beside this checkout."""
    specification = project_root.parent / "shared" / "spec" / "async_distributed_patterns.md"
    if not specification.exists():
        pytest.skip("the specification is not beside this checkout")
    written = re.findall(r"```python\n(.*?)```", specification.read_text(), re.DOTALL)
    examples = [re.sub(r"\n# To run: .*\n", "\n", code).strip() for code in written]
    assert examples == [code.strip() for code in (ASYNC_AGENT, ASYNC_WRAPPER, DISTRIBUTED_STUB, FASTAPI)]
