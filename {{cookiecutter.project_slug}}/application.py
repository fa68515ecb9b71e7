"""WSGI entry point: any WSGI server can serve ``application``."""

import sys

from inference.app import create_app
from inference.errors import StartupError

try:
    app = create_app()
except StartupError as error:
    sys.exit(str(error))
# Wrap your own middleware around it here: application = Middleware(app)
application = app
