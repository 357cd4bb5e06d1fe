"""Test `saa reembed`, with real models."""

from __future__ import annotations

import pytest

from super_advanced_agents import FAISSVectorStore

TEXTS = ["The Louvre is in Paris", "Cats sleep all day", "The train to Lyon leaves at nine", "Ann likes green tea"]


@pytest.fixture
def filled(saa):
    """Add memories of two agents."""
    for i, text in enumerate(TEXTS):
        saa("add", text, "--uid", f"m{i}", "--agent", "default" if i < 3 else "ann")
    return saa


def _search_all(saa, *arguments):
    return [
        [(match["uid"], round(match["score"], 4)) for match in saa.json("search", query, *arguments)["results"]]
        for query in ("art museum", "a pet", "railway")
    ]


def test_reembed_gives_memories_the_vectors_of_another_model(filled, tmp_path, monkeypatch):
    """Searches then equal those of a store made with that model; a second run embeds nothing."""
    saa = filled
    result = saa("reembed", "--precision", "fp32")
    assert result.stdout.startswith("All 4 memories have vectors of all-MiniLM-L6-v2")
    assert "from now on" in result.stderr
    followed = _search_all(saa)
    assert "all-MiniLM-L6-v2 fp32 made the vectors" in saa("doctor", code=None).stdout
    monkeypatch.setenv("SAA_EMBEDDING_PRECISION", "int8")
    refused = saa("search", "art museum", code=2).stderr
    assert "int8" in refused
    assert "fp32" in refused
    assert "WRONG  embedding model" in saa("doctor", code=1).stdout
    monkeypatch.setenv("SAA_EMBEDDING_PRECISION", "fp32")
    again = saa.json("reembed")
    assert _search_all(saa) == followed
    assert (again["records"], again["embedded"], again["dim"]) == (4, 0, 384)
    fresh = ("--data-dir", tmp_path / "fresh")
    for i, text in enumerate(TEXTS):
        saa("add", text, "--uid", f"m{i}", "--agent", "default" if i < 3 else "ann", *fresh)
    assert _search_all(saa) == _search_all(saa, *fresh)
    assert saa.json("list", "--agent", "ann")["total"] == 1


def test_reembed_refuses_vectors_without_text_unless_they_may_be_dropped(filled):
    """`--drop-bare` deletes them."""
    saa = filled
    with FAISSVectorStore(384, saa.data_dir / "store") as store:
        store.add([1.0] * 384, {"i": 1}, namespace="vectors")
    assert "--drop-bare" in saa("reembed", "--precision", "fp32", code=1).stderr
    assert saa.json("search", "art museum")["results"][0]["uid"] == "m0"
    assert saa.json("reembed", "--precision", "fp32", "--drop-bare")["dropped"] == 1


def test_reembed_refuses_an_unknown_model_and_a_missing_store(filled):
    """The exit code is 1."""
    saa = filled
    assert "no-such-model" in saa("reembed", "--model", "no-such-model", code=1).stderr
    assert "nothing is remembered" in saa("reembed", "--data-dir", saa.data_dir / "none", code=1).stderr
