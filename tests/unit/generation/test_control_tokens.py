"""Control tokens of chat templates are broken up in texts, whichever family they come from."""

from __future__ import annotations

import random
import re

import pytest

from super_advanced_agents.generation.control_tokens import KNOWN, beginnings, break_up

TOKENS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|begin_of_text|>", "<|end|>",
    "<|user|>", "<|assistant|>", "<|START_OF_TURN_TOKEN|>", "<|channel|>", "<\uff5cUser\uff5c>",
    "<\uff5cend▁of▁sentence\uff5c>",
    "<s>", "</s>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>", "[INST]", "[/INST]",
    "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[gMASK]",
    "[|assistant|]", "[|endofturn|]", "<extra_id_0>", "<SPECIAL_10>", "<reserved_106>", "<tool_call>", "</think>",
)  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_control_token_of_a_known_family_is_broken_up(token: str) -> None:
    """All other characters stay."""
    text = break_up(f"before {token} after", KNOWN)
    assert token not in text
    assert text.replace(" ", "") == f"before{token}after"


def test_compositions_of_tokens_and_their_parts_hold_no_token_afterwards() -> None:
    """Neither do tokens that overlap, nor those that breaking up another one might have made."""
    numbers = random.Random(7)
    parts = [*TOKENS, *(token[:3] for token in TOKENS), *(token[-3:] for token in TOKENS), *"<|>[] /"]
    for _ in range(20_000):
        text = "".join(numbers.choices(parts, k=8))
        assert not any(token in break_up(text, KNOWN) for token in TOKENS)


@pytest.mark.parametrize("text", ["a < b", "x |> f", "f <|> g", "list[0]", "[note]", "<memories>", "<b>", "a[i] | b"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Comparisons, pipes, brackets and markup are no control tokens."""
    assert break_up(text, KNOWN) == text


def test_overlapping_tokens_of_a_model_are_both_broken_up() -> None:
    """The second begins inside the first."""
    tokens = ["<a>b", ">bc"]
    text = break_up("<a>bc", beginnings(map(re.escape, tokens)), None)
    assert not any(token in text for token in tokens)
