"""Disks that fail, fill up or lose what was not synced; a server that stops; a clock set back.

By hand, all rounds of struck calls (half an hour): FAULTS_EVERY=1.
"""

import json
import os
import resource
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from guarantee.appending import Request
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import LedgerUnavailable
from guarantee.store import StoreUnavailable
from guarantee.verify import verify_home
from tests.guarantee.clinic import Clinic, check_ledger
from tests.postgresql import Postgresql

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EVERY = int(os.environ.get("FAULTS_EVERY", "61"))


@pytest.mark.slow
def test_no_struck_call_loses_what_was_acknowledged_or_forks_what_was_signed(
    tmp_path: Path,
) -> None:
    shim = tmp_path / "faults.so"
    compiled = ["cc", "-O1", "-shared", "-fPIC", "-o", str(shim), str(HERE / "faults.c"), "-ldl"]
    subprocess.run(compiled, check=True)
    played = subprocess.run(
        [sys.executable, "-m", "tests.guarantee.faulted", str(tmp_path), str(EVERY)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(shim)},
    )
    rounds = [json.loads(line) for line in played.stdout.splitlines()]
    wrong = [found["wrong"] for found in rounds if "wrong" in found]
    assert not wrong
    assert played.returncode == 0, played.stderr
    assert len(rounds) > 50
    # Calls of each sort were struck, and errors answered.
    struck = Counter(found["fired"].partition(" ")[0] for found in rounds)
    assert {"pwrite64", "fdatasync"} <= struck.keys(), struck
    assert any(found["errors"] for found in rounds)


@pytest.mark.slow
def test_a_full_disk_answers_unavailable_and_the_log_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    information = clinic.inform()
    wal = tmp_path / "home" / "ledger.db-wal"
    room = resource.getrlimit(resource.RLIMIT_FSIZE)
    acknowledged: list[str] = []

    def fill() -> None:
        for number in range(100):
            request = Request(actor="a", route="r", key=str(number), content=b"")
            acknowledged.append(clinic.infer(information, request=request).id)

    try:
        # The kernel then fails what would make a file longer, a part of it written.
        resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 30_000, room[1]))
        with pytest.raises(LedgerUnavailable):
            fill()
        with pytest.raises(LedgerUnavailable):
            clinic.infer(information)
        # What is there can be read and proved.
        for record_id in acknowledged:
            clinic.ledger.receipt(record_id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, room)
    request = Request(actor="a", route="r", key=str(len(acknowledged)), content=b"")
    assert clinic.infer(information, request=request).repeated is False
    clinic.ledger.close()
    check_ledger(clinic.home)


@pytest.mark.slow
def test_a_server_that_stops_in_mid_commit_loses_and_doubles_nothing(
    postgresql: Postgresql, postgresql_home: Home
) -> None:
    clinic = Clinic.founded(postgresql_home)
    information = clinic.inform()
    notes = [clinic.ledger.checkpoint()]
    stop = threading.Event()
    acknowledged: dict[str, str] = {}
    answered: list[str] = []

    def append(worker: int) -> None:
        number = 0
        while not stop.is_set():
            key = f"{worker}-{number}"
            request = Request(actor="a", route="r", key=key, content=b"")
            try:
                acknowledged[key] = clinic.infer(information, request=request).id
                number += 1
            except (LedgerUnavailable, StoreUnavailable) as error:
                # Outcome unknown: the same request again, as a client does.
                answered.append(str(error))
                stop.wait(0.05)

    threads = [threading.Thread(target=append, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(int(os.environ.get("FAULTS_RESTARTS", "4"))):
        before = len(acknowledged)
        while len(acknowledged) < before + 40:
            stop.wait(0.01)
        postgresql.crash()
        postgresql.start()
        notes.append(clinic.ledger.checkpoint())
    stop.set()
    for thread in threads:
        thread.join()
    assert answered
    # Appending went on in the same process, each request was recorded once, all are there.
    assert len(set(acknowledged.values())) == len(acknowledged)
    for key, record_id in acknowledged.items():
        request = Request(actor="a", route="r", key=key, content=b"")
        again = clinic.infer(information, request=request)
        assert again.repeated
        assert again.id == record_id
    for note in notes:
        size = int(note.splitlines()[1])
        clinic.ledger.consistency(size)
    clinic.ledger.close()
    check_ledger(postgresql_home)


def test_a_clock_that_is_set_back_is_remarked_and_the_order_stands(empty_home: Home) -> None:
    clinic = Clinic.founded(empty_home)
    first = clinic.ledger.find(clinic.inform(1))
    clinic.ledger.close()
    hour = 3_600_000
    with Ledger.open(empty_home, clock=lambda: first.header.time - hour) as ledger:
        behind = ledger.find(Clinic(empty_home, ledger, clinic.clinician).inform(2))
    assert behind.index == first.index + 1
    assert behind.header.time == first.header.time - hour
    report = verify_home(empty_home)
    assert report.verified, report.findings
    assert [remark for remark in report.remarks if behind.id in remark and "clock" in remark]
