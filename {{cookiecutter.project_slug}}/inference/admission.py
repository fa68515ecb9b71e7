"""How many requests a worker takes on at once: one more is refused, instead of kept waiting."""

import threading

from flask import Flask, g, request

from inference.errors import Overloaded
from inference.security import HEALTH


def register(app: Flask, max_concurrent: int) -> None:
    """Answer with 503 what comes while ``max_concurrent`` requests are being answered."""
    places = threading.BoundedSemaphore(max_concurrent)

    @app.before_request
    def enter() -> None:
        # Whoever asks for it would stop a task that is merely busy.
        if request.endpoint in HEALTH:
            return
        if not places.acquire(blocking=False):
            raise Overloaded
        g.has_place = True

    @app.teardown_request
    def leave(error: BaseException | None) -> None:
        if g.pop("has_place", False):
            places.release()
