"""`Operation`, a row of the table of a server's operations, and the choices that it makes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.tenancy.context import Access

PATH_PARAMETER = re.compile(r"{(\w+)(?::path)?}")
"""The pattern of a parameter in an operation's path."""


class PermitKind(StrEnum):
    """The kinds of calls whose concurrency a server limits, each kind separately.

    A call holds a permit of its kind while the server works on it, so that searches do not wait for the generation of
    texts.
    """

    SEARCH = "search"
    WRITE = "write"
    GENERATE = "generate"


class Retry(Enum):
    """The ways in which a client can safely repeat a call: unchanged or with an idempotency key."""

    AS_IT_IS = "a read, or a write that carries a write_id"
    WITH_KEY = "a write whose second result would differ: with an idempotency key"


class Cost(Enum):
    """The rules for the rate-limit units that a call costs beyond the one unit of every call."""

    NOTHING = "none"
    RECORDS = "one for each record, memory, turn or text in the request"
    QUERIES = "one for each query vector after the first"
    TEXT = "one where a text is embedded"
    TOKENS = "one for each token that the answer may have"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a server: its REST route, gRPC method, access rule and cost.

    Attributes:
        name: the stable name, which is the `operationId` in the OpenAPI document.
        request: the class of the request; None where another protocol defines the shapes.
        reply: the member of the JSON response, and the field of the message, that hold the result; when empty the
            response is the result itself.
        rpc: the gRPC method that serves it, or None.
        target: the field of the message that names the agent, collection or orchestrator; over REST the first
            parameter of the path names it. Empty for operations of the tenant.
        verb: the HTTP method; `*` for a mount, which takes any.
        path: the path in Starlette's syntax.
        access: the scopes that the credential must have, all of them; empty when any valid credential is enough.
        public: whether no credential is needed.
        permit: the kind of permit that the call holds while it runs; None where it needs none.
        cost: the units that it takes from the rate limit, beyond the first.
        retry: the way in which a client may repeat it.
        keyed: whether an `Idempotency-Key` makes a repeated call the same write.
        shows_memory: whether the REST response of a keyed call shows a stored text. It is not kept then, so that what
            is forgotten is not left in it: a repeated call finds its write done, and shows what is there by then.
        hot: whether it is frequent enough to be served without the framework's routing.
        status: the HTTP status of a successful response; 204 where the response is empty.
        bounded: whether the server's request deadline applies; it does not to sessions that the client ends.
    """

    name: str
    verb: str
    path: str
    request: type[Any] | None = None
    reply: str = ""
    rpc: Method[Any, Any] | None = None
    target: str = ""
    access: tuple[Access, ...] = ()
    public: bool = False
    permit: PermitKind | None = PermitKind.SEARCH
    cost: Cost = Cost.NOTHING
    retry: Retry = Retry.AS_IT_IS
    keyed: bool = False
    shows_memory: bool = False
    hot: bool = False
    status: int = 200
    bounded: bool = True

    @property
    def path_parameters(self) -> list[str]:
        """The names of the parameters in the REST path, in order."""
        return PATH_PARAMETER.findall(self.path)
