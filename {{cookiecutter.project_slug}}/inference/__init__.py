"""The inference service: a Flask application around one trained model.

The way of a request:

1. ``http/server.py`` takes the connection, ``http/connection.py`` reads the request within its limits.
2. A door (``http/routes.py``, ``http/protocol.py``) makes rows of it by way of ``formats/``.
3. ``runtime/engine.py`` lets the predictor answer them: at once, in a thread, or in a batch.
4. The door makes the reply; ``http/service.py`` counts and logs it by way of ``watch/``.

What has no door, and everything once others have hooked into the application, goes through
``http/middleware.py`` and Flask instead of 2 to 4, as it does under any other WSGI server.
``batch`` scores files instead, by the same formats and the same predictor.

Rooms import downward only: http, batch, watch, formats, runtime, config, errors.
"""
