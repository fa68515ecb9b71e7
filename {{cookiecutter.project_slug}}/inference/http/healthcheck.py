"""Check whether the service in this container is up: exit code 0 if so.

Uses only sockets, since it runs every ten seconds on what may be a quarter of a CPU.
"""

import os
import socket
import sys


def is_healthy(port: int) -> bool:
    """Whether ``GET /ping`` on this machine returns 200 within four seconds."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=4) as connection:
            connection.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
            return connection.recv(32).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not is_healthy(int(os.environ["PORT"])))
