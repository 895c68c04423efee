"""A patient of more informations than one header can follow has the same rights as any."""

from dataclasses import replace
from pathlib import Path

import pytest

from guarantee import custody, erasure, informing
from guarantee.appending import Draft
from guarantee.backup import take_backup
from guarantee.bodies import (
    ErasureGround,
    HoldReason,
    InformationDeferred,
    InformationsGathered,
    PatientInformed,
    PatientObjected,
    Purpose,
    Recipient,
)
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.protocol import MOST_FOLLOWED
from guarantee.pseudonyms import Actor, UnknownPerson
from guarantee.records import RecordType
from guarantee.refusals import Erased, Objected, OnHold, UnknownInformation
from guarantee.restore import restore
from guarantee.situations import Gate, Information
from guarantee.verify import verify_home
from tests.guarantee.attacker import Row, log_key, rewrite
from tests.guarantee.clinic import CARD, Clinic, caller, check_ledger, patient

MANY = 2000
LONGEST_HEADER = 65_535
"""Bytes: c2sp.org/tlog-tiles gives an entry's length two of them."""


def informed(clinic: Clinic, number: int, count: int, *, deferred: bool = False) -> list[str]:
    """So many informations of one patient, oldest first."""
    told = Draft(
        type=RecordType.INFORMATION_DEFERRED if deferred else RecordType.PATIENT_INFORMED,
        actor=clinic.clinician,
        outcome=Gate.DEFERRED if deferred else Gate.INFORMED,
        body=(
            InformationDeferred(ground="urgency", statement="Unconscious on arrival.")
            if deferred
            else PatientInformed(recipient=Recipient.PATIENT, leaflet_sha256={CARD.name: "ab" * 32})
        ),
        sealed_for=clinic.ledger.people.patient(patient(number)),
        models=(CARD.name,),
    )
    recorded = list(clinic.ledger.record_all([told] * count))
    assert all(isinstance(one, Recorded) for one in recorded)
    return [one.id for one in recorded if isinstance(one, Recorded)]


def officer(clinic: Clinic) -> Actor:
    return clinic.actor("the-dpo", Role.DPO)


def object_to_use(clinic: Clinic, information: str) -> Recorded:
    return informing.object_to_use(
        clinic.ledger,
        clinic.clinician,
        information_id=information,
        objection=PatientObjected(recipient=Recipient.PATIENT),
    ).recorded


def gatherings(clinic: Clinic) -> list[Recorded]:
    return clinic.ledger.latest(RecordType.INFORMATIONS_GATHERED)


def steps(clinic: Clinic, informations: list[str]) -> set[Gate]:
    found = (clinic.ledger.get(Information, one) for one in informations)
    return {one.step for one in found if one is not None}


def test_a_patient_of_two_thousand_informations_objects_and_is_held_and_erased(
    clinic: Clinic,
) -> None:
    mine, others = informed(clinic, 1, MANY), informed(clinic, 2, 3)
    inference = clinic.infer(mine[-1]).id
    pseudonym = clinic.ledger.people.patient(patient(1))
    dpo = officer(clinic)

    objected = object_to_use(clinic, mine[0])
    assert steps(clinic, mine) == {Gate.OBJECTED}
    for information in (mine[0], mine[MOST_FOLLOWED], mine[-1]):
        with pytest.raises(Objected):
            clinic.infer(information)
    clinic.infer(others[0])
    # What was gathered once is not gathered again; what came after is followed as it is.
    assert len(gatherings(clinic)) == 1
    mine += informed(clinic, 1, 5)

    held = custody.hold(clinic.ledger, dpo, pseudonym=pseudonym, reason=HoldReason.LITIGATION)
    with pytest.raises(OnHold):
        erase(clinic, pseudonym)
    read = custody.record_patient_access(
        clinic.ledger, dpo, pseudonym=pseudonym, purpose=Purpose.PATIENT_REQUEST
    )
    custody.lift(clinic.ledger, dpo, pseudonym=pseudonym, reason=HoldReason.LITIGATION)
    assert len(gatherings(clinic)) == 1

    erased = erase(clinic, pseudonym)
    assert set(erased.records) == {*mine, inference, objected.id}
    assert steps(clinic, mine) == {Gate.ERASED}
    with pytest.raises(UnknownPerson):
        clinic.ledger.people.patient_named(pseudonym)
    with pytest.raises(Erased):
        clinic.infer(mine[0])
    assert steps(clinic, others) == {Gate.INFORMED}
    for recorded in (objected, held, read, erased.recorded, *gatherings(clinic)):
        assert len(recorded.header.encode()) <= LONGEST_HEADER


def erase(clinic: Clinic, pseudonym: str) -> erasure.Erasure:
    return erasure.erase(
        clinic.ledger,
        officer(clinic),
        pseudonym=pseudonym,
        ground=ErasureGround.COURT_ORDER,
    )


def test_to_be_informed_at_last_makes_good_every_deferral(file_clinic: Clinic) -> None:
    deferred = informed(file_clinic, 1, MOST_FOLLOWED + 100, deferred=True)
    file_clinic.inform(1)
    assert steps(file_clinic, deferred) == {Gate.INFORMED}


def test_as_many_as_a_header_can_follow_are_gathered_by_nobody(file_clinic: Clinic) -> None:
    mine = informed(file_clinic, 1, MOST_FOLLOWED)
    objected = object_to_use(file_clinic, mine[0])
    assert objected.header.follows == tuple(mine)
    assert len(objected.header.encode()) <= LONGEST_HEADER
    assert not gatherings(file_clinic)


def test_only_informations_are_gathered_and_each_once(file_clinic: Clinic) -> None:
    mine = informed(file_clinic, 1, 3)
    inference = file_clinic.infer(mine[0]).id

    def gather(*follows: str) -> Recorded:
        return file_clinic.ledger.record(
            Draft(
                type=RecordType.INFORMATIONS_GATHERED,
                actor=file_clinic.clinician,
                outcome="gathered",
                body=InformationsGathered(),
                follows=follows,
            )
        )

    gathered = gather(*mine).id
    for odd in ((), (inference,), (mine[0], mine[0]), (gathered,), (mine[0], gathered)):
        with pytest.raises(UnknownInformation):
            gather(*odd)


def _of_another(rows: list[Row]) -> list[Row]:
    """The erasure gathers another patient's information in the place of one of its own."""
    place = next(
        at for at, row in enumerate(rows) if row.header.type is RecordType.INFORMATIONS_GATHERED
    )
    informations = [row.header.id for row in rows if row.header.type is RecordType.PATIENT_INFORMED]
    row = rows[place]
    follows = (*row.header.follows[:-1], informations[0])
    rows[place] = replace(row, header=replace(row.header, follows=follows))
    return rows


def test_an_erasure_that_gathers_another_patient_s_information_is_found(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    informed(clinic, 2, 1)
    informed(clinic, 1, MOST_FOLLOWED + 10)
    erase(clinic, clinic.ledger.people.patient(patient(1)))
    clinic.ledger.close()
    check_ledger(clinic.home)
    rewrite(clinic.home, _of_another, signer=log_key(clinic.home))
    found = [str(finding) for finding in verify_home(clinic.home).findings]
    assert any(
        "other informations of the patient than those that it erases" in one for one in found
    )


def test_an_objection_of_two_thousand_stands_after_a_restore(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    mine = informed(clinic, 1, MANY)
    operator = caller("operator", Role.INTEGRATOR)
    take_backup(
        clinic.home, clinic.ledger, clinic.ledger.people.actor(operator), tmp_path / "backup.tar"
    )
    object_to_use(clinic, mine[0])
    clinic.ledger.close()
    restored = restore(
        clinic.home, tmp_path / "backup.tar", identify=lambda _: operator, force=True
    )
    assert restored.repeated == {RecordType.PATIENT_OBJECTED: 1}
    check_ledger(clinic.home)
    with Ledger.open(clinic.home) as ledger:
        for one in (mine[0], mine[-1]):
            situation = ledger.get(Information, one)
            assert situation is not None
            assert situation.step is Gate.OBJECTED
