"""Taking turns: whoever finds nobody at work does the work of all who wait.

So many callers share one transaction, and none of their work is handed to a thread of its own: a
group costs one wake-up for each caller but the one who works.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


class TurnsEnded(Exception):
    """Nothing is taken any more."""


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    """One caller.

    Attributes:
        turn: Held until the caller was served, or has to work.
        works: Whether it is this caller's turn to work.
    """

    items: list[T]
    works: bool = False
    turn: threading.Lock = field(default_factory=_held)


class Turns(Generic[T]):
    """A queue of callers, the first of whom works."""

    def __init__(self, work: Callable[[list[T]], None], *, most: int) -> None:
        """Nobody waits yet.

        Args:
            work: Does what is to be done with a group of items; runs in one thread at a time.
            most: No caller is added to a group of so many items.
        """
        self._work = work
        self._most = most
        self._changed = threading.Condition(threading.Lock())
        self._waiting: list[_Call[T]] = []
        self._at_work: list[_Call[T]] = []
        self._taken = False
        self._patient: _Call[T] | None = None
        self._ended = False
        self._expected = 1
        self._began = 0.0
        self._patience_seconds = 0.0

    def serve(self, items: list[T]) -> None:
        """Have `items` worked on, side by side in one group; returns once they were.

        Raises:
            TurnsEnded: They were not.
        """
        call = _Call(items)
        try:
            with self._changed:
                if self._ended:
                    raise TurnsEnded
                self._waiting.append(call)
                if not self._taken:
                    self._taken = call.works = True
                elif self._patient is not None and len(self._waiting) >= self._expected:
                    # The last to come works: to wake the one who waits for them takes longer.
                    self._patient.works, self._patient = False, None
                    call.works = True
            if not call.works:
                call.turn.acquire()
            if call.works:
                self._await_others(call)
            if call.works:
                self._work(self._next_group(call))
        finally:
            # Whatever interrupts a caller, the others go on.
            if call.works or call in self._waiting:
                self._leave(call)

    def _await_others(self, call: _Call[T]) -> None:
        """Those who were just served come back soon.

        Waiting for as many as there are, for half the time that the work takes, halves the
        number of groups. One who comes alone never waits. Afterwards the call works, or was
        served by the last who came.
        """
        with self._changed:
            if len(self._waiting) >= self._expected:
                return
            self._patient = call
        if call.turn.acquire(timeout=self._patience_seconds):
            return
        with self._changed:
            if self._patient is call:
                self._patient = None
                return
        call.turn.acquire()

    def _next_group(self, call: _Call[T]) -> list[T]:
        """The items of those who wait, in their order; who works is always among them."""
        group: list[T] = []
        with self._changed:
            while self._waiting and (len(group) < self._most or call in self._waiting):
                # Noted before it is taken: whatever interrupts this, somebody tells them.
                self._at_work.append(self._waiting[0])
                group += self._waiting.pop(0).items
        self._began = time.perf_counter()
        return group

    def _leave(self, call: _Call[T]) -> None:
        with self._changed:
            if call in self._waiting:
                self._waiting.remove(call)
            if self._patient is call:
                self._patient = None
            if not call.works:
                return
            served, self._at_work = self._at_work, []
            self._waiting = [one for one in self._waiting if one not in served]
            if served:
                self._expected = len(served) + len(self._waiting)
                self._patience_seconds = (time.perf_counter() - self._began) / 2
            following = self._waiting[0] if self._waiting else None
            if following is None:
                self._taken = False
                self._changed.notify_all()
            else:
                following.works = True
        for one in (*served, following):
            if one is not None and one is not call:
                one.turn.release()

    def end(self) -> bool:
        """Take nothing more, and wait until all is done; False where it was ended before."""
        with self._changed:
            if self._ended:
                return False
            self._ended = True
            self._changed.wait_for(lambda: not self._taken)
        return True
