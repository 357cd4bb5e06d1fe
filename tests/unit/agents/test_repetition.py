"""Test the filter of repeated sentences in answers, alone and with the small language model."""

from __future__ import annotations

import pytest

from super_advanced_agents import EmbeddingPipeline, FAISSVectorStore, LLMAgent, LLMGenerator
from super_advanced_agents.agents.repetition import RepetitionFilter


def _filtered(text: str, size: int) -> tuple[str, bool]:
    repetition = RepetitionFilter()
    passed = [repetition.feed(text[i : i + size]) for i in range(0, len(text), size)]
    return "".join([*passed, repetition.flush()]), repetition.looping


@pytest.mark.parametrize("size", [1, 3, 1_000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs 2.50 euros. It costs 2.5 pounds. Yes. Yes.", "It costs 2.50 euros. It costs 2.5 pounds. Yes. Yes."),
        ("I am glad to hear it. I am  GLAD to hear it. And you?", "I am glad to hear it. And you?"),
        ("A mirror of the soul,\nA mirror of the soul,\nThe sea", "A mirror of the soul,\nThe sea"),
        ("if a:\n    x()\nif b:\n    x()\n", "if a:\n    x()\nif b:\n    x()\n"),
        ("Anna lives in Graz now. Anna lives in", "Anna lives in Graz now. Anna lives in"),
        ("", ""),
    ],
)  # fmt: skip
def test_only_repeated_sentences_are_left_out(text, expected, size):
    """Numbers, short sentences and lines of code stay, however the text is cut into pieces."""
    assert _filtered(text, size) == (expected, False)


@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_three_repeated_sentences_in_a_row_are_a_loop(size):
    """One that alternates is a loop too; nothing of it is passed on."""
    loop = "It takes a lot of patience. It is a skill to learn. " * 9
    assert _filtered(loop, size) == ("It takes a lot of patience. It is a skill to learn.", True)


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("loop", ["wonderful, ", "a wonderful and loyal dog, "])
def test_phrase_that_is_repeated_in_a_sentence_is_a_loop(loop, size):
    """It ends after a few of them, since the first ones were passed on already."""
    text, looping = _filtered("He is " + loop * 90, size)
    assert looping
    assert text.startswith("He is " + loop)
    assert text.count(loop) <= 9


@pytest.mark.parametrize(
    "text", ["| 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |", "No, no, no, no!", "- - - - - - - - - - - -"]
)
def test_rows_of_tables_and_lines_are_no_loops(text):
    """Only words are."""
    assert _filtered(text, 1) == (text, False)


def test_sentence_is_passed_on_as_soon_as_it_differs():
    """A reader of a stream does not wait for its end."""
    repetition = RepetitionFilter()
    assert repetition.feed("I live in Graz now. I live in") == "I live in Graz now."
    assert repetition.feed(" V") == " I live in V"
    assert repetition.feed("ienna") == "ienna"


def test_small_model_ends_its_loop_in_a_chat():
    """Without the filter, it wrote the same sentence 27 times."""
    with EmbeddingPipeline() as embedder, LLMGenerator() as llm, FAISSVectorStore(384) as store:
        agent = LLMAgent("guide", store, embedder, llm)
        answer = agent.chat("Hi, I like tea.", "tea").text
        assert answer
        sentences = [sentence.strip() for sentence in answer.split(".") if len(sentence.split()) >= 4]
        assert len(sentences) == len(set(sentences))


def test_endless_sentence_is_passed_on_and_kept_in_part_only():
    """A model that never ends a sentence costs as much at its end as at its beginning."""
    repetition, passed = RepetitionFilter(), 0
    for n in range(20_000):
        passed += len(repetition.feed(f"and {n} is not {n * n}, "))
    assert not repetition.looping
    assert passed == sum(len(f"and {n} is not {n * n}, ") for n in range(20_000))
    assert len(repetition._sentence) <= 5_000  # private: nothing else shows what is kept
    assert repetition.feed("The end. ") == "The end. "
