"""The agents of an orchestrator: what each is for, and how it has been doing."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from super_advanced_agents.config import checked_name, checked_text
from super_advanced_agents.errors import AgentNotFoundError, InvalidInputError
from super_advanced_agents.orchestration.circuit_breaker import CircuitBreaker
from super_advanced_agents.orchestration.counters import MemberCounters
from super_advanced_agents.orchestration.protocols import SupportsAsk
from super_advanced_agents.types import JSONValue, Vector

_LABEL_BYTES = 256
_DESCRIPTION_BYTES = 4_096
_MOST_LABELS = 1_000
_MOST_NAMES = 32
_HEALTH = {"closed": "healthy", "half-open": "recovering", "open": "sick"}
_SEPARATORS = re.compile(r"[-_]+")


@dataclass(eq=False, slots=True, kw_only=True)
class Member:
    """One registered agent.

    Attributes:
        name: what it is called here; its own name may be another.
        agent: what answers.
        tasks: what it is for, as `same_label` writes it.
        users: whom alone it serves; everybody when empty.
        routed: whether it is asked without being named.
        description: what it does, in words.
        breaker: whether it is fit to be asked.
        tally: what became of its calls.
        vector: the description's meaning and the model that made it, once somebody needed it.
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
    def about(self) -> str:
        """The text whose meaning says what it does: its description, or else its name and tasks."""
        return self.description or _SEPARATORS.sub(" ", ", ".join([self.name, *sorted(self.tasks)]))

    def report(self) -> dict[str, JSONValue]:
        """Its health, counts and latencies."""
        state = self.breaker.state
        return {
            "health": _HEALTH[state],
            "circuit": state,
            "failures_in_a_row": self.breaker.in_a_row,
            "retry_after_s": round(self.breaker.retry_after_s, 3),
            **self.counters.report(),
            "description": self.description,
            "tasks": list[JSONValue](sorted(self.tasks)),
        }


class Members:
    """Agents by name, in the order of their registration. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}

    def add(self, member: Member) -> None:
        """Register one.

        Raises:
            InvalidInputError: the name is taken.
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
        """Forget one; what it is doing now goes on.

        Raises:
            AgentNotFoundError: there is none of that name.
        """
        with self._lock:
            if self._members.pop(name, None) is None:
                raise _unknown(name, list(self._members))

    def all(self) -> list[Member]:
        """Everybody."""
        with self._lock:
            return list(self._members.values())

    def get(self, name: str) -> Member:
        """One by name; raises as `named` does."""
        checked_name(name, "name")
        with self._lock:
            member = self._members.get(name)
            if member is None:
                raise _unknown(name, list(self._members))
            return member

    def named(
        self, names: Sequence[str], *, repeated: bool = False, fields: Sequence[str] | None = None
    ) -> list[Member]:
        """These, in this order.

        Args:
            names: one at least, 32 at most.
            repeated: one may be named more than once.
            fields: the arguments they come from, for messages; `names[i]` when None.

        Raises:
            InvalidInputError: `names` is no list of names, or empty, too long, or repeats one.
            AgentNotFoundError: nobody has one of the names.
        """
        if isinstance(names, str) or not isinstance(names, Sequence) or not names:
            raise InvalidInputError("names must be a list of at least one agent's name", field="names")
        if len(names) > _MOST_NAMES:
            raise InvalidInputError(f"names holds {len(names)} names, more than {_MOST_NAMES}", field="names")
        for i, name in enumerate(names):
            field = f"names[{i}]" if fields is None else fields[i]
            checked_name(name, field)
            if not repeated and name in names[:i]:
                raise InvalidInputError(f"{field} names {name!r} again", field=field, hint="name it once")
        return [self.get(name) for name in names]


def same_label(label: str, field: str) -> str:
    """A task as it is compared: without regard to case and outer white space."""
    return checked_text(label, field, max_bytes=_LABEL_BYTES).strip().casefold()


def checked_user(user_id: str, field: str) -> str:
    """A user's id, compared as it is."""
    return checked_text(user_id, field, max_bytes=_LABEL_BYTES)


def checked_description(description: str) -> str:
    """What an agent says it does; nothing is fine."""
    if description == "":
        return ""
    return checked_text(description, "description", max_bytes=_DESCRIPTION_BYTES)


def checked_labels(labels: Sequence[str], field: str) -> Sequence[str]:
    """A list of strings, which one string is not."""
    if isinstance(labels, str) or not isinstance(labels, Sequence | set | frozenset) or len(labels) > _MOST_LABELS:
        raise InvalidInputError(f"{field} must be a list of at most {_MOST_LABELS} texts", field=field)
    return labels


def _unknown(name: str, known: list[str]) -> AgentNotFoundError:
    hint = (
        f"there are {', '.join(known[:8])}{' and others' if len(known) > 8 else ''}" if known else "register_agent it"
    )
    return AgentNotFoundError(f"the orchestrator has no agent {name!r}", hint=hint)
