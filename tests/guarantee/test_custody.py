"""Custody: holds and rectification."""

from datetime import timedelta

import pytest

from guarantee import custody, erasure, opened
from guarantee.access import patient_access
from guarantee.bodies import ErasureGround, HoldReason, PatientRectified
from guarantee.identity import Patient, ins_key
from guarantee.pseudonyms import (
    IdentityMismatch,
    IdentityMoved,
    IdentityTaken,
    UnknownPerson,
)
from guarantee.refusals import (
    AlreadyDone,
    OnHold,
    RoleRefused,
)
from tests.guarantee.clinic import Clinic, patient
from tests.guarantee.test_erasure import at, dpo, erase, pseudonym_of, reopened


def test_a_rectification_is_no_visit(clinic: Clinic) -> None:
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    before = custody.holding(clinic.ledger, pseudonym).last_visit
    later = reopened(clinic, at(before + timedelta(days=3000)))
    custody.rectify(later.ledger, dpo(later), pseudonym=pseudonym, identity=renumbered(1))
    assert custody.holding(later.ledger, pseudonym).last_visit == before
    later.ledger.close()


def test_a_hold_keeps_records_whatever_the_ground_until_it_is_lifted(clinic: Clinic) -> None:
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    of = {"pseudonym": pseudonym, "reason": HoldReason.LITIGATION}
    with pytest.raises(AlreadyDone):
        custody.lift(clinic.ledger, dpo(clinic), **of)  # type: ignore[arg-type]
    custody.hold(clinic.ledger, dpo(clinic), **of)  # type: ignore[arg-type]
    with pytest.raises(AlreadyDone):
        custody.hold(clinic.ledger, dpo(clinic), **of)  # type: ignore[arg-type]
    # Information given after the hold does not take the patient out of it.
    clinic.whole_dossier()
    with pytest.raises(OnHold):
        erase(clinic, pseudonym)
    assert patient_access(clinic.ledger, dpo(clinic), pseudonym=pseudonym).on_hold
    custody.lift(clinic.ledger, dpo(clinic), **of)  # type: ignore[arg-type]
    erase(clinic, pseudonym)


def test_custody_is_for_the_data_protection_officer(clinic: Clinic) -> None:
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    with pytest.raises(RoleRefused):
        erasure.erase(
            clinic.ledger,
            clinic.clinician,
            pseudonym=pseudonym,
            ground=ErasureGround.COURT_ORDER,
        )
    with pytest.raises(RoleRefused):
        custody.hold(
            clinic.ledger, clinic.clinician, pseudonym=pseudonym, reason=HoldReason.INQUIRY
        )
    with pytest.raises(UnknownPerson):
        erase(clinic, clinic.clinician.pseudonym)


# Rectification


def renumbered(number: int) -> Patient:
    matricule = f"27505752{number:05d}"
    return patient().model_copy(update={"matricule": matricule, "key": ins_key(matricule)})


def test_a_rectified_patient_is_found_by_the_new_identity_alone(clinic: Clinic) -> None:
    inference = clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    after = renumbered(1).model_copy(update={"birth_name": "ZÉNITH"})
    recorded = custody.rectify(clinic.ledger, dpo(clinic), pseudonym=pseudonym, identity=after)
    assert clinic.ledger.people.patient_named(pseudonym) == after
    assert clinic.ledger.people.patient(after) == pseudonym
    assert (
        clinic.ledger.people.patient_by_ins(oid=after.oid, matricule=after.matricule) == pseudonym
    )
    with pytest.raises(UnknownPerson):
        clinic.ledger.people.patient_by_ins(oid=patient().oid, matricule=patient().matricule)
    with pytest.raises(IdentityMismatch):
        clinic.ledger.people.patient(renumbered(1))
    said = clinic.ledger.open_as(recorded, PatientRectified)
    assert (said.before, said.after) == (patient(), after)
    assert opened.open_dossier(clinic.ledger, inference).inference is not None
    with pytest.raises(AlreadyDone):
        custody.rectify(clinic.ledger, dpo(clinic), pseudonym=pseudonym, identity=after)


def test_an_ins_that_is_another_patient_s_is_refused(clinic: Clinic) -> None:
    clinic.whole_dossier(1)
    clinic.whole_dossier(2)
    with pytest.raises(IdentityTaken):
        custody.rectify(
            clinic.ledger, dpo(clinic), pseudonym=pseudonym_of(clinic, 1), identity=patient(2)
        )
    assert clinic.ledger.people.patient_named(pseudonym_of(clinic, 1)) == patient(1)


def test_of_two_rectifications_at_once_the_second_starts_from_the_first(clinic: Clinic) -> None:
    clinic.whole_dossier()
    pseudonym = pseudonym_of(clinic)
    with clinic.ledger.store.writing() as connection, pytest.raises(IdentityMoved):
        clinic.ledger.people.rewrite(connection, pseudonym, old=renumbered(7), new=renumbered(8))
