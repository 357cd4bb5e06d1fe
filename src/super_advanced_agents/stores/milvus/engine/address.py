"""The address of a collection on a Milvus server, read from a `milvus:` URL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from super_advanced_agents.errors import ConfigurationError

_SHAPE = "milvus://host:19530/collection"
_PORT = 19530
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_OPTIONS = {"tls", "database", "consistency"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MilvusAddress:
    """Hold the parts of a `milvus:` URL. Its representation shows no password.

    Attributes:
        host: the server's name or address.
        port: the port of its gRPC interface.
        collection: the name of the collection.
        tls: whether the connection is encrypted.
        database: the server's database; empty for the default one.
        token: `user:password` or an API key; empty for a server without accounts.
        strong: whether every read waits for the writes of all clients, not only of this one.
    """

    host: str
    port: int
    collection: str
    tls: bool = False
    database: str = ""
    token: str = field(default="", repr=False)
    strong: bool = False

    @classmethod
    def of(cls, url: str, *, api_key: str | None = None) -> MilvusAddress:
        """Read a URL such as `milvus://user:password@host:19530/memories?tls=true`.

        Args:
            url: the URL. Its options are `tls` and `database`, and `consistency=strong` for reads that see the writes
                of other clients at once.
            api_key: the credential, where the URL has none.

        Raises:
            ConfigurationError: the URL is malformed; the message does not repeat it, as it may hold a password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _PORT
        except ValueError:
            raise ConfigurationError("the URL of the Milvus store is malformed", hint=f"such as {_SHAPE}") from None
        if not host or parts.scheme.lower() != "milvus":
            raise ConfigurationError("the URL of the Milvus store names no host", hint=f"such as {_SHAPE}")
        name = unquote(parts.path.strip("/"))
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "the URL of the Milvus store names no collection (letters, digits and _, not beginning with a digit)",
                hint=f"such as {_SHAPE}",
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := options.keys() - _OPTIONS:
            raise ConfigurationError(
                f"the URL of the Milvus store has the unknown option {min(unknown)[:40]!r}",
                hint=f"known are {', '.join(sorted(_OPTIONS))}",
            )
        if options.get("tls", "false") not in ("true", "false") or options.get("consistency", "session") not in (
            "session",
            "strong",
        ):
            raise ConfigurationError(
                "an option of the Milvus store's URL has an unknown value",
                hint="tls is true or false, consistency is session or strong",
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(
            host=host,
            port=port,
            collection=name,
            tls=options.get("tls") == "true",
            database=options.get("database", ""),
            token=f"{user}:{password}" if user or password else api_key or "",
            strong=options.get("consistency") == "strong",
        )

    def beside(self, url: str, collection: str) -> str:
        """Return the URL of another collection, with the options of this one.

        Args:
            url: the URL that this address was read from.
            collection: the name of the other collection.
        """
        return urlunsplit(urlsplit(url)._replace(path=f"/{collection}"))

    @property
    def server(self) -> str:
        """The server as messages name it."""
        return f"Milvus at {self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The server's address as gRPC takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def uri(self) -> str:
        """The server's address as pymilvus takes it, without a credential."""
        return f"{'https' if self.tls else 'http'}://{self.target}"
