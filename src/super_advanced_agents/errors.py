"""The package's exception classes, which form one tree.

    SuperAdvancedAgentsError
    ├── ConfigurationError (also ValueError)      a setting, a path or a constructor argument is wrong
    │   └── ModelMismatchError                    vectors of different embedding models were mixed
    ├── InvalidInputError (also ValueError)       the data of one call is wrong; nothing was stored
    │   ├── DimensionMismatchError                a vector has another length than the store
    │   └── FilterError                           a `where` filter is malformed
    ├── ResourceClosedError                       use after close
    ├── DeadlineExceededError                     the work took longer than it may
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
    ├── AgentError                                an agent failed, or all agents asked did
    │   ├── AgentTimeoutError                     no answer came in time
    │   └── AgentUnavailableError                 it failed too often recently; carries `retry_after_s`
    └── JobError                                  a background job failed
        └── JobNotFoundError                      no job or schedule of that id

`retryable` says whether the same call may succeed later without any change by the caller. Errors of other libraries are
mapped to these where they are raised (`raise ... from exc`); `asyncio.CancelledError` is never mapped. What another
server said about an error is in `said`, for the operator alone: a server of this package never passes it on.
"""

from __future__ import annotations

from typing import Any, Self

__all__ = [
    "AgentError",
    "AgentNotFoundError",
    "AgentTimeoutError",
    "AgentUnavailableError",
    "AuthenticationError",
    "CollectionExistsError",
    "CollectionNotFoundError",
    "ConfigurationError",
    "CorruptStoreError",
    "DeadlineExceededError",
    "DimensionMismatchError",
    "EmbeddingError",
    "EngineUnavailableError",
    "FilterError",
    "GenerationError",
    "InvalidInputError",
    "JobError",
    "JobNotFoundError",
    "ModelMismatchError",
    "ModelNotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "RateLimitedError",
    "ResourceClosedError",
    "StoreError",
    "StoreFullError",
    "StoreLockedError",
    "SuperAdvancedAgentsError",
]


def _rebuild(cls: type[BaseException], args: tuple[object, ...], state: dict[str, Any]) -> BaseException:
    # Copying and unpickling must not call an `__init__` with required keyword arguments.
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class SuperAdvancedAgentsError(Exception):
    """Report an error of this package; the base class of all its exceptions.

    Attributes:
        retryable: whether the same call may succeed later without a change; most classes say so for all their errors.
        hint: the next step for the caller, in one sentence; empty when the message says it already.
        said: the words of another server that caused this error, for the operator; empty where none did.
    """

    retryable: bool = False
    said: str = ""

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        message = super().__str__()
        if self.said:
            message = f'{message}, saying "{self.said}"'
        return f"{message} ({self.hint})" if self.hint else message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)

    @property
    def message(self) -> str:
        """The error message alone: `str(error)` appends another server's words, and the `hint`."""
        return super().__str__()


class ConfigurationError(SuperAdvancedAgentsError, ValueError):
    """Report that a setting, a path or a constructor argument is wrong."""


class ModelMismatchError(ConfigurationError):
    """Report that vectors of different embedding models, which cannot be compared, were mixed."""


class InvalidInputError(SuperAdvancedAgentsError, ValueError):
    """Report that an argument of a call is invalid; the call stored nothing.

    Attributes:
        field: the wrong argument or part of it, such as `"metadatas[3]"`; empty when the call as a whole is wrong.
    """

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field

    def for_field(self, field: str) -> Self:
        """Return this error about another field, whose name replaces the old one in the message."""
        return type(self)(self.message.replace(self.field, field, 1), field=field, hint=self.hint)


class DimensionMismatchError(InvalidInputError):
    """Report that a vector's length differs from that of the vectors in the store."""


class FilterError(InvalidInputError):
    """Report that a metadata filter (argument `where`) is malformed."""


class ResourceClosedError(SuperAdvancedAgentsError):
    """Report that an object, such as a vector store or an agent, was used after it was closed."""


class DeadlineExceededError(SuperAdvancedAgentsError):
    """Report that a call was stopped because its work took longer than it may.

    It would take as long again: ask for less.
    """


class OverloadedError(SuperAdvancedAgentsError):
    """Report that a call was rejected because a bounded work queue is full.

    Attributes:
        retry_after_s: the estimated number of seconds until there is room.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ModelNotFoundError(SuperAdvancedAgentsError):
    """Report that a model is unknown, or that its files are missing on this machine or damaged."""


class EmbeddingError(SuperAdvancedAgentsError):
    """Report that an embedding model, or the server that runs it, failed."""


class GenerationError(SuperAdvancedAgentsError):
    """Report that a language model, or the server that runs it, failed."""


class StoreError(SuperAdvancedAgentsError):
    """Report that a vector store cannot be opened, read or written."""


class StoreLockedError(StoreError):
    """Report that another process has locked the folder of a vector store."""

    retryable = True


class CorruptStoreError(StoreError):
    """Report that a vector store's SQLite file is damaged, or was not written by this package.

    Damaged indexes are rebuilt from the rows instead.
    """


class StoreFullError(StoreError):
    """Report that a write was not stored because the disk is full.

    Reads go on, and writes succeed again once there is room.
    """

    retryable = True


class EngineUnavailableError(StoreError):
    """Report that a server that the call depends on cannot be reached or does not answer."""

    retryable = True


class CollectionNotFoundError(StoreError):
    """Report that no collection (a named set of vectors) has the given name."""


class CollectionExistsError(StoreError):
    """Report that a collection of vectors cannot be created because its name is taken."""


class AuthenticationError(SuperAdvancedAgentsError):
    """Report that a request has no credential, or one that is not valid."""


class PermissionDeniedError(SuperAdvancedAgentsError):
    """Report that the credential does not allow the request."""


class RateLimitedError(SuperAdvancedAgentsError):
    """Report that a caller sent too many requests.

    Attributes:
        retry_after_s: seconds until the next request is accepted.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class AgentNotFoundError(SuperAdvancedAgentsError):
    """Report that no agent has the given name, or that no agent fits a question."""


class AgentError(SuperAdvancedAgentsError):
    """Report that an agent failed to answer, or that all the agents that were asked failed."""


class AgentTimeoutError(AgentError):
    """Report that an agent, or all agents that were asked, gave no answer in time."""

    retryable = True


class AgentUnavailableError(AgentError):
    """Report that an agent is not called for a while because its recent calls failed.

    Attributes:
        retry_after_s: seconds until the agent is called again.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class JobError(SuperAdvancedAgentsError):
    """Report that a background job failed."""


class JobNotFoundError(JobError):
    """Report that no background job has the given id, or no schedule the given name."""
