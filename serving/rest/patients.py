"""Calls about patients: that they were informed, or refuse."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter

from guarantee import informing
from guarantee.appending import Request
from guarantee.bodies import PatientObjected
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.opened import patient_of
from guarantee.pseudonyms import Actor
from serving.messages.patients import InformationGiven, InformationRecorded, Objection
from serving.problems import UnacceptedField
from serving.received import ReceivedRoute
from serving.rest.frame import CREATED, REFUSALS, Acting, ActingClinician, acting

router = APIRouter(
    prefix="/v1/patients", tags=["patients"], responses=REFUSALS, route_class=ReceivedRoute
)


@router.post("/information", status_code=CREATED)
def inform(by: ActingClinician, information: InformationGiven) -> InformationRecorded:
    """Record that a patient was told, or why that had to wait: it opens the gate."""
    if by.house.settings.in_production and information.patient.is_test:
        raise UnacceptedField("patient.oid", "is for tests; send the INS of a real patient")

    def record(ledger: Ledger, actor: Actor, /, *, request: Request | None) -> Recorded:
        return _inform(ledger, actor, information, request)

    recorded = by.once(record)
    return InformationRecorded(
        information_id=recorded.id, pseudonym=patient_of(by.ledger, recorded.id)
    )


def _inform(
    ledger: Ledger, actor: Actor, information: InformationGiven, request: Request | None
) -> Recorded:
    until = information.valid_until
    if until is not None and until <= datetime.now(UTC):
        raise UnacceptedField("valid_until", "is past; send a later time, or leave it out")
    if information.deferred is not None:
        return informing.defer_information(
            ledger,
            actor,
            patient=information.patient,
            models=information.models,
            deferral=information.deferred,
            request=request,
        ).recorded
    if information.recipient is None:
        raise UnacceptedField("recipient", "is missing; say who was told")
    return informing.inform(
        ledger,
        actor,
        patient=information.patient,
        recipient=information.recipient,
        recipient_name=information.recipient_name,
        models=information.models,
        valid_until=int(until.timestamp() * 1000) if until else None,
        language=information.language,
        reuse=information.reuse,
        request=request,
    ).recorded


@router.post("/objection", status_code=CREATED)
def object_to_use(
    by: Annotated[Acting, acting(Role.CLINICIAN, Role.DPO)], objection: Objection
) -> InformationRecorded:
    """Record that a patient refuses: every information of theirs ends.

    With `reuse_only` none ends; the models are not trained on what they opened.
    """

    def record(ledger: Ledger, actor: Actor, /, *, request: Request | None) -> Recorded:
        return informing.object_to_use(
            ledger,
            actor,
            information_id=objection.information_id,
            objection=PatientObjected(
                recipient=objection.recipient,
                reuse_only=objection.reuse_only,
                statement=objection.statement,
            ),
            request=request,
        ).recorded

    by.once(record)
    return InformationRecorded(
        information_id=objection.information_id,
        pseudonym=patient_of(by.ledger, objection.information_id),
    )
