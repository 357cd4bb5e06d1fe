"""Linux drops what asks a listening socket for new connections, by address."""

from __future__ import annotations

import socket
import sys

import pytest

from super_advanced_agents.server.connections import client_of
from super_advanced_agents.server.packet_filter import MAX_CLIENTS, drop_new_connections

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such filters")


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")], ids=["ipv4", "dual"])
def listener(request):
    """Return a listening socket."""
    family, host = request.param
    with socket.socket(family) as opened:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind((host, 0))
        opened.listen(16)
        yield opened


def _connects(listener, source):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with socket.socket(family) as client:
        client.bind((source, 0))
        client.settimeout(0.2)
        try:
            client.connect(("::1" if ":" in source else "127.0.0.1", listener.getsockname()[1]))
        except TimeoutError:
            return False
        return True


def test_new_connections_of_chosen_addresses_are_dropped_until_none_is_chosen(listener):
    """However many others are chosen too; an open connection works on."""
    sources = ["127.0.0.1", "127.0.0.2", *(["::1"] if listener.family == socket.AF_INET6 else [])]
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as before:
        accepted, _ = listener.accept()
        for chosen in sources:
            others = [f"192.0.2.{n}" for n in range(MAX_CLIENTS // 2)] + [f"20010db8{n:08x}" for n in range(20)]
            drop_new_connections(listener, [*others, client_of(chosen)])
            assert [source for source in sources if not _connects(listener, source)] == [chosen]
        drop_new_connections(listener)
        assert not any(_connects(listener, source) for source in sources)
        with accepted:
            before.sendall(b"x")
            assert accepted.recv(1) == b"x"
        drop_new_connections(listener, [])
        assert all(_connects(listener, source) for source in sources)
