"""The calls of the HTTP contract that concern a patient's data as a whole, and the glass."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path

from guarantee import custody
from guarantee.access import PatientReport, patient_access, read_dossier
from guarantee.bodies import BreakGlass
from guarantee.identity import Caller, Role
from guarantee.versions import RegisteredVersion
from models.errors import ModelsError
from serving import inference
from serving.house import House
from serving.messages import (
    AccessAsked,
    DossierGiven,
    ErasureAsked,
    ErasureRecorded,
    HoldAsked,
    Rectification,
    StepRecorded,
)
from serving.problems import UnacceptedField
from serving.received import ReceivedRoute
from serving.rest import CREATED, REFUSALS, Clinician, InferenceId, Once, TheHouse, only

router = APIRouter(prefix="/v1", responses=REFUSALS, route_class=ReceivedRoute)
Officer = Annotated[Caller, only(Role.DPO)]
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
def show_all(
    house: TheHouse, caller: Officer, once: Once, pseudonym: Pseudonym, asked: AccessAsked
) -> PatientReport:
    """Everything that is held on a patient, for the patient, and who read it; recorded first."""
    actor = house.ledger.people.actor(caller)
    return patient_access(
        house.ledger,
        actor,
        pseudonym=pseudonym,
        purpose=asked.purpose,
        names=lambda registered: _names(house, registered),
        request=once.of(actor),
    )


def _names(house: House, registered: RegisteredVersion) -> Sequence[str] | None:
    try:
        return house.versions.get(registered).contract.names
    except ModelsError:
        # The patient's right does not depend on an old version's files.
        return None


@router.post("/patients/{pseudonym}/rectification", tags=["patients"], status_code=CREATED)
def rectify(
    house: TheHouse,
    caller: Officer,
    once: Once,
    pseudonym: Pseudonym,
    rectification: Rectification,
) -> StepRecorded:
    """Put a patient's identity right; what it was stays on record, sealed."""
    if house.settings.in_production and rectification.patient.is_test:
        raise UnacceptedField("patient.oid", "is for tests; send the INS of a real patient")
    actor = house.ledger.people.actor(caller)
    recorded = once.recorded(
        actor,
        lambda request: custody.rectify(
            house.ledger,
            actor,
            pseudonym=pseudonym,
            identity=rectification.patient,
            request=request,
        ),
    )
    return StepRecorded(record_id=recorded.id, index=recorded.index)


@router.post("/patients/{pseudonym}/erasure", tags=["patients"], status_code=CREATED)
def erase(
    house: TheHouse, caller: Officer, once: Once, pseudonym: Pseudonym, asked: ErasureAsked
) -> ErasureRecorded:
    """Destroy a patient's key, identity and bodies; refused while the law has them kept."""
    actor = house.ledger.people.actor(caller)
    erasure = custody.erase(
        house.ledger,
        actor,
        pseudonym=pseudonym,
        ground=asked.ground,
        died=asked.died,
        request=once.of(actor),
    )
    return ErasureRecorded(
        record_id=erasure.recorded.id,
        index=erasure.recorded.index,
        records=erasure.records,
        backups_expire=erasure.backups_expire,
    )


@router.post("/patients/{pseudonym}/hold", tags=["patients"], status_code=CREATED)
def hold(
    house: TheHouse, caller: Officer, once: Once, pseudonym: Pseudonym, asked: HoldAsked
) -> StepRecorded:
    """Keep a patient's records from erasure, or let them go again."""
    actor = house.ledger.people.actor(caller)
    act = custody.lift if asked.lifted else custody.hold
    recorded = once.recorded(
        actor,
        lambda request: act(
            house.ledger, actor, pseudonym=pseudonym, reason=asked.reason, request=request
        ),
    )
    return StepRecorded(record_id=recorded.id, index=recorded.index)


@router.post("/inferences/{inference_id}/break-glass", tags=["inferences"], status_code=CREATED)
def break_glass(
    house: TheHouse, caller: Clinician, once: Once, inference_id: InferenceId, broken: BreakGlass
) -> DossierGiven:
    """Read a dossier that you took no part in because it cannot wait; recorded first.

    It opens the dossier to you for 24 hours. The college and the patient see it.
    """
    actor = house.ledger.people.actor(caller)
    once.recorded(
        actor,
        lambda request: custody.break_glass(
            house.ledger, actor, dossier=inference_id, ground=broken.ground, request=request
        ),
    )
    return inference.whole(house, read_dossier(house.ledger, actor, dossier=inference_id))
