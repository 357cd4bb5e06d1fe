"""Filters as SQL conditions over a record's row, with every value bound as a parameter.

A condition selects what `filters.matches` does. Negation needs conditions that are never NULL, so a leaf that may be
NULL is made false below a `$not`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

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
from super_advanced_agents.stores.postgres.codecs import filterable
from super_advanced_agents.stores.records.record_fields import RECORD_FIELDS, TIME_FIELDS

_HALF_MICROSECOND = 0.5e-6
"""Times are compared as rounded to the microsecond."""

_MAX_CONTAINMENTS = 16
"""Up to this many values are looked up in the index of the fields.

More are compared row by row.
"""

_EXACT_FLOATS = 2.0**53
_EXPONENT = re.compile(rb"e\+?\d")

_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


class Clause(NamedTuple):
    """Hold a condition of SQL with placeholders, and their values."""

    sql: str
    parameters: tuple[Any, ...] = ()

    @property
    def prepare(self) -> bool | None:
        """False where the values of a filter decide the plan, so that it is not to be prepared."""
        return None if self.sql == "TRUE" else False


_TRUE, _FALSE = Clause("TRUE"), Clause("FALSE")


def condition(tree: Filter | None) -> Clause:
    """Return the condition that a filter sets for a row of the table `records`, named `r`."""
    return _TRUE if tree is None else _clause(tree, negated=False)


def named_placeholders(clause: Clause) -> tuple[str, dict[str, Any]]:
    """Return a condition with placeholders by name, as psycopg does not mix them with others."""
    parts = clause.sql.split("%s")
    names = [f"filter_{i}" for i in range(len(clause.parameters))]
    sql = "".join(part + f"%({name})s" for part, name in zip(parts, names, strict=False)) + parts[-1]
    return sql, dict(zip(names, clause.parameters, strict=True))


def _clause(tree: Filter, *, negated: bool) -> Clause:
    match tree:
        case Not(operand):
            inner = _clause(operand, negated=True)
            return Clause(f"NOT ({inner.sql})", inner.parameters)
        case And(operands):
            return _joined(" AND ", [_clause(each, negated=negated) for each in operands], _TRUE)
        case Or(operands):
            return _joined(" OR ", [_clause(each, negated=negated) for each in operands], _FALSE)
        case Equals() | Compares() | Exists() | Contains():
            leaf = _own_field(tree) if tree.key in RECORD_FIELDS else _metadata(tree)
            return Clause(f"coalesce({leaf.sql}, FALSE)", leaf.parameters) if negated else leaf


def _joined(word: str, clauses: Sequence[Clause], empty: Clause) -> Clause:
    if not clauses:
        return empty
    return Clause(
        word.join(f"({each.sql})" for each in clauses),
        tuple(parameter for each in clauses for parameter in each.parameters),
    )


# -- fields of the metadata -----------------------------------------------------------------------------------------


def _metadata(tree: Equals | Compares | Exists | Contains) -> Clause:
    value = _value(tree.key)
    match tree:
        case Equals(key, values):
            return _equals(key, value, values)
        case Compares(_, operator, bound):
            if isinstance(bound, str):
                operator, edge = storable_bound(operator, bound)
                compared = f"({value.sql} #>> '{{}}') COLLATE \"C\" {_OPERATORS[operator]} %s::text"
                kind, parameter = "string", filterable(edge)
            else:
                compared, kind, parameter = (
                    f"{value.sql} {_OPERATORS[operator]} %s::jsonb",
                    "number",
                    json.dumps(_held(bound)),
                )
            return Clause(
                f"jsonb_typeof({value.sql}) = '{kind}' AND {compared}",
                (*value.parameters, *value.parameters, parameter),
            )
        case Exists():
            return Clause(f"{value.sql} IS NOT NULL", value.parameters)
        case Contains(_, member):
            return _contains(value, member)


def _value(key: str) -> Clause:
    # The field as jsonb; NULL where it is missing. `->` with a text reaches into objects only, never into lists.
    key = filterable(key)
    if key == "text":
        return Clause("coalesce(to_jsonb(r.text), r.fields -> 'text')")
    parts = key.split(".")
    if len(parts) == 1:
        return Clause("(r.fields -> %s::text)", (key,))
    path = "r.fields" + " -> %s::text" * len(parts)
    return Clause(f"coalesce(r.fields -> %s::text, {path})", (key, *parts))


def _equals(key: str, value: Clause, values: Collection[Scalar]) -> Clause:
    texts = [text for each in values if (text := _json(each)) is not None]
    if not texts:
        return _FALSE
    scalars = all(kind != "json" for kind, _ in values)
    if scalars and len(texts) <= _MAX_CONTAINMENTS and "." not in key and key != "text":
        # Containment equals equality for numbers, strings and so on, and is in the index of the fields.
        name = json.dumps(filterable(key))
        return Clause(
            " OR ".join(["r.fields @> %s::jsonb"] * len(texts)), tuple(f"{{{name}:{text}}}" for text in texts)
        )
    return Clause(f"{value.sql} = ANY(%s::jsonb[])", (*value.parameters, texts))


def _contains(value: Clause, member: Scalar) -> Clause:
    text = _json(member)
    if text is None:
        return _FALSE
    kind, content = member
    if kind == "json":
        members = f"SELECT 1 FROM jsonb_array_elements({value.sql}) AS e(v) WHERE e.v = %s::jsonb"  # noqa: S608
        return Clause(
            f"CASE WHEN jsonb_typeof({value.sql}) = 'array' THEN EXISTS ({members}) ELSE FALSE END",
            (*value.parameters, *value.parameters, text),
        )
    in_list = Clause(
        f"jsonb_typeof({value.sql}) = 'array' AND {value.sql} @> %s::jsonb",
        (*value.parameters, *value.parameters, f"[{text}]"),
    )
    if kind != "string":
        return in_list
    in_text = Clause(
        f"jsonb_typeof({value.sql}) = 'string' AND strpos({value.sql} #>> '{{}}', %s::text) > 0",
        (*value.parameters, *value.parameters, filterable(str(content))),
    )
    return _joined(" OR ", [in_list, in_text], _FALSE)


def _json(value: Scalar) -> str | None:
    # The JSON of a value; None for one that no record can have.
    kind, content = value
    held = _held(json.loads(str(content)) if kind == "json" else content)
    text = json.dumps(held, ensure_ascii=False)
    return text if _is_storable(text) else None


def filterable_jsons(texts: Sequence[bytes]) -> list[bytes]:
    """Return each JSON as `jsonb` accepts it, which holds no NUL, and compares it."""
    if not _may_differ(b"\n".join(texts)):
        return list(texts)
    return [
        json.dumps(_held(json.loads(text)), ensure_ascii=False).encode() if _may_differ(text) else text
        for text in texts
    ]


def _may_differ(text: bytes) -> bool:
    # Whether it may hold NUL or a float of 2**53 or more, such as 9007199254740992.0 and 1e+16.
    return b"\\u000" in text or b".0" in text or _EXPONENT.search(text) is not None


def _held(value: Any) -> Any:
    if isinstance(value, str):
        return filterable(value)
    if isinstance(value, float) and abs(value) >= _EXACT_FLOATS:
        return int(value)  # jsonb compares decimals, and the shortest one of a large float is not its value
    if isinstance(value, list):
        return [_held(each) for each in value]
    if isinstance(value, dict):
        return {filterable(name): _held(each) for name, each in value.items()}
    return value


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no record has
        return False
    return True


# -- the record's own fields ----------------------------------------------------------------------------------------


def _own_field(tree: Equals | Compares | Exists | Contains) -> Clause:
    column = f"r.{RECORD_FIELDS[tree.key]}"
    if tree.key in TIME_FIELDS:
        return _time_field(column, tree)
    match tree:
        case Equals(_, values):
            contents = [content for _, content in values]
            texts = [each for each in contents if isinstance(each, str) and _is_name(each)]
            clauses = [Clause(f"{column} = ANY(%s::text[])", (texts,))] if texts else []
            if None in contents:
                clauses.append(Clause(f"{column} IS NULL"))
            return _joined(" OR ", clauses, _FALSE)
        case Compares(_, operator, bound):
            operator, edge = storable_bound(operator, str(bound))
            sign = _OPERATORS[operator]
            if "\0" in edge:  # which is in no name: the part before it decides, as no name equals the bound
                sign, edge = (">" if sign in (">", ">=") else "<="), edge.partition("\0")[0]
            return Clause(f"{column} {sign} %s::text", (edge,))
        case Contains(_, member):
            if member[0] != "string" or not _is_name(str(member[1])):
                return _FALSE
            return Clause(f"strpos({column}, %s::text) > 0", (str(member[1]),))
        case Exists():
            return Clause(f"{column} IS NOT NULL")


def _time_field(column: str, tree: Equals | Compares | Exists | Contains) -> Clause:
    match tree:
        case Equals(_, values):
            return _joined(" OR ", [_same_time(column, float(each or 0)) for _, each in values], _FALSE)
        case Compares(_, operator, bound):
            up = operator in ("$gt", "$lte")
            edge = float(bound) + (_HALF_MICROSECOND if up else -_HALF_MICROSECOND)
            return Clause(f"{column} {_OPERATORS[operator]} %s::float8", (edge,))
        case _:
            return Clause(f"{column} IS NOT NULL")


def _same_time(column: str, moment: float) -> Clause:
    return Clause(
        f"{column} BETWEEN %s::float8 AND %s::float8", (moment - _HALF_MICROSECOND, moment + _HALF_MICROSECOND)
    )


def _is_name(text: str) -> bool:
    return "\0" not in text and _is_storable(text)
