"""Every error this package raises on purpose.

    SuperAdvancedAgentsError
    ├── ConfigurationError (also ValueError)      a setting, a path or a constructor argument is wrong
    │   └── ModelMismatchError                    vectors of one embedding model meet those of another
    ├── InvalidInputError (also ValueError)       the data of one call is wrong; nothing was stored
    │   ├── DimensionMismatchError                a vector has another length than the store
    │   └── FilterError                           a `where` filter is malformed
    ├── ResourceClosedError                       use after close
    ├── OverloadedError                           a bounded queue is full; carries `retry_after_s`
    ├── ModelNotFoundError                        the model is unknown, not pulled, or damaged
    ├── EmbeddingError                            an embedding engine failed
    ├── GenerationError                           a language model engine failed
    ├── StoreError                                the store cannot do its work
    │   ├── StoreLockedError                      another process owns the folder
    │   ├── CorruptStoreError                     the rows themselves are damaged
    │   ├── StoreFullError                        no room on the disk; reads go on
    │   ├── EngineUnavailableError                a remote engine cannot be reached
    │   ├── CollectionNotFoundError               no collection of that name
    │   └── CollectionExistsError                 a collection of that name is there already
    ├── AuthenticationError                       no credential, or one that is not valid
    ├── PermissionDeniedError                     the credential does not allow this
    ├── RateLimitedError                          too many requests; carries `retry_after_s`
    ├── AgentNotFoundError                        no agent of that name
    ├── AgentError                                an agent failed, or all that were asked
    │   ├── AgentTimeoutError                     no answer came in time
    │   └── AgentUnavailableError                 it failed too often of late; carries `retry_after_s`
    └── JobError                                  a background job failed

`retryable` says whether the same call may succeed later without any change by the caller. Errors of other libraries are
translated where they are raised (`raise ... from exc`); `asyncio.CancelledError` is never translated.
"""

from __future__ import annotations

from typing import Any, ClassVar


def _rebuild(cls: type[BaseException], args: tuple[object, ...], state: dict[str, Any]) -> BaseException:
    """Make a copy or an unpickled error without calling an `__init__` that wants keyword arguments."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class SuperAdvancedAgentsError(Exception):
    """The root of the tree: catch it to catch whatever this package raises on purpose.

    Attributes:
        retryable: whether the same call may succeed later, unchanged.
        hint: what to do next, in one sentence; empty when the message says it already.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)

    @property
    def message(self) -> str:
        """The message without its hint, for surfaces that show the two apart."""
        return super().__str__()


class ConfigurationError(SuperAdvancedAgentsError, ValueError):
    """A setting, a path or a constructor argument is wrong."""


class ModelMismatchError(ConfigurationError):
    """Vectors of one embedding model meet those of another, with which they cannot be compared."""


class InvalidInputError(SuperAdvancedAgentsError, ValueError):
    """The data of one call is wrong; nothing was stored.

    Attributes:
        field: the argument (or its part, such as `"metadatas[3]"`) that is wrong; empty when it is the call as a whole.
    """

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class DimensionMismatchError(InvalidInputError):
    """A vector has another length than the store was made for."""


class FilterError(InvalidInputError):
    """A `where` filter is malformed."""


class ResourceClosedError(SuperAdvancedAgentsError):
    """A store, pipeline, generator or agent was used after it was closed."""


class OverloadedError(SuperAdvancedAgentsError):
    """A bounded queue is full.

    Attributes:
        retry_after_s: an estimate, in seconds, of when there will be room.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ModelNotFoundError(SuperAdvancedAgentsError):
    """The model is unknown, not on this machine yet, or damaged."""


class EmbeddingError(SuperAdvancedAgentsError):
    """An embedding engine failed."""


class GenerationError(SuperAdvancedAgentsError):
    """A language model engine failed."""


class StoreError(SuperAdvancedAgentsError):
    """The store cannot do its work."""


class StoreLockedError(StoreError):
    """Another process owns the store's folder."""

    retryable = True


class CorruptStoreError(StoreError):
    """The rows themselves are damaged; indexes never raise this, they are rebuilt."""


class StoreFullError(StoreError):
    """No room on the disk: the write was not stored; reads go on, and writes resume when there is room."""

    retryable = True


class EngineUnavailableError(StoreError):
    """A remote engine cannot be reached."""

    retryable = True


class CollectionNotFoundError(StoreError):
    """No collection of that name, or no more."""


class CollectionExistsError(StoreError):
    """A collection of that name is there already, perhaps with other settings."""


class AuthenticationError(SuperAdvancedAgentsError):
    """No credential, or one that is not valid."""


class PermissionDeniedError(SuperAdvancedAgentsError):
    """The credential does not allow this."""


class RateLimitedError(SuperAdvancedAgentsError):
    """Too many requests.

    Attributes:
        retry_after_s: seconds until the next request will be let through.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class AgentNotFoundError(SuperAdvancedAgentsError):
    """No agent of that name."""


class AgentError(SuperAdvancedAgentsError):
    """An agent of an orchestrator failed, or all that were asked did."""


class AgentTimeoutError(AgentError):
    """An agent did not answer in time, or none of those asked did."""

    retryable = True


class AgentUnavailableError(AgentError):
    """An agent failed so often of late that it is not asked for a while.

    Attributes:
        retry_after_s: seconds until it is tried again.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class JobError(SuperAdvancedAgentsError):
    """A background job failed."""
