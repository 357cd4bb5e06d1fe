"""No request within the limits stops the event loop, whatever the operation.

The table of the largest requests is checked against that of the operations: a new operation needs a row.
"""

from __future__ import annotations

import json
import threading

import grpc
import pytest
from starlette.testclient import TestClient
from tests.load.largest import UPLOAD, largest_calls, setup_calls
from tests.load.largest_messages import largest_messages
from tests.load.model import language_model
from tests.load.probing import probing, send

from super_advanced_agents.protocol.json_parser import INLINE_BYTES
from super_advanced_agents.protocol.operations import OPERATIONS
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.mcp.tools import TOOLS
from super_advanced_agents.tenancy.settings import Settings

WORST_S = 0.1
WITH_ROUTE = {each.name: each for each in OPERATIONS if each.path}
WITHOUT_BODY = {"cancelJob", "retryJob", "retryJobs", "addPart"}
"""Operations that ignore a body, or take it as bytes."""

WITH_BODY = [
    each for each in WITH_ROUTE.values() if each.verb in {"POST", "PUT", "PATCH"} and each.name not in WITHOUT_BODY
]


def test_every_operation_has_a_row_in_the_table_of_largest_requests():
    """Whoever adds an operation or a tool says how large its requests and answers may be."""
    calls, messages = largest_calls(), largest_messages()
    assert set(calls) == set(WITH_ROUTE)
    assert set(messages) == {each.name for each in OPERATIONS if not each.path}
    assert {call.body["params"]["name"] for call in calls["mcp"]} == set(TOOLS)


def _path(operation):
    names = dict.fromkeys(operation.path_parameters, "x")
    return operation.path.replace(":path}", "}").format(**names)


@pytest.fixture
def decoded(monkeypatch):
    """Record the length of each JSON text that Python's own parser decodes, and the thread."""
    calls = []
    decode = json.JSONDecoder.decode

    def recording(self, text, *arguments):
        calls.append((len(text), threading.current_thread().name))
        return decode(self, text, *arguments)

    monkeypatch.setattr(json.JSONDecoder, "decode", recording)
    return calls


def test_long_body_of_every_operation_is_parsed_off_the_event_loop(tmp_path, decoded):
    """Each is sent 100 KiB; the event loop's own thread parses short texts only."""
    body = json.dumps({"pad": ["x" * 1_000] * 100, "jsonrpc": "2.0"}).encode()
    assert len(body) > INLINE_BYTES
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    settings = Settings(data_dir=tmp_path, auth=False)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        for operation in WITH_BODY:
            decoded.clear()
            answer = client.request(operation.verb, _path(operation), content=body, headers=headers)
            assert 400 <= answer.status_code < 500, operation.name
            pieces = [length for length, thread in decoded if thread == "server conversions"]
            assert sum(pieces) > INLINE_BYTES, operation.name
            elsewhere = [length for length, thread in decoded if thread != "server conversions"]
            assert sum(elsewhere) < INLINE_BYTES, operation.name


def _send(served, call, body):
    content_type = "application/octet-stream" if isinstance(call.body, bytes) else "application/json"
    return send(served, call.method, call.path, body, content_type=content_type)


def _stream(address, key, operation, frames):
    """Send messages to an operation of gRPC, and return the status and the bytes of its answers."""
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address.removeprefix("grpc://"), options=options) as channel:
        call = channel.stream_stream(operation.rpc.path)(iter(frames), metadata=[("x-api-key", key)], timeout=120)
        try:
            return 200, b"".join(call)
        except grpc.RpcError as exc:
            return exc.code(), exc.details().encode()


@pytest.mark.load
@pytest.mark.timeout(1200)
def test_healthz_answers_within_100_ms_beside_the_largest_requests(serving):
    """Every operation gets its largest legal body, and is asked for its largest legal answer."""
    report, wrong, answer = {}, {}, b""
    with (
        language_model(pause_s=0.01, words=20) as url,
        serving(generation_base_url=url, generation_model="m", request_timeout_s=120) as served,
    ):
        for call in setup_calls():
            status, answer = _send(served, call, call.encoded())
            assert status in call.statuses, (call.path, answer[:300])
        for name, calls in largest_calls().items():
            for each in calls:
                call, body = each, each.encoded()
                if UPLOAD in call.path:
                    call = call._replace(path=call.path.replace(UPLOAD, json.loads(answer)["id"]))
                with probing(served) as took:
                    status, answer = _send(served, call, body)
                if status not in call.statuses:
                    wrong[name] = (status, answer[:300])
                worst = max(took, default=0.0)
                report.setdefault(name, []).append(
                    {"mib_in": round(len(body or b"") / 2**20, 2), "mib_out": round(len(answer) / 2**20, 2)}
                    | {"worst_ms": round(worst * 1e3, 1)}
                )
        messages = largest_messages()
        for operation in (each for each in OPERATIONS if not each.path):
            frames = [message.SerializeToString() for message in messages[operation.name]]
            with probing(served) as took:
                status, answer = _stream(served.grpc, served.key, operation, frames)
            if status != 200:
                wrong[operation.name] = (status, answer[:300])
            worst_ms = round(max(took, default=0.0) * 1e3, 1)
            report[operation.name] = [{"mib_out": round(len(answer) / 2**20, 2), "worst_ms": worst_ms}]
    print(json.dumps(report))
    assert not wrong, {name: str(why) for name, why in wrong.items()}
    late = {name: rows for name, rows in report.items() if max(row["worst_ms"] for row in rows) >= WORST_S * 1e3}
    assert not late
