"""The rows that this client wrote a moment ago, which the next reads of them must wait for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

_MAX_NAMES = 10_000
_MAX_OF_ALL_TENANTS = 60_000


@dataclass(slots=True)
class _Recent:
    settled: int
    turned_at: int
    young: set[Hashable] = field(default_factory=set)
    old: set[Hashable] = field(default_factory=set)

    @property
    def size(self) -> int:
        return len(self.young) + len(self.old)


class RecentWrites:
    """Find the timestamp that a read must wait for, so that it sees this client's writes.

    A read that waits for the newest write takes until the next tick of the server, 200 ms by default. A read of rows
    that are not remembered here waits only for the newest write that was forgotten, which has ended long ago. Only
    the writer thread uses this object.
    """

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, _Recent] = OrderedDict()

    def note(self, tenant: str, names: Iterable[Hashable], last_write: int) -> None:
        """Remember the rows of a write that is about to begin.

        Args:
            tenant: the tenant.
            names: the primary keys, and other names by which rows are read.
            last_write: the timestamp of the tenant's last write before.
        """
        recent = self._tenants.setdefault(tenant, _Recent(last_write, last_write))
        self._tenants.move_to_end(tenant)
        if len(recent.young) > _MAX_NAMES:  # what is forgotten was written until the last turn
            recent.settled, recent.turned_at = recent.turned_at, last_write
            recent.young, recent.old = set(), recent.young
        recent.young.update(names)
        while len(self._tenants) > 1 and sum(each.size for each in self._tenants.values()) > _MAX_OF_ALL_TENANTS:
            self._tenants.popitem(last=False)

    def since(self, tenant: str, names: Iterable[Hashable]) -> int | None:
        """Return the timestamp of the write that a read of these must wait for.

        None stands for the tenant's last write.
        """
        recent = self._tenants.get(tenant)
        if recent is None or any(name in recent.young or name in recent.old for name in names):
            return None
        return recent.settled
