"""Three servers over one database are restarted one after the other behind HAProxy, and no caller notices."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter

import httpx2
import pytest
from tests.integration.proxied import haproxy, is_installed
from tests.ports import free_port

from super_advanced_agents.server.auth.key_store import new_key

SAA = [sys.executable, "-c", "from super_advanced_agents.cli.main import main; main()"]
CALLERS = 4


class Replica:
    """One server process on ports of its own."""

    def __init__(self, folder, variables):
        self._folder = folder
        self._variables = variables
        self.port, self.grpc_port = free_port(), free_port()
        self._process = None

    def start(self):
        """Start it, and wait until it is ready."""
        environment = {**os.environ, **self._variables, "SAA_DATA_DIR": str(self._folder)}
        command = [*SAA, "serve", "--port", str(self.port), "--grpc-port", str(self.grpc_port)]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            assert self._process.poll() is None
            try:
                if httpx2.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False, timeout=60).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)

    def stop(self):
        """End it by SIGTERM, as a service manager does, and return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)


@pytest.mark.load
@pytest.mark.skipif(not is_installed("haproxy"), reason="HAProxy is not installed")
def test_rolling_restart_of_three_replicas_fails_no_request(  # noqa: C901  # one story
    tmp_path, postgres_schema_url
):
    """Writes and searches go on through the whole restart; each has to succeed without a repetition by its caller."""
    key = new_key().key
    variables = {"SAA_STORE": postgres_schema_url, "SAA_ADMIN_KEY": key, "SAA_LINGER_S": "3", "SAA_ACCESS_LOG": "0"}
    replicas = [Replica(tmp_path / str(number), variables) for number in range(3)]
    for replica in replicas:
        replica.start()
    outcomes, stop = Counter(), threading.Event()
    pairs = [(f"127.0.0.1:{replica.port}", f"127.0.0.1:{replica.grpc_port}") for replica in replicas]
    with haproxy(tmp_path, *pairs) as proxy:
        context = ssl.create_default_context(cafile=str(proxy.ca_file))
        headers = {"Authorization": f"Bearer {key}"}

        def call(number):
            with httpx2.Client(
                base_url=proxy.url, headers=headers, verify=context, timeout=60, trust_env=False
            ) as client:
                while client.get("/readyz").status_code != 200:
                    time.sleep(0.05)
                turn = 0
                while not stop.is_set():
                    turn += 1
                    try:
                        if turn % 4:
                            answer = client.post(f"/v1/agents/a{number}/search", json={"query": "pump"})
                        else:
                            answer = client.post(f"/v1/agents/a{number}/memories", json={"text": f"pump {turn}"})
                        outcomes[200 if answer.status_code == 200 else answer.text] += 1
                    except httpx2.TransportError as exc:
                        outcomes[repr(exc)] += 1

        callers = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            for replica in replicas:
                before = sum(outcomes.values())
                while sum(outcomes.values()) < before + 50:
                    time.sleep(0.05)
                assert replica.stop() == 0
                replica.start()
        finally:
            stop.set()
            for caller in callers:
                caller.join()
            codes = [replica.stop() for replica in replicas]
    print(dict(outcomes))
    assert set(outcomes) == {200}
    assert codes == [0, 0, 0]
