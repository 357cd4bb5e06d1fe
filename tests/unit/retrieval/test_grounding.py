"""Test the check of answers for names and numbers that stand in no source."""

from __future__ import annotations

import pytest

from super_advanced_agents.retrieval import unsupported_terms


@pytest.mark.parametrize(
    ("answer", "source", "unsupported"),
    [
        ("Bob lives in Rome.", "Anna lives in Rome.", ["Bob"]),
        ("He met John Smith in Oslo.", "He met somebody in Oslo.", ["John Smith"]),
        ("Jean-Luc Picard was there.", "Luc was there.", ["Jean", "Picard"]),
        ("JOSÉ and Mia's dog are in Malaga.", "josé and mia have a dog, in Málaga", []),
        ("The Germans drink beer from the U.S.", "German beer of the US", []),
        ("The password is hunter2.", "The password is hunter3.", ["hunter2"]),
        ("Send the key to bob@example.com, see https://a.example/x.", "https://a.example/x/", ["bob@example.com"]),
        ("Paris.", "Rome", ["Paris"]),
        ("Yes. It is as it was, I think.", "a note", []),
        ("He liked “The Great Gatsby”.", "the great Gatsby", []),
    ],
)
def test_names_that_stand_in_no_source_are_returned(answer: str, source: str, unsupported: list[str]) -> None:
    """Case, accents, possessives and common first words do not count."""
    assert unsupported_terms(answer, [source]) == unsupported


@pytest.mark.parametrize(
    "answer",
    [
        "What's in Rome? Isn\u2019t it Anna? Let's see. They've met.",
        "Great question! Certainly, Anna lives in Rome. Welcome.",
        "Summary: Anna. Regarding Rome: see source 1, and Note 2.",
        "Won't Anna leave? Can't say. Who's Anna?",
    ],
)
def test_contractions_polite_words_and_labels_of_sources_are_no_names(answer: str) -> None:
    """An alarm about `What's` would teach readers to ignore alarms."""
    assert unsupported_terms(answer, ["Anna lives in Rome."]) == []


@pytest.mark.parametrize(
    ("answer", "source", "unsupported"),
    [
        ("It was in 1987.", "It was in 1978.", ["1987"]),
        ("It costs 1,000 and 2.5 euros.", "it costs 1000 and 2,5", []),
        ("It costs 1.000 euros, or 10 000.", "1,000 or 10000", []),
        ("It costs 1,234.50 in all.", "1234.5", []),
        ("There are 2 million people.", "2,000,000 people", []),
        ("There are 2 million people.", "2 thousand people", ["2"]),
        ("There are twenty-one cats and one dog.", "21 cats", []),
        ("There are seven cats.", "three cats", ["seven"]),
        ("It is at 3 PM on May 3, 2024.", "2024-05-03 15:00", []),
        ("It is on 2024-06-03.", "on 3 May 2024", ["06"]),
        ("It was on 3.5.2024.", "3 May 2024", []),
        ("It is on the 3rd floor and weighs 5kg.", "floor 3, 5 kg", []),
        ("It is red [1], [2, 3].\n1. It is red.\n2) It is blue.", "red and blue", []),
        ("It has 123456789012345678901234567890123.", "a note", ["123456789012345678901234567890123"]),
    ],
)
def test_numbers_are_compared_by_value(answer: str, source: str, unsupported: list[str]) -> None:
    """Labels of notes and of lists are no numbers."""
    assert unsupported_terms(answer, [source]) == unsupported


def test_premise_of_a_question_is_no_source_unless_the_sentence_denies_something() -> None:
    """The question's own words in lower case are no names."""
    question = "What is the number of the Lisbon office, and do dogs sleep there?"
    assert unsupported_terms("The number of the Lisbon office is 12.", ["12"], question=question) == ["Lisbon"]
    assert unsupported_terms("I do not know the Lisbon office.", ["12"], question=question) == []
    assert unsupported_terms("I don't know Porto.", ["12"], question=question) == ["Porto"]
    assert unsupported_terms("Dogs sleep.", ["12"], question=question) == []


@pytest.mark.parametrize(
    ("answer", "source", "unsupported"),
    [
        ("Анна живёт в Москве.", "Анне нравится Москва", []),
        ("Она живёт в Омске.", "Анне нравится Москва", ["Омске"]),
        ("Gestern war Hans Müller in Berlin.", "Hans lebt in München", ["Müller", "Berlin"]),
        ("安娜住在罗马 1987", "安娜 1978", ["1987"]),
    ],
)
def test_answers_in_other_languages_are_checked(answer: str, source: str, unsupported: list[str]) -> None:
    """A first word may be any word there, and a name may have another ending."""
    assert unsupported_terms(answer, [source]) == unsupported


def test_result_is_bounded_and_names_each_term_once() -> None:
    """Sources beyond 200,000 characters are not read."""
    answer = " ".join(f"He met N{i} and N{i}." for i in range(100))
    assert unsupported_terms(answer, []) == [f"N{i}" for i in range(32)]
    assert unsupported_terms("It is Rome.", ["x " * 100_000, "Rome"]) == ["Rome"]


@pytest.mark.parametrize("unit", [".", "a-", "'", "1,", "1 111 ", "a@", "[1 , ", "http://", "\u0301"])
def test_long_runs_of_one_pattern_are_read_in_linear_time(unit: str) -> None:
    """Quadratic expressions would take minutes here."""
    unsupported_terms(unit * 1_000, [unit * 20_000])
