"""Server addresses (`grpc://host:port`, `grpcs://`, `http://`, `https://`) and credentials."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from super_advanced_agents.errors import ConfigurationError

_PORTS = {"grpc": 50051, "grpcs": 443, "http": 80, "https": 443}
_FORMS = "use grpc://host:port, grpcs://, http:// or https://"


@dataclass(frozen=True, slots=True)
class Address:
    """Hold the validated address of one server: its URL, its scheme, and its host and port.

    Attributes:
        url: the address as given, without a slash at its end.
        scheme: `"grpc"`, `"grpcs"`, `"http"` or `"https"`.
        target: host and port.
    """

    url: str
    scheme: str
    target: str

    @property
    def secure(self) -> bool:
        """True when the scheme of the URL, `grpcs` or `https`, asks for TLS."""
        return self.scheme in {"grpcs", "https"}

    @property
    def is_grpc(self) -> bool:
        """True when the server is called over gRPC, False for REST."""
        return self.scheme.startswith("grpc")

    @classmethod
    def parsed(cls, url: str) -> Address:
        """Parse and validate a server's URL, such as `grpc://host:port`, into an `Address`.

        Raises:
            ConfigurationError: the address is malformed, or holds a credential, a query or another part too many.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except (ValueError, AttributeError) as exc:
            raise ConfigurationError(f"{url!r:.200} is not an address of a server", hint=_FORMS) from exc
        if parts.username or parts.password:
            raise ConfigurationError("the address holds a user name or a password", hint="give the key as api_key")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ConfigurationError(
                f"{url!r:.200} is not an address of a server",
                hint=_FORMS,
            )
        if parts.query or parts.fragment or (parts.scheme.startswith("grpc") and parts.path.strip("/")):
            raise ConfigurationError(
                f"{url!r:.200} holds more than the address of a server",
                hint=f"{_FORMS}, and name an agent or a collection by its own argument",
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(url.rstrip("/"), parts.scheme, f"{host}:{port or _PORTS[parts.scheme]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Hold the address of a server, the API key to send to it, and the CAs to trust.

    Attributes:
        address: the server's address.
        api_key: an API key or a JWT, sent with each call as a bearer token; none when None.
        ca_file: the certificates (PEM) of the trusted authorities; the system's when None.

    Raises:
        ConfigurationError: `api_key` cannot be sent, or `ca_file` is given for an address without TLS.
    """

    address: Address
    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        key = self.api_key
        if key is not None and (not isinstance(key, str) or not key or not key.isascii() or not key.isprintable()):
            raise ConfigurationError("api_key is not a valid key", hint="use one that `saa keys create` printed")
        if self.ca_file is not None and not self.address.secure:
            raise ConfigurationError(
                f"ca_file needs a TLS address, and {self.address.url!r} is not one", hint="use grpcs:// or https://"
            )

    @property
    def credential(self) -> dict[str, str]:
        """The `authorization` header or gRPC metadata with the API key; `{}` without a key."""
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}

    def certificates(self) -> bytes | None:
        """Return the PEM bytes of `ca_file`, or None without one, to trust the system's CAs.

        Blocks while it reads the file.

        Raises:
            ConfigurationError: `ca_file` cannot be read.
        """
        if self.ca_file is None:
            return None
        try:
            return self.ca_file.read_bytes()
        except OSError as exc:
            raise ConfigurationError(f"ca_file {str(self.ca_file)!r} cannot be read: {exc.strerror}") from exc

    def tls(self) -> ssl.SSLContext:
        """Return the `ssl.SSLContext` with which an HTTP client verifies the server.

        For an address without TLS the context trusts no certificate. Blocks while it reads certificate files.

        Raises:
            ConfigurationError: `ca_file` cannot be read, or holds no certificates.
        """
        if not self.address.secure:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading the system's certificates takes longer than a call
        certificates = self.certificates()
        try:
            return ssl.create_default_context(cadata=None if certificates is None else certificates.decode("ascii"))
        except (ssl.SSLError, ValueError) as exc:
            raise ConfigurationError(f"ca_file {str(self.ca_file)!r} holds no certificates in PEM") from exc
