"""Time for review that is up: recorded once, shown, and neither an answer nor an end."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guarantee import college, dossier, erasure, opened
from guarantee.abstention import Abstention
from guarantee.access import patient_access
from guarantee.bodies import ErasureGround, FirstRead, ReviewLapsed
from guarantee.card import Mode
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.lapse import record_lapses
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import Ids, RecordType
from guarantee.refusals import RoleRefused, StepMissing, UnknownModel
from guarantee.simulation import record_what_if
from guarantee.vault import seal
from guarantee.verify import verify_home
from tests.guarantee.attacker import Row, log_key, patient_key, rewrite
from tests.guarantee.clinic import CARD, Clinic, check_ledger
from tests.guarantee.test_simulation import made

HOUR = 3_600_000


def watcher(clinic: Clinic) -> Actor:
    return clinic.actor("watch", Role.MONITOR)


def lapsed(clinic: Clinic, *, hours: float = CARD.lapse_hours + 1) -> list[Recorded]:
    """What another process records so many hours later."""
    at = clinic.ledger.now() + round(hours * HOUR)
    with Ledger.open(clinic.home, clock=lambda: at) as later:
        return record_lapses(later, watcher(clinic))


def test_it_is_recorded_once_and_a_decision_is_still_possible(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    (recorded,) = lapsed(clinic)
    assert (recorded.header.dossier, recorded.header.outcome) == (inference, "lapsed")
    assert clinic.ledger.open_as(recorded, ReviewLapsed).lapse_hours == CARD.lapse_hours
    assert lapsed(clinic) == []
    assert college.status(clinic.ledger).lapsed == (inference,)
    clinic.decide(inference)
    assert lapsed(clinic, hours=1000) == []
    assert college.status(clinic.ledger).lapsed == ()


def test_nothing_lapses_before_the_cards_hours_are_over(clinic: Clinic) -> None:
    at = clinic.infer(clinic.inform()).header.time
    with Ledger.open(clinic.home, clock=lambda: at + CARD.lapse_hours * HOUR) as on_time:
        assert record_lapses(on_time, watcher(clinic)) == []
    with Ledger.open(clinic.home, clock=lambda: at + CARD.lapse_hours * HOUR + 1) as late:
        assert len(record_lapses(late, watcher(clinic))) == 1


def test_a_clock_that_steps_back_while_it_is_recorded_lapses_nothing(clinic: Clinic) -> None:
    made = clinic.infer(clinic.inform())
    at = made.header.time
    seen = iter([at + 100 * HOUR])
    with Ledger.open(clinic.home, clock=lambda: next(seen, at)) as unsteady:
        assert record_lapses(unsteady, watcher(clinic)) == []
    assert not opened.open_dossier(clinic.ledger, made.id).lapsed


def test_a_withheld_answer_lapses_and_stays_withheld_until_its_first_read(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    lapsed(clinic)
    view = opened.open_dossier(clinic.ledger, inference)
    assert (view.lapsed, view.withheld) == (True, True)
    assert [one.recorded.header.type for one in view.events][-1] is RecordType.REVIEW_LAPSED
    assert all(one.body is None for one in view.events)
    with pytest.raises(StepMissing, match="FirstRead is missing"):
        clinic.decide(inference)
    dossier.read_first(
        clinic.ledger, clinic.clinician, dossier=inference, read=FirstRead(label="LUNG")
    )
    assert not opened.open_dossier(clinic.ledger, inference).withheld
    clinic.decide(inference)


def test_an_abstention_lapses_and_a_simulation_never(clinic: Clinic) -> None:
    silent = clinic.infer(clinic.inform(1), abstention=Abstention.SET_TOO_LARGE).id
    decided = clinic.infer(clinic.inform(2)).id
    view = opened.open_dossier(clinic.ledger, decided)
    assert view.inference is not None
    clinic.decide(decided)
    record_what_if(clinic.ledger, clinic.clinician, view=view, what_if=made(view.inference))
    assert [one.header.dossier for one in lapsed(clinic)] == [silent]


def test_processes_that_look_at_once_record_each_lapse_once(clinic: Clinic) -> None:
    waiting = {clinic.infer(clinic.inform(number)).id for number in range(40)}
    with ThreadPoolExecutor(4) as processes:
        found = list(processes.map(lambda _: lapsed(clinic), range(4)))
    dossiers = [one.header.dossier for some in found for one in some]
    assert sorted(str(one) for one in dossiers) == sorted(waiting)
    assert clinic.ledger.counts()[RecordType.REVIEW_LAPSED] == len(waiting)


def test_what_was_erased_lapses_no_more_and_waits_for_nobody(clinic: Clinic) -> None:
    first, second = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    lapsed(clinic)
    third = clinic.infer(clinic.inform(3)).id
    for gone in (first, third):
        erasure.erase(
            clinic.ledger,
            clinic.actor("officer", Role.DPO),
            pseudonym=clinic.ledger.sealed_for(gone) or "",
            ground=ErasureGround.COURT_ORDER,
        )
    assert lapsed(clinic, hours=1000) == []
    assert college.status(clinic.ledger).lapsed == (second,)


def test_the_patient_is_told_of_it(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    lapsed(clinic)
    report = patient_access(
        clinic.ledger,
        clinic.actor("officer", Role.DPO),
        pseudonym=clinic.ledger.sealed_for(inference) or "",
    )
    told = report.dossiers[0].records[-1]
    assert (told.type, told.by.role) == (RecordType.REVIEW_LAPSED, Role.MONITOR)
    assert told.facts == {"lapse_hours": CARD.lapse_hours}


def test_one_models_answers_alone(clinic: Clinic) -> None:
    clinic.infer(clinic.inform())
    with pytest.raises(UnknownModel):
        record_lapses(clinic.ledger, watcher(clinic), model="another")
    at = clinic.ledger.now() + 100 * HOUR
    with Ledger.open(clinic.home, clock=lambda: at) as later:
        assert len(record_lapses(later, watcher(clinic), model=CARD.name)) == 1


def test_who_does_not_watch_models_records_none(clinic: Clinic) -> None:
    clinic.infer(clinic.inform())
    at = clinic.ledger.now() + 100 * HOUR
    with Ledger.open(clinic.home, clock=lambda: at) as later, pytest.raises(RoleRefused):
        record_lapses(later, clinic.clinician)
    assert RecordType.REVIEW_LAPSED not in clinic.ledger.counts()


# What a verifier says of a house that holds every key


def _rewritten(folder: Path, change: Callable[[Home, Row], Row]) -> str:
    """What is found once the lapse of one review is another record."""
    clinic = Clinic.founded(folder)
    clinic.infer(clinic.inform())
    lapsed(clinic)
    clinic.ledger.close()
    check_ledger(clinic.home)

    def changed(rows: list[Row]) -> list[Row]:
        return [
            change(clinic.home, row) if row.header.type is RecordType.REVIEW_LAPSED else row
            for row in rows
        ]

    rewrite(clinic.home, changed, signer=log_key(clinic.home))
    return "\n".join(str(one) for one in verify_home(clinic.home).findings)


def test_a_lapse_that_its_own_time_puts_before_the_cards_hours_is_found(tmp_path: Path) -> None:
    def earlier(_: Home, row: Row) -> Row:
        return replace(row, header=replace(row.header, time=row.header.time - 2 * HOUR))

    assert "the review lapsed before its time" in _rewritten(tmp_path / "home", earlier)


def test_a_lapse_after_other_hours_than_the_cards_is_found(tmp_path: Path) -> None:
    def other(home: Home, row: Row) -> Row:
        key = patient_key(home, row.key_id or "")
        sealed = seal(AESGCM(key), row.header.id, ReviewLapsed(lapse_hours=1).encode())
        return row.with_body(sealed.stored, sealed.commitment)

    said = _rewritten(tmp_path / "home", other)
    assert "another time for review than the card" in said


def test_a_second_lapse_and_one_after_the_decision_are_found(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    twice, decided = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    lapsed(clinic)
    clinic.decide(decided)
    clinic.ledger.close()

    def changed(rows: list[Row]) -> list[Row]:
        lapses = {
            row.header.dossier: row for row in rows if row.header.type is RecordType.REVIEW_LAPSED
        }
        without = [row for row in rows if row is not lapses[decided]]
        return [*without, lapses[decided], _again(lapses[twice])]

    rewrite(clinic.home, changed, signer=log_key(clinic.home))
    found = [str(one) for one in verify_home(clinic.home).findings]
    assert sum("has lapsed before, or a decision stands" in one for one in found) == 2


def _again(row: Row) -> Row:
    return replace(row, header=replace(row.header, id=Ids().new(row.header.time)), stored=None)
