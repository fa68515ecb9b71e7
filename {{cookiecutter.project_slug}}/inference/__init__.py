"""The inference service: a Flask application around one trained model.

The path of a request:

1. ``http/server.py`` accepts the connection, ``http/connection.py`` reads the request within its limits.
2. A door (``http/routes.py``, ``http/protocol.py``) decodes it into rows with ``formats/``.
3. ``runtime/engine.py`` runs the predictor on them: immediately, in a thread, or in a batch.
4. The door encodes the reply; ``http/service.py`` counts and logs it with ``monitoring/``.

Requests without a door, and all requests once other code has hooked into the application, go through
``http/middleware.py`` and Flask instead of steps 2 to 4, as they do under any other WSGI server.
``batch`` scores files instead, with the same formats and the same predictor.

Packages import downward only: http, batch, monitoring, formats, runtime, config, errors.
"""
