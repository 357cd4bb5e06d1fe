"""Words, numbers and addresses of texts, in forms that can be compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass


def split_words(words: str) -> list[str]:
    """Return the words of a constant list that is written as one text."""
    return words.split()


_TENS = {
    word: 10 * n for n, word in enumerate(split_words("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_UNITS = split_words("zero one two three four five six seven eight nine")
_TEENS = split_words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
_SPELLED = {word: n for n, word in enumerate([*_UNITS, *_TEENS])} | _TENS
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
_MONTHS = split_words("january february march april may june july august september october november december")
_MONTH_NUMBERS = {name: n for n, month in enumerate(_MONTHS, start=1) for name in (month, month[:3])} | {"sept": 9}

_TOKEN = re.compile(
    r"(?P<address>(?:https?://|www\.)\S{0,2000}[\w/]|\b\w[\w.+-]{0,63}@[\w-]{1,63}\.[\w.-]{0,190}\w)"
    r"|(?P<digits>\d{1,3}(?: \d{3})+(?!\w|[.,]\d)|\d+(?:[.,'\u2019\u00a0\u202f]\d+)*)(?P<suffix>\w*)"
    rf"|(?P<compound>(?i:(?:{'|'.join(_TENS)})-(?:{'|'.join(_UNITS[1:])}))\b)"
    r"|(?P<word>[^\W\d_]\w*(?:['\u2019.]\w+)*)"
)
_SCALE = re.compile(rf" ?({'|'.join(_SCALES)})\b", re.IGNORECASE)
_AFTERNOON = re.compile(r" ?p\.?m\b", re.IGNORECASE)
_SEPARATORS = " '\u2019\u00a0\u202f"
_GROUPED = re.compile(r"\d{1,3}(?:([.,])\d{3}(?:\1\d{3})*)?")
_MAX_DIGITS = 30
_MIN_PLURAL = 4


@dataclass(frozen=True, slots=True)
class Term:
    """Hold one word, number or address of a text, with the forms that it is compared in.

    Attributes:
        text: the term as written.
        start: its position in the text.
        forms: the forms of a word or an address; two words are alike if they share one.
        values: the values that a number may have: `1,000` is a thousand or one; two numbers are alike if they share
            one.
        plain: further values, which count in a source only: the number without a scale that follows, such as `million`,
            and the parts of `10 000`.
        is_number: True for a number; a month is a word that has a value.
    """

    text: str
    start: int
    forms: frozenset[str] = frozenset()
    values: frozenset[float] = frozenset()
    plain: frozenset[float] = frozenset()
    is_number: bool = False

    @property
    def end(self) -> int:
        """The position behind the term in its text."""
        return self.start + len(self.text)

    @property
    def is_address(self) -> bool:
        """True for a mail or web address."""
        return "@" in self.text or "/" in self.text or self.text.startswith("www.")


def terms_of(text: str) -> Iterator[Term]:
    """Yield the words, numbers and addresses of a text, in order."""
    for token in _TOKEN.finditer(text):
        if token["address"]:
            yield Term(token[0], token.start(), forms=frozenset([_address_form(token[0])]))
        elif token["digits"]:
            yield from _digit_terms(text, token)
        else:
            yield _word_term(text, token)


def folded(word: str) -> str:
    """Return a word without case, accents and invisible characters."""
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(char for char in decomposed if unicodedata.category(char) not in {"Mn", "Cf"})


def _address_form(address: str) -> str:
    return re.sub(r"\A(?:https?://)?(?:www\.)?", "", folded(address)).rstrip("/")


def _digit_terms(text: str, token: re.Match[str]) -> Iterator[Term]:
    digits, suffix = token["digits"], token["suffix"]
    if any(char.isdecimal() for char in suffix) or len(digits) > _MAX_DIGITS:
        yield Term(token[0], token.start(), forms=frozenset([folded(token[0])]))
        return
    readings = _readings(digits)
    if readings:
        yield _number_term(text, token, readings)
        return
    for part in re.finditer(r"\d+", digits):  # a date such as 3.5.2024, or a version
        value = frozenset([float(part[0])])
        yield Term(part[0], token.start() + part.start(), values=value, plain=value, is_number=True)


def _readings(digits: str) -> frozenset[float]:
    # The values of a written number, whose separators may stand for thousands or for decimals.
    plain = digits.translate(dict.fromkeys(map(ord, _SEPARATORS)))
    head, point, decimals = _cut_last_separator(plain)
    values = set()
    if _GROUPED.fullmatch(plain):
        values.add(float(re.sub(r"[.,]", "", plain)))
    if point and _GROUPED.fullmatch(head) and point not in head:
        values.add(float(re.sub(r"[.,]", "", head) + "." + decimals))
    if not point or head.isdecimal():
        values.add(float(plain.replace(",", ".")))
    return frozenset(values)


def _cut_last_separator(digits: str) -> tuple[str, str, str]:
    at = max(digits.rfind("."), digits.rfind(","))
    return (digits, "", "") if at < 0 else (digits[:at], digits[at], digits[at + 1 :])


def _number_term(text: str, token: re.Match[str], readings: frozenset[float]) -> Term:
    values = readings
    behind = token.end("digits") if token.lastgroup != "compound" and token["digits"] else token.end()
    if scale := _SCALE.match(text, behind):
        values = frozenset(value * _SCALES[scale[1].lower()] for value in readings)
    elif _AFTERNOON.match(text, behind):
        values = readings | {value + 12 for value in readings if value < 12}
    parts = frozenset(map(float, re.findall(r"\d+", token[0]))) if " " in token[0] else frozenset()
    return Term(token[0], token.start(), values=values, plain=readings | parts, is_number=True)


def _word_term(text: str, token: re.Match[str]) -> Term:
    word = folded(token[0])
    if token["compound"]:
        tens, _, unit = word.partition("-")
        return _number_term(text, token, frozenset([float(_SPELLED[tens] + _SPELLED[unit])]))
    if (number := _SPELLED.get(word)) is not None:
        term = _number_term(text, token, frozenset([float(number)]))
        return Term(term.text, term.start, frozenset([word]), term.values, term.plain, is_number=True)
    month = _MONTH_NUMBERS.get(word) if token[0][0].isupper() else None
    values = frozenset() if month is None else frozenset([float(month)])
    return Term(token[0], token.start(), forms=_word_forms(word), values=values, plain=values)


def _word_forms(word: str) -> frozenset[str]:
    base = re.sub(r"['\u2019]s?\Z", "", word)
    forms = {word, base, base.replace(".", "")}
    if len(base) >= _MIN_PLURAL and base.endswith("s"):
        forms.add(base[:-1])
    return frozenset(forms)
