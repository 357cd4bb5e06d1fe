"""Slack's export: `users.json`, and a folder of days for each channel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.entries.fields import iso_time
from super_advanced_agents.formats.parts import Item, Part, PassedOver
from super_advanced_agents.types import JSONValue

_TIMESTAMP = re.compile(r"\d{9,11}\.\d{1,6}")
# Without "<" inside, so that text full of beginnings is searched in linear time.
_MENTION = re.compile(r"<([@#!])([^<>|]+)(?:\|([^<>]*))?>")
_LINK = re.compile(r"<([a-z]+:[^<>|]+)(?:\|([^<>]*))?>")
_SERVICE = frozenset(
    [f"channel_{what}" for what in ("join", "leave", "topic", "purpose", "name", "archive", "unarchive")]
    + [f"group_{what}" for what in ("join", "leave", "topic", "purpose", "name", "archive", "unarchive")]
    + ["bot_add", "bot_remove", "pinned_item", "reminder_add", "tombstone"]
)
_DIRECTORY_BYTES = 16 << 20


class _Workspace(NamedTuple):
    """Hold the names of a workspace's users by their ids, and its own id if all users have it."""

    users: Mapping[str, str]
    team: str = ""


def is_message(value: Any) -> bool:
    """Return whether a JSON value is a message of this export."""
    return (
        isinstance(value, dict)
        and value.get("type") == "message"
        and isinstance(value.get("ts"), str)
        and _TIMESTAMP.fullmatch(value["ts"]) is not None
    )


def is_directory(value: Any) -> bool:
    """Return whether a JSON value is a user or a channel of this export."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and isinstance(value.get("name"), str)
        and (("team_id" in value and "profile" in value) or ("members" in value and "creator" in value))
    )


def read_directory(_: Mapping[str, Any], __: Content) -> Iterator[Item]:
    """Pass over a user or a channel: their names stand at the messages."""
    yield PassedOver("users and channels")


def read_message(value: Mapping[str, Any], content: Content) -> Iterator[Item]:
    """Yield the turn that a message is; its channel is the name of the file's folder."""
    text = _text(value)
    if not text:
        yield PassedOver("messages without text")
        return
    if str(value.get("subtype")) in _SERVICE:
        yield PassedOver("service messages")
        return
    workspace = _workspace(content)
    users = workspace.users
    channel = PurePosixPath(content.name).parent.name or content.stem
    thread = value.get("thread_ts")
    metadata: dict[str, JSONValue] = {"channel": channel}
    if isinstance(thread, str):
        metadata["thread"] = thread
    yield Part(
        text=_plain(text, users),
        speaker=_speaker(value, users),
        created_at=iso_time(value["ts"]),
        session=" ".join(filter(None, (channel, thread if isinstance(thread, str) else None, workspace.team))),
        scope="everywhere" if workspace.team else "folder",
        key=value["ts"],
        is_global=bool(workspace.team),
        metadata=metadata,
    )


def _text(value: Mapping[str, Any]) -> str:
    # The messages of applications have their texts in attachments.
    text, attachments = value.get("text"), value.get("attachments")
    texts: list[object] = [text] if isinstance(text, str) and text.strip() else []
    for attachment in attachments if isinstance(attachments, list) and not texts else ():
        if isinstance(attachment, dict):
            texts += [attachment.get("title"), attachment.get("text") or attachment.get("fallback")]
    return "\n".join(each.strip() for each in texts if isinstance(each, str) and each.strip())


def _speaker(value: Mapping[str, Any], users: Mapping[str, str]) -> str:
    profile = value.get("user_profile")
    names = [profile.get("display_name"), profile.get("real_name")] if isinstance(profile, dict) else []
    user = value.get("user")
    bot = value.get("bot_profile")
    names += [users.get(str(user)), value.get("username"), bot.get("name") if isinstance(bot, dict) else None, user]
    return next((name for name in names if isinstance(name, str) and name.strip()), "unknown")


def _plain(text: str, users: Mapping[str, str]) -> str:
    def mention(match: re.Match[str]) -> str:
        kind, target, label = match.groups()
        if kind == "!":  # @here, a group of users, or a date, whose label is what was shown
            return label or f"@{target.partition('^')[0]}"
        return f"{kind}{label or users.get(target, target)}"

    text = _MENTION.sub(mention, text)
    text = _LINK.sub(lambda match: f"{match[2]} ({match[1]})" if match[2] else match[1], text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def _workspace(content: Content) -> _Workspace:
    # Kept with the file of users, since each day of each channel needs it.
    directory = content.beside("../users.json")
    if directory is None:
        return _Workspace({})
    known: _Workspace | None = directory.notes.get("workspace")
    if known is None:
        known = directory.notes["workspace"] = _read_workspace(directory)
    return known


def _read_workspace(directory: Content) -> _Workspace:
    try:
        users = json.loads(directory.text(_DIRECTORY_BYTES))
    except (ValueError, RecursionError):  # a file that is not understood is reported where it is imported itself
        return _Workspace({})
    names: dict[str, str] = {}
    teams: set[str | None] = set()
    for user in users if isinstance(users, list) else []:
        if isinstance(user, dict) and isinstance(user.get("id"), str):
            found = user.get("profile")
            profile = found if isinstance(found, dict) else {}
            name = profile.get("display_name") or user.get("real_name") or profile.get("real_name")
            names[user["id"]] = str(name or user.get("name") or user["id"])
            team_id = user.get("team_id")
            teams.add(team_id if isinstance(team_id, str) else None)
    # With guests from other workspaces among the users, the workspace of a channel is not known.
    team = teams.pop() if len(teams) == 1 else None
    return _Workspace(names, team or "")
