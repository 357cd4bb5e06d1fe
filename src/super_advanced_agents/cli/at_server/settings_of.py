"""Settings of a server's agents and collections, as items of an export and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, TypeVar

from super_advanced_agents.config import DEFAULT_TENANT, checked_agent_name, checked_name
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.requests import CreateCollectionRequest, PutAgentRequest
from super_advanced_agents.stores.transfer.layout import Item
from super_advanced_agents.types import AgentInfo, CollectionInfo

T = TypeVar("T")


def agent_item(agent: AgentInfo) -> Item:
    """Return the item of an export with an agent's settings."""
    settings = {field.name: getattr(agent, field.name) for field in fields(PutAgentRequest)}
    members = {"kind": "agent", "tenant": DEFAULT_TENANT, "name": agent.name, "settings": settings}
    return {**members, "updated_at": agent.updated_at}


def collection_item(collection: CollectionInfo) -> Item:
    """Return the item of an export with a collection's settings."""
    return {"kind": "collection", "tenant": DEFAULT_TENANT, **asdict(collection)}


def agent_settings(item: Item) -> tuple[str, PutAgentRequest]:
    """Return the name of an agent in an export, and the request that stores its settings.

    Raises:
        InvalidInputError: the item is damaged.
    """
    settings = item.get("settings")
    if not isinstance(settings, dict):
        raise InvalidInputError("its settings are not an object", field="settings")
    return checked_agent_name(_text(item), "name"), _request(PutAgentRequest, settings)


def collection_settings(item: Item) -> CreateCollectionRequest:
    """Return the request that creates a collection of an export where it is missing.

    Raises:
        InvalidInputError: the item is damaged, or of an unknown kind.
    """
    if item.get("kind") != "collection":
        raise InvalidInputError("it is of an unknown kind", field="kind")
    checked_name(_text(item), "name")
    values = {name: value for name, value in item.items() if name not in {"kind", "created_at", "tenant"}}
    return _request(CreateCollectionRequest, {**values, "exist_ok": True})


def _text(item: Item) -> str:
    name = item.get("name")
    if not isinstance(name, str):
        raise InvalidInputError("it has no name", field="name")
    return name


def _request(kind: type[T], values: dict[str, Any]) -> T:
    unknown = values.keys() - {field.name for field in fields(kind)}  # type: ignore[arg-type]  # they are dataclasses
    if unknown:
        raise InvalidInputError(f"it has the unknown member {min(unknown)!r:.64}", field="settings")
    try:
        return kind(**values)
    except TypeError as exc:
        raise InvalidInputError("a member of its settings is missing", field="settings") from exc
