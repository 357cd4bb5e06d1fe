"""`Scope`: the tenant and the namespace of a record."""

from __future__ import annotations

from typing import NamedTuple

from super_advanced_agents.config import DEFAULT_NAMESPACE


class Scope(NamedTuple):
    """Hold a tenant and a namespace; every record belongs to one such pair.

    The tenant comes from the caller's credential, the namespace from the request.
    """

    tenant: str
    namespace: str

    @classmethod
    def of_reading(cls, tenant: str, namespace: str | None) -> Scope | None:
        """Return the scope that a read or delete request concerns.

        None, which stands for the whole store, if the request names no namespace.
        """
        return None if namespace is None else cls(tenant, namespace)

    @classmethod
    def of_writing(cls, tenant: str, namespace: str | None) -> Scope:
        """Return the scope to which a write request adds records.

        Without a namespace in the request it is the default namespace.
        """
        return cls(tenant, namespace or DEFAULT_NAMESPACE)
