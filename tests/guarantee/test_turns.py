"""Taking turns: who works, for whom, and what an interruption leaves."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import pytest

from guarantee.idle import WhenIdle
from guarantee.turns import Turns, TurnsEnded

PATIENCE_SECONDS = 30


class Work:
    """Work that stops at its first group until it may go on."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.threads: list[int] = []
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.interrupted = False

    def __call__(self, items: list[str]) -> None:
        self.groups.append(items)
        self.threads.append(threading.get_ident())
        if len(self.groups) == 1:
            self.begun.set()
            assert self.may_go_on.wait(PATIENCE_SECONDS)
            if self.interrupted:
                raise KeyboardInterrupt


def queued(turns: Turns[str], count: int) -> None:
    """Wait until so many callers wait behind the one at work."""
    while len(turns._waiting) < count:
        pass


def test_whoever_waits_behind_one_at_work_is_served_in_one_group() -> None:
    work = Work()
    turns = Turns(work, most=100)
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(turns.serve, ["first"])]
        assert work.begun.wait(PATIENCE_SECONDS)
        for number in range(5):
            calls.append(pool.submit(turns.serve, [f"{number}", f"{number}, too"]))
            queued(turns, number + 1)
        work.may_go_on.set()
        for call in calls:
            call.result(PATIENCE_SECONDS)
    behind = [item for number in range(5) for item in (f"{number}", f"{number}, too")]
    assert work.groups == [["first"], behind]


def test_nobody_is_added_to_a_group_that_is_full() -> None:
    work = Work()
    turns = Turns(work, most=2)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(turns.serve, ["first"])]
        assert work.begun.wait(PATIENCE_SECONDS)
        for number in range(3):
            calls.append(pool.submit(turns.serve, [f"{number}"] * (number + 1)))
            queued(turns, number + 1)
        work.may_go_on.set()
        for call in calls:
            call.result(PATIENCE_SECONDS)
    assert work.groups == [["first"], ["0", "1", "1"], ["2", "2", "2"]]


def test_one_who_comes_alone_works_in_their_own_thread() -> None:
    work = Work()
    work.may_go_on.set()
    turns = Turns(work, most=100)
    for item in "abc":
        turns.serve([item])
    assert work.groups == [["a"], ["b"], ["c"]]
    assert set(work.threads) == {threading.get_ident()}


def test_the_last_of_those_who_are_expected_works_for_all() -> None:
    work = Work()
    work.may_go_on.set()
    turns = Turns(work, most=100)
    turns._expected, turns._patience_seconds = 2, PATIENCE_SECONDS
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(turns.serve, ["first"])
        while turns._patient is None:
            pass
        turns.serve(["last"])
        first.result(PATIENCE_SECONDS)
    assert work.groups == [["first", "last"]]
    assert work.threads == [threading.get_ident()]


def test_who_works_is_served_however_many_came_before() -> None:
    work = Work()
    work.may_go_on.set()
    turns = Turns(work, most=2)
    turns._expected, turns._patience_seconds = 2, PATIENCE_SECONDS
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(turns.serve, ["a", "b", "c"])
        while turns._patient is None:
            pass
        turns.serve(["last"])
        assert "last" in [item for group in work.groups for item in group]
        first.result(PATIENCE_SECONDS)
    assert sorted(item for group in work.groups for item in group) == ["a", "b", "c", "last"]


def test_nobody_is_waited_for_longer_than_work_takes() -> None:
    work = Work()
    work.may_go_on.set()
    turns = Turns(work, most=100)
    turns._expected, turns._patience_seconds = 2, 0.001
    for item in "ab":
        turns.serve([item])
    assert work.groups == [["a"], ["b"]]


def test_after_an_interruption_the_others_go_on() -> None:
    work = Work()
    work.interrupted = True
    turns = Turns(work, most=100)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(turns.serve, ["first"])
        assert work.begun.wait(PATIENCE_SECONDS)
        others = [pool.submit(turns.serve, [item]) for item in "ab"]
        queued(turns, 2)
        work.may_go_on.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(PATIENCE_SECONDS)
        for other in others:
            other.result(PATIENCE_SECONDS)
    turns.serve(["last"])
    assert sorted(item for group in work.groups for item in group) == ["a", "b", "first", "last"]


class Interrupting(threading.Condition):
    """Interrupts whoever has just left it, once, as a signal may."""

    interrupts = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if self.interrupts:
            self.interrupts = False
            raise KeyboardInterrupt


def test_one_who_is_interrupted_when_they_come_keeps_nobody_waiting() -> None:
    work = Work()
    work.may_go_on.set()
    turns = Turns(work, most=100)
    turns._changed = Interrupting(threading.Lock())
    with pytest.raises(KeyboardInterrupt):
        turns.serve(["first"])
    with ThreadPoolExecutor(2) as pool:
        pool.submit(turns.serve, ["second"]).result(PATIENCE_SECONDS)
        assert pool.submit(turns.end).result(PATIENCE_SECONDS)
    assert work.groups == [["second"]]


def test_a_defect_is_told_and_ends_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(str(args.exc_value)))
    acted, again = threading.Semaphore(0), iter(["a defect", None])

    def act() -> None:
        acted.release()
        if (defect := next(again)) is not None:
            raise ZeroDivisionError(defect)

    idle = WhenIdle(act, after_seconds=0.001, every_seconds=0.01)
    for _ in range(2):
        idle.stir()
        assert acted.acquire(timeout=PATIENCE_SECONDS)
    idle.close()
    assert told == ["a defect"]


def test_the_end_waits_for_those_who_came_before_and_takes_nobody_after() -> None:
    work = Work()
    turns = Turns(work, most=1)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(turns.serve, ["first"])]
        assert work.begun.wait(PATIENCE_SECONDS)
        calls.append(pool.submit(turns.serve, ["second"]))
        queued(turns, 1)
        end = pool.submit(turns.end)
        while not turns._ended:
            pass
        with pytest.raises(TurnsEnded):
            turns.serve(["late"])
        assert not end.done()
        work.may_go_on.set()
        assert end.result(PATIENCE_SECONDS) is True
        assert work.groups == [["first"], ["second"]]
        for call in calls:
            call.result(PATIENCE_SECONDS)
    assert turns.end() is False


def test_what_is_done_when_idle_is_done_once_for_all_that_happened_together() -> None:
    acts: list[int] = []
    acted = threading.Event()

    def act() -> None:
        acts.append(len(acts))
        acted.set()

    idle = WhenIdle(act, after_seconds=0.01, every_seconds=60)
    idle.stir()
    assert acted.wait(PATIENCE_SECONDS)
    idle.close()
    assert acts == [0]

    # Long before it would be idle: what is closed acts on what happened last, and not else.
    late = WhenIdle(act, after_seconds=60, every_seconds=60)
    for _ in range(5):
        late.stir()
    late.close()
    assert acts == [0, 1]
    WhenIdle(act, after_seconds=60, every_seconds=60).close()
    assert acts == [0, 1]


def test_what_never_ceases_does_not_put_off_what_is_done_when_idle() -> None:
    acted = threading.Event()
    idle = WhenIdle(acted.set, after_seconds=0.2, every_seconds=0.01)
    while not acted.wait(0.001):
        idle.stir()
    idle.close()
