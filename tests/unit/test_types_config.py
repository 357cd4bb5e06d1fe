"""Values that cross module borders are immutable, and settings and names are checked when they are made."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.config import Limits, checked_agent_name, checked_name, checked_text
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.types import Answer, ChatMessage, Match, Memory, Record, Turn


def test_match_unpacks_to_metadata_score_and_uid() -> None:
    """The attributes have the same values."""
    match = Match({"text": "a museum"}, 0.5, "u1")
    metadata, score, uid = match
    assert (metadata, score, uid) == (match.metadata, match.score, match.uid) == ({"text": "a museum"}, 0.5, "u1")


@pytest.mark.parametrize(("metadata", "text"), [({"text": "hello"}, "hello"), ({}, None), ({"text": 5}, None)])
def test_record_text_is_the_text_of_its_metadata_or_none(metadata: dict[str, object], text: str | None) -> None:
    """A bare vector has no text, and a `text` that is no string does not count."""
    record = Record(
        uid="u",
        vector=np.zeros(3, np.float32),
        metadata=metadata,  # type: ignore[arg-type]
        namespace="n",
        model_id=None,
        source=None,
        session=None,
        created_at=0.0,
        updated_at=0.0,
        expires_at=None,
    )
    assert record.text == text


@pytest.mark.parametrize(
    "value",
    [
        Memory(text="t"),
        Turn(speaker="s", text="t"),
        Answer(text="t", sources=[]),
        ChatMessage(role="user", content="c"),
        Limits(),
    ],
)
def test_value_objects_are_frozen(value: object) -> None:
    """A value that was handed over must not change under its reader."""
    name = dataclasses.fields(value)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, "other")


def test_memories_do_not_share_their_default_extra() -> None:
    """The default mapping is made anew for each."""
    assert Memory(text="a").extra is not Memory(text="b").extra


@pytest.mark.parametrize("limit", [field.name for field in dataclasses.fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, 1.5, math.inf, True, "10", None])
def test_limit_that_is_no_positive_integer_is_refused(limit: str, value: object) -> None:
    """The error contains the limit's name."""
    with pytest.raises(ConfigurationError, match=limit):
        Limits(**{limit: value})  # type: ignore[arg-type]


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True))
def test_valid_name_is_returned_unchanged(name: str) -> None:
    """A name has 1 to 64 letters, digits, `_` and `-`, and begins with a letter or a digit."""
    assert checked_name(name, "namespace") == name


@given(st.text().filter(lambda name: not (name.isascii() and name.replace("-", "a").replace("_", "a").isalnum())))
def test_name_with_any_other_character_is_refused(name: str) -> None:
    """Paths, spaces, control characters and letters of other scripts are never names."""
    with pytest.raises(InvalidInputError) as caught:
        checked_name(name, "namespace")
    assert caught.value.field == "namespace"


@pytest.mark.parametrize("name", ["", "-a", "_a", "a" * 65, "a\n", "..", "a/b", "a.b", None, 5, b"a"])
def test_name_just_outside_the_rules_is_refused(name: object) -> None:
    """Length, beginning, trailing newline and type each go wrong once."""
    with pytest.raises(InvalidInputError, match="is not a name"):
        checked_name(name, "agent")  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), min_size=1, max_size=256))
def test_name_of_an_agent_is_any_text(name: str) -> None:
    """It is returned unchanged."""
    assert checked_agent_name(name, "agent") == name


@pytest.mark.parametrize(
    "name", ["", "a" * 257, "\0", "a\n", "\x1b[2J", "\x85", "\u2028", "\u202e", "\u2066", "\ud800", None, 5, b"a"]
)
def test_name_of_an_agent_without_text_or_with_control_characters_is_refused(name: object) -> None:
    """The error names the field and not the name, which a log or a terminal could not show."""
    with pytest.raises(InvalidInputError) as caught:
        checked_agent_name(name, "agent")  # type: ignore[arg-type]
    assert caught.value.field == "agent"
    assert str(caught.value).isprintable()


@given(st.text(min_size=1, max_size=200))
def test_text_is_returned_unchanged_or_refused_without_being_quoted(text: str) -> None:
    """The error names the field, and a log of it contains no private text."""
    storable = bool(text.strip()) and "\0" not in text and len(text.encode(errors="replace")) <= 100
    if storable:
        assert checked_text(text, "texts[2]", max_bytes=100) == text
        return
    with pytest.raises(InvalidInputError, match=r"^texts\[2\] ") as caught:
        checked_text(text, "texts[2]", max_bytes=100)
    assert caught.value.field == "texts[2]"
    assert not text.strip() or text not in str(caught.value).removeprefix("texts[2]") or len(text) < 8


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        (" \n\t\u2003", "empty"),
        ("a\0b", "NUL"),
        ("caf\udce9", "surrogate"),
        ("x" * 10_000_000, "longer than 64 bytes"),
        ("é" * 33, "longer than 64 bytes"),
        (b"bytes", "must be a string"),
        (None, "must be a string"),
    ],
)
def test_text_that_cannot_be_stored_is_refused_with_its_reason(text: object, complaint: str) -> None:
    """Each kind of bad text has its own short message."""
    with pytest.raises(InvalidInputError, match=complaint) as caught:
        checked_text(text, "text", max_bytes=64)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200


def test_text_limit_counts_utf_8_bytes() -> None:
    """Exactly `max_bytes` is allowed."""
    assert checked_text("é" * 32, "text", max_bytes=64) == "é" * 32


def test_library_logger_has_its_own_name_and_is_silent_by_default() -> None:
    """Without logging configured, even an error record prints nothing."""
    script = (
        "from super_advanced_agents.telemetry import get_logger\n"
        "logger = get_logger('store')\n"
        "assert logger.name == 'super_advanced_agents.store'\n"
        "logger.error('store.rebuild')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
