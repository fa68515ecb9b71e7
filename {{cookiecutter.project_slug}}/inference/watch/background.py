"""Threads that do what no answer waits for."""

import os
import threading
from collections.abc import Callable


class Background:
    """A thread that begins once it is needed; a forked process has not that of its parent, and begins its own."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name, self._work = name, work
        self._lock = threading.Lock()
        self._pid = 0

    def start(self) -> bool:
        """Begin, unless this process has; whether it did."""
        if self._pid == os.getpid():
            return False
        with self._lock:
            if self._pid == os.getpid():
                return False
            self._pid = os.getpid()
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return True
