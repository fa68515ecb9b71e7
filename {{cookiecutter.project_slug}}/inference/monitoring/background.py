"""Threads for work that no response waits for."""

import os
import threading
from collections.abc import Callable


class Background:
    """A thread started on demand; a forked process does not inherit its parent's, and starts its own."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name, self._work = name, work
        self._lock = threading.Lock()
        self._pid = 0

    def start(self) -> bool:
        """Start the thread unless it runs in this process; return whether it was started."""
        if self._pid == os.getpid():
            return False
        with self._lock:
            if self._pid == os.getpid():
                return False
            self._pid = os.getpid()
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return True
