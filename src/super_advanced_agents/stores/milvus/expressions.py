"""Milvus filter expressions, made of the typed tree of a `where` filter.

Milvus 2.3 has no templates, so values stand in the text of an expression; `quote` is the one way in. A filter on
metadata compares hashes of facts (`facts.py`), which need no quoting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import orjson

from super_advanced_agents.stores.filters import (
    And,
    Compares,
    Contains,
    Equals,
    Exists,
    Filter,
    Not,
    Or,
    Scalar,
    storable_bound,
)
from super_advanced_agents.stores.milvus.facts import equality, existence, membership
from super_advanced_agents.stores.records.record_fields import RECORD_FIELDS, TIME_FIELDS

ALL = 'pk != ""'
"""Matches every row; Milvus has no constant for it."""
NONE = 'pk == ""'

_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_COLUMNS = {name: f"{column}_key" if name in TIME_FIELDS else column for name, column in RECORD_FIELDS.items()}


def quote(value: str) -> str:
    """Return a string literal of Milvus's expressions, whose escapes are those of JSON.

    Characters beyond ASCII stand as they are: Milvus refuses the escapes of surrogate pairs.
    """
    return orjson.dumps(value).decode()


def among(column: str, values: Iterable[str]) -> str:
    """Return the condition that a column of strings has one of these values."""
    listed = ",".join(map(quote, values))
    return f"{column} in [{listed}]" if listed else NONE


def has_any(column: str, numbers: Sequence[int]) -> str:
    """Return the condition that a column of lists of integers has one of these members."""
    if len(numbers) == 1:
        return f"array_contains({column}, {numbers[0]})"
    return f"array_contains_any({column}, [{','.join(map(str, numbers))}])" if numbers else NONE


def every(*conditions: str) -> str:
    """Return the condition that all of these hold."""
    return " and ".join(f"({condition})" for condition in conditions if condition != ALL) or ALL


def any_of(*conditions: str) -> str:
    """Return the condition that one of these holds."""
    return " or ".join(f"({condition})" for condition in conditions if condition != NONE) or NONE


class Condition(NamedTuple):
    """Hold a filter as Milvus evaluates it: rows that may match, and rows that surely do.

    Both say nothing about rows with more facts than a list holds, whose column `complete` is false.

    Attributes:
        most: an expression that every matching row meets.
        least: an expression that only matching rows meet.
    """

    most: str
    least: str

    @property
    def exact(self) -> bool:
        """True if Milvus can tell alone whether a row matches."""
        return self.most == self.least

    @property
    def candidates(self) -> str:
        """The expression of the rows that may match, incomplete ones included."""
        return ALL if self.most == ALL else any_of(self.most, "complete == false")


EVERY_ROW = Condition(ALL, ALL)


def condition_of(tree: Filter | None) -> Condition:
    """Translate the tree of a filter; None matches every row."""
    match tree:
        case None:
            return EVERY_ROW
        case Not(operand):
            inner = condition_of(operand)
            return Condition(_negated(inner.least), _negated(inner.most))
        case And(operands):
            parts = [condition_of(operand) for operand in operands]
            return Condition(every(*(part.most for part in parts)), every(*(part.least for part in parts)))
        case Or(operands):
            parts = [condition_of(operand) for operand in operands]
            return Condition(any_of(*(part.most for part in parts)), any_of(*(part.least for part in parts)))
        case _:
            column = _COLUMNS.get(tree.key)
            return _of_metadata(tree) if column is None else _of_record_field(tree, column)


def _of_metadata(tree: Equals | Compares | Contains | Exists) -> Condition:
    match tree:
        case Equals(key, values):
            return _exactly(has_any("facts", [equality(key, value) for value in values]))
        case Exists(key):
            return _exactly(has_any("facts", [existence(key)]))
        case Compares(key):
            return Condition(has_any("facts", [existence(key)]), NONE)
        case Contains(key, member):
            is_member = has_any("facts", [membership(key, member)])
            # A string may contain it, too.
            is_text = member[0] == "string"
            return Condition(has_any("facts", [existence(key)]), is_member) if is_text else _exactly(is_member)


def _exactly(expression: str) -> Condition:
    return Condition(expression, expression)


def _negated(expression: str) -> str:
    return {ALL: NONE, NONE: ALL}.get(expression, f"not ({expression})")


def _of_record_field(tree: Equals | Compares | Contains | Exists, column: str) -> Condition:
    # Sources and sessions that a record does not have are stored as empty strings.
    is_time = column.endswith("_key")
    match tree:
        case Equals(_, values) if is_time:
            return _exactly(reduce(any_of, [f"{column} == {_number(value)}" for value in values], NONE))
        case Equals(_, values):
            return _exactly(among(column, _names(values)))
        case Compares(_, operator, bound) if is_time and not isinstance(bound, str):
            return _exactly(f"{column} {_OPERATORS[operator]} {float(bound)!r}")
        case Compares(_, operator, bound) if not is_time and isinstance(bound, str):
            operator, bound = storable_bound(operator, bound)
            return _exactly(every(f"{column} {_OPERATORS[operator]} {quote(bound)}", f'{column} != ""'))
        case Contains():
            return Condition(f'{column} != ""', NONE)
        case _:
            return Condition(NONE, NONE)


def _names(values: Iterable[Scalar]) -> list[str]:
    # No record has an empty name, or one with a lone surrogate, which has no bytes.
    names = [value for _, value in values if isinstance(value, str) and value.encode(errors="ignore").decode() == value]
    return [*filter(None, names), *([""] if ("null", None) in values else [])]


def _number(value: Scalar) -> str:
    # A time is compared with a number; anything else equals no time.
    return repr(float(value[1])) if value[0] == "number" and value[1] is not None else "-1e308"
