"""WSGI entry point: ``application`` is the service, for any WSGI server."""

import os
import sys

from inference import stalled
from inference.app import create_app
from inference.config import Settings
from inference.errors import StartupError

try:
    settings = Settings.from_environment(os.environ)
    application = create_app(settings)
except StartupError as error:
    sys.exit(str(error))
stalled.watch(settings.request_seconds)
