"""Whether the service in this container is ready: asks /readyz, leaves with 0 or 1. The image has no curl.

PARAKH_PORT and PARAKH_TLS_CERTIFICATE are read as the service reads them. The certificate names the service's host, not
the loopback address, so it is not checked here. A service that wants certificates from its callers is asked in vain:
there it counts as ready when it takes connections.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys

TIMEOUT_S = 2.0


def is_ready(environment: dict[str, str]) -> bool:
    """Whether /readyz answers 200."""
    port = int(environment.get("PARAKH_PORT", "8321"))
    if environment.get("PARAKH_TLS_CLIENT_CA"):
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S):
            return True
    connection: http.client.HTTPConnection
    if environment.get("PARAKH_TLS_CERTIFICATE"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("GET", "/readyz")
    return connection.getresponse().status == 200


if __name__ == "__main__":
    try:
        sys.exit(0 if is_ready(dict(os.environ)) else 1)
    except (OSError, http.client.HTTPException):
        sys.exit(1)
