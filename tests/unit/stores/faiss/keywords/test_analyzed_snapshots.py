"""Tests of what a snapshot of the keyword index keeps of the analyzer: its version and the languages of the texts."""

from __future__ import annotations

import json

import numpy as np

from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.faiss.keywords import snapshot

DIM = 4


def test_snapshot_of_another_analyzer_is_built_again(tmp_path, monkeypatch):
    """Terms of two versions never stand in one index."""
    texts = [{"text": f"Die Häuser am Hafen {i}"} for i in range(600)]
    with FAISSVectorStore(DIM, tmp_path) as store:
        store.add_batch(np.ones((600, DIM)), texts)
        assert len(store.search_keywords("Haus", 600)) == 600
    manifest = tmp_path / "words" / "manifest.json"
    saved = json.loads(manifest.read_bytes())["body"]
    assert saved["languages"] == ["de"]
    other = [*saved["format"][:1], "another", *saved["format"][2:]]
    monkeypatch.setattr(snapshot, "_FORMAT", other)
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert len(store.search_keywords("Haus", 600)) == 600
    assert json.loads(manifest.read_bytes())["body"]["format"] == other


def test_languages_of_texts_are_kept_in_the_snapshot(tmp_path):
    """A reopened index stems a query in the languages of its texts."""
    with FAISSVectorStore(DIM, tmp_path) as store:
        store.add_batch(np.ones((600, DIM)), [{"text": f"Les chevaux sont rapides {i}"} for i in range(600)])
        assert store.search_keywords("cheval")
    with FAISSVectorStore(DIM, tmp_path) as store:
        assert len(store.search_keywords("cheval", 600)) == 600
