"""Run the service under granian: ``python -m inference``."""

import os
import sys

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from inference import artifact, logs
from inference.config import Settings, available_cpus
from inference.errors import StartupError


def main() -> None:
    """Serve until a signal ends it; settings and model are checked before a worker starts."""
    try:
        settings = Settings.from_environment(os.environ)
        artifact.read(settings.model_path)
    except StartupError as error:
        sys.exit(str(error))
    Granian(
        "application:application",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers or available_cpus(),
        # One thread computes, one does the I/O: more of either only contend for the same CPU.
        blocking_threads=1,
        runtime_threads=1,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels(settings.log_level.lower()),
        log_dictconfig=logs.config(settings.log_level),
        respawn_failed_workers=True,
    ).serve()


if __name__ == "__main__":
    main()
