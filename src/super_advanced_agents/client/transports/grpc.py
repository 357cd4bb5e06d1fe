"""The client's gRPC transport; unary calls return futures and need no thread of their own.

It uses the blocking channel of grpcio through its futures. An asyncio channel belongs to one event loop, while callers
use many loops or none; futures need no loop, and reach more calls a second.
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

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.concurrency.loop_thread import CancellableFuture, LoopThread
from super_advanced_agents._runtime.queues.channel import Channel
from super_advanced_agents.client.transports.address import ConnectionSettings
from super_advanced_agents.client.transports.base import (
    MAX_ANSWER_BYTES,
    InFlightCalls,
    RemoteCall,
    Result,
    Stream,
    Transport,
)
from super_advanced_agents.client.transports.error_mapping import error_of_rpc
from super_advanced_agents.protocol.codec import encode
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.replies import decode_reply
from super_advanced_agents.telemetry import outgoing_headers

if TYPE_CHECKING:
    import grpc

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.enable_http_proxy", 0),  # a proxy from the environment would see the key
    ("grpc.enable_retries", 0),  # `Connection` retries, and knows which calls are safe to repeat
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    (
        "grpc.compression_enabled_algorithms_bitset",
        1,
    ),  # none: a short answer could unfold to a thousand times its bytes
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # clients do not share connections, so closing one ends its own
]
_BUFFERED_ANSWERS = 4


class GrpcTransport(Transport):
    """Send calls to one server over a gRPC channel.

    Args:
        settings: the address, the credential and the trusted certificates.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._metadata = tuple(settings.credential.items())
        self._in_flight = InFlightCalls()
        self._channel: grpc.Channel | None = None
        self._methods: dict[str, Any] = {}
        self._loop: LoopThread | None = None

    def open(self, loop: LoopThread) -> None:
        """Create the gRPC channel; the first call connects. Blocks while it reads certificates."""
        import grpc

        self._loop = loop
        address = self._settings.address
        if address.secure:
            credentials = grpc.ssl_channel_credentials(root_certificates=self._settings.certificates())
            self._channel = grpc.secure_channel(address.target, credentials, options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.target, options=_OPTIONS)

    def call(self, call: RemoteCall[object], *, timeout_s: float, key: str | None) -> Future[Any]:
        """Start a unary call and return the future of its result; cancelling it cancels the call."""
        self._in_flight.enter()
        metadata = (*self._metadata, *outgoing_headers().items())
        if key is not None:
            metadata = (*metadata, ("idempotency-key", key))
        try:
            method = self._callable(call.operation, call.result_type, "unary_unary")
            rpc = method.future(call, timeout=timeout_s, metadata=metadata)
        except BaseException:
            self._in_flight.leave()
            raise
        future: _RpcFuture[Any] = _RpcFuture(rpc)

        def on_done(rpc: Any) -> None:
            self._in_flight.leave()
            future.resolve(rpc, self._settings, timeout_s)

        rpc.add_done_callback(on_done)
        return future

    def stream(self, operation: Operation, result: Any) -> Stream[Any]:
        """Begin a streaming call, start a thread that reads its answers, and return its `Stream`."""
        self._in_flight.enter()
        try:
            assert self._loop is not None, "opened first"
            return _GrpcStream(
                self._callable(operation, result, "stream_stream"),
                (*self._metadata, *outgoing_headers().items()),
                self._settings,
                self._loop,
                self._in_flight.leave,
            )
        except BaseException:
            self._in_flight.leave()
            raise

    def close(self) -> None:
        """Refuse new calls, wait up to 10 seconds for those in flight, then disconnect. Blocks."""
        self._in_flight.finish()
        if self._channel is not None:
            self._channel.close()

    def _callable(self, operation: Operation, result: Any, kind: str) -> Any:
        method = operation.rpc
        assert method is not None
        rpc_callable = self._methods.get(method.path)
        if rpc_callable is None:
            rpc_callable = self._methods[method.path] = getattr(self._channel, kind)(
                method.path,
                request_serializer=_serialize_request,
                response_deserializer=partial(_deserialize_reply, operation, result),
            )
        return rpc_callable


def _serialize_request(call: RemoteCall[object]) -> bytes:
    assert call.operation.rpc is not None
    target = {call.operation.target: call.target} if call.operation.target else {}
    message: Message = encode(call.request, call.operation.rpc.request, **target)
    return message.SerializeToString()


def _deserialize_reply(operation: Operation, hint: Any, frame: bytes) -> tuple[Any]:
    # in a tuple: grpcio takes None for a failed deserialization, and the result may be None
    assert operation.rpc is not None
    return (decode_reply(operation.rpc.reply.FromString(frame), operation.reply, hint),)


class _RpcFuture(CancellableFuture[Result]):
    __slots__ = ("_rpc",)

    def __init__(self, rpc: Any) -> None:
        super().__init__()
        self._rpc = rpc

    def resolve(self, rpc: Any, settings: ConnectionSettings, timeout_s: float) -> None:
        # runs in a thread of the gRPC channel
        import grpc

        code = rpc.code()
        if code is grpc.StatusCode.OK:
            self.set_result(*rpc.result())
        else:
            self.set_exception(error_of_rpc(rpc, settings.address.url, timeout_s))
        self._rpc = None

    def _abort(self) -> None:
        rpc = self._rpc
        if rpc is not None:
            rpc.cancel()


class _GrpcStream(Stream[Result], Generic[Result]):
    # a thread reads the answers, since grpcio has no futures for streams

    def __init__(self, method: Any, metadata: Any, settings: ConnectionSettings, loop: LoopThread, on_end: Any) -> None:
        self._outgoing: queue.SimpleQueue[RemoteCall[object] | None] = queue.SimpleQueue()
        self._incoming: Channel[Result] = Channel(_BUFFERED_ANSWERS)
        self._settings = settings
        self._loop = loop
        self._on_end = on_end
        self._timed_out = False
        self._timeout_s = 0.0
        self._rpc = method(self._requests(), metadata=metadata)
        threading.Thread(target=self._read, name="client stream", daemon=True).start()

    def send(self, call: RemoteCall[object]) -> None:
        self._outgoing.put(call)

    def finish(self) -> None:
        self._outgoing.put(None)

    async def answers(self, *, timeout_s: float) -> AsyncGenerator[Result, None]:
        self._timeout_s = timeout_s
        async with aclosing(self._incoming.items()) as items:
            while True:
                timer = self._loop.call_later(timeout_s, self._on_timeout)
                try:
                    answer = await anext(items)
                except StopAsyncIteration:
                    return
                finally:
                    timer.cancel()
                yield answer

    def cancel(self) -> None:
        self._rpc.cancel()
        self._outgoing.put(None)
        self._incoming.leave()

    def _on_timeout(self) -> None:
        self._timed_out = True
        self._rpc.cancel()

    def _requests(self) -> Iterator[RemoteCall[object]]:
        while (request := self._outgoing.get()) is not None:
            yield request

    def _read(self) -> None:
        import grpc

        error: BaseException | None = None
        try:
            for (answer,) in self._rpc:
                if not self._incoming.put(answer):
                    break
        except grpc.RpcError:
            error = error_of_rpc(self._rpc, self._settings.address.url, self._timeout_s, timed_out=self._timed_out)
        except BaseException as exc:
            error = exc
        finally:
            self._outgoing.put(None)  # else the library's thread that sends requests would wait for ever
            with contextlib.suppress(Exception):
                self._rpc.cancel()
            self._on_end()
            self._incoming.finish(error)
