"""Traces of real servers and clients: a request is one trace, through its batches and across servers."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from super_advanced_agents.client import RemoteAgent
from super_advanced_agents.client.remote_jobs import RemoteJobs
from super_advanced_agents.telemetry import tracing

_CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def _collector():
    """Yield the URL of a collector of OTLP, and the spans that have arrived there."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            spans.extend(span for part in request.resource_spans for scope in part.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def client_spans():
    """Trace this process into memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use_traces(provider)
    yield exporter
    tracing.stop_traces()
    provider.shutdown()


def _named(spans, name):
    return [span for span in spans if span.name == name]


def test_search_of_a_remote_agent_is_one_trace_through_its_batches(machine, client_spans):
    """Over both protocols the server's span is inside the client's, and each batch links to its callers."""
    with _collector() as (endpoint, spans):
        with machine.server(environment={"SAA_TRACES_ENDPOINT": endpoint}) as client:
            for url in (client.startup_info["url"], client.startup_info["grpc"]):
                with RemoteAgent(url, "guide", api_key=machine.key) as agent:
                    agent.add_text_memory(f"texttt by {url}")
                    assert agent.search_text(f"queryyy of {url}")
        sent = {span.context.span_id: span for span in client_spans.get_finished_spans()}
    received = [span for span in _named(spans, "searchMemories") if span.kind == 2]
    assert len(received) == 2
    for span in received:
        calling = sent[int.from_bytes(span.parent_span_id)]
        assert calling.name == "searchMemories"
        assert int.from_bytes(span.trace_id) == calling.context.trace_id
        inside = [other for other in spans if other.trace_id == span.trace_id]
        assert {"embed", "search", "batch embeddings", "model", "batch store searcher", "engine"} <= {
            other.name for other in inside
        }
        [batch] = _named(inside, "batch embeddings")
        [embed] = _named(inside, "embed")
        assert [link.span_id for link in batch.links] == [embed.span_id]
        assert batch.parent_span_id == embed.span_id
    texts = b"".join(span.SerializeToString() for span in spans)
    assert b"texttt" not in texts
    assert b"queryyy" not in texts
    assert machine.key.encode() not in texts


def test_attempt_of_a_job_links_to_the_call_that_submitted_it(machine, client_spans):
    """It is a trace of its own, since it may run hours later in another process."""
    with (
        _collector() as (endpoint, spans),
        machine.server(environment={"SAA_TRACES_ENDPOINT": endpoint}) as client,
        RemoteJobs(client.startup_info["url"], api_key=machine.key) as jobs,
    ):
        submitted = jobs.submit("probe_recall")
        while not jobs.get(submitted.id).state.final:
            time.sleep(0.05)
    [call] = _named(spans, "submitJob")
    [attempt] = _named(spans, "job probe_recall")
    assert [link.span_id for link in attempt.links] == [call.span_id]
    assert attempt.trace_id != call.trace_id


def test_context_of_any_caller_is_taken_and_errors_are_marked(machine):
    """W3C Trace Context: the span of a refused request has its error's status, and no message."""
    with _collector() as (endpoint, spans), machine.server(environment={"SAA_TRACES_ENDPOINT": endpoint}) as client:
        answer = httpx2.post(client.base_url.join("/search"), json={}, headers={"traceparent": _CALLER}, timeout=60)
        assert answer.status_code == 401
    [span] = _named(spans, "search")
    assert span.trace_id.hex() == _CALLER.split("-")[1]
    assert span.parent_span_id.hex() == _CALLER.split("-")[2]
    attributes = {attribute.key: attribute.value for attribute in span.attributes}
    assert attributes["saa.outcome"].string_value == "unauthenticated"


def test_nothing_is_traced_and_imported_without_an_endpoint(machine):
    """The SDK costs an idle server nothing."""
    assert not tracing.on
    assert tracing.trace_headers() == {}
    assert tracing.begin_span("tried") is None
