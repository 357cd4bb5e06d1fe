"""How pydantic takes and gives values of the library: as JSON objects. Imports pydantic only when it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MATCH_MEMBERS: Mapping[str, Any] = {
    "uid": str,
    "text": str | None,
    "score": float,
    "similarity": float | None,
    "metadata": dict[str, Any],
    "source": str | None,
    "session": str | None,
    "created_at": float | None,
    "updated_at": float | None,
}
"""A search result as JSON; the text is not in the metadata too."""

ABOUT_A_MATCH = ("similarity", "source", "session", "created_at", "updated_at")
"""What it tells beside its text and metadata; each is None where it is not known."""

RECORD_MEMBERS: Mapping[str, Any] = {
    "uid": str,
    "vector": list[float],
    "metadata": dict[str, Any],
    "namespace": str,
    "model_id": str | None,
    "source": str | None,
    "session": str | None,
    "created_at": float,
    "updated_at": float,
    "expires_at": float | None,
    "priority": float | None,
    "place": int | None,
}
"""A whole record as JSON."""


def object_schema(
    cls: type,
    members: Mapping[str, Any],
    handler: Any,
    *,
    to_object: Callable[[Any], dict[str, object]],
    of_object: Callable[[dict[str, Any]], object],
) -> Any:
    """Return pydantic's schema of a class whose values are JSON objects.

    Args:
        cls: the class; its own values pass as they are.
        members: the types of the object's members.
        handler: as pydantic hands it over.
        to_object: makes an object of a value.
        of_object: makes a value of an object, which it may change.
    """
    from pydantic_core import core_schema

    form = core_schema.typed_dict_schema(
        {name: core_schema.typed_dict_field(handler.generate_schema(hint)) for name, hint in members.items()},
        cls_name=cls.__name__,
    )
    return core_schema.union_schema(
        [
            core_schema.is_instance_schema(cls),
            core_schema.no_info_after_validator_function(of_object, form),
        ],
        serialization=core_schema.plain_serializer_function_ser_schema(to_object, return_schema=form),
    )
