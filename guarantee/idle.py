"""What is done when there is time."""

import threading
import time
from collections.abc import Callable


class WhenIdle:
    """A thread that acts some time after something happened, once nothing more happens."""

    def __init__(
        self, act: Callable[[], None], *, after_seconds: float, every_seconds: float
    ) -> None:
        """Start the thread.

        Args:
            act: Called after each stir, once for all that came together.
            after_seconds: So long after the last of them.
            every_seconds: So often, where they never cease.
        """
        self._act = act
        self._after_seconds = after_seconds
        self._every_seconds = every_seconds
        self._changed = threading.Condition()
        self._owed = False
        self._closed = False
        self._stirred_at = 0.0
        self._owed_since = 0.0
        self._thread = threading.Thread(target=self._run, name="idle", daemon=True)
        self._thread.start()

    def stir(self) -> None:
        """Something happened."""
        with self._changed:
            self._stirred_at = time.perf_counter()
            if not self._owed:
                self._owed, self._owed_since = True, self._stirred_at
                self._changed.notify()

    def close(self) -> None:
        """Act on what happened last, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._due():
            try:
                self._act()
            except Exception as defect:  # noqa: BLE001  # what comes next is acted on all the same
                report = (type(defect), defect, defect.__traceback__, self._thread)
                threading.excepthook(threading.ExceptHookArgs(report))

    def _due(self) -> bool:
        """Wait until it is time to act; False where nothing will happen any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._owed or self._closed)
            while not self._closed:
                now = time.perf_counter()
                idle = now - self._stirred_at >= self._after_seconds
                if idle or now - self._owed_since >= self._every_seconds:
                    break
                self._changed.wait(self._after_seconds)
            owed, self._owed = self._owed, False
            return owed
