"""The sync bridge, which makes blocking methods (`get`) from coroutine methods (`aget`).

A native operation is a coroutine that awaits only futures (and coroutines made of them). An event loop drives it for
`aget()`; for `get()` the calling thread drives the same coroutine and blocks on each future. No event loop is
started, so the blocking form also works inside a running loop (a notebook), which it blocks meanwhile.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, ParamSpec, TypeVar, cast

from super_advanced_agents._runtime.concurrency.futures import Future, set_driven_by_thread

P = ParamSpec("P")
T = TypeVar("T")


def run_sync(operation: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in this thread, without an event loop; return its result.

    Raises:
        RuntimeError: the operation awaited something that only an event loop can provide.
    """
    error: BaseException | None = None
    try:
        while True:
            before = set_driven_by_thread(True)
            try:
                step = operation.send(None) if error is None else operation.throw(error)
            except StopIteration as stop:
                return cast("T", stop.value)
            finally:
                set_driven_by_thread(before)
            error = _wait(step)
    finally:
        operation.close()


def _wait(step: object) -> BaseException | None:
    # Returns an error of the wait itself, to be raised in the operation, or None.
    if not isinstance(step, Future):
        return RuntimeError(f"a blocking form can only wait for futures, not {type(step).__name__}")
    try:
        step.wait()
    except Exception:
        return None  # the future's own error: the operation's await raises it
    except BaseException as exc:  # such as Ctrl-C
        return exc
    return None


def blocking(native: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a blocking method, such as `get`, from a coroutine method, such as `aget` or `_aget`.

    It takes the same arguments, returns the same result, and blocks the calling thread. The coroutine method is looked
    up by name on the object, so a subclass that overrides `aget` overrides `get` too. Where the coroutine method is
    private (`_aget`), the class must derive from `Overridable` for that.
    """
    name = native.__name__

    @functools.wraps(native)
    def verb(*args: P.args, **kwargs: P.kwargs) -> T:
        operation: Coroutine[Any, Any, T] = _resolve_native(args[0], name)(*args[1:], **kwargs)
        return run_sync(operation)

    return as_sync_method(verb, native)


def blocking_iterator(native: Callable[P, AsyncGenerator[T, None]]) -> Callable[P, Generator[T, None, None]]:
    """Make a blocking generator method from an asynchronous generator method.

    Leaving the blocking generator early closes the asynchronous one.
    """
    name = native.__name__

    @functools.wraps(native)
    def verb(*args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        source: AsyncGenerator[T, None] = getattr(args[0], name)(*args[1:], **kwargs)
        try:
            while True:
                try:
                    item = run_sync(_next(source))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            run_sync(source.aclose())

    return as_sync_method(verb, native)


class Overridable:
    """Let a subclass override an operation in either form: blocking (`get`) or asyncio (`aget`).

    Operations call each other through their private coroutine methods (`_aget`). This base points the private method of
    a subclass to its `aget` or, in a class without `aget`, to its `get`. No operation calls a generator method, so
    overriding the blocking form of one changes that method alone.
    """

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        inherited = [function for base in cls.__mro__ for function in vars(base).values()]
        for native in {function.native for function in inherited if hasattr(function, "native")}:
            verb = native.removeprefix("_a")
            if verb == native:
                continue
            if (averb := getattr(cls, f"a{verb}", None)) is not None:
                setattr(cls, native, averb)
            elif not hasattr(getattr(cls, verb), "native") and inspect.iscoroutinefunction(getattr(cls, native)):
                setattr(cls, native, _make_native_calling(verb))


def _make_native_calling(verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def native(self: object, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, verb)(*args, **kwargs)

    native.calls_verb = True  # type: ignore[attr-defined]
    return native


def _resolve_native(owner: object, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    # An overriding `verb` that calls `super().verb()` comes here: a native method that calls `verb` would recurse.
    resolved = getattr(owner, name)
    if hasattr(resolved, "calls_verb"):
        natives = (vars(base)[name] for base in type(owner).__mro__ if name in vars(base))
        resolved = next(native for native in natives if not hasattr(native, "calls_verb")).__get__(owner)
    return cast("Callable[..., Coroutine[Any, Any, Any]]", resolved)


async def _next(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)


def as_sync_method(verb: Callable[P, T], native: Callable[..., object]) -> Callable[P, T]:
    """Give a blocking function the name and signature of its coroutine function; return it."""
    verb.__name__ = native.__name__.removeprefix("_").removeprefix("a")
    verb.__qualname__ = f"{native.__qualname__.rpartition('.')[0]}.{verb.__name__}"
    signature = inspect.signature(native)
    if inspect.isasyncgenfunction(native):  # `help` shows what a caller iterates over
        iterator = re.sub(r"^AsyncGenerator\[(.+), None\]$", r"Iterator[\1]", str(signature.return_annotation))
        signature = signature.replace(return_annotation=iterator)
    verb.__signature__ = signature  # type: ignore[attr-defined]
    verb.native = native.__name__  # type: ignore[attr-defined]
    verb.__dict__.pop("__isabstractmethod__", None)  # the form of an abstract method is concrete once that method is
    del verb.__wrapped__  # type: ignore[attr-defined]  # inspect would follow it to the coroutine function
    return verb
