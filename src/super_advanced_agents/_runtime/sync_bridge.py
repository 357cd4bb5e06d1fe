"""The blocking twin of every `averb()`, derived: the same coroutine, driven by the calling thread.

A native operation is a coroutine that awaits nothing but futures (and coroutines made of them). An event loop drives it
for `averb()`; here a thread drives it, waiting for each future in turn. No loop is started, so the blocking twin also
works inside a running loop (a notebook), where it blocks as its name says.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, ParamSpec, TypeVar, cast

from super_advanced_agents._runtime.futures import Future, set_driven_by_thread

P = ParamSpec("P")
T = TypeVar("T")


def run_sync(operation: Coroutine[Any, Any, T]) -> T:
    """Drive `operation` to its end on this thread and return its result.

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
    """Wait for what the operation awaits; an interruption (Ctrl-C) is raised inside the operation."""
    if not isinstance(step, Future):
        return RuntimeError(f"a blocking twin can only wait for futures, not {type(step).__name__}")
    try:
        step.wait()
    except Exception:
        return None  # the future's own error: awaiting it raises it
    except BaseException as exc:
        return exc
    return None


def blocking(native: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Derive `verb` from the method `averb` (or `_averb`): same arguments, same result, blocks the calling thread.

    The method is looked up by name on the object, so a subclass that overrides `averb` has overridden `verb` too.
    Where natives are private (`_averb`), the class must be an `Overridable` for that.
    """
    name = native.__name__

    @functools.wraps(native)
    def verb(*args: P.args, **kwargs: P.kwargs) -> T:
        operation: Coroutine[Any, Any, T] = _native(args[0], name)(*args[1:], **kwargs)
        return run_sync(operation)

    return _renamed(verb, native)


def blocking_iterator(native: Callable[P, AsyncGenerator[T, None]]) -> Callable[P, Generator[T, None, None]]:
    """Derive a blocking generator from an asynchronous one; leaving it early closes the native one."""
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

    return _renamed(verb, native)


class Overridable:
    """Make what a subclass overrides, `averb` or `verb`, what its private native `_averb` does.

    Operations use each other by their natives. With this base they use what a subclass made of them: its `averb`; in a
    class that has no `averb`, its `verb`. Streams are used by no operation, so a `verb` of theirs changes itself alone.
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
                setattr(cls, native, _native_calling(verb))


def _native_calling(verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def native(self: object, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, verb)(*args, **kwargs)

    native.calls_verb = True  # type: ignore[attr-defined]
    return native


def _native(owner: object, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The native method of that name; past those that call `verb`, since here `verb` is what calls, by `super()`."""
    found = getattr(owner, name)
    if hasattr(found, "calls_verb"):
        natives = (vars(base)[name] for base in type(owner).__mro__ if name in vars(base))
        found = next(native for native in natives if not hasattr(native, "calls_verb")).__get__(owner)
    return cast("Callable[..., Coroutine[Any, Any, Any]]", found)


async def _next(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)


def _renamed(verb: Callable[P, T], native: Callable[..., object]) -> Callable[P, T]:
    """Give the twin its name, and a signature that no longer says `async`."""
    verb.__name__ = native.__name__.removeprefix("_").removeprefix("a")
    verb.__qualname__ = f"{native.__qualname__.rpartition('.')[0]}.{verb.__name__}"
    verb.__signature__ = inspect.signature(native)  # type: ignore[attr-defined]
    verb.native = native.__name__  # type: ignore[attr-defined]
    verb.__dict__.pop("__isabstractmethod__", None)  # the twin of an abstract method is whole once that is
    del verb.__wrapped__  # type: ignore[attr-defined]  # else inspect would follow it to the coroutine function
    return verb
