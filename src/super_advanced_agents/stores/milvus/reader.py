"""Reads other than searches: records by uid, counts, pages, namespaces and statistics."""

from __future__ import annotations

import time
from collections import Counter

from super_advanced_agents._runtime.concurrency.budget import answer_allowance
from super_advanced_agents.config import Limits
from super_advanced_agents.stores.milvus.expressions import among, every
from super_advanced_agents.stores.milvus.rows import RECORD_COLUMNS, primary_key, record_of, size_of
from super_advanced_agents.stores.milvus.table import Table
from super_advanced_agents.stores.records.answer_sizes import AnswerNeedsReservationError, Page, answer_too_large
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.requests import GetRequest, ScanRequest
from super_advanced_agents.stores.validation import model_mismatch
from super_advanced_agents.types import Record

_BLOCK = 64
"""The records that are read before their bytes are counted: 5 MiB at most."""
_MODEL_KNOWN_S = 2.0
"""The seconds for which a search does not ask again which model a namespace has.

A write of this process ends them.
"""
_MAX_MODELS = 10_000


class Reader:
    """Read records, counts and statistics. Its methods block, so only worker threads call them.

    Args:
        table: the rows.
        dim: the length of a vector.
        limits: the limits of an answer.
    """

    def __init__(self, table: Table, *, dim: int, limits: Limits) -> None:
        self._table = table
        self._dim = dim
        self._limits = limits
        self._models: dict[tuple[str, str, str], tuple[int, float]] = {}

    def get(self, request: GetRequest) -> list[Record]:
        """Return the records with these uids, in the given order; unknown ones are left out.

        Raises:
            InvalidInputError: they are larger than an answer may be.
        """
        tenant, uids = request.tenant, list(dict.fromkeys(request.uids))
        times, left, most = Counter(request.uids), self._limits.answer_bytes, answer_allowance()
        limited = most is not None and most < left
        left = left if most is None else min(most, left)
        live = self._table.live(tenant, request.namespace)
        by_uid: dict[str, list[Record]] = {}
        for start in range(0, len(uids), _BLOCK):
            wanted = uids[start : start + _BLOCK]
            if request.namespace is None:
                chosen = among("uid", wanted)
            else:
                scope = Scope(tenant, request.namespace)
                chosen = among("pk", [primary_key(scope, uid) for uid in wanted])
            for row in self._table.rows(tenant, every(live, chosen), RECORD_COLUMNS):
                left -= size_of(row, self._dim, request.number_bytes) * times[row["uid"]]
                if left < 0 and limited:
                    raise AnswerNeedsReservationError
                if left < 0:
                    raise answer_too_large(self._limits, "uids", "ask for fewer uids in one call")
                by_uid.setdefault(row["uid"], []).append(record_of(row))
        return [record for uid in request.uids for record in sorted(by_uid.get(uid, ()), key=lambda r: r.namespace)]

    def scan(self, request: ScanRequest) -> Page:
        """Return one page of the records of a namespace that match a filter, ordered by uid.

        It ends early when it has `page_bytes`. Records of several namespaces with the same uid are on one page.

        Raises:
            InvalidInputError: the records of one uid are larger than an answer may be.
        """
        listed = self._table.uids_after(
            request.tenant, request.namespace, request.tree, request.after or "", request.limit
        )
        page, size, most = Page(), 0, answer_allowance()
        for start in range(0, len(listed), _BLOCK):
            block = listed[start : start + _BLOCK]
            rows = self._table.by_key(request.tenant, [pk for _, pk in block], RECORD_COLUMNS)
            for row in sorted(rows.values(), key=lambda row: (row["uid"], row["namespace"])):
                if size >= self._limits.page_bytes and row["uid"] != page[-1].uid:
                    page.cut = True
                    return page
                page.append(record_of(row))
                size += size_of(row, self._dim, request.number_bytes)
                if most is not None and size > most and len(page) > 1:
                    raise AnswerNeedsReservationError
            if size > self._limits.page_bytes + self._limits.answer_bytes:  # of one uid in very many namespaces
                raise answer_too_large(self._limits, "namespace", "name one namespace")
        return page

    def check_model(self, tenant: str, namespace: str, model_id: str) -> None:
        """Raise if a namespace has vectors of another embedding model than `model_id`.

        Raises:
            ModelMismatchError: it has such a vector.
        """
        key, known = (tenant, namespace, model_id), (self._table.connection.last_write(tenant), time.monotonic())
        last_write, checked_at = self._models.get(key, (-1, 0.0))
        if last_write == known[0] and known[1] < checked_at + _MODEL_KNOWN_S:
            return
        others = f"not ({among('model_id', ['', model_id])})"
        rows = self._table.some(tenant, every(self._table.live(tenant, namespace), others), ["model_id"], 1)
        if rows:
            raise model_mismatch(namespace, rows[0]["model_id"], model_id)
        if len(self._models) >= _MAX_MODELS:
            self._models.clear()
        self._models[key] = known

    def namespaces(self, tenant: str, limit: int) -> list[str]:
        """Return the first namespaces by name in which a tenant has unexpired records."""
        return sorted(self._table.distinct(tenant, self._table.live(tenant), "namespace"))[:limit]

    def tenants(self) -> list[str]:
        """Return the names of the tenants that have unexpired records, sorted.

        The name of the default tenant is empty.
        """
        return sorted(self._table.distinct(None, self._unexpired, "tenant"))

    def count_all(self) -> int:
        """Count the unexpired records of all tenants."""
        return self._table.count(None, self._unexpired)

    @property
    def _unexpired(self) -> str:
        return f"expires_at > {self._table.clock.now()!r}"
