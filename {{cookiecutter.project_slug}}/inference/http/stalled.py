"""Ends the connections of clients that stop in the middle of a request's body, and others as silent.

The server waits for a body as long as the connection lives, and a thread of the worker with it. Linux
tells of each connection when it last brought data (TCP_INFO); elsewhere nobody is cut off.
"""

import os
import socket
import struct
import sys
import threading
import time
from contextlib import suppress

# tcpi_last_data_recv of struct tcp_info, in milliseconds.
LAST_DATA_RECEIVED = 52

_reading: dict[int, float] = {}


class Reading:
    """Around the reading of a request's body."""

    def __enter__(self) -> None:
        _reading[threading.get_ident()] = time.monotonic()

    def __exit__(self, *error: object) -> None:
        del _reading[threading.get_ident()]


reading = Reading()


def watch(port: int, seconds: float) -> None:
    """Begin to end connections to ``port`` that are silent for ``seconds`` while a body is awaited for longer."""
    if sys.platform != "linux":
        return

    def work() -> None:
        while True:
            time.sleep(1)
            started = min(list(_reading.values()), default=time.monotonic())
            if time.monotonic() - started > seconds:
                # Where no descriptor is left to look through them, try again.
                with suppress(OSError):
                    end_silent_connections(port, seconds)

    threading.Thread(target=work, name="stalled-clients", daemon=True).start()


def end_silent_connections(port: int, seconds: float) -> None:
    """End every connection to ``port`` of this process that has brought nothing for ``seconds``."""
    for name in os.listdir("/proc/self/fd"):
        # Raised for what is no connection: a file, or the socket that listens.
        with suppress(OSError), duplicate(int(name)) as connection:
            connection.getpeername()
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            (silent,) = struct.unpack_from("I", info, LAST_DATA_RECEIVED)
            if connection.getsockname()[1] == port and silent > seconds * 1000:
                connection.shutdown(socket.SHUT_RDWR)


def duplicate(descriptor: int) -> socket.socket:
    """Return a socket of its own for a descriptor; raises OSError where that is no socket.

    ``socket.fromfd`` would then leave its duplicate open.
    """
    copy = os.dup(descriptor)
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=copy)
    except OSError:
        os.close(copy)
        raise
