#!/opt/saa/bin/python
"""Ask the server in this container for its health; exit with 1 unless it answers 200."""

import http.client
import os
import ssl
import sys

port = int(os.environ.get("SAA_PORT") or 8000)
if os.environ.get("SAA_TLS_CERT"):
    context = ssl._create_unverified_context()
    connection: http.client.HTTPConnection = http.client.HTTPSConnection("127.0.0.1", port, timeout=4, context=context)
else:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
try:
    connection.request("GET", "/healthz")
    sys.exit(connection.getresponse().status != http.client.OK)
except OSError as exc:
    sys.exit(f"no answer on port {port}: {exc.strerror or exc}")
