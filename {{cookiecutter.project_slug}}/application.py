"""WSGI entry point: ``application`` is the service, for any WSGI server."""

import gc
import os
import sys

from inference.app import create_app
from inference.config import Settings
from inference.errors import StartupError
from inference.http import stalled

try:
    settings = Settings.from_environment(os.environ)
    application = create_app(settings)
except StartupError as error:
    sys.exit(str(error))
stalled.watch(settings.port, settings.request_seconds)
# What is there now stays: the collector need not look at it again.
gc.freeze()
gc.enable()
