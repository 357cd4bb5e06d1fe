"""The base class of all models of JSON bodies."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

_MAX_MEMBERS = 1_000
_MAX_ITEMS = 100_000


class StrictBody(BaseModel):
    """A model that accepts exactly its members, no others, and no numbers in strings.

    What is far beyond any limit is refused before it is validated: a million errors take seconds to report.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_masses(cls, data: Any) -> Any:
        # A function in Python also lets other threads run between two members of a long list: pydantic itself keeps
        # the GIL, 50 ms for 1,000 memories.
        if isinstance(data, dict):
            if len(data) > _MAX_MEMBERS:
                raise PydanticCustomError("members", "holds more than {limit} members", {"limit": _MAX_MEMBERS})
            for name, value in data.items():
                if isinstance(value, list) and len(value) > _MAX_ITEMS:
                    raise PydanticCustomError(
                        "items", "{name} holds more than {limit} items", {"name": name[:64], "limit": _MAX_ITEMS}
                    )
        return data
