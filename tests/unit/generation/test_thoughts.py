"""Thoughts of language models are left out of their texts, however the text is cut into pieces."""

from __future__ import annotations

import pytest

from super_advanced_agents.generation.thoughts import ThoughtFilter


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Hello", "Hello"),
        ("<think>a</think>\n\nHello", "Hello"),
        ("<think>a</think><think>b</think> c", "c"),
        ("\n <think>x\ny</think>Hi", "\nHi"),
        ("A\n<think>x</think>\nB", "A\nB"),
        ("<thinking>q</thinking> Yes <b>", "Yes <b>"),
        ("[THINK]a[/THINK]b", "b"),
        ("<think>never closed", ""),
        ("use `<think>` here", "use `<think>` here"),
        ("a\n<thin air", "a\n<thin air"),
        ("<thi", "<thi"),
        ("\n\n  Hello", "\n\n  Hello"),
    ],
)
def test_thoughts_are_left_out_and_other_text_stays(text: str, left: str, size: int) -> None:
    """A tag may span pieces, and one inside of a line is text."""
    thoughts = ThoughtFilter()
    pieces = [thoughts.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + thoughts.flush() == left
