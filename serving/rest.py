"""The calls of the HTTP contract: each takes a message, calls one function, gives a message."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, params, status
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from guarantee import appending, college, dossier, review, versions
from guarantee.access import read_dossier
from guarantee.bodies import (
    Corrected,
    FirstRead,
    OutcomeConfirmed,
    PatientObjected,
    PatientTold,
    Purpose,
    SampleDrawn,
)
from guarantee.card import Language, ModelName
from guarantee.identity import Caller, Role
from guarantee.leaflet import leaflet, leaflet_digest
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.refusals import NotServing
from guarantee.signature import PublicKey
from guarantee.signing_keys import register_key
from guarantee.situations import Step
from guarantee.versions import ModelStanding, RegisteredVersion
from serving import inference
from serving.auth import Unauthenticated, require
from serving.house import House
from serving.inference import instant
from serving.messages import (
    MOST,
    Announced,
    Ballot,
    CaseJudged,
    CollegeGiven,
    ConsistencyGiven,
    ContractGiven,
    DecisionTaken,
    DeferralGiven,
    DisagreementGiven,
    DossierGiven,
    DrawGiven,
    InferenceGiven,
    InformationGiven,
    InformationRecorded,
    KeyGiven,
    KeyRecorded,
    LeafletGiven,
    ModelGiven,
    ModelSummary,
    Objection,
    OpenVersion,
    PayloadGiven,
    Question,
    ReceiptGiven,
    RecordGiven,
    RecordId,
    RecordsGiven,
    ReplayGiven,
    SampleRecorded,
    Seat,
    SecretRevealed,
    StepRecorded,
    Stop,
    VersionGiven,
    VoteRecorded,
    Waiting,
)
from serving.problems import MEDIA_TYPE, Problem, UnacceptedField
from serving.received import ReceivedRequest, ReceivedRoute

_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="A token from `garant token --role ROLE`: one person in one role.",
)


def _house(request: Request) -> House:
    house = request.app.state.house
    if not isinstance(house, House):
        raise TypeError("the application was made without a house")
    return house


TheHouse = Annotated[House, Depends(_house)]


def _caller(
    house: TheHouse, sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    if sent is None:
        raise Unauthenticated("there is no token; send it as Authorization: Bearer")
    return house.issuer.verify_token(sent.credentials)


def only(*roles: Role) -> params.Depends:
    """That the call is for these roles alone; gives the caller."""

    def entitled(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        require(caller, *roles)
        return caller

    return params.Depends(entitled)


# Of calls that only read, it matters that the caller may; of those that record, who it is.
ANYONE: Final = [params.Depends(_caller)]
ENTITLED: Final = [only(Role.CLINICIAN, Role.COLLEGE, Role.DPO)]
Entitled = Annotated[Caller, only(Role.CLINICIAN, Role.COLLEGE, Role.DPO)]
Clinician = Annotated[Caller, only(Role.CLINICIAN)]
CollegeMember = Annotated[Caller, only(Role.COLLEGE)]


class Retry:
    """A request that records, its idempotency key if it has one, and what came of it before."""

    def __init__(self, house: House, *, route: str, key: str | None, content: bytes) -> None:
        self._house = house
        self._route = route
        self._key = key
        self._content = content

    def of(self, actor: Actor) -> appending.Request | None:
        """The request as the log remembers it, for calls that find what they recorded."""
        if self._key is None:
            return None
        return appending.Request(
            actor=actor.pseudonym, route=self._route, key=self._key, content=self._content
        )

    def recorded(
        self, actor: Actor, record: Callable[[appending.Request | None], Recorded]
    ) -> Recorded:
        """What the first try under the key recorded, whatever has changed since, or `record` now.

        Raises:
            RequestConflict: The key was used for another body.
        """
        request = self.of(actor)
        if request is not None and (first := self._house.ledger.repeated(request)) is not None:
            return first
        return record(request)


async def _retry(
    request: Request,
    house: TheHouse,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="Made by the caller, new for each act: a retry records once",
        ),
    ] = None,
) -> Retry:
    if not isinstance(request, ReceivedRequest):
        raise TypeError("a route that records is a ReceivedRoute")
    content = await request.canonical() if key is not None else b""
    return Retry(house, route=f"{request.method} {request.url.path}", key=key, content=content)


Once = Annotated[Retry, Depends(_retry)]
Name = Annotated[ModelName, Path(description="The model's name", examples=["tumour-origin"])]
DrawId = Annotated[RecordId, Path(description="The announcement's id")]
InferenceId = Annotated[RecordId, Path(description="The inference's id")]
Why = Annotated[
    Purpose | None,
    Query(
        description="Of the college: review, audit; of the dpo: also patient_request, litigation"
    ),
]

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": words}
    for code, words in {
        401: "No valid token",
        403: "Not for this role",
        404: "No such thing",
        409: "Out of order: the detail names the step that is missing",
        422: "A field cannot be taken: the detail names it, never its value",
        503: "Suspended, or the ledger cannot write",
    }.items()
}
router = APIRouter(prefix="/v1", responses=REFUSALS, route_class=ReceivedRoute)
CREATED: Final = status.HTTP_201_CREATED


# Models


@router.get("/models", tags=["models"], dependencies=ANYONE)
def list_models(house: TheHouse) -> list[ModelSummary]:
    """Every model that the log knows."""
    return [
        _summary(versions.standing(house.ledger, name))
        for name in versions.model_names(house.ledger)
    ]


@router.get("/models/{name}", tags=["models"], dependencies=ANYONE)
def show_model(house: TheHouse, name: Name) -> ModelGiven:
    """A model, its versions and their cards."""
    summary = _summary(versions.standing(house.ledger, name))
    return ModelGiven(
        **dict(summary),
        versions=tuple(_version(one) for one in versions.versions_of(house.ledger, name)),
    )


@router.get("/models/{name}/leaflet", tags=["models"], dependencies=ANYONE)
def show_leaflet(house: TheHouse, name: Name, lang: Language = Language.FRENCH) -> LeafletGiven:
    """What a patient is given to read before the model is used."""
    serving = versions.standing(house.ledger, name).serving
    if serving is None:
        raise NotServing("no version of this model is promoted, so there is no leaflet yet")
    return LeafletGiven(
        model=name,
        version=serving.version,
        language=lang,
        text=leaflet(serving.card, lang),
        sha256=leaflet_digest(serving.card, lang),
    )


@router.get(
    "/models/{name}/contract",
    tags=["models"],
    response_model_exclude_none=True,
    dependencies=ANYONE,
)
def show_contract(house: TheHouse, name: Name) -> ContractGiven:
    """The features that the model takes: names, units and ranges."""
    serving = versions.standing(house.ledger, name).serving
    if serving is None:
        raise NotServing("no version of this model is promoted, so there is no contract yet")
    contract = house.versions.get(serving).contract
    return ContractGiven(model=name, version=serving.version, features=contract.features)


@router.post("/models/{name}/suspension", tags=["models"], status_code=CREATED)
def suspend(
    house: TheHouse,
    caller: Annotated[Caller, only(Role.CLINICIAN, Role.COLLEGE, Role.MONITOR)],
    once: Once,
    name: Name,
    stop: Stop,
) -> StepRecorded:
    """Stop a model now: no inference follows in the log."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: versions.suspend(
                house.ledger,
                actor,
                name=name,
                reason=stop.reason,
                request=request,
            ),
        )
    )


@router.delete("/models/{name}/suspension", tags=["models"])
def resume(
    house: TheHouse, caller: CollegeMember, once: Once, name: Name, stop: Stop
) -> StepRecorded:
    """Let a suspended model answer again; the college says why."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: versions.resume(
                house.ledger,
                actor,
                name=name,
                reason=stop.reason,
                request=request,
            ),
        )
    )


# Patients


@router.post("/patients/information", tags=["patients"], status_code=CREATED)
def inform(
    house: TheHouse, caller: Clinician, once: Once, information: InformationGiven
) -> InformationRecorded:
    """Record that a patient was told, or why that had to wait: it opens the gate."""
    if house.settings.in_production and information.patient.is_test:
        raise UnacceptedField("patient.oid", "is for tests; send the INS of a real patient")
    actor = house.ledger.people.actor(caller)
    recorded = once.recorded(actor, lambda request: _inform(house, actor, information, request))
    return InformationRecorded(
        information_id=recorded.id, pseudonym=dossier.patient_of(house.ledger, recorded.id)
    )


def _inform(
    house: House, actor: Actor, information: InformationGiven, request: appending.Request | None
) -> Recorded:
    until = information.valid_until
    if until is not None and until <= datetime.now(UTC):
        raise UnacceptedField("valid_until", "is past; send a later time, or leave it out")
    if information.deferred is not None:
        return dossier.defer_information(
            house.ledger,
            actor,
            patient=information.patient,
            models=information.models,
            deferral=information.deferred,
            request=request,
        ).recorded
    if information.recipient is None:
        raise UnacceptedField("recipient", "is missing; say who was told")
    return dossier.inform(
        house.ledger,
        actor,
        patient=information.patient,
        recipient=information.recipient,
        recipient_name=information.recipient_name,
        models=information.models,
        valid_until=int(until.timestamp() * 1000) if until else None,
        language=information.language,
        request=request,
    ).recorded


@router.post("/patients/objection", tags=["patients"], status_code=CREATED)
def object_to_use(
    house: TheHouse,
    caller: Annotated[Caller, only(Role.CLINICIAN, Role.DPO)],
    once: Once,
    objection: Objection,
) -> InformationRecorded:
    """Record that a patient refuses: every information of theirs ends."""
    actor = house.ledger.people.actor(caller)
    said = PatientObjected(recipient=objection.recipient, statement=objection.statement)
    once.recorded(
        actor,
        lambda request: (
            dossier.object_to_use(
                house.ledger,
                actor,
                information_id=objection.information_id,
                objection=said,
                request=request,
            ).recorded
        ),
    )
    return InformationRecorded(
        information_id=objection.information_id,
        pseudonym=dossier.patient_of(house.ledger, objection.information_id),
    )


# Inferences


@router.post("/models/{name}/inferences", tags=["inferences"], status_code=CREATED)
def ask(
    house: TheHouse, caller: Clinician, once: Once, name: Name, question: Question
) -> InferenceGiven:
    """Ask the model about one patient; the answer's record is durable before you read it."""
    actor = house.ledger.people.actor(caller)
    recorded = once.recorded(
        actor, lambda request: inference.ask(house, actor, name, question, request)
    )
    return inference.given(house, recorded.id)


@router.get("/inferences/{inference_id}", tags=["inferences"])
def show_inference(
    house: TheHouse, caller: Entitled, inference_id: InferenceId, purpose: Why = None
) -> DossierGiven:
    """The dossier: the inference, its input, and what followed.

    For clinicians who took part in it, or broke the glass; with a purpose, which is recorded,
    for the college where the case was drawn, and for the data protection officer.
    """
    actor = house.ledger.people.actor(caller)
    view = read_dossier(house.ledger, actor, dossier=inference_id, purpose=purpose)
    return inference.whole(house, view)


@router.get("/inferences/{inference_id}/receipt", tags=["inferences"], dependencies=ENTITLED)
def show_receipt(house: TheHouse, inference_id: InferenceId) -> ReceiptGiven:
    """What the patient keeps: the record's header and the proof that it stands in the log."""
    receipt = house.ledger.receipt(inference_id)
    return ReceiptGiven(header=receipt.header, proof=receipt.proof)


@router.post("/inferences/{inference_id}/replay", tags=["inferences"])
def replay(
    house: TheHouse, caller: Entitled, inference_id: InferenceId, purpose: Why = None
) -> ReplayGiven:
    """The same version on the stored input; for those who may read the dossier, as they may."""
    actor = house.ledger.people.actor(caller)
    view = read_dossier(house.ledger, actor, dossier=inference_id, purpose=purpose)
    return inference.replay(house, view)


@router.post("/inferences/{inference_id}/first-read", tags=["inferences"], status_code=CREATED)
def read_first(
    house: TheHouse,
    caller: Clinician,
    once: Once,
    inference_id: InferenceId,
    read: Annotated[FirstRead, Body(examples=[{"label": "lung"}])],
) -> StepRecorded:
    """Record what you think before you see the answer: it opens a withheld one."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: dossier.read_first(
                house.ledger,
                actor,
                dossier=inference_id,
                read=read,
                request=request,
            ),
        )
    )


@router.post("/inferences/{inference_id}/decision", tags=["inferences"], status_code=CREATED)
def decide(
    house: TheHouse,
    caller: Clinician,
    once: Once,
    inference_id: InferenceId,
    decision: DecisionTaken,
) -> StepRecorded:
    """Sign your decision: accepted, overridden or disregarded."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: dossier.sign_decision(
                house.ledger,
                actor,
                caller,
                dossier=inference_id,
                decision=decision.decision,
                label=decision.label,
                reason=decision.reason,
                signature=decision.signature,
                request=request,
            ),
        )
    )


@router.post(
    "/inferences/{inference_id}/decision-payload",
    tags=["inferences"],
    dependencies=[only(Role.CLINICIAN)],
)
def show_decision_payload(
    house: TheHouse, caller: Clinician, inference_id: InferenceId, decision: DecisionTaken
) -> PayloadGiven:
    """What to sign with your own key for this decision; nothing is recorded.

    It is no GET, since an address, and the reason in it, would be logged along the way.
    """
    # An acceptance names the answer's label.
    read_dossier(house.ledger, house.ledger.people.actor(caller), dossier=inference_id)
    payload = dossier.decision_to_sign(
        house.ledger,
        dossier=inference_id,
        decision=decision.decision,
        label=decision.label,
        reason=decision.reason,
    )
    return PayloadGiven(payload=payload.decode())


@router.post("/inferences/{inference_id}/told", tags=["inferences"], status_code=CREATED)
def tell(
    house: TheHouse,
    caller: Clinician,
    once: Once,
    inference_id: InferenceId,
    told: Annotated[
        PatientTold,
        Body(examples=[{"recipient": "patient", "interpretation": "La tumeur vient du poumon."}]),
    ],
) -> StepRecorded:
    """Record the interpretation that the patient was told."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: dossier.tell_patient(
                house.ledger,
                actor,
                dossier=inference_id,
                told=told,
                request=request,
            ),
        )
    )


@router.post("/inferences/{inference_id}/outcome", tags=["inferences"], status_code=CREATED)
def confirm(
    house: TheHouse,
    caller: Clinician,
    once: Once,
    inference_id: InferenceId,
    outcome: Annotated[OutcomeConfirmed, Body(examples=[{"label": "lung", "source": "pathology"}])],
) -> StepRecorded:
    """Record what the truth turned out to be."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: dossier.confirm_outcome(
                house.ledger,
                actor,
                dossier=inference_id,
                outcome=outcome,
                request=request,
            ),
        )
    )


@router.post("/inferences/{inference_id}/correction", tags=["inferences"], status_code=CREATED)
def correct(
    house: TheHouse,
    caller: Clinician,
    once: Once,
    inference_id: InferenceId,
    correction: Corrected,
) -> StepRecorded:
    """Record a later word on one of the dossier's records, which stays as it is."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: dossier.correct(
                house.ledger,
                actor,
                dossier=inference_id,
                correction=correction,
                request=request,
            ),
        )
    )


@router.get("/worklist", tags=["inferences"], dependencies=[only(Role.CLINICIAN)])
def show_worklist(house: TheHouse) -> list[Waiting]:
    """Dossiers that wait for a read or a decision, oldest first; no answer is shown here."""
    return [
        Waiting(
            inference_id=key,
            model=one.model,
            version=one.model_version,
            next="first-read" if one.step is Step.WITHHELD else "decision",
            lapsed=one.lapsed,
            asked=instant(house.ledger.find(key).header.time),
        )
        for key, one in dossier.waiting(house.ledger)
    ]


# The college


@router.post("/models/{name}/votes", tags=["college"], status_code=CREATED)
def vote(
    house: TheHouse, caller: CollegeMember, once: Once, name: Name, ballot: Ballot
) -> VoteRecorded:
    """Cast your vote on a version; the vote that makes the quorum approves it."""
    actor = house.ledger.people.actor(caller)
    cast = college.vote(
        house.ledger,
        actor,
        name=name,
        version=ballot.version,
        in_favour=ballot.in_favour,
        reason=ballot.reason,
        signature=ballot.signature,
        request=once.of(actor),
    ).cast
    version = versions.registered_version(house.ledger, name, ballot.version)
    return VoteRecorded(record_id=cast.id, index=cast.index, verdict=version.verdict)


@router.post("/models/{name}/vote-payload", tags=["college"], dependencies=[only(Role.COLLEGE)])
def show_vote_payload(house: TheHouse, name: Name, ballot: Ballot) -> PayloadGiven:
    """What to sign with your own key for this vote; nothing is recorded."""
    payload = college.vote_to_sign(
        house.ledger,
        name=name,
        version=ballot.version,
        in_favour=ballot.in_favour,
        reason=ballot.reason,
    )
    return PayloadGiven(payload=payload.decode())


@router.post("/college/draws", tags=["college"], status_code=CREATED)
def announce_draw(
    house: TheHouse, caller: CollegeMember, once: Once, announced: Announced
) -> StepRecorded:
    """Announce a draw of cases; only the SHA-256 of your secret is sent."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: review.announce(
                house.ledger,
                actor,
                rate=announced.rate,
                model=announced.model,
                first_index=announced.first_index,
                secret_sha256=announced.secret_sha256,
                request=request,
            ),
        )
    )


@router.post("/college/draws/{draw_id}/sample", tags=["college"], status_code=CREATED)
def draw_sample(
    house: TheHouse, caller: CollegeMember, once: Once, draw_id: DrawId, revealed: SecretRevealed
) -> SampleRecorded:
    """Reveal the secret; secret and log draw the cases, and anyone can draw them again."""
    actor = house.ledger.people.actor(caller)
    recorded = once.recorded(
        actor,
        lambda request: (
            review.draw(
                house.ledger,
                actor,
                announcement=draw_id,
                secret=bytes.fromhex(revealed.secret),
                expected=revealed.inferences,
                request=request,
            ).recorded
        ),
    )
    drawn = house.ledger.open_as(recorded, SampleDrawn).dossiers
    return SampleRecorded(record_id=recorded.id, index=recorded.index, inferences=drawn)


@router.post("/college/reviews", tags=["college"], status_code=CREATED)
def review_case(
    house: TheHouse, caller: CollegeMember, once: Once, judged: CaseJudged
) -> StepRecorded:
    """Record your review of a drawn case."""
    actor = house.ledger.people.actor(caller)
    return _step(
        once.recorded(
            actor,
            lambda request: review.review(
                house.ledger,
                actor,
                announcement=judged.draw,
                dossier=judged.inference_id,
                opinion=judged.opinion,
                concerns=judged.concerns,
                request=request,
            ),
        )
    )


@router.get("/college", tags=["college"], dependencies=ANYONE)
def show_college(house: TheHouse) -> CollegeGiven:
    """Who sits, and what waits for votes, draws and reviews."""
    status = college.status(house.ledger)
    return CollegeGiven(
        members=tuple(
            Seat(member=seat.member, profession=seat.profession, own_key=seat.own_key)
            for seat in status.members
        ),
        empty_seats=status.empty_seats,
        open_versions=tuple(
            OpenVersion(name=one.name, version=one.version, missing_votes=one.missing)
            for one in status.open_versions
        ),
        draws=tuple(
            DrawGiven(
                draw=one.announcement,
                announced=instant(one.announced_at),
                rate=one.rate,
                model=one.model,
                drawn=one.drawn,
                to_review=one.open,
                erased=one.erased,
                overdue=one.overdue,
            )
            for one in status.draws
        ),
        disagreement=_disagreement(status.disagreement),
        deferred_informations=tuple(
            DeferralGiven(
                information_id=one.information, models=one.models, since=instant(one.since)
            )
            for one in status.deferrals
        ),
        lapsed=status.lapsed,
    )


def _disagreement(found: review.Disagreement | None) -> DisagreementGiven | None:
    if found is None:
        return None
    low, high = found.interval()
    return DisagreementGiven(
        disagreed=found.disagreed, cases=found.cases, share=found.share, low=low, high=high
    )


# People's own keys


@router.post("/keys", tags=["keys"], status_code=CREATED)
def register_own_key(
    house: TheHouse,
    caller: Annotated[Caller, only(Role.CLINICIAN, Role.COLLEGE)],
    once: Once,
    given: KeyGiven,
) -> KeyRecorded:
    """Register your own public key; it takes the place of the one before, for what follows."""
    text = given.jwk if isinstance(given.jwk, str) else json.dumps(given.jwk)
    key = PublicKey.parse(text)
    actor = house.ledger.people.actor(caller)
    recorded = once.recorded(
        actor, lambda request: register_key(house.ledger, actor, key=key, request=request)
    )
    return KeyRecorded(record_id=recorded.id, index=recorded.index, thumbprint=key.thumbprint)


# The log


@router.get("/ledger/checkpoint", tags=["ledger"], response_class=PlainTextResponse)
def show_checkpoint(house: TheHouse) -> PlainTextResponse:
    """The signed head, as a C2SP tlog-checkpoint; no token is needed."""
    return PlainTextResponse(house.ledger.checkpoint())


@router.get(
    "/ledger/records", tags=["ledger"], response_model_exclude_none=True, dependencies=ANYONE
)
def show_records(
    house: TheHouse,
    start: Annotated[int, Query(ge=0, le=MOST, description="Zero-based")] = 0,
    count: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RecordsGiven:
    """Headers, in the log's order; they hold nothing clinical or personal."""
    return RecordsGiven(
        size=house.ledger.head().size,
        records=tuple(
            RecordGiven(index=one.index, header=one.header)
            for one in house.ledger.page(start, count)
        ),
    )


@router.get("/ledger/consistency", tags=["ledger"])
def show_consistency(
    house: TheHouse,
    old_size: Annotated[int, Query(alias="from", ge=0, le=MOST, description="An earlier size")],
) -> ConsistencyGiven:
    """Proof that the log only grew since it had that size; no token is needed."""
    path, checkpoint = house.ledger.consistency(old_size)
    return ConsistencyGiven(path=tuple(one.hex() for one in path), checkpoint=checkpoint)


def _step(recorded: Recorded) -> StepRecorded:
    return StepRecorded(record_id=recorded.id, index=recorded.index)


def _summary(standing: ModelStanding) -> ModelSummary:
    serving = standing.serving
    return ModelSummary(
        name=standing.name,
        title=serving.card.title if serving else None,
        standing=standing.step,
        version=serving.version if serving else None,
        suspension=standing.suspension,
    )


def _version(registered: RegisteredVersion) -> VersionGiven:
    return VersionGiven(
        version=registered.version,
        digest=registered.digest,
        verdict=registered.verdict,
        missing_votes=registered.missing,
        registered=instant(registered.registered_at),
        card=registered.card,
    )
