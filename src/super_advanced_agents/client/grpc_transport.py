"""gRPC as a transport: calls without a thread each, which settle futures when they are answered.

The channel is the blocking library's, used through its futures. An asyncio channel belongs to one event loop, while
callers come from many or from none; futures need none, and carry more calls a second.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from google.protobuf.message import Message

from super_advanced_agents._runtime.channel import Channel
from super_advanced_agents._runtime.futures import Future
from super_advanced_agents._runtime.loop_thread import CancellableFuture, LoopThread
from super_advanced_agents.client.address import ConnectionSettings
from super_advanced_agents.client.error_mapping import of_call
from super_advanced_agents.client.transport import InFlightCalls, RemoteCall, Result, Stream, Transport
from super_advanced_agents.protocol.codec import decode_reply, encode
from super_advanced_agents.protocol.operations import Operation

if TYPE_CHECKING:
    import grpc

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.enable_http_proxy", 0),  # calls go where the address says, not where the environment does
    ("grpc.enable_retries", 0),  # ours know what is safe
    ("grpc.max_receive_message_length", -1),  # what was asked for decides, as over REST
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # a client's connections are its own, and end with it
]
_AHEAD = 4


class GrpcTransport(Transport):
    """One channel to one server.

    Args:
        door: where it is, and how to get in.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._metadata = tuple(settings.credential.items())
        self._traffic = InFlightCalls()
        self._channel: grpc.Channel | None = None
        self._methods: dict[str, Any] = {}
        self._loop: LoopThread | None = None

    def open(self, loop: LoopThread) -> None:
        """See `Transport.open`."""
        import grpc

        self._loop = loop
        address = self._settings.address
        if address.secure:
            credentials = grpc.ssl_channel_credentials(root_certificates=self._settings.certificates())
            self._channel = grpc.secure_channel(address.target, credentials, options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.target, options=_OPTIONS)

    def call(self, call: RemoteCall, *, timeout_s: float, key: str | None) -> Future[Any]:
        """See `Transport.call`."""
        self._traffic.enter()
        metadata = self._metadata if key is None else (*self._metadata, ("idempotency-key", key))
        try:
            method = self._callable(call.operation, call.result_type, "unary_unary")
            rpc = method.future(call, timeout=timeout_s, metadata=metadata)
        except BaseException:
            self._traffic.leave()
            raise
        answer: _Answer[Any] = _Answer(rpc)

        def done(rpc: Any) -> None:
            self._traffic.leave()
            answer.take(rpc, self._settings, timeout_s)

        rpc.add_done_callback(done)
        return answer

    def stream(self, operation: Operation, result: Any) -> Stream[Any]:
        """See `Transport.stream`."""
        self._traffic.enter()
        try:
            assert self._loop is not None, "opened first"
            return _GrpcStream(
                self._callable(operation, result, "stream_stream"),
                self._metadata,
                self._settings,
                self._loop,
                self._traffic.leave,
            )
        except BaseException:
            self._traffic.leave()
            raise

    def close(self) -> None:
        """See `Transport.close`."""
        self._traffic.finish()
        if self._channel is not None:
            self._channel.close()

    def _callable(self, operation: Operation, result: Any, kind: str) -> Any:
        method = operation.rpc
        assert method is not None
        known = self._methods.get(method.path)
        if known is None:
            known = self._methods[method.path] = getattr(self._channel, kind)(
                method.path,
                request_serializer=_frame_of,
                response_deserializer=partial(_result_of, operation, result),
            )
        return known


def _frame_of(call: RemoteCall) -> bytes:
    assert call.operation.rpc is not None
    target = {call.operation.target: call.target} if call.operation.target else {}
    message: Message = encode(call.request, call.operation.rpc.request, **target)
    return message.SerializeToString()


def _result_of(operation: Operation, hint: Any, frame: bytes) -> tuple[Any]:
    """Return the result in a tuple: gRPC takes a bare None for a failure to read."""
    assert operation.rpc is not None
    return (decode_reply(operation.rpc.reply.FromString(frame), operation.reply, hint),)


class _Answer(CancellableFuture[Result]):
    """The future of one call."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call

    def take(self, call: Any, settings: ConnectionSettings, timeout_s: float) -> None:
        """Settle with what came. Runs in the channel's thread."""
        import grpc

        code = call.code()
        if code is grpc.StatusCode.OK:
            self.set_result(*call.result())
        else:
            self.set_exception(of_call(call, settings.address.url, timeout_s))
        self._call = None

    def _abort(self) -> None:
        call = self._call
        if call is not None:
            call.cancel()


class _GrpcStream(Stream[Result], Generic[Result]):
    """One call with a thread that reads: the blocking library has no futures for streams."""

    def __init__(self, method: Any, metadata: Any, settings: ConnectionSettings, loop: LoopThread, ended: Any) -> None:
        self._outgoing: queue.SimpleQueue[RemoteCall | None] = queue.SimpleQueue()
        self._incoming: Channel[Result] = Channel(_AHEAD)
        self._settings = settings
        self._loop = loop
        self._ended = ended
        self._late = False
        self._timeout_s = 0.0
        self._call = method(self._requests(), metadata=metadata)
        threading.Thread(target=self._read, name="client stream", daemon=True).start()

    def send(self, call: RemoteCall) -> None:
        """See `Stream.send`."""
        self._outgoing.put(call)

    def finish(self) -> None:
        """See `Stream.finish`."""
        self._outgoing.put(None)

    async def answers(self, *, timeout_s: float) -> AsyncGenerator[Result, None]:
        """See `Stream.answers`."""
        self._timeout_s = timeout_s
        async with aclosing(self._incoming.items()) as items:
            while True:
                watch = self._loop.later(timeout_s, self._too_late)
                try:
                    answer = await anext(items)
                except StopAsyncIteration:
                    return
                finally:
                    watch.cancel()
                yield answer

    def cancel(self) -> None:
        """See `Stream.cancel`."""
        self._call.cancel()
        self._outgoing.put(None)
        self._incoming.leave()

    def _too_late(self) -> None:
        self._late = True
        self._call.cancel()

    def _requests(self) -> Iterator[RemoteCall]:
        while (request := self._outgoing.get()) is not None:
            yield request

    def _read(self) -> None:
        import grpc

        error: BaseException | None = None
        try:
            for (answer,) in self._call:
                if not self._incoming.put(answer):
                    break
        except grpc.RpcError:
            error = of_call(self._call, self._settings.address.url, self._timeout_s, late=self._late)
        except BaseException as exc:
            error = exc
        finally:
            self._outgoing.put(None)  # else the library's thread that takes requests would wait for ever
            with contextlib.suppress(Exception):
                self._call.cancel()
            self._ended()
            self._incoming.finish(error)
