"""Pydantic schemas of this package's data classes; pydantic is imported only when used."""

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
"""The fields of a search result as a JSON object; the metadata does not repeat the text."""

OPTIONAL_MATCH_MEMBERS = ("similarity", "source", "session", "created_at", "updated_at")
"""The fields of a search result that are None where they are not known."""

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
"""The fields of a record as a JSON object, with their types."""


def object_schema(
    cls: type,
    members: Mapping[str, Any],
    handler: Any,
    *,
    to_object: Callable[[Any], dict[str, object]],
    of_object: Callable[[dict[str, Any]], object],
) -> Any:
    """Build the pydantic schema that converts a class's instances to JSON objects and back.

    Args:
        cls: the class; its instances are accepted unchanged.
        members: the names and types of the JSON object's fields.
        handler: the handler that pydantic passes to `__get_pydantic_core_schema__`.
        to_object: makes the object of an instance.
        of_object: makes an instance from an object, which it may change.
    """
    from pydantic_core import core_schema

    object_fields = core_schema.typed_dict_schema(
        {name: core_schema.typed_dict_field(handler.generate_schema(hint)) for name, hint in members.items()},
        cls_name=cls.__name__,
    )
    return core_schema.union_schema(
        [
            core_schema.is_instance_schema(cls),
            core_schema.no_info_after_validator_function(of_object, object_fields),
        ],
        serialization=core_schema.plain_serializer_function_ser_schema(to_object, return_schema=object_fields),
    )
