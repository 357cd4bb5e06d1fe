"""The state of one generation."""

from __future__ import annotations

from collections.abc import Callable

from super_advanced_agents._runtime.queues.channel import Channel
from super_advanced_agents.generation.base import GenerationOptions, StopFilter, Usage
from super_advanced_agents.generation.thoughts import ThoughtFilter
from super_advanced_agents.types import ChatMessage


class Job:
    """Hold the state of one generation, which its caller and its worker thread share.

    Args:
        messages: the chat.
        options: the options of the generation.
        put: receives each piece of text; False ends the generation.
        channel: the channel of a stream, whose reader waits for its pieces; None if the caller waits for the end.
    """

    def __init__(
        self,
        messages: list[ChatMessage],
        options: GenerationOptions,
        put: Callable[[str], bool],
        channel: Channel[str] | None = None,
    ) -> None:
        self.messages = messages
        self.options = options
        self.put = put
        self._thoughts = ThoughtFilter()
        self._stops = StopFilter(options.stop)
        self.usage: Usage | None = None
        self.stopped = False
        self.running = False
        self._channel = channel
        self._interrupt: Callable[[], None] | None = None

    @property
    def ended(self) -> bool:
        """True once the caller needs no more text: it left, or a stop string has come."""
        return self.stopped or self._stops.stopped

    def take(self, piece: str) -> str:
        """Return the text to pass on for the next piece of the model's text."""
        return self._stops.feed(self._thoughts.feed(piece))

    def take_rest(self) -> str:
        """Return the text that was held back, at the end of the model's text."""
        return self._stops.feed(self._thoughts.flush()) + self._stops.flush()

    def has_caller(self) -> bool:
        """Return whether the caller still waits."""
        # A method, since mypy would narrow the attribute, which another thread may change.
        return not self.stopped

    def stop(self) -> None:
        """End the generation at its next token."""
        # Also wakes a worker that waits for the model or for room in the stream.
        self.stopped = True
        if self.running and self._interrupt is not None:
            self._interrupt()
        if self._channel is not None:
            self._channel.leave()

    def on_interruptible(self, interrupt: Callable[[], None]) -> None:
        """Keep the engine's function that interrupts the generation, for `stop`."""
        self._interrupt = interrupt
        if self.stopped:
            interrupt()

    def finish(self, error: BaseException | None) -> None:
        """End the stream, with an error or without."""
        if self._channel is not None:
            self._channel.finish(error)


def appender(pieces: list[str]) -> Callable[[str], bool]:
    """Return a function that appends pieces of text to a list, and never ends the generation."""

    def put(piece: str) -> bool:
        pieces.append(piece)
        return True

    return put
