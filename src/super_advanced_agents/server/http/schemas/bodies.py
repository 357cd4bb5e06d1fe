"""Pydantic models of JSON bodies, generated from the request dataclasses.

Their fields, types and defaults become the members. A body accepts exactly these members: no others, and no numbers in
strings. The library validates the values themselves, so that every protocol refuses the same values with the same
field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model

from super_advanced_agents.config import LIMITS
from super_advanced_agents.server.http.packed_vectors import FLOAT_BYTES, unpack_vector, unpack_vectors
from super_advanced_agents.server.http.schemas.examples import DESCRIPTIONS
from super_advanced_agents.server.http.schemas.strict import StrictBody


class Body(StrictBody):
    """Base class of JSON body models, which validate a body and build the request's dataclass.

    Attributes:
        target: the dataclass.
        target_fields: the fields of the dataclass that are members of the body.
        vector_fields: the fields that hold one vector.
        matrix_fields: the fields that hold several vectors.
    """

    target: ClassVar[type[Any]] = NoneType
    target_fields: ClassVar[frozenset[str]] = frozenset()
    vector_fields: ClassVar[frozenset[str]] = frozenset()
    matrix_fields: ClassVar[frozenset[str]] = frozenset()

    def build_arguments(self, prefix: str = "") -> dict[str, Any]:
        """Return the body fields that the client sent, as arguments for the request's dataclass.

        Args:
            prefix: the path of this object in the whole body, for errors.
        """
        return {
            name: self._argument(name, f"{prefix}{name}")
            for name in self.target_fields
            if name in self.__pydantic_fields_set__
        }

    def build(self, prefix: str = "", **others: Any) -> Any:
        """Build the request's dataclass from the fields the client sent; `others` override them."""
        return self.target(**{**self.build_arguments(prefix), **others})

    def _argument(self, name: str, field: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, Body):
            return value.build(f"{field}.")
        if isinstance(value, list) and value and isinstance(value[0], Body):
            return [item.build(f"{field}[{i}].") for i, item in enumerate(value)]
        if name in self.vector_fields and value is not None:
            return unpack_vector(value, field)
        return unpack_vectors(value, field) if name in self.matrix_fields else value


class Parameters(Body):
    """Base class of query parameter models, which convert the text to the fields' types."""

    model_config = ConfigDict(strict=False)


def _vector_tag(vector: object) -> str:
    return "<base64>" if isinstance(vector, str) else "<numbers>"


Vector = Annotated[
    Annotated[list[float], Field(fail_fast=True, max_length=LIMITS.dim), Tag("<numbers>")]
    | Annotated[str, Field(max_length=LIMITS.dim * FLOAT_BYTES * 2), Tag("<base64>")],
    Discriminator(_vector_tag),
    Field(description="Numbers, or base64 of them as little-endian float32, which is exact and a fifth of the size."),
]
"""One vector in JSON. The tags in `<>` are removed from error messages."""


def _unchanged(value: Any) -> Any:
    return value


_Object = Annotated[dict[str, Any], BeforeValidator(_unchanged)]
"""A JSON object; the parser has made sure of its values.

The function lets other threads run between two objects of a list, as `StrictBody` does between its models.
"""


def body_of(
    target: type[Any], name: str, *, without: Sequence[str] = (), base: type[Body] = Body, **others: Any
) -> type[Body]:
    """Create the pydantic model of a JSON body from a request dataclass.

    Args:
        target: the dataclass.
        name: the name of the model in the OpenAPI document.
        without: fields of the dataclass that are not members of the body.
        base: the base class of the model.
        others: further members, each `(type, default)`; one that has the name of a field replaces it.
    """
    fields = [field for field in dataclasses.fields(target) if field.init and field.name not in without]
    hints = get_type_hints(target)
    members = {field.name: (_member_type(hints[field.name], field), _default(field)) for field in fields}
    for member, (member_type, default) in others.items():
        members[member] = (member_type, Field(default, description=DESCRIPTIONS.get(member)))
    model: type[Body] = create_model(name, __base__=base, __doc__=_summary(target), __module__=__name__, **members)  # type: ignore[call-overload]  # the members are computed
    arrays = {field.name: str(field.type) for field in fields if _is_array(hints[field.name])}
    model.target = target
    model.target_fields = frozenset(field.name for field in fields)
    model.matrix_fields = frozenset(name for name, annotation in arrays.items() if "Matrix" in annotation)
    model.vector_fields = frozenset(arrays) - model.matrix_fields
    return model


def _summary(target: type[Any]) -> str:
    # References to Python classes mean nothing in the OpenAPI document.
    first_line = (target.__doc__ or "").partition("\n")[0]
    summary, _, _ = first_line.partition("; see `")
    return summary.rstrip(".") + "."


def _default(field: dataclasses.Field[Any]) -> Any:
    description = DESCRIPTIONS.get(field.name)
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory, description=description)
    if field.default is dataclasses.MISSING:
        return Field(..., description=description)
    return Field(None if field.default is ... else field.default, description=description)


_NESTED: dict[type[Any], type[BaseModel]] = {}
"""The models of dataclasses that are members of other bodies, by dataclass."""


def _member_type(hint: Any, field: dataclasses.Field[Any] | None = None) -> Any:
    if hint in (..., EllipsisType):
        return NoneType
    if _is_array(hint) and get_origin(hint) not in (Union, UnionType):
        return (
            Annotated[list[Vector], Field(fail_fast=True)]
            if field is not None and "Matrix" in str(field.type)
            else Vector
        )
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        types = [_member_type(option, field) for option in get_args(hint) if option is not EllipsisType]
        return Union[tuple(types)]  # noqa: UP007  # their number varies
    if origin is Literal or hint is NoneType:
        return hint
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _Object
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return Annotated[list[_member_type(get_args(hint)[0])], Field(fail_fast=True)]  # type: ignore[misc]  # computed at run time
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if hint not in _NESTED:
            _NESTED[hint] = body_of(hint, f"{hint.__name__}In")
        return _NESTED[hint]
    return hint


def _is_array(hint: Any) -> bool:
    return get_origin(hint) is np.ndarray or any(get_origin(option) is np.ndarray for option in get_args(hint))
