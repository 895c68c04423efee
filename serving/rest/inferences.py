"""Calls about inferences: asked, read back, decided on, and what followed."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body

from guarantee import dossier
from guarantee.access import read_dossier
from guarantee.bodies import Corrected, FirstRead, OutcomeConfirmed, PatientTold
from guarantee.identity import Caller, Role
from guarantee.opened import waiting
from guarantee.records import made_at
from guarantee.situations import Step
from serving import inference, shown, what_if
from serving.messages.inferences import (
    DecisionPayloadGiven,
    DecisionTaken,
    DossierGiven,
    InferenceGiven,
    Question,
    ReplayGiven,
    Waiting,
    WhatIf,
    WhatIfGiven,
)
from serving.messages.parts import ReceiptGiven, StepRecorded
from serving.received import ReceivedRoute
from serving.rest.frame import (
    CREATED,
    ENTITLED,
    REFUSALS,
    ActingClinician,
    InferenceId,
    Name,
    Reading,
    TheHouse,
    only,
)

router = APIRouter(prefix="/v1", tags=["inferences"], responses=REFUSALS, route_class=ReceivedRoute)


@router.post("/models/{name}/inferences", status_code=CREATED)
def ask(by: ActingClinician, name: Name, question: Question) -> InferenceGiven:
    """Ask the model about one patient; the answer's record is durable before you read it."""
    recorded = by.once(
        partial(inference.ask, loaded=by.house.versions, name=name, question=question)
    )
    return shown.given(by.house, recorded.id)


@router.get("/inferences/{inference_id}")
def show_inference(by: Reading, inference_id: InferenceId) -> DossierGiven:
    """The dossier: the inference, its input, and what followed.

    For clinicians who informed the patient of it, asked, decided, or were brought in by one of
    these, and for a day after a broken glass; with a purpose, which is recorded, for the college
    where the case was drawn, and for the data protection officer.
    """
    return shown.whole(by.house, by.dossier(inference_id))


@router.get("/inferences/{inference_id}/receipt", dependencies=ENTITLED)
def show_receipt(house: TheHouse, inference_id: InferenceId) -> ReceiptGiven:
    """What the patient keeps: the record's header and the proof that it stands in the log."""
    receipt = house.ledger.receipt(inference_id)
    return ReceiptGiven(header=receipt.header, proof=receipt.proof)


@router.post("/inferences/{inference_id}/replay")
def replay(by: Reading, inference_id: InferenceId) -> ReplayGiven:
    """The same version on the stored input; for those who may read the dossier, as they may."""
    return inference.replay(by.house, by.dossier(inference_id))


@router.post("/inferences/{inference_id}/what-if", status_code=CREATED)
def ask_what_if(by: ActingClinician, inference_id: InferenceId, changes: WhatIf) -> WhatIfGiven:
    """Ask the version that answered about the same input with features changed.

    A simulation, not an inference: nothing is decided on it. Its record is durable before you
    read it. For those who may read the dossier, while nothing is withheld on that patient.
    """
    view = read_dossier(by.ledger, by.actor, dossier=inference_id)
    recorded = by.once(
        partial(what_if.simulate, loaded=by.house.versions, view=view, changes=changes)
    )
    return shown.simulated(by.house, view, recorded)


@router.post("/inferences/{inference_id}/first-read", status_code=CREATED)
def read_first(
    by: ActingClinician,
    inference_id: InferenceId,
    read: Annotated[FirstRead, Body(examples=[{"label": "lung"}])],
) -> StepRecorded:
    """Record what you think before you see the answer: it opens a withheld one."""
    return by.step(partial(dossier.read_first, dossier=inference_id, read=read))


@router.post("/inferences/{inference_id}/decision", status_code=CREATED)
def decide(by: ActingClinician, inference_id: InferenceId, decision: DecisionTaken) -> StepRecorded:
    """Sign your decision: accepted, overridden or disregarded."""
    return by.step(
        partial(
            dossier.sign_decision,
            caller=by.caller,
            dossier=inference_id,
            decision=decision.decision,
            label=decision.label,
            reason=decision.reason,
            signature=decision.signature,
        )
    )


@router.post("/inferences/{inference_id}/decision-payload")
def show_decision_payload(
    house: TheHouse,
    caller: Annotated[Caller, only(Role.CLINICIAN)],
    inference_id: InferenceId,
    decision: DecisionTaken,
) -> DecisionPayloadGiven:
    """What to sign with your own key for this decision; nothing is recorded.

    It is no GET, since an address, and the reason in it, would be logged along the way.
    """
    # An acceptance names the answer's label.
    read_dossier(house.ledger, house.ledger.people.actor(caller), dossier=inference_id)
    asked = dossier.decision_to_sign(
        house.ledger,
        dossier=inference_id,
        decision=decision.decision,
        label=decision.label,
        reason=decision.reason,
    )
    return DecisionPayloadGiven(
        payload=asked.payload.decode(), label=asked.label, salt=asked.salt.hex()
    )


@router.post("/inferences/{inference_id}/told", status_code=CREATED)
def tell(
    by: ActingClinician,
    inference_id: InferenceId,
    told: Annotated[
        PatientTold,
        Body(examples=[{"recipient": "patient", "interpretation": "La tumeur vient du poumon."}]),
    ],
) -> StepRecorded:
    """Record the interpretation that the patient was told."""
    return by.step(partial(dossier.tell_patient, dossier=inference_id, told=told))


@router.post("/inferences/{inference_id}/outcome", status_code=CREATED)
def confirm(
    by: ActingClinician,
    inference_id: InferenceId,
    outcome: Annotated[OutcomeConfirmed, Body(examples=[{"label": "lung", "source": "pathology"}])],
) -> StepRecorded:
    """Record what the truth turned out to be."""
    return by.step(partial(dossier.confirm_outcome, dossier=inference_id, outcome=outcome))


@router.post("/inferences/{inference_id}/correction", status_code=CREATED)
def correct(by: ActingClinician, inference_id: InferenceId, correction: Corrected) -> StepRecorded:
    """Record a later word on one of the dossier's records, which stays as it is."""
    return by.step(partial(dossier.correct, dossier=inference_id, correction=correction))


@router.get("/worklist", dependencies=[only(Role.CLINICIAN)])
def show_worklist(house: TheHouse) -> list[Waiting]:
    """Dossiers that wait for a read or a decision, oldest first; no answer is shown here."""
    return [
        Waiting(
            inference_id=key,
            model=one.model,
            version=one.model_version,
            next="first-read" if one.step is Step.WITHHELD else "decision",
            lapsed=one.lapsed,
            asked=shown.instant(made_at(key)),
        )
        for key, one in waiting(house.ledger)
    ]
