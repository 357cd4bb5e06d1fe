"""The reverse proxies of `deploy/proxies`, started on ports of this machine before a server of a test."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from tests.certificate import write_self_signed_certificate
from tests.ports import free_port

ADDRESS = "127.0.0.3"
"""The address from which the proxies call the server, so that it can tell them from callers of this machine."""

FOLDER = Path(__file__).parents[2] / "deploy" / "proxies"


class Proxy:
    """A running reverse proxy: where it serves REST and gRPC, and the certificate that it shows."""

    def __init__(self, port, grpc_port, ca_file):
        self.url = f"https://localhost:{port}"
        self.grpc_url = f"grpcs://localhost:{grpc_port}"
        self.ca_file = ca_file


@contextmanager
def nginx(folder, rest, grpc):
    """Run nginx with the file of the documentation, its addresses and paths exchanged for those of the test."""
    write_self_signed_certificate(folder / "crt", folder / "key")
    port = free_port()
    site = (FOLDER / "nginx.conf").read_text(encoding="utf-8")
    changes = {
        "127.0.0.1:8000": rest,
        "127.0.0.1:50051": grpc,
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl http2;",  # as versions before 1.25.1 spell it
        "    http2 on;\n": "",
        "memory.example.org;": "localhost;",
        "/etc/ssl/memory.example.org.crt": str(folder / "crt"),
        "/etc/ssl/memory.example.org.key": str(folder / "key"),
    }
    site = _changed(site, changes)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid;\nerror_log {folder}/error.log;\nworker_processes 1;\ndaemon off;\n"
        f"events {{}}\nhttp {{\naccess_log off;\nproxy_bind {ADDRESS};\ngrpc_bind {ADDRESS};\n{temporary}{site}}}\n"
    )
    with _running([_program("nginx"), "-e", f"{folder}/error.log", "-p", folder, "-c", folder / "nginx.conf"], port):
        yield Proxy(port, port, folder / "crt")


@contextmanager
def haproxy(folder, *servers):
    """Run HAProxy with the file of the documentation, with servers of the test in place of its three."""
    write_self_signed_certificate(folder / "crt", folder / "key")
    (folder / "pem").write_bytes((folder / "crt").read_bytes() + (folder / "key").read_bytes())
    port, grpc_port = free_port(), free_port()
    text = (FOLDER / "haproxy.cfg").read_text(encoding="utf-8")
    pairs = [servers] if isinstance(servers[0], str) else servers
    for name in ("one", "two", "three")[len(pairs) :]:
        text = re.sub(rf" +server {name} .*\n", "", text)
    changes = {
        "defaults\n": f"defaults\n    source {ADDRESS}\n",
        "bind :443": f"bind 127.0.0.1:{port}",
        "bind :50443": f"bind 127.0.0.1:{grpc_port}",
        "/etc/haproxy/memory.example.org.pem": str(folder / "pem"),
    }
    for number, (rest, grpc) in enumerate(pairs, 11):
        changes |= {f"10.0.0.{number}:8000": rest, f"10.0.0.{number}:50051": grpc}
    (folder / "haproxy.cfg").write_text(_changed(text, changes))
    with _running([_program("haproxy"), "-db", "-f", folder / "haproxy.cfg"], port):
        yield Proxy(port, grpc_port, folder / "crt")


@contextmanager
def caddy(folder, rest, grpc):
    """Run Caddy with the file of the documentation, and a certificate of the test in place of one that it gets."""
    write_self_signed_certificate(folder / "crt", folder / "key")
    port = free_port()
    site = (FOLDER / "Caddyfile").read_text(encoding="utf-8")
    source = f"transport http {{\n\t\t\t\tlocal_address {ADDRESS}\n\t\t\t}}\n"
    changes = {
        "memory.example.org {": f"https://localhost:{port} {{\n\ttls {folder}/crt {folder}/key\n",
        "reverse_proxy h2c://127.0.0.1:50051\n": f"reverse_proxy h2c://{grpc} {{\n\t\t\t{source}\t\t}}\n",
        "reverse_proxy 127.0.0.1:8000 {\n": f"reverse_proxy {rest} {{\n\t\t\t{source}",
    }
    site = _changed(site, changes)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n\tstorage file_system {folder}\n}}\n{site}")
    command = [_program("caddy"), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]
    with _running(command, port, environment={"HOME": str(folder), "PATH": "/usr/bin:/bin"}):
        yield Proxy(port, port, folder / "crt")


@contextmanager
def envoy(folder, rest, grpc):
    """Run Envoy with the file of the documentation, its addresses and paths exchanged for those of the test."""
    write_self_signed_certificate(folder / "crt", folder / "key")
    port = free_port()
    text = (FOLDER / "envoy.yaml").read_text(encoding="utf-8")
    source = f"upstream_bind_config: {{source_address: {{address: {ADDRESS}, port_value: 0}}}}"
    changes = {
        "address: 0.0.0.0, port_value: 443": f"address: 127.0.0.1, port_value: {port}",
        "address: 127.0.0.1, port_value: 8000": f"address: 127.0.0.1, port_value: {rest.partition(':')[2]}",
        "address: 127.0.0.1, port_value: 50051": f"address: 127.0.0.1, port_value: {grpc.partition(':')[2]}",
        "/etc/envoy/memory.example.org.crt": str(folder / "crt"),
        "/etc/envoy/memory.example.org.key": str(folder / "key"),
        "- name: saa_rest\n": f"- name: saa_rest\n      {source}\n",
        "- name: saa_grpc\n": f"- name: saa_grpc\n      {source}\n",
        'domains: ["memory.example.org", "memory.example.org:*"]': 'domains: ["localhost:*"]',
    }
    (folder / "envoy.yaml").write_text(_changed(text, changes))
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
    with _running([_program("envoy"), "-c", folder / "envoy.yaml", *options], port):
        yield Proxy(port, port, folder / "crt")


def _changed(text, changes):
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def _program(name):
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")


def is_installed(name):
    """Return whether a proxy can be started here."""
    return _program(name) is not None


@contextmanager
def _running(command, port, environment=None):
    words = [str(word) for word in command]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    try:
        while True:
            assert process.poll() is None, process.stderr.read().decode()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)
