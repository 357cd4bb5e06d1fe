"""A check of answers: the names and numbers of an answer that stand in none of its sources.

It compares words and understands nothing. It finds an invented name or year, but not a false statement that is made of
the sources' own words.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from super_advanced_agents.retrieval.terms import Term, folded, split_words, terms_of

_MAX_SOURCE_CHARS = 200_000
"""Characters of all sources that are read; a thousand long memories would take minutes."""

_MAX_TERMS = 32
_MAX_TERM_CHARS = 100

_SENTENCE_END = re.compile(r"(?<=[.!?:\u2026])[\"'\u201d\u2019)\]*_]*\s+|\n+")
_LABEL = re.compile(
    r"\[\d{1,3}(?:\s*,\s*\d{1,3})*\]|^[ \t]*\d{1,3}[.)](?=\s)|\b(?i:sources?|notes?|memor(?:y|ies)) \d{1,3}\b",
    re.MULTILINE,
)
_CONTRACTION = re.compile(r"(?:n't|'(?:s|re|ve|ll|d|m))+\Z")
_DENIAL = re.compile(r"\b(?:not|no|never|none|nothing|nobody|cannot|unknown|unclear)\b|n['\u2019]t\b", re.IGNORECASE)

_NEVER_NAMES = frozenset(split_words("i mr mrs ms dr ok am pm"))
_OPENERS = frozenset(
    split_words(
        """a about absolutely according actually add additionally after afterwards again ah all alright also
        although among an and another answer any anyone anyway apart apologies apparently are around as
        aside ask assuming at awesome based be because been before being besides between beyond both briefly
        bring but buy by call can can't certainly check choose clearly click come compared concerning
        congratulations consequently considering contact conversely correct could create currently date
        definitely delete depending despite did do does due during each earlier either else enjoy enter
        especially essentially even ever every everyone everything evidently exactly except explanation fair
        false feel few finally find fine first follow for fortunately from furthermore generally get give
        given glad go good great greetings had happy has have he hello hence her here hers hey hi his hmm
        honestly hope hopefully how however ideally if imagine importantly in including indeed information
        initially inside install instead interestingly into is it its just keep know largely last lastly
        later let like likely location look looking luckily mainly make many may maybe me meanwhile memories
        memory mentioned mix more moreover most mostly my name namely naturally near nearly neither never
        nevertheless next nice no nobody none nonetheless nope nor normally not notably note notes nothing
        now obviously of often oh okay on once one only open or originally other others otherwise our
        outside over overall particularly per perhaps place please pleased plus possibly press presumably
        previously price prior probably put question quite rather read reason recently regarding regardless
        remember remove restart right run same save say second secondly see select send set several she
        short should similarly simply since so some somebody someone something sometimes soon sorry source
        sources speaking specifically start step still stop subsequently such summary suppose sure surely
        surprisingly take tell thank thanks that the their then there therefore these they third this those
        though through throughout thus time title to today together tomorrow too total true truly try turn
        two type typically ultimately under undoubtedly unfortunately unknown unless unlike until up upon
        use usually various very via visit wait was we welcome well were what when whenever where whereas
        whether which while who whose why will with within without won't would wow write yeah yep yes
        yesterday yet you your yours yup"""
    )
)
"""English words that begin a sentence without being a name."""

_ENGLISH = frozenset(
    split_words(
        """and are at be been by can costs did do does for from had has have he her him his how is it its likes
        lives my not our said says she that the their there they this to wants were what when where which who
        whose why will with works would you your"""
    )
)
"""English words that hardly any other language has."""

_PREFIX = 3
_MAX_ENDING = 3


def unsupported_terms(answer: str, sources: Iterable[str], *, question: str = "") -> list[str]:
    """Return the names and numbers of an answer that stand in none of its sources.

    Names are words with a capital letter, words of letters and digits, and mail and web addresses. The first word of a
    sentence is one too, unless it is a common English word or stands elsewhere in lower case. In other languages it is
    one only before another name, where it stands inside another sentence, or where it is the whole sentence. Names are
    compared without case, accents, possessives and plurals, and outside English without short endings (`Анна`,
    `Анне`). Of neighbouring names, those that no source has are returned as one.

    Numbers are compared by value: `1,000`, `1000` and `1 thousand` are equal, and so are `three` and `3`, or `3 pm` and
    `15:00`. Of a date each part is compared, a month by its name or its number. Labels of notes (`[1]`) and of lists
    are no numbers, and neither is the word `one`.

    The question is no source: an answer that repeats its false premise is not grounded. Only a sentence that denies
    something (`I do not know where Ann lives`) may repeat the question's words. Scripts without capital letters have no
    names here, and German nouns count as names.

    Args:
        answer: the text of the answer.
        sources: the texts that it was made from; their first 200,000 characters are read.
        question: the question.

    Returns:
        At most 32 of them, each once, as written in the answer and in its order.
    """
    text = _LABEL.sub(lambda label: " " * len(label[0]), answer)
    context = [*terms_of(question), *terms_of(text)]
    english = any(term.text.lower() in _ENGLISH for term in context)
    lower_case = {term.text for term in context if term.text.islower()}
    known, asked = _Facts(sources), _Facts([question])
    found: dict[str, None] = {}
    sentences = [(sentence, list(terms_of(sentence))) for sentence in _SENTENCE_END.split(text)]
    inside = {term.text for _, terms in sentences for term in terms[1:]}
    for sentence, terms in sentences:
        facts = [known, asked] if _DENIAL.search(sentence) else [known]
        claimed = _claims(sentence, terms, english=english, lower_case=lower_case, inside=inside)
        unknown = [term for term in claimed if not any(each.hold(term, english=english) for each in facts)]
        for first, last in _neighbours(sentence, unknown):
            found.setdefault(sentence[first.start : last.end][:_MAX_TERM_CHARS])
    return list(found)[:_MAX_TERMS]


class _Facts:
    # The words and numbers of some texts.

    def __init__(self, texts: Iterable[str]) -> None:
        self._forms: set[str] = set()
        self._values: set[float] = set()
        chars_left = _MAX_SOURCE_CHARS
        for text in texts:
            chars_left -= len(text)
            for term in terms_of(text[: chars_left + len(text)] if chars_left < 0 else text):
                self._forms |= term.forms
                self._values |= term.values | term.plain
            if chars_left <= 0:
                break
        self._by_prefix: dict[str, list[str]] | None = None

    def hold(self, term: Term, *, english: bool) -> bool:
        if not (self._forms.isdisjoint(term.forms) and self._values.isdisjoint(term.values)):
            return True
        return not english and not term.is_number and self._has_other_ending(term)

    def _has_other_ending(self, term: Term) -> bool:
        if self._by_prefix is None:
            self._by_prefix = defaultdict(list)
            for form in self._forms:
                self._by_prefix[form[:_PREFIX]].append(form)
        word = folded(term.text)
        return any(_differ_by_ending(word, form) for form in self._by_prefix.get(word[:_PREFIX], ()))


def _differ_by_ending(one: str, other: str) -> bool:
    shared = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return shared >= _PREFIX and max(len(one), len(other)) - shared <= _MAX_ENDING


def _claims(
    sentence: str, terms: Sequence[Term], *, english: bool, lower_case: set[str], inside: set[str]
) -> Iterator[Term]:
    # The names and numbers of a sentence.
    names = [_looks_like_name(term) for term in terms]
    for place, term in enumerate(terms):
        if term.is_number:
            if term.text.lower() != "one":
                yield term
            continue
        word = _without_contraction(term.text)
        if not names[place] or word in _NEVER_NAMES or len(term.text) == 1:
            continue
        quoted = sentence[term.start - 1 : term.start] in {'"', "\u201c", "\u201e", "\u00ab", "'", "\u2018", "("}
        if (place == 0 or quoted) and term.text[1:].islower():
            if word in _OPENERS or term.text.lower() in _OPENERS or term.text.lower() in lower_case:
                continue
            is_name = english or all(names) or term.text in inside or (len(names) > 1 and names[place + 1])
            if not is_name:
                continue
        yield term


def _without_contraction(word: str) -> str:
    return _CONTRACTION.sub("", word.lower().replace("\u2019", "'"))


def _looks_like_name(term: Term) -> bool:
    has_capital = any(char.isupper() or char.istitle() for char in term.text)
    return has_capital or term.is_address or (not term.is_number and any(char.isdecimal() for char in term.text))


def _neighbours(sentence: str, terms: Sequence[Term]) -> Iterator[tuple[Term, Term]]:
    # The first and the last term of each run of names that only a space or a hyphen parts; a number is its own run.
    runs: list[list[Term]] = []
    for term in terms:
        before = runs[-1][-1] if runs else None
        joined = before is not None and not (before.is_number or term.is_number)
        if before is not None and joined and sentence[before.end : term.start] in {" ", "-"}:
            runs[-1].append(term)
        else:
            runs.append([term])
    return ((run[0], run[-1]) for run in runs)
