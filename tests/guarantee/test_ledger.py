"""Appending: durable, once, in one order, by many threads and several processes."""

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, select, update

from guarantee import versions
from guarantee.appending import Draft, LedgerClosed, Request
from guarantee.bodies import ModelRegistered
from guarantee.checkpoint import parse_proof, verify_proof
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.logged import LedgerUnavailable, Recorded, UnknownRecord
from guarantee.merkle import leaf_hash, verify_consistency
from guarantee.records import Header, RecordType
from guarantee.refusals import AlreadyDone
from guarantee.store import HEAD, KEYS, StoreUnavailable
from guarantee.vault import KeyAltered
from tests.guarantee.clinic import CARD, DIGEST, Clinic, check_ledger


def worker(home: Home, body: str, *arguments: str) -> "subprocess.Popen[str]":
    """Another process that opens the same log; it waits for a line before it starts."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from concurrent.futures import ThreadPoolExecutor
        from guarantee.refusals import ProtocolError
        from guarantee.databases import parse_url
        from guarantee.home import Home
        from tests.guarantee.clinic import Clinic
        url = sys.stdin.readline().strip()
        clinic = Clinic.opened(Home(Path(sys.argv[1]), parse_url(url) if url else None))
        print("ready", flush=True)
        sys.stdin.readline()
        """
    ) + textwrap.dedent(body)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(home.path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    url = home.server.render_as_string(hide_password=False) if home.server else ""
    tell(process, url)
    return process


def tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def start(*workers: "subprocess.Popen[str]") -> None:
    for process in workers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in workers:
        tell(process, "")


def test_two_hundred_decisions_by_two_processes_on_twenty_dossiers_leave_twenty(
    clinic: Clinic,
) -> None:
    information = clinic.inform()
    dossiers = [clinic.infer(information).id for _ in range(20)]
    deciding = """
        def decide(dossier):
            try:
                clinic.decide(dossier)
                return 1
            except ProtocolError:
                return 0
        with ThreadPoolExecutor(10) as pool:
            print(sum(pool.map(decide, sys.argv[2:] * 5)))
        clinic.ledger.close()
        """
    workers = [worker(clinic.home, deciding, *dossiers) for _ in range(2)]
    start(*workers)
    accepted = [int(process.communicate(timeout=120)[0]) for process in workers]
    assert sum(accepted) == 20
    decisions = clinic.ledger.latest(RecordType.DECISION_SIGNED, count=1000)
    assert Counter(decision.header.dossier for decision in decisions) == Counter(dossiers)


def test_no_inference_follows_a_suspension_in_the_log(clinic: Clinic) -> None:
    information = clinic.inform()
    inferring = """
        def infer(_):
            try:
                clinic.infer(sys.argv[2])
                return 1
            except ProtocolError:
                return 0
        with ThreadPoolExecutor(10) as pool:
            print(sum(pool.map(infer, range(100))))
        clinic.ledger.close()
        """
    workers = [worker(clinic.home, inferring, information) for _ in range(2)]
    start(*workers)
    while len(clinic.ledger.latest(RecordType.INFERENCE_MADE, count=50)) < 20:
        pass
    suspension = versions.suspend(
        clinic.ledger, clinic.actor("m", Role.MONITOR), name=CARD.name, reason="Stop."
    )
    made = sum(int(process.communicate(timeout=120)[0]) for process in workers)
    inferences = clinic.ledger.latest(RecordType.INFERENCE_MADE, count=1000)
    assert 20 <= made == len(inferences) <= 200
    assert all(recorded.index < suspension.index for recorded in inferences)


def test_what_was_acknowledged_before_a_kill_is_there_and_the_log_opens_again(
    empty_home: Home,
) -> None:
    clinic = Clinic.founded(empty_home)
    information = clinic.inform()
    clinic.ledger.close()
    appending = """
        while True:
            print(clinic.infer(sys.argv[2]).id, flush=True)
        """
    for _ in range(3):
        with worker(clinic.home, appending, information) as process:
            start(process)
            assert process.stdout is not None
            acknowledged = [process.stdout.readline().strip() for _ in range(20)]
            process.send_signal(signal.SIGKILL)
            acknowledged += process.stdout.read().split("\n")[:-1]
        check_ledger(clinic.home)
        with Ledger.open(clinic.home) as ledger:
            for record_id in acknowledged:
                receipt = ledger.receipt(record_id)
                leaf = leaf_hash(receipt.header.encode())
                verify_proof(receipt.proof, leaf=leaf, verifier_key=ledger.verifier_key)
    check_ledger(clinic.home)


def test_a_receipt_proves_its_record_under_the_log_s_key(clinic: Clinic) -> None:
    inference = clinic.whole_dossier()
    receipt = clinic.ledger.receipt(inference)
    leaf = leaf_hash(receipt.header.encode())
    checkpoint = verify_proof(
        receipt.proof, leaf=leaf, verifier_key=str(clinic.ledger.verifier_key)
    )
    assert checkpoint.size == clinic.ledger.head().size
    assert parse_proof(receipt.proof).index == clinic.ledger.find(inference).index
    with pytest.raises(UnknownRecord):
        clinic.ledger.receipt("no such record")


def test_every_earlier_head_is_consistent_with_the_present_one(clinic: Clinic) -> None:
    heads = [clinic.ledger.head()]
    for number in range(5):
        clinic.whole_dossier(number)
        heads.append(clinic.ledger.head())
    for old in heads:
        path, _ = clinic.ledger.consistency(old.size)
        verify_consistency(
            old_size=old.size,
            old_root=old.root,
            size=heads[-1].size,
            root=heads[-1].root,
            path=path,
        )
    with pytest.raises(UnknownRecord):
        clinic.ledger.consistency(heads[-1].size + 1)


def test_a_refused_record_leaves_the_rest_of_its_group_standing(clinic: Clinic) -> None:
    information = clinic.inform()
    inference = clinic.infer(information).id
    outcomes: list[object] = []

    def decide() -> None:
        try:
            outcomes.append(clinic.decide(inference).id)
        except AlreadyDone as refusal:
            outcomes.append(type(refusal))

    def infer() -> None:
        outcomes.append(clinic.infer(information).id)

    threads = [threading.Thread(target=decide) for _ in range(6)]
    threads += [threading.Thread(target=infer) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(AlreadyDone) == 5
    assert len(outcomes) == 12


def test_a_key_that_was_altered_keeps_no_other_patient_s_records_out(clinic: Clinic) -> None:
    sound, spoilt = clinic.inform(1), clinic.inform(2)
    drafts = [_informed_again(clinic, one) for one in (sound, spoilt, sound)]
    place = KEYS.c.id == drafts[1].sealed_for
    with clinic.ledger.store.writing() as connection:
        wrapped = connection.scalar(select(KEYS.c.wrapped).where(place))
        connection.execute(update(KEYS).where(place).values(wrapped=bytes(60)))
    size = clinic.ledger.head().size
    # One group.
    outcomes = clinic.ledger.record_all(drafts)
    assert isinstance(next(outcomes), Recorded)
    with pytest.raises(KeyAltered, match="opens nothing any more"):
        next(outcomes)
    assert clinic.ledger.head().size == size + 2
    with clinic.ledger.store.writing() as connection:
        connection.execute(update(KEYS).where(place).values(wrapped=wrapped))


def test_a_forked_process_is_told_to_open_the_log_itself(file_clinic: Clinic) -> None:
    recorded = file_clinic.ledger.find(file_clinic.inform())
    draft = _informed_again(file_clinic, recorded.id)
    calls: list[Callable[[], object]] = [
        file_clinic.ledger.head,
        lambda: file_clinic.ledger.record(draft),
    ]
    child = os.fork()
    if child == 0:
        told = 0
        for call in calls:
            try:
                call()
            except StoreUnavailable as error:
                told += "was forked" in str(error)
        # Leaves what is open to the process that opened it.
        file_clinic.ledger.close()
        os._exit(told)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == len(calls)
    file_clinic.inform()


def test_garbage_is_collected_again_whoever_appends_beside_whom(clinic: Clinic) -> None:
    recorded = clinic.ledger.find(clinic.inform())
    drafts = [_informed_again(clinic, recorded.id) for _ in range(3)]
    outer = clinic.ledger.record_all(iter_beside(clinic, drafts))
    assert len(list(outer)) == len(drafts)
    assert gc.isenabled()


def iter_beside(clinic: Clinic, drafts: list[Draft]) -> Iterator[Draft]:
    """The drafts; while they are taken, others are appended in another thread."""
    for draft in drafts:
        assert not gc.isenabled()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: len(list(clinic.ledger.record_all(drafts)))).result() == 3
        yield draft


def _informed_again(clinic: Clinic, information: str) -> Draft:
    recorded = clinic.ledger.find(information)
    return Draft(
        type=RecordType.PATIENT_INFORMED,
        actor=clinic.clinician,
        outcome="informed",
        body=clinic.ledger.open_body(recorded),
        sealed_for=clinic.ledger.sealed_for(information),
        models=recorded.header.models,
    )


def test_one_idempotency_key_asked_at_once_by_many_records_once(clinic: Clinic) -> None:
    information = clinic.inform()
    request = Request(actor="a", route="infer", key="k", content=b"same")
    with ThreadPoolExecutor(12) as pool:
        futures = [pool.submit(clinic.infer, information, request=request) for _ in range(12)]
        answers = [future.result() for future in futures]
    assert len({recorded.id for recorded in answers}) == 1
    assert sum(not recorded.repeated for recorded in answers) == 1


def test_a_log_that_cannot_be_written_acknowledges_nothing_and_goes_on_after(
    file_clinic: Clinic,
) -> None:
    clinic = file_clinic
    information = clinic.inform()
    size = clinic.ledger.head().size
    with sqlite3.connect(clinic.home.database) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON bodies BEGIN SELECT RAISE(ABORT, 'disk'); END"
        )
        database.commit()
        with pytest.raises(LedgerUnavailable, match="could not be written"):
            clinic.infer(information)
        database.execute("DROP TRIGGER full")
    assert clinic.ledger.head().size == size
    clinic.infer(information)
    assert clinic.ledger.head().size == size + 1


def test_a_head_that_was_moved_in_between_forks_nothing(clinic: Clinic) -> None:
    """As if another writer had got past the lock between the head's reading and its moving."""
    information = clinic.ledger.find(clinic.inform())
    head = clinic.ledger.head()

    def move(connection: Connection, _: Header) -> None:
        connection.execute(update(HEAD).values(root=bytes(32)))

    draft = Draft(
        type=RecordType.PATIENT_INFORMED,
        actor=clinic.clinician,
        outcome="informed",
        body=clinic.ledger.open_body(information),
        models=information.header.models,
        act=move,
    )
    with pytest.raises(LedgerUnavailable, match="another writer"):
        clinic.ledger.record(draft)
    assert clinic.ledger.head() == head
    assert clinic.ledger.find(clinic.inform()).index == head.size


def test_a_closed_log_takes_nothing(empty_home: Home) -> None:
    clinic = Clinic.founded(empty_home)
    scientist = clinic.scientist
    clinic.ledger.close()
    clinic.ledger.close()
    with pytest.raises(LedgerClosed):
        versions.suspend(clinic.ledger, scientist, name=CARD.name, reason="Too late.")


def test_the_log_s_files_are_for_their_owner_alone(clinic: Clinic) -> None:
    for key in clinic.home.keys.iterdir():
        assert key.stat().st_mode & 0o077 == 0
    assert clinic.home.path.stat().st_mode & 0o077 == 0


def test_processes_that_open_a_new_home_together_share_one_log(empty_home: Home) -> None:
    workers = [worker(empty_home, "print(clinic.ledger.verifier_key)") for _ in range(3)]
    start(*workers)
    keys = {process.communicate(timeout=60)[0] for process in workers}
    assert len(keys) == 1
    check_ledger(empty_home)


def test_however_many_records_of_a_kind_there_are_all_are_read(file_clinic: Clinic) -> None:
    ledger, most = file_clinic.ledger, 1003
    drafts = (
        Draft(
            type=RecordType.MODEL_REGISTERED,
            actor=file_clinic.scientist,
            outcome="registered",
            body=ModelRegistered(digest=DIGEST, card=CARD, run="run"),
            model=CARD.name,
            model_version=str(version),
        )
        for version in range(2, most + 1)
    )
    assert all(isinstance(one, Recorded) for one in ledger.record_all(drafts))
    registered = [one.version for one in versions.versions_of(ledger, CARD.name)]
    assert registered == [str(version) for version in range(1, most + 1)]
    first, *_, last = ledger.stretch([RecordType.MODEL_REGISTERED])
    some = ledger.stretch([RecordType.MODEL_REGISTERED], start=first.index + 1, end=last.index)
    assert len(list(some)) == most - 2
    assert list(ledger.stretch([RecordType.MODEL_REGISTERED], model="another")) == []
