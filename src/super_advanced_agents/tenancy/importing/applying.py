"""The steps of an import's plan, taken in order; each batch is durable before the next."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby

from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.tenancy.importing.interrupted import remaining_uids, stored_uids
from super_advanced_agents.tenancy.importing.plan import Delete, Order, Plan, Relocate, Reorder, Step, Store
from super_advanced_agents.tenancy.importing.summary import RejectedLine, SourceLocation, Summary
from super_advanced_agents.tenancy.importing.target import Target, scan_all
from super_advanced_agents.types import Relocation

_STORE_BATCH = LIMITS.batch_records  # an embedding engine idles at the end of each call: 6% of the time at 256
_LEAST_STORE_BATCH = 64
_BAR_STEPS = 10  # a bar moves when a batch is durable
_BATCH = 256  # a local agent reads them with vectors and texts of 64 KiB at most
_INDEX = re.compile(r"^\w+\[(\d+)\]")


class Applier:
    """Take the steps of a plan.

    It may be interrupted (Ctrl-C): what was stored until then stays, the summary counts exactly that, and the next
    import does the rest.

    Args:
        target: the agent whose memories change.
        summary: counts what is stored and rejected.
        on_stored: called with the number of memories that have become durable since the last call.
        on_rejected: called with each memory that the store refuses.
    """

    def __init__(
        self,
        target: Target,
        *,
        summary: Summary,
        on_stored: Callable[[int], None],
        on_rejected: Callable[[RejectedLine], None],
    ) -> None:
        self._target = target
        self._summary = summary
        self._on_stored = on_stored
        self._on_rejected = on_rejected

    def apply(self, plan: Plan) -> None:
        """Take all steps of a plan."""
        for kind, steps in _batches(plan):
            if kind is Store:
                self._store([step for step in steps if isinstance(step, Store)])
            elif kind is Relocate:
                self._relocate([step for step in steps if isinstance(step, Relocate)])
            elif kind is Delete:
                self._delete([step.uid for step in steps if isinstance(step, Delete)])
            else:
                for step in steps:
                    if isinstance(step, Reorder):
                        self._reorder(step)
                    elif isinstance(step, Order):
                        self._target.relocate_memories(order=step.uids)

    def _store(self, steps: list[Store]) -> None:
        summary = self._summary
        before = summary.stored, summary.replaced
        try:
            self._store_valid(steps)
        except BaseException:  # Ctrl-C may come after the batch has become durable
            uids = stored_uids(self._target, [step.memory for step in steps])
            stored = [step for step in steps if step.memory.uid in uids]
            summary.stored = before[0] + len(stored)
            summary.replaced = before[1] + sum(step.replaces for step in stored)
            raise

    def _delete(self, uids: list[str]) -> None:
        before = self._summary.deleted
        try:
            self._target.forget(uids)
            self._summary.deleted = before + len(uids)
        except BaseException:
            self._summary.deleted = before + len(uids) - len(remaining_uids(self._target, uids))
            raise

    def _store_valid(self, steps: list[Store]) -> None:
        while steps:
            try:
                self._target.add_text_memories([step.memory for step in steps])
            except InvalidInputError as exc:
                steps = self._without_invalid(steps, exc)
                continue
            self._summary.stored += len(steps)
            self._summary.replaced += sum(step.replaces for step in steps)
            self._on_stored(len(steps))
            return

    def _without_invalid(self, steps: list[Store], exc: InvalidInputError) -> list[Store]:
        # Returns the steps to try again: those without the invalid one, or none when the store refuses all of them.
        index = _INDEX.match(exc.field)
        invalid = int(index[1]) if index else len(steps)
        refused = steps[invalid : invalid + 1] or steps
        why = exc.message.removeprefix(exc.field).strip() if invalid < len(steps) else exc.message
        for step in refused:
            rejected = RejectedLine(SourceLocation(step.source, step.line), why)
            self._summary.reject(rejected)
            self._on_rejected(rejected)
            self._on_stored(1)  # counted as done, so that the bar reaches its end
        return [*steps[:invalid], *steps[invalid + 1 :]] if invalid < len(steps) else []

    def _relocate(self, steps: list[Relocate]) -> None:
        self._target.relocate_memories(
            [
                Relocation(
                    uid=step.uid,
                    source=step.source,
                    session=step.session,
                    extra={"lines": None, "turn": None, **step.place},
                )
                for step in steps
            ]
        )

    def _reorder(self, step: Reorder) -> None:
        # The session keeps the places that its turns had: the first turn of the file gets the first of them.
        turns: list[tuple[int, str]] = []
        for record in scan_all(self._target, {"file_id": step.file_id, "session": step.session}):
            turn = record.metadata.get("turn")
            if isinstance(turn, int):
                turns.append((turn, record.uid))
        self._target.relocate_memories(order=[uid for _, uid in sorted(turns)])


def _batches(plan: Plan) -> Iterator[tuple[type[Step], list[Step]]]:
    store_batch = min(_STORE_BATCH, max(_LEAST_STORE_BATCH, plan.to_store // _BAR_STEPS))
    for kind, steps in groupby(plan, key=type):
        batch: list[Step] = []
        for step in steps:
            batch.append(step)
            if len(batch) == (store_batch if kind is Store else _BATCH):
                yield kind, batch
                batch = []
        if batch:
            yield kind, batch
