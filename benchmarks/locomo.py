"""Conversations of the benchmarks: LoCoMo read in place, or generated where it is absent.

LoCoMo (Maharana et al., 2024) is licensed for measuring only (CC BY-NC 4.0): it is never copied into this project.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

DATA = Path("../shared/bench/data/locomo_dev.json")
"""The path of LoCoMo, relative to the root of the checkout."""

_ROOT = Path(__file__).resolve().parent.parent
_ADVERSARIAL = 5


@dataclass(frozen=True, slots=True)
class DialogueTurn:
    """One turn of a conversation; the evidence of questions refers to its `name`."""

    name: str
    speaker: str
    text: str
    session: str

    @property
    def memory(self) -> str:
        """The text that is embedded."""
        return f"{self.speaker}: {self.text}"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the names of the turns that answer it (none where the data has none)."""

    text: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation, which is stored in a namespace of its own."""

    name: str
    turns: list[DialogueTurn]
    questions: list[Question]

    def sessions(self) -> dict[str, list[DialogueTurn]]:
        """Return the turns of each session, in order."""
        by_session: dict[str, list[DialogueTurn]] = {}
        for turn in self.turns:
            by_session.setdefault(turn.session, []).append(turn)
        return by_session


def conversations() -> tuple[list[Conversation], str]:
    """Return all conversations, and one line that names their source."""
    path = _ROOT / DATA
    if path.is_file():
        read = [_read(f"conversation-{i}", entry) for i, entry in enumerate(json.loads(path.read_bytes()))]
        return read, f"LoCoMo, read in place from {DATA}"
    generated = [_generate(f"conversation-{i}", random.Random(i)) for i in range(5)]
    return generated, f"GENERATED text, since {DATA} is absent: recall figures mean nothing, the others are comparable"


def distinct_questions(all_conversations: list[Conversation]) -> list[tuple[str, str]]:
    """Return (name of the conversation, question) for every distinct question, in mixed order."""
    names = {
        question.text: conversation.name for conversation in all_conversations for question in conversation.questions
    }
    pairs = [(name, text) for text, name in names.items()]
    random.Random(0).shuffle(pairs)
    return pairs


def sentence(number: int) -> str:
    """Make the sentence of a number, about 100 characters; sentences share words and all differ."""
    parts = []
    for words in (_DID, _THINGS, _TIMES, _PLACES, _THOUGHTS, _PEOPLE):
        parts.append(words[number * 7919 // 64 % len(words)])
        number = number * 31 + 17
    did, thing, when, where, thought, who = parts
    return f"{who} {did} the {thing} number {number % 1_000_003} {when}, on the way back from {where}. {thought}"


def _read(name: str, entry: dict) -> Conversation:
    turns = []
    for session, session_turns in entry["conversation"].items():
        if not isinstance(session_turns, list):  # dates, and names of the speakers
            continue
        for turn in session_turns:
            caption = f" [image: {turn['blip_caption']}]" if turn.get("blip_caption") else ""
            turns.append(DialogueTurn(turn["dia_id"], turn["speaker"], turn["text"] + caption, session))
    known = {turn.name for turn in turns}
    questions = [
        # Questions of the adversarial category have no answer in the conversation, so recall leaves them out.
        Question(qa["question"], frozenset(() if qa["category"] == _ADVERSARIAL else known & set(qa["evidence"])))
        for qa in entry["qa"]
    ]
    return Conversation(name, turns, questions)


_PEOPLE = ["Ana", "Ben", "Chen", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "June"]
_DID = ["visited", "painted", "lost", "found", "cooked", "bought", "sold", "repaired", "photographed", "planted"]
_THINGS = [
    "museum",
    "guitar",
    "bicycle",
    "tomato",
    "letter",
    "dog",
    "violin",
    "boat",
    "camera",
    "coat",
    "garden",
    "map",
]
_PLACES = ["Paris", "the harbour", "my office", "a small village", "the mountains", "Lisbon", "the old town", "school"]
_TIMES = ["yesterday", "last spring", "in May", "on Sunday", "two years ago", "this morning", "after work", "at dawn"]
_THOUGHTS = ["It felt wonderful.", "I would do it again.", "It took far longer than I thought.", "How about you?"]


def _generate(name: str, chance: random.Random) -> Conversation:
    pick = chance.choice
    people = chance.sample(_PEOPLE, 2)
    turns, questions = [], []
    for i in range(600):
        speaker, did, when, where = people[i % 2], pick(_DID), pick(_TIMES), pick(_PLACES)
        thing = f"{pick(_PLACES).removeprefix('the ')} {pick(_THINGS)} number {chance.randrange(1000)}"
        text = f"I {did} the {thing} {when} in {where}. {pick(_THOUGHTS)} {pick(_THOUGHTS)} And then a {pick(_THINGS)}!"
        turn = DialogueTurn(f"D{i // 20}:{i}", speaker, text, f"session_{i // 20}")
        turns.append(turn)
        if i % 3 == 0:
            questions.append(Question(f"When has {speaker} {did} the {thing}?", frozenset([turn.name])))
    return Conversation(name, turns, questions)
