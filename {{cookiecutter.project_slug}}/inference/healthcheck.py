"""Ask the service in this container whether it is up: exit code 0 if so."""

import os
import sys
from http.client import HTTPConnection, HTTPException

from inference.config import Settings
from inference.errors import StartupError


def is_healthy(port: int, timeout: float = 4.0) -> bool:
    """True when ``GET /ping`` on this machine is answered with 200 in ``timeout`` seconds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    try:
        port = Settings.from_environment(os.environ).port
    except StartupError as error:
        sys.exit(str(error))
    sys.exit(not is_healthy(port))
