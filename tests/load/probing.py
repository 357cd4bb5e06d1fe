"""Requests to a server, and a probe of how long its `/healthz` takes meanwhile."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import contextmanager

PAUSE_S = 0.004


def send(served, method, path, body=None, *, content_type="application/json"):
    """Send one request with the admin key; return the status and the body of the answer."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=120)
    headers = {**served.headers, "Accept": "application/json, text/event-stream"}
    if body is not None:
        headers["Content-Type"] = content_type
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def probing(served):
    """Ask for /healthz again and again, and yield the list of the seconds that each answer took."""
    took, stopped = [], threading.Event()

    def probe():
        connection = http.client.HTTPConnection(served.host, served.port, timeout=120)
        while not stopped.is_set():
            began = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            took.append(time.perf_counter() - began)
            stopped.wait(PAUSE_S)
        connection.close()

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield took
    finally:
        stopped.set()
        thread.join()
