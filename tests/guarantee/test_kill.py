"""SIGKILL at random moments: what was acknowledged is there, nothing is half there.

`KILL_ROUNDS=5000 pytest tests/guarantee/test_kill.py -s` runs longer, and prints the times.
"""

import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from guarantee.checkpoint import verify_proof
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.merkle import leaf_hash, verify_consistency
from guarantee.records import Header
from tests.guarantee.clinic import Clinic, check_ledger

ROUNDS = int(os.environ.get("KILL_ROUNDS", "200"))
ROUNDS_A_HOME = 20
"""Every round verifies the whole log, so that a log must not grow for ever."""

PROCESSES, THREADS = 2, 4
_FORKED = multiprocessing.get_context("forkserver")


def append(home: Home, information: str, told: Connection) -> None:
    """Append from several threads until killed; each acknowledgement is a line in the pipe."""
    clinic = Clinic.opened(home)

    def work() -> None:
        while True:
            inference = clinic.infer(information)
            # One write of less than a page: a kill leaves the whole line or none of it.
            os.write(told.fileno(), f"{inference.id}\n".encode())
            decision = clinic.decide(inference.id)
            os.write(told.fileno(), f"{decision.id}\n".encode())

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def kill_round(home: Home, information: str, draw: random.Random) -> list[str]:
    """Several processes append and are killed; returns what was acknowledged."""
    processes, pipes = [], []
    for _ in range(PROCESSES):
        heard, told = _FORKED.Pipe(duplex=False)
        process = _FORKED.Process(target=append, args=(home, information, told))
        process.start()
        told.close()
        processes.append(process)
        pipes.append(heard)
    if draw.random() < 0.8:
        # Under load; else perhaps while the log is being opened.
        pipes[0].poll(30)
    time.sleep(draw.uniform(0, 0.3))
    # One of them, then the other, which may go on for a moment.
    for process in processes:
        process.kill()
        time.sleep(draw.choice((0, 0, draw.uniform(0, 0.1))))
    acknowledged = []
    for process, pipe in zip(processes, pipes, strict=True):
        process.join()
        with closing(pipe), os.fdopen(os.dup(pipe.fileno())) as lines:
            acknowledged += lines.read().split()
    return acknowledged


def check_receipts(ledger: Ledger, records: list[str]) -> None:
    for record in records:
        receipt = ledger.receipt(record)
        assert Header.decode(receipt.header.encode()).id == record
        leaf = leaf_hash(receipt.header.encode())
        verify_proof(receipt.proof, leaf=leaf, verifier_key=ledger.verifier_key)
        ledger.open_body(ledger.find(record))


def founded(folder: Path) -> tuple[Home, str]:
    clinic = Clinic.founded(folder)
    information = clinic.inform()
    clinic.ledger.close()
    return clinic.home, information


def homes(folder: Path) -> Iterator[tuple[Home, str]]:
    """A home for each round, and an information in it."""
    for first in range(0, ROUNDS, ROUNDS_A_HOME):
        home, information = founded(folder / f"home-{first}")
        for _ in range(first, min(first + ROUNDS_A_HOME, ROUNDS)):
            yield home, information


@pytest.mark.slow
def test_what_was_acknowledged_survives_being_killed_at_any_moment(tmp_path: Path) -> None:
    _FORKED.set_forkserver_preload([__name__])
    draw = random.Random(2026)
    opened_in, checked_in, survived, unacknowledged, silent = [], [], 0, 0, 0
    for home, information in homes(tmp_path):
        with Ledger.open(home) as ledger:
            before = ledger.head()
        acknowledged = kill_round(home, information, draw)
        began = time.perf_counter()
        with Ledger.open(home) as ledger:
            opened_in.append(time.perf_counter() - began)
            check_receipts(ledger, acknowledged)
            after = ledger.head()
            path, _ = ledger.consistency(before.size)
            verify_consistency(
                old_size=before.size,
                old_root=before.root,
                size=after.size,
                root=after.root,
                path=path,
            )
            assert after.size - before.size >= len(acknowledged)
        began = time.perf_counter()
        check_ledger(home)
        checked_in.append(time.perf_counter() - began)
        survived += len(acknowledged)
        unacknowledged += after.size - before.size - len(acknowledged)
        silent += not acknowledged
    sys.stdout.write(
        f"\n{ROUNDS} rounds of {PROCESSES} processes with {THREADS} threads: {survived} records "
        f"acknowledged and there, {unacknowledged} there and not acknowledged, {silent} rounds "
        f"killed before the first; opened in {max(opened_in):.3f} s at most, "
        f"{sum(opened_in) / len(opened_in):.3f} s on average; verified in {max(checked_in):.2f} s "
        "at most\n"
    )
    # Most rounds must have been killed under load, or they show nothing.
    assert survived > 2 * ROUNDS
