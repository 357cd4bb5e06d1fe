"""Answers to questions, whole and as the events of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from super_advanced_agents.types.matches import Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold an answer to a question, the memories it was made from, and what they do not support.

    Attributes:
        text: the answer.
        sources: the memories that it was made from, best first.
        grounded: False if names or numbers of the answer stand in no source; True says only that none were found.
        unsupported: these names and numbers, as written in the answer (see `retrieval.unsupported_terms`).
        quoted: True if no language model wrote the text: it quotes the best memories.
    """

    text: str
    sources: list[Match]
    grounded: bool = True
    unsupported: list[str] = field(default_factory=list)
    quoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvent:
    """Hold one event of a streamed answer: its sources, a piece of text, or the whole text.

    Attributes:
        sources: the memories that the answer is made from, best first; in the first event only.
        text: the next piece of the answer.
        done: the whole answer; in the last event only, as are the members below.
        grounded: False if names or numbers of the answer stand in no source.
        unsupported: these names and numbers.
        quoted: True if no language model wrote the text: it quotes the best memories.
    """

    sources: list[Match] | None = None
    text: str | None = None
    done: str | None = None
    grounded: bool | None = None
    unsupported: list[str] = field(default_factory=list)
    quoted: bool | None = None
