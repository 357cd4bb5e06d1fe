"""JSON bodies, made of the dataclasses of requests: their fields, types and defaults are the members.

A body takes exactly what is named: no other members, no numbers in strings. What values may be is the library's to
check, so that every protocol refuses the same with the same field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, create_model

from super_advanced_agents.config import LIMITS
from super_advanced_agents.server.http.packed_vectors import FLOAT_BYTES, unpacked, unpacked_all
from super_advanced_agents.server.http.schemas.examples import DESCRIPTIONS


class Body(BaseModel):
    """A JSON object that says what a dataclass holds.

    Attributes:
        kind: the dataclass.
        said_names: its fields that the body says.
        vectors_in: those that are one vector.
        matrices_in: those that are many.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: ClassVar[type[Any]] = NoneType
    said_names: ClassVar[frozenset[str]] = frozenset()
    vectors_in: ClassVar[frozenset[str]] = frozenset()
    matrices_in: ClassVar[frozenset[str]] = frozenset()

    def arguments(self, within: str = "") -> dict[str, Any]:
        """Return what the body says as arguments of the dataclass; what it leaves out has its default.

        Args:
            within: what leads to this object in the whole body, for errors.
        """
        return {
            name: self._argument(name, f"{within}{name}")
            for name in self.said_names
            if name in self.__pydantic_fields_set__
        }

    def made(self, within: str = "", **others: Any) -> Any:
        """Make the dataclass, of the body and other arguments."""
        return self.kind(**{**self.arguments(within), **others})

    def _argument(self, name: str, field: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, Body):
            return value.made(f"{field}.")
        if isinstance(value, list) and value and isinstance(value[0], Body):
            return [each.made(f"{field}[{i}].") for i, each in enumerate(value)]
        if name in self.vectors_in and value is not None:
            return unpacked(value, field)
        return unpacked_all(value, field) if name in self.matrices_in else value


class Parameters(Body):
    """The parameters of a request's URL; all of them are text."""

    model_config = ConfigDict(strict=False)


def _vector_form(vector: object) -> str:
    return "<base64>" if isinstance(vector, str) else "<numbers>"


Vector = Annotated[
    Annotated[list[float], Field(max_length=LIMITS.dim), Tag("<numbers>")]
    | Annotated[str, Field(max_length=LIMITS.dim * FLOAT_BYTES * 2), Tag("<base64>")],
    Discriminator(_vector_form),
    Field(description="Numbers, or base64 of them as little-endian float32: a fifth of the size, and exact."),
]
"""One vector as it travels. The tags stay out of error messages."""


def body_of(
    kind: type[Any], name: str, *, without: Sequence[str] = (), base: type[Body] = Body, **others: Any
) -> type[Body]:
    """Make the body of a dataclass.

    Args:
        kind: the dataclass.
        name: what the body is called in the OpenAPI document.
        without: fields that the body does not say.
        base: what it is made of.
        others: further members, each `(type, default)`; of a field's name, in its place.
    """
    stated = [each for each in dataclasses.fields(kind) if each.init and each.name not in without]
    hints = get_type_hints(kind)
    members = {each.name: (_form_of(hints[each.name], each), _default(each)) for each in stated}
    for member, (form, default) in others.items():
        members[member] = (form, Field(default, description=DESCRIPTIONS.get(member)))
    model: type[Body] = create_model(name, __base__=base, __doc__=_summary_of(kind), __module__=__name__, **members)  # type: ignore[call-overload]  # members as they come
    arrays = {each.name: str(each.type) for each in stated if _is_array(hints[each.name])}
    model.kind = kind
    model.said_names = frozenset(each.name for each in stated)
    model.matrices_in = frozenset(name for name, said in arrays.items() if "Matrix" in said)
    model.vectors_in = frozenset(arrays) - model.matrices_in
    return model


def _summary_of(kind: type[Any]) -> str:
    """Return what a dataclass says of itself, without where else to look."""
    first = (kind.__doc__ or "").partition("\n")[0]
    said, _, _ = first.partition("; see `")
    return said.rstrip(".") + "."


def _default(each: dataclasses.Field[Any]) -> Any:
    about = DESCRIPTIONS.get(each.name)
    if each.default_factory is not dataclasses.MISSING:
        return Field(default_factory=each.default_factory, description=about)
    if each.default is dataclasses.MISSING:
        return Field(..., description=about)
    return Field(None if each.default is ... else each.default, description=about)


_NESTED: dict[type[Any], type[BaseModel]] = {}
"""Bodies of dataclasses within others."""


def _form_of(hint: Any, each: dataclasses.Field[Any] | None = None) -> Any:
    """Return the type of a member of a body whose field has the type `hint`."""
    if hint in (..., EllipsisType):
        return NoneType
    if _is_array(hint) and get_origin(hint) not in (Union, UnionType):
        return list[Vector] if each is not None and "Matrix" in str(each.type) else Vector
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        forms = [_form_of(one, each) for one in get_args(hint) if one is not EllipsisType]
        return Union[tuple(forms)]  # noqa: UP007  # of as many as there are
    if origin is Literal or hint is NoneType:
        return hint
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return dict[str, JsonValue]
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return list[_form_of(get_args(hint)[0])]  # type: ignore[misc]  # made of a value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if hint not in _NESTED:
            _NESTED[hint] = body_of(hint, f"{hint.__name__}In")
        return _NESTED[hint]
    return hint


def _is_array(hint: Any) -> bool:
    return get_origin(hint) is np.ndarray or any(get_origin(one) is np.ndarray for one in get_args(hint))
