"""WSGI entry point: ``application`` is the service, for any WSGI server."""

import sys

from inference.app import create_app
from inference.errors import StartupError

try:
    app = create_app()
except StartupError as error:
    sys.exit(str(error))
# Middleware of your own goes around it here: application = Middleware(app)
application = app
