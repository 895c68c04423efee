"""The calls of the HTTP contract that concern a patient's data as a whole, and the glass."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path

from guarantee import custody, erasure
from guarantee.access import PatientReport, patient_access, read_dossier
from guarantee.bodies import BreakGlass
from guarantee.identity import Caller, InvalidIdentity, Role, check_rpps
from guarantee.versions import RegisteredVersion
from models.errors import ModelsError
from serving import shown
from serving.house import House
from serving.messages.inferences import CareBroughtIn, DossierGiven
from serving.messages.parts import StepRecorded
from serving.messages.patients import (
    AccessAsked,
    ErasureAsked,
    ErasureRecorded,
    HoldAsked,
    Rectification,
)
from serving.problems import UnacceptedField
from serving.received import ReceivedRoute
from serving.rest.frame import CREATED, REFUSALS, ActingClinician, ActingOfficer, InferenceId

router = APIRouter(prefix="/v1", responses=REFUSALS, route_class=ReceivedRoute)
Pseudonym = Annotated[
    str,
    Path(pattern=r"^[0-9a-f]{32}$", description="The patient's, as informing them returned it"),
]


@router.post(
    "/patients/{pseudonym}/access",
    tags=["patients"],
    status_code=CREATED,
    response_model_exclude_none=True,
)
def show_all(by: ActingOfficer, pseudonym: Pseudonym, asked: AccessAsked) -> PatientReport:
    """Everything that is held on a patient, for the patient, and who read it; recorded first."""
    return patient_access(
        by.ledger,
        by.actor,
        pseudonym=pseudonym,
        purpose=asked.purpose,
        names=lambda registered: _names(by.house, registered),
        request=by.request,
    )


def _names(house: House, registered: RegisteredVersion) -> Sequence[str] | None:
    try:
        return house.versions.get(registered).contract.names
    except ModelsError:
        # The patient's right does not depend on an old version's files.
        return None


@router.post("/patients/{pseudonym}/rectification", tags=["patients"], status_code=CREATED)
def rectify(by: ActingOfficer, pseudonym: Pseudonym, rectification: Rectification) -> StepRecorded:
    """Put a patient's identity right; what it was stays on record, sealed."""
    if by.house.settings.in_production and rectification.patient.is_test:
        raise UnacceptedField("patient.oid", "is for tests; send the INS of a real patient")
    return by.step(partial(custody.rectify, pseudonym=pseudonym, identity=rectification.patient))


@router.post("/patients/{pseudonym}/erasure", tags=["patients"], status_code=CREATED)
def erase(by: ActingOfficer, pseudonym: Pseudonym, asked: ErasureAsked) -> ErasureRecorded:
    """Destroy a patient's key, identity and bodies; refused while the law has them kept."""
    done = erasure.erase(
        by.ledger,
        by.actor,
        pseudonym=pseudonym,
        ground=asked.ground,
        died=asked.died,
        request=by.request,
    )
    return ErasureRecorded(
        record_id=done.recorded.id,
        index=done.recorded.index,
        records=done.records,
        backups_expire=done.backups_expire,
    )


@router.post("/patients/{pseudonym}/hold", tags=["patients"], status_code=CREATED)
def hold(by: ActingOfficer, pseudonym: Pseudonym, asked: HoldAsked) -> StepRecorded:
    """Keep a patient's records from erasure, or let them go again."""
    act = custody.lift if asked.lifted else custody.hold
    return by.step(partial(act, pseudonym=pseudonym, reason=asked.reason))


@router.post("/inferences/{inference_id}/break-glass", tags=["inferences"], status_code=CREATED)
def break_glass(by: ActingClinician, inference_id: InferenceId, broken: BreakGlass) -> DossierGiven:
    """Open a dossier that is not open to you, because it cannot wait; recorded first.

    For 24 hours, to you alone: to read it, and to take its next step. Where you decide, you care
    for the patient from there on. The college and the patient see it.
    """
    by.once(partial(custody.break_glass, dossier=inference_id, ground=broken.ground))
    return shown.whole(by.house, read_dossier(by.ledger, by.actor, dossier=inference_id))


@router.post("/inferences/{inference_id}/carers", tags=["inferences"], status_code=CREATED)
def share_care(
    by: ActingClinician, inference_id: InferenceId, brought_in: CareBroughtIn
) -> StepRecorded:
    """Bring a colleague into a dossier of yours: who is on call next, who signs, who advises."""
    try:
        check_rpps(brought_in.number, luhn=by.house.settings.in_production)
    except InvalidIdentity as error:
        raise UnacceptedField("number", str(error)) from error
    colleague = Caller(issuer=by.caller.issuer, subject=brought_in.number, role=Role.CLINICIAN)
    return by.step(
        partial(
            custody.share_care,
            dossier=inference_id,
            colleague=colleague,
            reason=brought_in.reason,
        )
    )
