"""What a search returns: matches, why they have their scores, and what a hybrid search counts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

import orjson

from super_advanced_agents.errors import CorruptStoreError, InvalidInputError
from super_advanced_agents.types.objects import MATCH_MEMBERS, object_schema
from super_advanced_agents.types.values import Metadata

_LARGEST_WEIGHT = 1_000_000


@dataclass(frozen=True, init=False, eq=False)
class Match:
    """Hold one search result; unpacks and indexes as `(metadata, score, uid)`.

    Attributes:
        metadata: the record's metadata, `metadata["text"]` included; parsed when it is first read.
        score: higher is better; the cosine in [-1, 1] for a pure vector search.
        uid: the record's name in its namespace.
        similarity: the raw similarity of the vectors, comparable between queries; None for a pure keyword search.
        source: where the record came from (a file, a URL), or None.
        session: the conversation the record is a turn of, or None.
        created_at: seconds since the epoch, or None where it is not known.
        updated_at: seconds since the epoch of the last write, or None where it is not known.
    """

    metadata: Metadata
    score: float
    uid: str
    similarity: float | None
    source: str | None
    session: str | None
    created_at: float | None
    updated_at: float | None

    def __init__(
        self,
        metadata: Metadata,
        score: float,
        uid: str,
        *,
        similarity: float | None = None,
        source: str | None = None,
        session: str | None = None,
        created_at: float | None = None,
        updated_at: float | None = None,
    ) -> None:
        self.__dict__.update(
            metadata=metadata,
            score=score,
            uid=uid,
            similarity=similarity,
            source=source,
            session=session,
            created_at=created_at,
            updated_at=updated_at,
        )

    @classmethod
    def of_stored(cls, text: str | None, rest: str | bytes, **fields: Any) -> Match:
        """Make a match of a row as it is stored; its metadata is parsed when it is first read.

        Args:
            text: the memory's text, or None.
            rest: the other metadata, a JSON object.
            fields: the other attributes, all of them.
        """
        match = object.__new__(cls)
        match.__dict__.update(fields, _text=text, _rest=rest)
        return match

    def __getattr__(self, name: str) -> Any:
        """Parse the metadata of a stored row at its first use; other names do not exist."""
        if name != "metadata" or "_rest" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        stored = self.__dict__
        text = stored["_text"]
        rest = parsed_metadata(stored["_rest"])
        metadata = stored["metadata"] = rest if text is None else {"text": text, **rest}
        return metadata

    @property
    def text(self) -> str | None:
        """The memory's text, or None for a bare vector."""
        if "metadata" not in self.__dict__:
            stored: str | None = self.__dict__["_text"]
            return stored
        text = self.metadata.get("text")
        return text if isinstance(text, str) else None

    @property
    def metadata_json(self) -> bytes:
        """The metadata without its text as JSON: as stored, where nobody has parsed it yet."""
        if "metadata" not in self.__dict__:
            rest: str | bytes = self.__dict__["_rest"]
            return rest.encode() if isinstance(rest, str) else rest
        text = self.text
        return orjson.dumps(self.metadata if text is None else {k: v for k, v in self.metadata.items() if k != "text"})

    def rescored(self, score: float) -> Match:
        """Return the match with another score, and without an explanation, which would be wrong."""
        match = object.__new__(Match)
        match.__dict__.update(self.__dict__, score=score)
        match.__dict__.pop("explanation", None)
        return match

    def copied(self) -> Match:
        """Return an equal match whose metadata is the caller's own to change."""
        match = object.__new__(type(self))
        match.__dict__.update(self.__dict__)
        if "metadata" in match.__dict__:
            match.__dict__.update(_text=self.text, _rest=self.metadata_json)
            del match.__dict__["metadata"]
        return match

    def __iter__(self) -> Iterator[Any]:
        return iter((self.metadata, self.score, self.uid))

    def __len__(self) -> int:
        return 3

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return (self.metadata, self.score, self.uid)[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Match | tuple):
            return tuple(self) == tuple(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # metadata can change

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic, and so FastAPI, take and give matches as JSON objects in which the text stands once."""
        return object_schema(cls, MATCH_MEMBERS, handler, to_object=_match_object, of_object=_match_of_object)


def parsed_metadata(encoded: str | bytes) -> Metadata:
    """Parse a stored row's metadata.

    Raises:
        CorruptStoreError: it is not JSON.
    """
    try:
        metadata: Metadata = orjson.loads(encoded)
    except orjson.JSONDecodeError as exc:
        raise CorruptStoreError("a record's metadata is damaged", hint="restore a backup") from exc
    return metadata


def _match_object(match: Match) -> dict[str, object]:
    text = match.text
    rest = match.metadata if text is None else {name: value for name, value in match.metadata.items() if name != "text"}
    shown = {name: getattr(match, name) for name in MATCH_MEMBERS}
    return shown | {"metadata": rest}


def _match_of_object(value: dict[str, Any]) -> Match:
    text = value.pop("text", None)
    metadata = value.pop("metadata") if text is None else {"text": text, **value.pop("metadata")}
    return Match(metadata, value.pop("score"), value.pop("uid"), **value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What counts in a hybrid search; checked when made.

    Attributes:
        vector: similarity of meaning.
        keyword: words in common.
        nearby: how much of a turn's similarity its neighbours in the session lend it; 0 for none.
        recency: how new a record is: 1 when written just now, half of that after each `half_life_s` since its last
            write (`updated_at`: what replaces a memory is news, whatever the age of its name).
        priority: the record's own priority, cut off at 0 and 1; none counts as 0.
        half_life_s: seconds in which half of a record's recency is gone.

    Recency and priority rank what meaning and words have found (100 of each, or `top_k`); they find nothing by
    themselves.

    Raises:
        InvalidInputError: one is not a number from 0 to a million, nothing counts, or the half-life is not positive.
    """

    vector: float = 1.0
    keyword: float = 1.0
    nearby: float = 0.5
    recency: float = 0.0
    priority: float = 0.0
    half_life_s: float = 30 * 86_400.0

    def __post_init__(self) -> None:
        for name in ("vector", "keyword", "nearby", "recency", "priority"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= _LARGEST_WEIGHT:
                raise InvalidInputError(
                    f"weights.{name} must be a finite number from 0 to {_LARGEST_WEIGHT}, not {value!r}",
                    field=f"weights.{name}",
                )
        if not _is_number(self.half_life_s) or not 0 < self.half_life_s < math.inf:
            raise InvalidInputError(
                f"weights.half_life_s must be a positive number of seconds, not {self.half_life_s!r}",
                field="weights.half_life_s",
            )
        if self.total == 0:
            raise InvalidInputError(
                "weights leave nothing to count", field="weights", hint="give vector, keyword, recency or priority one"
            )

    @property
    def total(self) -> float:
        """What the weighed sum is divided by, so that no score is above 1; `nearby` is a part of `vector`."""
        return self.vector + self.keyword + self.recency + self.priority


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One reason for a score.

    Attributes:
        name: `"vector"`, `"nearby"`, `"keyword"`, `"recency"` or `"priority"`, as in `Weights`; `"rerank"` for what a
            re-ranker gave.
        value: as measured: a cosine, the mean cosine of a turn and its neighbours, BM25, or a number from 0 to 1.
        scaled: on the common scale: similarity and words are divided by what the best candidate has of them.
        weight: its share of all weights together.
        added: what it added to the score: `scaled * weight`.
    """

    name: str
    value: float
    scaled: float
    weight: float
    added: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a match has its score.

    Attributes:
        signals: what was added up; what a search does not weigh is not listed.
        retrieved: how it had been found, if a re-ranker has given it another score since.
    """

    signals: tuple[Signal, ...]
    retrieved: Explanation | None = None

    @property
    def total(self) -> float:
        """The sum of what the signals added: the match's score, to 1e-6 of it."""
        return math.fsum(signal.added for signal in self.signals)


@dataclass(frozen=True, init=False, eq=False)
class ExplainedMatch(Match):
    """Hold a `Match` that tells why it has its score; unpacks and compares as any other.

    Attributes:
        explanation: what added up to the score.
    """

    explanation: Explanation

    def __init__(self, metadata: Metadata, score: float, uid: str, explanation: Explanation, **others: Any) -> None:
        super().__init__(metadata, score, uid, **others)
        self.__dict__["explanation"] = explanation

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic take and give these as `Match`, with the explanation beside the other members."""
        members = {**MATCH_MEMBERS, "explanation": Explanation}
        return object_schema(cls, members, handler, to_object=_explained_object, of_object=_explained_of_object)

    @classmethod
    def of(cls, match: Match, explanation: Explanation, *, score: float | None = None) -> ExplainedMatch:
        """Make one of a match and its explanation, perhaps with another score."""
        explained = object.__new__(cls)
        explained.__dict__.update(match.__dict__, explanation=explanation)
        if score is not None:
            explained.__dict__["score"] = score
        return explained


def _explained_object(match: ExplainedMatch) -> dict[str, object]:
    return _match_object(match) | {"explanation": match.explanation}


def _explained_of_object(value: dict[str, Any]) -> ExplainedMatch:
    explanation = value.pop("explanation")
    return ExplainedMatch.of(_match_of_object(value), explanation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a language model said, and the memories it was shown, best first."""

    text: str
    sources: list[Match]
