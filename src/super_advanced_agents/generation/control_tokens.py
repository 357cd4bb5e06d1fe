"""Control tokens of chat templates, which must not reach a language model as part of a text."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FAMILIES = (
    r"<[|\uff5c][\w/]",  # ChatML, Llama 3, Phi, Qwen, Granite, GPT: <|im_start|>; DeepSeek, in full width
    r"<\w[\w▁-]*[|\uff5c]>",  # Gemma 4: <turn|>
    r"</?(?:s|bos|eos|pad|unk|mask|sep|cls|sop|eop|eot|eod|endoftext|think|tools|tool_\w+|function_calls?)>",
    r"</?(?:start_of_|end_of_|begin_of_|extra_id_|SPECIAL_|reserved_|unused)\w+>",  # Gemma: <start_of_turn>
    r"<</?SYS>>",  # Llama 2
    r"\[/?(?:INST|SYSTEM_PROMPT|MODEL_SETTINGS|AVAILABLE_TOOLS|TOOL_\w+|ARGS|THINK|IMG\w*|AUDIO|BEGIN_AUDIO)\]",
    r"\[/?(?:PREFIX|MIDDLE|SUFFIX|[gs]?MASK|CLS|SEP|PAD|UNK|BOS|EOS)\]",
    r"\[[|\uff5c]\w",  # EXAONE: [|assistant|]
)


def beginnings(patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile a pattern of the first character of each token that one of the patterns describes.

    It finds tokens that overlap as well, so that none is left when another one was broken up.
    """
    return re.compile(f"(?s)(?=(?:{'|'.join(patterns)})).")


KNOWN = beginnings(_FAMILIES)
"""The tokens of the known families of chat templates, since a server may run any model."""


def break_up(text: str, *tokens: re.Pattern[str] | None) -> str:
    """Return a text with a space after the first character of each control token in it.

    A token becomes ordinary text, so that the text cannot pose as a message of another chat role.
    """
    for pattern in tokens:
        if pattern is not None:
            text = pattern.sub(_with_space, text)
    return text


def _with_space(match: re.Match[str]) -> str:
    return f"{match[0][0]} {match[0][1:]}"
