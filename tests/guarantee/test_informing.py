"""The patient's gate: who was not informed, or refused, gets no answer."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from guarantee import informing
from guarantee.bodies import (
    InformationDeferred,
    PatientObjected,
    Recipient,
)
from guarantee.refusals import (
    NotInformed,
    Objected,
    UnknownInformation,
)
from guarantee.situations import Gate, Information
from tests.guarantee.clinic import CARD, Clinic, patient

NOBODY = "00000000-0000-7000-8000-000000000000"


def objection() -> PatientObjected:
    return PatientObjected(recipient=Recipient.PATIENT)


def test_a_patient_who_was_not_informed_gets_no_answer(clinic: Clinic) -> None:
    with pytest.raises(NotInformed, match="PatientInformed"):
        clinic.infer(NOBODY)


def test_information_that_has_expired_opens_nothing(clinic: Clinic) -> None:
    with pytest.raises(NotInformed, match="expired"):
        clinic.infer(clinic.inform(valid_until=1))


def test_an_objection_ends_every_information_of_the_patient(clinic: Clinic) -> None:
    first, second, other = clinic.inform(1), clinic.inform(1), clinic.inform(2)
    informing.object_to_use(
        clinic.ledger, clinic.clinician, information_id=second, objection=objection()
    )
    for information in (first, second):
        with pytest.raises(Objected):
            clinic.infer(information)
    clinic.infer(other)
    clinic.infer(clinic.inform(1))
    with pytest.raises(UnknownInformation):
        informing.object_to_use(
            clinic.ledger, clinic.clinician, information_id=NOBODY, objection=objection()
        )


def test_an_emergency_opens_the_gate_on_record(clinic: Clinic) -> None:
    deferred = informing.defer_information(
        clinic.ledger,
        clinic.clinician,
        patient=patient(),
        models=[CARD.name],
        deferral=InformationDeferred(ground="urgency", statement="Unconscious on arrival."),
    )
    clinic.infer(deferred.recorded.id)


def test_an_objection_ends_what_was_informed_while_it_was_written(clinic: Clinic) -> None:
    informations = [clinic.inform(1)]
    with ThreadPoolExecutor(2) as pool:
        told = [pool.submit(clinic.inform, 1) for _ in range(30)]
        objected = informing.object_to_use(
            clinic.ledger,
            clinic.clinician,
            information_id=informations[0],
            objection=objection(),
        )
        informations += [future.result() for future in told]
    for information in informations:
        situation = clinic.ledger.get(Information, information)
        assert situation is not None
        before = clinic.ledger.find(information).index < objected.recorded.index
        assert (situation.step is Gate.OBJECTED) == before
