"""The agents registered with an orchestrator, and the validation of their settings."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from super_advanced_agents._runtime.remote.circuit_breaker import CircuitBreaker
from super_advanced_agents.config import checked_agent_name, checked_text
from super_advanced_agents.errors import AgentNotFoundError, InvalidInputError
from super_advanced_agents.orchestration.counters import MemberCounters
from super_advanced_agents.orchestration.protocols import SupportsAsk
from super_advanced_agents.types import JSONValue, Vector

_LABEL_BYTES = 256
_DESCRIPTION_BYTES = 4_096
_MAX_LABELS = 1_000
_MAX_NAMES = 32
_HEALTH = {"closed": "healthy", "half-open": "recovering", "open": "sick"}
_SEPARATORS = re.compile(r"[-_]+")


@dataclass(eq=False, slots=True, kw_only=True)
class Member:
    """Hold an agent registered with an orchestrator, its settings and its call statistics.

    Attributes:
        name: the agent's name in this orchestrator, which may differ from its own.
        agent: the object that answers.
        tasks: the tasks it is for, as `normalise_task` returns them; any task when empty.
        users: the ids of the only users it serves; all users when empty.
        routed: True if it takes part in operations that do not name it.
        description: a description of its abilities.
        breaker: refuses calls while the agent keeps failing.
        counters: counts its calls.
        vector: the model id and the embedding of `profile`, once they were needed.
    """

    name: str
    agent: SupportsAsk
    tasks: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    routed: bool = True
    description: str = ""
    breaker: CircuitBreaker
    counters: MemberCounters = field(default_factory=MemberCounters)
    vector: tuple[str, Vector] | None = None

    @property
    def profile(self) -> str:
        """The text to compare with questions: the agent's description, or else its name and tasks."""
        return self.description or _SEPARATORS.sub(" ", ", ".join([self.name, *sorted(self.tasks)]))

    def report(self) -> dict[str, JSONValue]:
        """Return the agent's health, call counts and latencies as a JSON object."""
        state = self.breaker.state
        return {
            "health": _HEALTH[state],
            "circuit": state,
            "failures_in_a_row": self.breaker.consecutive_failures,
            "retry_after_s": round(self.breaker.retry_after_s, 3),
            **self.counters.report(),
            "description": self.description,
            "tasks": list[JSONValue](sorted(self.tasks)),
        }


class Members:
    """Hold an orchestrator's agents by name, in the order of their registration. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}

    def add(self, member: Member) -> None:
        """Add an agent; raise an error if another agent has its name.

        Raises:
            InvalidInputError: there is an agent of that name already.
        """
        with self._lock:
            if member.name in self._members:
                raise InvalidInputError(
                    f"there is an agent {member.name!r} already",
                    field="name",
                    hint="choose another name, or unregister_agent first",
                )
            self._members[member.name] = member

    def remove(self, name: str) -> None:
        """Remove the agent with the given name; its running calls go on.

        Raises:
            AgentNotFoundError: there is no agent of that name.
        """
        with self._lock:
            if self._members.pop(name, None) is None:
                raise _not_found(name, list(self._members))

    def all(self) -> list[Member]:
        """Return all agents, in the order of their registration."""
        with self._lock:
            return list(self._members.values())

    def get(self, name: str) -> Member:
        """Return the agent with the given name.

        Raises:
            InvalidInputError: `name` is not a valid name.
            AgentNotFoundError: there is no agent of that name.
        """
        checked_agent_name(name, "name")
        with self._lock:
            member = self._members.get(name)
            if member is None:
                raise _not_found(name, list(self._members))
            return member

    def get_many(
        self, names: Sequence[str], *, repeated: bool = False, fields: Sequence[str] | None = None
    ) -> list[Member]:
        """Return the agents with the given names, in the order of the names.

        Args:
            names: 1 to 32 names.
            repeated: True if a name may occur more than once.
            fields: the arguments that the names come from, for error messages; `names[i]` when None.

        Raises:
            InvalidInputError: `names` is not a list of valid names, is empty or too long, or repeats a name.
            AgentNotFoundError: there is no agent of one of the names.
        """
        if isinstance(names, str) or not isinstance(names, Sequence) or not names:
            raise InvalidInputError("names must be a list of at least one agent's name", field="names")
        if len(names) > _MAX_NAMES:
            raise InvalidInputError(f"names holds {len(names)} names, more than {_MAX_NAMES}", field="names")
        for i, name in enumerate(names):
            field = f"names[{i}]" if fields is None else fields[i]
            checked_agent_name(name, field)
            if not repeated and name in names[:i]:
                raise InvalidInputError(f"{field} repeats {name!r}", field=field, hint="name each agent once")
        return [self.get(name) for name in names]


def normalise_task(task: str, field: str) -> str:
    """Convert the name of a task (a topic) to a comparable form: lower case and trimmed."""
    return checked_text(task, field, max_bytes=_LABEL_BYTES).strip().casefold()


def checked_user(user_id: str, field: str) -> str:
    """Check that a user's id is a text of at most 256 bytes and not blank; return it unchanged."""
    return checked_text(user_id, field, max_bytes=_LABEL_BYTES)


def checked_description(description: str) -> str:
    """Check that an agent's description is a text of at most 4,096 bytes, and return it."""
    if description == "":
        return ""
    return checked_text(description, "description", max_bytes=_DESCRIPTION_BYTES)


def checked_labels(labels: Sequence[str], field: str) -> Sequence[str]:
    """Check that `labels` is a list or set, not a string, of at most 1,000 items; return it."""
    if isinstance(labels, str) or not isinstance(labels, Sequence | set | frozenset) or len(labels) > _MAX_LABELS:
        raise InvalidInputError(f"{field} must be a list of at most {_MAX_LABELS} texts", field=field)
    return labels


def _not_found(name: str, known: list[str]) -> AgentNotFoundError:
    hint = "add it with register_agent"
    if known:
        hint = f"there are {', '.join(known[:8])}{' and others' if len(known) > 8 else ''}"
    return AgentNotFoundError(f"the orchestrator has no agent {name!r}", hint=hint)
