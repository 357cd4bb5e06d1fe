"""Test a language that is fixed for all texts of a process."""

from __future__ import annotations

import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.text.analyzer import analyze
from super_advanced_agents.stores.text.languages import ENGLISH, fix_language


@pytest.fixture(autouse=True)
def _recognize_again():
    """Let the next test recognize languages."""
    yield
    fix_language(None)


def _found(texts: list[str], query: str) -> set[str | None]:
    with FAISSVectorStore(2) as store:
        store.add_batch([[1.0, 0.0]] * len(texts), [{"text": text} for text in texts])
        return {match.text for match in store.search_keywords(query)}


def test_short_texts_are_found_by_other_endings_once_their_language_is_fixed():
    """Nothing in a word or two tells that it is German."""
    texts = ["Rote Autos", "Kinder", "Einkaufsliste"]
    assert _found(texts, "kindern") == set()
    fix_language("de")
    assert analyze("Rote Autos").language == "de"
    assert _found(texts, "kindern") == _found(texts, "kind") == {"Kinder"}


def test_english_can_be_fixed_too_and_other_scripts_keep_their_stemmer():
    """Then no text is taken for another language."""
    german = "Das Haus ist nicht so groß wie die Häuser der Stadt"
    assert analyze(german).language == "de"
    russian = analyze("новые книги").terms
    fix_language("en")
    assert analyze(german).language == ENGLISH
    assert analyze("новые книги").terms == russian


def test_texts_that_were_indexed_before_are_still_found_by_their_own_words():
    """A query is analyzed in all languages of an index."""
    with FAISSVectorStore(2) as store:
        store.add([1.0, 0.0], {"text": "Parking garages"}, "before")
        assert store.search_keywords("garage")
        fix_language("fr")
        store.add([1.0, 0.0], {"text": "Garages ouverts"}, "after")
        assert {match.uid for match in store.search_keywords("garages")} == {"before", "after"}


@pytest.mark.parametrize("code", ["xx", "", "german"])
def test_language_without_a_stemmer_is_refused_with_those_that_have_one(code):
    """The process goes on as before."""
    with pytest.raises(ConfigurationError, match="text_language") as caught:
        fix_language(code)
    assert "de, en, es" in caught.value.hint
    assert analyze("Kinder").language == ENGLISH
