"""The `where` filter language over metadata: JSON objects, parsed into a syntax tree.

    {"type": "fact", "day": {"$gte": 5}, "$or": [{"city": "Paris"}, {"tags": {"$contains": "art"}}]}

A key names a metadata field and may be any text (`"due date"`); dots reach into nested objects (`"place.city"`). Keys
that begin with `$` are reserved: `$source`, `$session`, `$type`, `$uid`, `$created_at` and `$updated_at` are the fields
of the record itself (see `records/record_fields.py`). The keys of an object are ANDed, and so are the operators of one
key. A value without an operator means `$eq`.

| operator | true when the field |
|---|---|
| `$eq`, `$in` | equals the value (one of the values); 1 equals 1.0, true does not equal 1 |
| `$ne`, `$nin` | does not equal the value (any of the values), or is missing |
| `$gt $gte $lt $lte` | compares so with the bound; both are numbers, or both are strings |
| `$exists` | exists, even as null (for `true`); is missing (for `false`) |
| `$contains` | is a list with this member, or a string with this substring |
| `$not` | does not meet the operators in this object |

`$and` and `$or` take a list of filters. `$not` as a key of a filter takes one filter.

A filter costs what it compares with: each element of an `$in` or `$nin`, and each member of a nested list or object,
counts as one value. Terms, values and bytes are limited (`config.Limits`), and are counted before anything is compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from super_advanced_agents.config import LIMITS, Limits
from super_advanced_agents.errors import FilterError
from super_advanced_agents.stores.records.record_fields import RECORD_FIELDS, RESERVED, TIME_FIELDS, TYPE, operand_of
from super_advanced_agents.types import JSONValue, Metadata, Where

MAX_KEY_CHARS = 128
"""The longest name of a field that a filter can use, with the dots into nested objects."""
_MAX_DEPTH = 16
_MAX_DIGITS = 4_300
"""The digits of an integer that Python writes as text."""
_TOO_MANY_DIGITS = 10**_MAX_DIGITS

RangeOperator: TypeAlias = Literal["$gt", "$gte", "$lt", "$lte"]
Scalar: TypeAlias = "tuple[str, str | int | float | bool | None]"
"""A JSON value in comparable form: its kind, and the value; lists and objects as text."""


@dataclass(frozen=True, slots=True)
class Equals:
    """Match records whose metadata field `key` equals one of `values`.

    The values are a set, so that a long `$in` list costs one look-up per record.
    """

    key: str
    values: Collection[Scalar]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozenset(self.values))


@dataclass(frozen=True, slots=True)
class Compares:
    """Match records whose metadata field `key` is above or below `bound`, as `operator` says.

    Numbers are compared only with numbers, and strings only with strings.
    """

    key: str
    operator: RangeOperator
    bound: str | int | float


@dataclass(frozen=True, slots=True)
class Exists:
    """Match records whose metadata has the field `key`, even with the value null."""

    key: str


@dataclass(frozen=True, slots=True)
class Contains:
    """Match records whose field `key` is a list with `member` in it or a string containing it."""

    key: str
    member: Scalar


@dataclass(frozen=True, slots=True)
class Not:
    """Match records that the filter `operand` does not match."""

    operand: Filter


@dataclass(frozen=True, slots=True)
class And:
    """Match records that all filters in `operands` match; with no operands, match every record."""

    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Match records that at least one of the filters in `operands` matches."""

    operands: tuple[Filter, ...]


Filter: TypeAlias = Equals | Compares | Exists | Contains | Not | And | Or


def scalar(value: JSONValue) -> Scalar:
    """Convert a JSON value to a hashable tuple, in which 1 equals 1.0 but not true or "1"."""
    if value is None:
        return ("null", None)
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, str):
        return ("string", value)
    return ("json", _canonical(value))


def _canonical(value: JSONValue) -> str:
    # JSON in one form only, so that equal values have equal texts.
    if isinstance(value, list | tuple):
        return "[" + ",".join(_canonical(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


MISSING = object()
"""The result of `field_of` for a field that a record does not have; null is a value."""


def field_of(metadata: Mapping[str, JSONValue], key: str) -> JSONValue | object:
    """Return the value of a metadata field, or the sentinel `MISSING` if there is none.

    Dots in `key` reach into nested objects.

    A field whose own name has the dots of `key` takes precedence over the path into nested objects.
    """
    if key in metadata:
        return metadata[key]
    value: JSONValue | Mapping[str, JSONValue] = metadata
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def parse(where: Where, *, limits: Limits = LIMITS) -> Filter:
    """Parse a `where` filter, a JSON object, into a syntax tree of `Filter` nodes.

    Args:
        where: the filter.
        limits: the most comparisons, values and bytes that it may have.

    Raises:
        FilterError: the filter is malformed, too deep or too large; the message names the key or operator.
    """
    return _Parser(limits).filter(where, depth=0)


class _Parser:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._terms = self._values = self._bytes = 0

    def filter(self, where: object, depth: int) -> Filter:
        if not isinstance(where, Mapping):
            raise FilterError(f"a filter must be an object, not {type(where).__name__}", field="where")
        if depth > _MAX_DEPTH:
            raise FilterError(f"the filter is nested deeper than {_MAX_DEPTH}", field="where")
        if not where:
            self._count_term()
        parts: list[Filter] = []
        for key, condition in where.items():
            if key in ("$and", "$or"):
                if not isinstance(condition, list | tuple) or not condition:
                    raise FilterError(f"{key} takes a list of at least one filter", field="where")
                operands = tuple(self.filter(operand, depth + 1) for operand in condition)
                parts.append(And(operands) if key == "$and" else Or(operands))
            elif key == "$not":
                parts.append(Not(self.filter(condition, depth + 1)))
            else:
                parts.append(self._conditions(_checked_key(key), condition, depth + 1))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _conditions(self, key: str, condition: object, depth: int) -> Filter:
        if not isinstance(condition, Mapping):
            return self._term(key, "$eq", condition, depth)
        self._check_room(key, len(condition))
        if not any(str(name).startswith("$") for name in condition):
            return self._term(key, "$eq", condition, depth)
        parts = tuple(self._term(key, name, operand, depth) for name, operand in condition.items())
        return parts[0] if len(parts) == 1 else And(parts)

    def _term(self, key: str, operator: object, operand: object, depth: int) -> Filter:
        if operator == "$not":
            if not isinstance(operand, Mapping) or not operand or depth > _MAX_DEPTH:
                raise FilterError(f"$not of {key!r} takes an object of operators", field=key)
            return Not(self._conditions(key, operand, depth + 1))
        self._count_term()
        return self._comparison(key, operator, operand)

    def _comparison(self, key: str, operator: object, operand: object) -> Filter:
        if operator in ("$eq", "$ne"):
            equals = Equals(key, (scalar(self._value(key, operand)),))
            return equals if operator == "$eq" else Not(equals)
        if operator in ("$in", "$nin"):
            if not isinstance(operand, list | tuple):
                raise FilterError(f"{operator} of {key!r} takes a list", field=key)
            self._check_room(key, len(operand))
            among = Equals(key, tuple(scalar(self._value(key, value)) for value in operand))
            return among if operator == "$in" else Not(among)
        if operator in ("$gt", "$gte", "$lt", "$lte"):
            if isinstance(operand, bool) or (key not in TIME_FIELDS and not isinstance(operand, str | int | float)):
                raise FilterError(f"{operator} of {key!r} takes a number or a string", field=key)
            bound = self._value(key, operand)
            assert isinstance(bound, str | int | float)
            return Compares(key, operator, bound)
        if operator == "$exists":
            if not isinstance(operand, bool):
                raise FilterError(f"$exists of {key!r} takes true or false", field=key)
            exists = Not(Equals(key, (scalar(None),))) if key in RECORD_FIELDS else Exists(key)
            return exists if operand else Not(exists)
        if operator == "$contains":
            if key in TIME_FIELDS:
                raise FilterError(f"$contains of {key!r} has no meaning", field=key, hint="use $gte and $lt")
            return Contains(key, scalar(self._value(key, operand)))
        raise FilterError(
            f"unknown operator {operator!r} for {key!r}",
            field=key,
            hint="use $eq $ne $gt $gte $lt $lte $in $nin $exists $contains $not",
        )

    def _value(self, key: str, value: object, depth: int = 0) -> JSONValue:
        if key in RECORD_FIELDS:
            value = operand_of(key, value)
        if isinstance(value, float) and not math.isfinite(value):
            raise FilterError(f"the value for {key!r} is not finite", field=key)
        if value is None or isinstance(value, str | int | float | bool):
            self._count_value(key, value)
            return value
        if depth < _MAX_DEPTH and isinstance(value, list | tuple | dict):
            self._check_room(key, len(value) or 1)
            self._values += not value
            if not isinstance(value, dict):
                return [self._value(key, item, depth + 1) for item in value]
            if all(isinstance(name, str) for name in value):
                self._count_bytes(key, sum(map(len, value)))
                return {name: self._value(key, item, depth + 1) for name, item in value.items()}
        raise FilterError(f"the value for {key!r} is not JSON", field=key)

    # -- counting -------------------------------------------------------------------------------------------------

    def _count_term(self) -> None:
        self._terms += 1
        if self._terms > self._limits.filter_terms:
            raise FilterError(f"the filter has more than {self._limits.filter_terms} terms", field="where")

    def _count_value(self, key: str, value: str | float | bool | None) -> None:
        self._check_room(key, 1)
        self._values += 1
        size = len(value) if isinstance(value, str) else value.bit_length() // 8 if isinstance(value, int) else 0
        self._count_bytes(key, size)
        if isinstance(value, int) and abs(value) >= _TOO_MANY_DIGITS:
            raise FilterError(f"a number for {key!r} has more than {_MAX_DIGITS} digits", field=key)

    def _count_bytes(self, key: str, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.filter_bytes:
            raise FilterError(
                f"the values of the filter are longer than {self._limits.filter_bytes} bytes (filter_bytes)",
                field=key,
                hint="filter by shorter values",
            )

    def _check_room(self, key: str, more: int) -> None:
        # Before a list is gone through: one of a million elements is refused as fast as one of a thousand.
        if self._values + more > self._limits.filter_values:
            raise FilterError(
                f"the filter compares with more than {self._limits.filter_values} values (filter_values)",
                field=key,
                hint="give fewer values, or send several calls",
            )


def is_field_name(key: str) -> bool:
    """Return whether a filter can name a metadata field, or a dotted path into nested objects."""
    return len(key) <= MAX_KEY_CHARS and not key.startswith(RESERVED)


def _checked_key(key: object) -> str:
    if key == TYPE:
        return "type"
    if not isinstance(key, str):
        raise FilterError(f"a key must be a string, not {type(key).__name__}", field="where")
    if key in RECORD_FIELDS:
        return key
    if key.startswith(RESERVED):
        raise FilterError(
            f"{key[:80]!r} is not a field of a record or $and, $or, $not",
            field="where",
            hint=f"the fields of a record are {', '.join(sorted({TYPE, *RECORD_FIELDS}))}; other keys have no '$'",
        )
    if not is_field_name(key) or not (key.isascii() or _is_unicode(key)):
        raise FilterError(
            f"the key {key[:80]!r} is longer than {MAX_KEY_CHARS} characters, or not valid Unicode", field="where"
        )
    return key


def _is_unicode(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def compares(value: JSONValue | object, operator: RangeOperator, bound: str | int | float) -> bool:
    """Compare two numbers or two strings by `$gt`, `$gte`, `$lt` or `$lte`; else return False."""
    if isinstance(value, bool) or isinstance(value, str) is not isinstance(bound, str):
        return False
    if not isinstance(value, str | int | float):
        return False
    return _COMPARE[operator](value, bound)


def storable_bound(operator: RangeOperator, bound: str) -> tuple[RangeOperator, str]:
    """Return a comparison that selects the same texts, with a bound that an engine can hold.

    A lone surrogate, which no stored text has, sorts just below U+E000.
    """
    for i, character in enumerate(bound):
        if "\ud800" <= character <= "\udfff":
            return ("$gte" if operator in ("$gt", "$gte") else "$lt"), bound[:i] + "\ue000"
    return operator, bound


_COMPARE: dict[str, Callable[..., bool]] = {
    "$gt": lambda value, bound: value > bound,
    "$gte": lambda value, bound: value >= bound,
    "$lt": lambda value, bound: value < bound,
    "$lte": lambda value, bound: value <= bound,
}


def contains(value: JSONValue | object, member: Scalar) -> bool:
    """Return whether `value` is a list that holds `member` or a string that contains it."""
    if isinstance(value, str):
        return member[0] == "string" and isinstance(member[1], str) and member[1] in value
    return isinstance(value, list | tuple) and any(scalar(item) == member for item in value)


def matches(tree: Filter, metadata: Metadata) -> bool:
    """Return whether a record's metadata matches the syntax tree of a filter.

    Engines that evaluate filters in an index must return what this function returns. The record's own fields are in
    `metadata` by their reserved names, such as `$source`.
    """
    match tree:
        case Equals(key, values):
            value = field_of(metadata, key)
            return value is not MISSING and scalar(value) in values  # type: ignore[arg-type]  # MISSING is ruled out
        case Compares(key, operator, bound):
            return compares(field_of(metadata, key), operator, bound)
        case Exists(key):
            return field_of(metadata, key) is not MISSING
        case Contains(key, member):
            return contains(field_of(metadata, key), member)
        case Not(operand):
            return not matches(operand, metadata)
        case And(operands):
            return all(matches(operand, metadata) for operand in operands)
        case Or(operands):
            return any(matches(operand, metadata) for operand in operands)
