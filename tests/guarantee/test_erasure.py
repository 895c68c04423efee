"""Erasure down to the files' bytes, and the law that keeps records from it."""

import sqlite3
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from guarantee import custody, erasure, opened, seen
from guarantee.access import patient_access
from guarantee.appending import Draft, Request
from guarantee.bodies import ErasureGround, Glass, HoldReason, PatientErased
from guarantee.erasure import ImplausibleDeath
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.ledger import Ledger, now_ms
from guarantee.logged import LedgerUnavailable, Recorded
from guarantee.pseudonyms import (
    Actor,
    UnknownPerson,
)
from guarantee.records import RecordType
from guarantee.refusals import (
    Erased,
    ProtocolError,
    RecordsMoved,
    RetentionRuns,
)
from guarantee.retention import LEAST_LOG, kept_until
from guarantee.store import BODIES, KEYS, PEOPLE
from tests.guarantee.clinic import CARD, CLINICIAN, Clinic, check_ledger, patient


def at(day: date) -> int:
    """Noon of that day, in milliseconds since 1970."""
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1000)


def dpo(clinic: Clinic) -> Actor:
    return clinic.actor("the-dpo", Role.DPO)


def pseudonym_of(clinic: Clinic, number: int = 1) -> str:
    return clinic.ledger.people.patient(patient(number))


def erase(clinic: Clinic, pseudonym: str) -> erasure.Erasure:
    return erasure.erase(
        clinic.ledger, dpo(clinic), pseudonym=pseudonym, ground=ErasureGround.COURT_ORDER
    )


def reopened(clinic: Clinic, clock: int) -> Clinic:
    """The same clinic at another time."""
    clinic.ledger.close()
    ledger = Ledger.open(clinic.home, lambda: clock)
    return Clinic(clinic.home, ledger, ledger.people.actor(CLINICIAN))


def test_an_erased_patient_leaves_headers_and_no_byte_else(file_clinic: Clinic) -> None:
    clinic = file_clinic
    for number in range(2, 30):
        clinic.whole_dossier(number)
    inference = clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    held = custody.holding(clinic.ledger, pseudonym)
    with clinic.ledger.store.reading() as connection:
        kept = _stored(connection, pseudonym)
    for number in range(30, 40):
        clinic.whole_dossier(number)
    assert all(_in_files(clinic.home, piece) for piece in kept)

    done = erase(clinic, pseudonym)

    assert done.records == held.ids
    assert not any(_in_files(clinic.home, piece) for piece in kept)
    assert clinic.ledger.find(inference).header.id == inference
    with pytest.raises(Erased):
        opened.open_dossier(clinic.ledger, inference)
    with pytest.raises(Erased):
        custody.holding(clinic.ledger, pseudonym)
    with pytest.raises(UnknownPerson):
        clinic.ledger.people.patient_named(pseudonym)


def _stored(connection: Connection, pseudonym: str) -> list[bytes]:
    """What the database keeps of a patient: pieces short enough to lie within one page."""
    whole = [
        *connection.scalars(select(KEYS.c.wrapped).where(KEYS.c.id == pseudonym)),
        *connection.scalars(select(PEOPLE.c.stored).where(PEOPLE.c.pseudonym == pseudonym)),
        *connection.scalars(select(PEOPLE.c.lookup).where(PEOPLE.c.pseudonym == pseudonym)),
        *connection.scalars(select(BODIES.c.stored).where(BODIES.c.key_id == pseudonym)),
    ]
    return [stored[:24] for stored in whole] + [stored[-24:] for stored in whole]


def _in_files(home: Home, piece: bytes) -> bool:
    files = home.path.glob("ledger.db*")
    return any(piece in path.read_bytes() for path in files)


def test_after_an_erasure_no_step_of_the_patient_s_dossiers_is_taken(clinic: Clinic) -> None:
    information = clinic.inform()
    inference = clinic.infer(information).id
    pseudonym = pseudonym_of(clinic)
    assert inference in [key for key, _ in opened.waiting(clinic.ledger)]
    erase(clinic, pseudonym)
    assert inference not in [key for key, _ in opened.waiting(clinic.ledger)]
    with pytest.raises(Erased):
        clinic.decide(inference)
    with pytest.raises(Erased):
        clinic.infer(information)
    with pytest.raises(Erased):
        custody.break_glass(
            clinic.ledger,
            clinic.clinician,
            dossier=inference,
            ground=Glass.URGENCY,
        )
    with pytest.raises(Erased):
        patient_access(clinic.ledger, dpo(clinic), pseudonym=pseudonym)
    with pytest.raises(Erased):
        erase(clinic, pseudonym)


def test_an_erased_patient_who_comes_back_is_somebody_new(clinic: Clinic) -> None:
    clinic.whole_dossier()
    former = pseudonym_of(clinic)
    erase(clinic, former)
    clinic.whole_dossier()
    assert pseudonym_of(clinic) != former
    assert len(custody.holding(clinic.ledger, pseudonym_of(clinic)).records) == 5


def test_monitoring_passes_over_erased_inferences(clinic: Clinic) -> None:
    for number in (1, 2, 3):
        clinic.whole_dossier(number)
    assert len(list(seen.inferences(clinic.ledger, model=CARD.name, version="1"))) == 3
    erase(clinic, pseudonym_of(clinic, 2))
    left = list(seen.inferences(clinic.ledger, model=CARD.name, version="1"))
    assert len(left) == 2
    assert len(seen.followed(clinic.ledger, [one.id for one in left])) == 2


def test_a_retried_erasure_is_recorded_once(clinic: Clinic) -> None:
    clinic.whole_dossier()
    request = Request(actor="dpo", route="erasure", key="k", content=b"court order")

    def ask() -> erasure.Erasure:
        return erasure.erase(
            clinic.ledger,
            dpo(clinic),
            pseudonym=pseudonym,
            ground=ErasureGround.COURT_ORDER,
            request=request,
        )

    pseudonym = pseudonym_of(clinic)
    first, second = ask(), ask()
    assert first.recorded.id == second.recorded.id
    assert first.records == second.records


def test_an_erasure_that_was_recorded_and_then_killed_is_finished_when_asked_again(
    file_clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = file_clinic
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    with clinic.ledger.store.reading() as connection:
        kept = _stored(connection, pseudonym)

    def die(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(clinic.ledger.store), "forget", die)
        with pytest.raises(KeyboardInterrupt):
            erase(clinic, pseudonym)
    with pytest.raises(Erased):
        erase(clinic, pseudonym)
    assert not any(_in_files(clinic.home, piece) for piece in kept)


def test_a_crash_before_the_erasure_s_commit_erases_nothing(file_clinic: Clinic) -> None:
    clinic = file_clinic
    inference = clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    with sqlite3.connect(clinic.home.database) as database:
        database.execute(
            "CREATE TRIGGER stop BEFORE UPDATE ON head BEGIN SELECT RAISE(ABORT, 'power'); END"
        )
        database.commit()
        with pytest.raises(LedgerUnavailable):
            erase(clinic, pseudonym)
        database.execute("DROP TRIGGER stop")
    assert opened.open_dossier(clinic.ledger, inference).inference is not None
    erase(clinic, pseudonym)


def test_an_erasure_names_every_record_or_is_refused(clinic: Clinic) -> None:
    clinic.whole_dossier()
    held = custody.holding(clinic.ledger, pseudonym_of(clinic))
    left_out = custody.Holding(pseudonym=held.pseudonym, records=held.records[:-1])
    with pytest.raises(RecordsMoved):
        clinic.ledger.record(
            Draft(
                type=RecordType.PATIENT_ERASED,
                actor=dpo(clinic),
                outcome="erased",
                body=PatientErased(
                    ground=ErasureGround.COURT_ORDER, records=left_out.ids, backups_expire=None
                ),
                follows=left_out.informations,
                subject=held.pseudonym,
                act=erasure._Destruction(left_out, None),
            )
        )
    assert custody.holding(clinic.ledger, held.pseudonym) == held


def test_nothing_under_way_for_an_erased_patient_ends_under_a_destroyed_key(
    clinic: Clinic,
) -> None:
    """Informing, asking and deciding all the while, an erasure in the middle."""
    for number in range(8):
        clinic.whole_dossier(number)
    started = threading.Barrier(9)
    refused: list[type[Exception]] = []

    def care(number: int) -> None:
        started.wait()
        for _ in range(12):
            try:
                clinic.whole_dossier(number)
            except (ProtocolError, UnknownPerson) as refusal:
                refused.append(type(refusal))

    threads = [threading.Thread(target=care, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    started.wait()
    erased = {}
    for number in range(8):
        pseudonym = pseudonym_of(clinic, number)
        try:
            erased[pseudonym] = erase(clinic, pseudonym)
        except RecordsMoved:
            continue
    for thread in threads:
        thread.join()
    assert erased
    assert set(refused) <= {Erased, UnknownPerson}
    with clinic.ledger.store.reading() as connection:
        keys = set(connection.scalars(select(KEYS.c.id)))
        sealed = set(
            connection.scalars(select(BODIES.c.key_id).where(BODIES.c.key_id.is_not(None)))
        )
        assert sealed <= keys
        assert not keys & erased.keys()


def test_a_record_in_the_erasure_s_own_transaction_is_refused(clinic: Clinic) -> None:
    """Behind the erasure, before its commit, a new information has no key to be sealed under."""
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    held = custody.holding(clinic.ledger, pseudonym)
    body = clinic.ledger.open_body(clinic.ledger.find(held.informations[0]))
    transactions: list[Connection] = []

    def inform(whom: str) -> Draft:
        return Draft(
            type=RecordType.PATIENT_INFORMED,
            actor=clinic.clinician,
            outcome="informed",
            body=body,
            sealed_for=whom,
            models=(CARD.name,),
            act=lambda connection, _: transactions.append(connection),
        )

    erasing = Draft(
        type=RecordType.PATIENT_ERASED,
        actor=dpo(clinic),
        outcome="erased",
        body=PatientErased(ground=ErasureGround.COURT_ORDER, records=held.ids, backups_expire=None),
        follows=held.informations,
        subject=pseudonym,
        act=erasure._Destruction(held, None),
    )
    other = pseudonym_of(clinic, 2)
    drafts = [inform(other), erasing, inform(pseudonym), inform(other)]
    ahead, erased, behind, last = clinic.ledger.record_all(drafts)

    assert isinstance(behind, Erased)
    assert isinstance(ahead, Recorded)
    assert isinstance(erased, Recorded)
    assert isinstance(last, Recorded)
    # What is refused runs no act; the others ran theirs in one transaction.
    assert len(transactions) == 2
    assert transactions[0] is transactions[1]
    assert (erased.index, last.index) == (ahead.index + 1, ahead.index + 2)


# Retention and holds


def test_the_law_keeps_records_from_erasure_and_a_court_does_not_wait(clinic: Clinic) -> None:
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    with pytest.raises(RetentionRuns, match="2046"):
        erasure.erase(
            clinic.ledger,
            dpo(clinic),
            pseudonym=pseudonym,
            ground=ErasureGround.RETENTION_ENDED,
        )
    with pytest.raises(RetentionRuns):
        erasure.erase(
            clinic.ledger,
            dpo(clinic),
            pseudonym=pseudonym,
            ground=ErasureGround.UNLAWFUL_PROCESSING,
        )
    erase(clinic, pseudonym)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(days=st.integers(0, 12_000), ground=st.sampled_from(list(ErasureGround)))
def test_no_record_is_erased_a_day_early_nor_kept_a_day_late(
    tmp_path_factory: pytest.TempPathFactory, days: int, ground: ErasureGround
) -> None:
    clinic = Clinic.founded(Home(tmp_path_factory.mktemp("clinic") / "home"))
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    held = custody.holding(clinic.ledger, pseudonym)
    until = erasure.kept_for(held, ground=ground, birth=patient().birth_date)
    day = date.fromordinal(held.last_visit.toordinal() + days)
    clinic = reopened(clinic, max(at(day), now_ms()))
    try:
        erasure.erase(clinic.ledger, dpo(clinic), pseudonym=pseudonym, ground=ground)
        assert until is None or day > until
    except RetentionRuns:
        assert until is not None
        assert day <= until
    finally:
        clinic.ledger.close()


def test_the_day_after_retention_ends_the_records_may_go(clinic: Clinic) -> None:
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    held = custody.holding(clinic.ledger, pseudonym)
    unlawful = erasure.kept_for(
        held, ground=ErasureGround.UNLAWFUL_PROCESSING, birth=patient().birth_date
    )
    assert unlawful == held.last_visit + LEAST_LOG
    later = reopened(clinic, at(date.fromordinal(unlawful.toordinal() + 1)))
    with pytest.raises(RetentionRuns):
        erasure.erase(
            later.ledger,
            dpo(later),
            pseudonym=pseudonym,
            ground=ErasureGround.RETENTION_ENDED,
        )
    erasure.erase(
        later.ledger,
        dpo(later),
        pseudonym=pseudonym,
        ground=ErasureGround.UNLAWFUL_PROCESSING,
    )
    later.ledger.close()


def test_a_day_of_death_that_cannot_be_ends_no_retention(clinic: Clinic) -> None:
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    today = datetime.now(UTC).date()
    for died in (date(1926, 11, 24), today - timedelta(days=3), today + timedelta(days=2)):
        with pytest.raises(ImplausibleDeath):
            erasure.erase(
                clinic.ledger,
                dpo(clinic),
                pseudonym=pseudonym,
                ground=ErasureGround.RETENTION_ENDED,
                died=died,
            )
    with pytest.raises(RetentionRuns, match=str(today.year + 10)):
        erasure.erase(
            clinic.ledger,
            dpo(clinic),
            pseudonym=pseudonym,
            ground=ErasureGround.RETENTION_ENDED,
            died=today,
        )


@pytest.mark.parametrize(
    ("reason", "suspends"),
    [(HoldReason.LITIGATION, True), (HoldReason.COMPLAINT, True), (HoldReason.INQUIRY, False)],
)
def test_a_contested_care_is_kept_for_as_long_as_it_was_contested(
    tmp_path: Path, reason: HoldReason, *, suspends: bool
) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    clinic.whole_dossier()
    pseudonym, visit = pseudonym_of(clinic), custody.holding(clinic.ledger, pseudonym_of(clinic))
    end = kept_until(last_visit=visit.last_visit, birth=patient().birth_date)
    for days, act in ((1000, custody.hold), (1400, custody.lift)):
        clinic = reopened(clinic, at(visit.last_visit + timedelta(days=days)))
        act(clinic.ledger, dpo(clinic), pseudonym=pseudonym, reason=reason)

    def ask(day: date) -> None:
        nonlocal clinic
        clinic = reopened(clinic, at(day))
        erasure.erase(
            clinic.ledger, dpo(clinic), pseudonym=pseudonym, ground=ErasureGround.RETENTION_ENDED
        )

    if suspends:
        for day in (end + timedelta(days=1), end + timedelta(days=400)):
            with pytest.raises(RetentionRuns, match=str(end + timedelta(days=400))):
                ask(day)
        end += timedelta(days=400)
    ask(end + timedelta(days=1))
    clinic.ledger.close()
    check_ledger(clinic.home)


def test_forgetting_somebody_takes_nobody_else(clinic: Clinic) -> None:
    clinic.whole_dossier(1)
    clinic.whole_dossier(2)
    with clinic.ledger.store.reading() as connection:
        before = set(connection.scalars(select(KEYS.c.id)))
    erase(clinic, pseudonym_of(clinic, 1))
    with clinic.ledger.store.reading() as connection:
        after = set(connection.scalars(select(KEYS.c.id)))
    assert len(before - after) == 1
    assert not after - before
