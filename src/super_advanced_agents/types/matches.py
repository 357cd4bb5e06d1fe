"""Search results, explanations of their scores, and the weights of a hybrid search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import orjson

from super_advanced_agents.errors import CorruptStoreError, InvalidInputError
from super_advanced_agents.types.objects import MATCH_MEMBERS, object_schema
from super_advanced_agents.types.values import Metadata, shortened

_MAX_WEIGHT = 1_000_000


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Match:
    """Hold one search result, which also unpacks as the tuple `(metadata, score, uid)`.

    Attributes:
        metadata: the record's metadata, `metadata["text"]` included; parsed when it is first read.
        score: higher is better; the cosine in [-1, 1] for a pure vector search.
        uid: the record's uid, unique within its namespace.
        similarity: the raw similarity of the vectors, comparable between queries; None in a pure keyword search.
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

    def __repr__(self) -> str:
        shown = f"{{'text': {shortened(self.text)!r}, ...}}"
        why = self.__dict__.get("explanation")
        rest = "" if why is None else f", explanation={why!r}"
        return f"{type(self).__name__}(metadata={shown}, score={self.score:.4f}, uid={self.uid!r}{rest})"

    @classmethod
    def of_stored(cls, text: str | None, rest: str | bytes, **fields: Any) -> Match:
        """Make a search result from a database row; its JSON metadata is parsed at first access.

        Args:
            text: the memory's text, or None.
            rest: the rest of the metadata, a JSON object.
            fields: all other attributes.
        """
        match = object.__new__(cls)
        match.__dict__.update(fields, _text=text, _rest=rest)
        return match

    if not TYPE_CHECKING:  # a type checker would take any attribute for there

        def __getattr__(self, name: str) -> Any:
            """Parse the stored JSON metadata when the attribute `metadata` is first read."""
            if name != "metadata" or "_rest" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            stored = self.__dict__
            text = stored["_text"]
            rest = parsed_metadata(stored["_rest"])
            metadata = stored["metadata"] = rest if text is None else {"text": text, **rest}
            return metadata

    @property
    def text(self) -> str:
        """The text of the stored record; empty if the record has a vector but no text."""
        return self.stored_text or ""

    @property
    def stored_text(self) -> str | None:
        """The text of the stored record; None if the record has a vector but no text."""
        if "metadata" not in self.__dict__:
            stored: str | None = self.__dict__["_text"]
            return stored
        text = self.metadata.get("text")
        return text if isinstance(text, str) else None

    @property
    def metadata_json(self) -> bytes:
        """The record's metadata, without its text, as JSON bytes.

        These are the stored bytes as long as the metadata was not parsed.
        """
        if "metadata" not in self.__dict__:
            rest: str | bytes = self.__dict__["_rest"]
            return rest.encode() if isinstance(rest, str) else rest
        text = self.stored_text
        return orjson.dumps(self.metadata if text is None else {k: v for k, v in self.metadata.items() if k != "text"})

    def rescored(self, score: float) -> Match:
        """Return a copy of this search result with another score and without an explanation."""
        match = object.__new__(Match)
        match.__dict__.update(self.__dict__, score=score)
        match.__dict__.pop("explanation", None)
        return match

    def copied(self) -> Match:
        """Return a copy of this search result with its own metadata, which the caller may change."""
        match = object.__new__(type(self))
        match.__dict__.update(self.__dict__)
        if "metadata" in match.__dict__:
            match.__dict__.update(_text=self.stored_text, _rest=self.metadata_json)
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
        """Return the pydantic schema that reads and writes search results as JSON objects.

        The text is a field of its own, not repeated in the metadata.
        """
        return object_schema(cls, MATCH_MEMBERS, handler, to_object=_match_to_object, of_object=_match_from_object)


def parsed_metadata(encoded: str | bytes) -> Metadata:
    """Parse the JSON metadata of a stored record to a dict.

    Raises:
        CorruptStoreError: it is not JSON.
    """
    try:
        metadata: Metadata = orjson.loads(encoded)
    except orjson.JSONDecodeError as exc:
        raise CorruptStoreError("a record's metadata is damaged", hint="restore a backup") from exc
    return metadata


def _match_to_object(match: Match) -> dict[str, object]:
    text = match.stored_text
    rest = match.metadata if text is None else {name: value for name, value in match.metadata.items() if name != "text"}
    members = {name: getattr(match, name) for name in MATCH_MEMBERS}
    return members | {"metadata": rest}


def _match_from_object(value: dict[str, Any]) -> Match:
    text = value.pop("text", None)
    metadata = value.pop("metadata") if text is None else {"text": text, **value.pop("metadata")}
    return Match(metadata, value.pop("score"), value.pop("uid"), **value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Set the weights of similarity, keywords, recency and priority in a hybrid search.

    Recency and priority only rank the candidates of the vector and keyword searches (100 of each, or `top_k`); they
    find no records by themselves.

    Attributes:
        vector: weight of the similarity of the vectors.
        keyword: weight of the words in common (BM25).
        nearby: the share of a turn's similarity that comes from its neighbours in the session; 0 for none.
        recency: weight of the age of a record, which is worth 1 just after its last write and half as much after each
            `half_life_s`. The last write counts (`updated_at`), so replacing a memory makes it new again.
        priority: weight of the record's priority, clipped to [0, 1]; a record without one counts as 0.
        half_life_s: seconds in which half of a record's recency is gone.

    Raises:
        InvalidInputError: a weight is not a number from 0 to a million, the half-life is not positive, or all weights
            but `nearby` are 0.
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
            if not _is_number(value) or not 0 <= value <= _MAX_WEIGHT:
                raise InvalidInputError(
                    f"weights.{name} must be a finite number from 0 to {_MAX_WEIGHT}, not {value!r}",
                    field=f"weights.{name}",
                )
        if not _is_number(self.half_life_s) or not 0 < self.half_life_s < math.inf:
            raise InvalidInputError(
                f"weights.half_life_s must be a positive number of seconds, not {self.half_life_s!r}",
                field="weights.half_life_s",
            )
        if self.total == 0:
            raise InvalidInputError(
                "the weights vector, keyword, recency and priority are all 0", field="weights", hint="set one above 0"
            )

    @property
    def total(self) -> float:
        """The sum of all weights but `nearby`; dividing a score by it keeps the score at most 1.

        `nearby` is a share of the similarity, not a weight beside the others.
        """
        return self.vector + self.keyword + self.recency + self.priority


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Describe one part of a search result's score, such as similarity: its value and weight.

    Attributes:
        name: `"vector"`, `"nearby"`, `"keyword"`, `"recency"` or `"priority"`, as in `Weights`; `"rerank"` for the
            score of a re-ranker.
        value: the raw value: a cosine, the mean cosine of a turn and its neighbours, BM25, or a number from 0 to 1.
        scaled: the value on the common scale; similarity and BM25 are divided by the best candidate's.
        weight: its share of the sum of all weights.
        added: its part of the score: `scaled * weight`.
    """

    name: str
    value: float
    scaled: float
    weight: float
    added: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Explain a search result's score as a sum of parts, such as similarity and recency.

    Attributes:
        signals: the parts that add up to the score; signals without a weight are not listed.
        retrieved: the explanation of the score before re-ranking; None if no re-ranker changed it.
    """

    signals: tuple[Signal, ...]
    retrieved: Explanation | None = None

    @property
    def total(self) -> float:
        """The sum of all parts of the score, which equals the search result's score within 1e-6."""
        return math.fsum(signal.added for signal in self.signals)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class ExplainedMatch(Match):
    """Hold a search result (a `Match`) together with an explanation of its score.

    It unpacks and compares as a `Match`.

    Attributes:
        explanation: the parts of the score.
    """

    explanation: Explanation

    def __init__(self, metadata: Metadata, score: float, uid: str, explanation: Explanation, **others: Any) -> None:
        super().__init__(metadata, score, uid, **others)
        self.__dict__["explanation"] = explanation

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Return the pydantic schema of search results as JSON objects with an `explanation`."""
        members = {**MATCH_MEMBERS, "explanation": Explanation}
        return object_schema(cls, members, handler, to_object=_explained_to_object, of_object=_explained_from_object)

    @classmethod
    def of(cls, match: Match, explanation: Explanation, *, score: float | None = None) -> ExplainedMatch:
        """Copy a search result and add an explanation, and a new score unless `score` is None."""
        explained = object.__new__(cls)
        explained.__dict__.update(match.__dict__, explanation=explanation)
        if score is not None:
            explained.__dict__["score"] = score
        return explained


def _explained_to_object(match: ExplainedMatch) -> dict[str, object]:
    return _match_to_object(match) | {"explanation": match.explanation}


def _explained_from_object(value: dict[str, Any]) -> ExplainedMatch:
    explanation = value.pop("explanation")
    return ExplainedMatch.of(_match_from_object(value), explanation)
