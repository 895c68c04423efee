"""What travels over HTTP: the bodies that are taken and given, as OpenAPI shows them."""

import re
from datetime import MAXYEAR, date, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    field_validator,
    model_validator,
)

from guarantee.bodies import (
    AccessRecorded,
    BreakGlass,
    CaseReviewed,
    Concern,
    Corrected,
    Decision,
    ErasureGround,
    FirstRead,
    HoldReason,
    InformationDeferred,
    Opinion,
    OutcomeConfirmed,
    PatientTold,
    Purpose,
    Recipient,
    ReviewLapsed,
    Words,
)
from guarantee.card import Card, Code, Language, Mode, ModelName, Text
from guarantee.identity import Assurance, Day, Patient, Profession
from guarantee.records import Header, RecordType
from guarantee.situations import Standing, Step, Verdict
from models.contract import Feature

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BEGINS_WITH_A_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
# Every JSON reader takes whole numbers up to here for what they are.
MOST: Final = 2**53 - 1


def _is_uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError("is not a UUID in lower case, such as Garant gave it")
    return text


def _is_time(value: object) -> object:
    # Pydantic takes numbers, and digits, for seconds since 1970.
    if isinstance(value, str) and _BEGINS_WITH_A_DAY.match(value):
        return value
    raise ValueError("is not a time; send it as 2027-11-24T00:00:00Z")


def _is_near(time: datetime) -> datetime:
    # One more year, and some time zone could not write it.
    if time.year >= MAXYEAR:
        raise ValueError("is too far away; leave it out where the information has no end")
    return time


RecordId = Annotated[
    str,
    AfterValidator(_is_uuid),
    Field(description="A UUID", json_schema_extra={"format": "uuid"}),
]
Instant = Annotated[AwareDatetime, BeforeValidator(_is_time), AfterValidator(_is_near)]
Pseudonym = Annotated[str, Field(description="Random; tells nothing of the person")]


Signature = Annotated[
    str, Field(max_length=16_384, description="A detached JWS, header..signature (RFC 7515, F)")
]


class _Taken(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True)


_PATIENT: dict[str, Any] = {
    "matricule": "2690549588157",
    "key": "80",
    "oid": "1.2.250.1.213.1.4.10",
    "birth_name": "NESSI",
    "given_names": "RUTH ISABELLE",
    "birth_date": "1969-05-12",
    "sex": "F",
    "birth_place": "49588",
    "qualified": True,
}


class InformationGiven(_Taken):
    """That a patient was told, or why that had to wait."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "patient": _PATIENT,
                    "recipient": "patient",
                    "language": "fr",
                    "models": ["tumour-origin"],
                    "valid_until": "2027-11-24T00:00:00Z",
                }
            ]
        }
    )

    patient: Patient
    models: list[ModelName] = Field(min_length=1, max_length=100)
    recipient: Recipient | None = Field(default=None, description="Who was told")
    recipient_name: Words | None = Field(default=None, max_length=200)
    language: Language = Language.FRENCH
    valid_until: Instant | None = Field(
        default=None, description="When the information ends; never, where it is left out"
    )
    deferred: InformationDeferred | None = Field(
        default=None, description="Instead of `recipient`: why nobody could be told beforehand"
    )

    @field_validator("models")
    @classmethod
    def _models_are_distinct(cls, models: list[ModelName]) -> list[ModelName]:
        if len(set(models)) < len(models):
            raise ValueError("a model is named twice; name it once")
        return models

    @model_validator(mode="after")
    def _is_given_or_deferred(self) -> Self:
        if (self.recipient is None) == (self.deferred is None):
            raise ValueError("send either recipient, who was told, or deferred, why nobody was")
        return self


class Objection(_Taken):
    """That a patient refuses the AI from now on."""

    information_id: RecordId
    recipient: Recipient = Field(description="Who refuses, on behalf of the patient or as one")
    statement: Words | None = Field(default=None, max_length=2000)


class Question(_Taken):
    """One profile for a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "information_id": "01941f29-7c00-7000-8000-000000000000",
                    "features": {"hsa-mir-122": 3.25, "hsa-mir-200c": 11.5},
                }
            ]
        }
    )

    information_id: RecordId = Field(description="Of the information that opens the gate")
    features: dict[str, Any] = Field(
        description="Numbers by feature name, in the units of the contract; "
        "those left out are missing, and said to be",
        json_schema_extra={"additionalProperties": {"type": "number"}},
    )
    mode: Mode | None = Field(
        default=None, description="May only tighten what the card asks: withheld"
    )


class DecisionTaken(_Taken):
    """What the clinician decides."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"decision": "accepted"},
                {
                    "decision": "overridden",
                    "label": "lung",
                    "reason": "TTF-1 positive on immunohistochemistry.",
                },
            ]
        }
    )

    decision: Decision
    label: str | None = Field(
        default=None, max_length=200, description="The label decided on; for overridden alone"
    )
    reason: Words | None = Field(default=None, max_length=4000, description="Needed to override")
    signature: Signature | None = Field(
        default=None,
        description="By the clinician's registered key, over the payload that "
        "`decision-payload` gives for this same body; without it the issuer alone attests",
    )


class Stop(_Taken):
    """Why a model is stopped, or may answer again."""

    reason: Words = Field(max_length=2000, examples=["Answers differ between the two scanners."])


class Ballot(_Taken):
    """One member's vote on one version."""

    version: str = Field(min_length=1, max_length=100, examples=["1"])
    in_favour: StrictBool
    reason: Words | None = Field(default=None, max_length=4000)
    signature: Signature | None = Field(
        default=None,
        description="By the member's registered key, over the payload that `vote-payload` gives "
        "for this same body; needed from a member who has a key",
    )


class KeyGiven(_Taken):
    """One's own public key."""

    jwk: dict[str, Any] | str = Field(
        description="RFC 7517, as an object or its text: OKP (Ed25519) or EC (P-256)",
        examples=[
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        ],
    )


class Announced(_Taken):
    """A draw of cases, before anyone can know which."""

    rate: str = Field(description="The share of each stratum, at most 1/1", examples=["1/20"])
    model: ModelName | None = Field(default=None, description="Every model's cases, if left out")
    first_index: StrictInt = Field(
        default=0, ge=0, le=MOST, description="Where in the log the frame starts"
    )
    secret_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="Of 32 bytes made on the college's own machine, which stay there",
    )


class SecretRevealed(_Taken):
    """The secret of an announced draw."""

    secret: str = Field(pattern=r"^[0-9a-f]{64}$", description="The 32 bytes, hexadecimal")
    inferences: list[RecordId] | None = Field(
        default=None,
        description="The cases that the college drew from its own copy of the log, if it did: "
        "others are refused",
    )


class CaseJudged(_Taken):
    """One member's review of one drawn case; nothing clinical."""

    draw: RecordId = Field(description="The announcement's id")
    inference_id: RecordId
    opinion: Opinion
    concerns: list[Concern] = Field(default=[], max_length=len(Concern))


class AccessAsked(_Taken):
    """Why all that is held on a patient is read."""

    purpose: Purpose = Purpose.PATIENT_REQUEST


class Rectification(_Taken):
    """A patient's identity as it should be, whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"patient": _PATIENT}]})

    patient: Patient


class ErasureAsked(_Taken):
    """Why a patient's records may be erased."""

    ground: ErasureGround
    died: Day | None = Field(
        default=None, description="The day of death, where it is known: it ends retention earlier"
    )


class HoldAsked(_Taken):
    """That a patient's records may not be erased, or may be again."""

    reason: HoldReason
    lifted: StrictBool = Field(default=False, description="Whether the hold ends")


class ErasureRecorded(_Given):
    """An erasure, done: the headers stay, and name nobody."""

    record_id: RecordId
    index: int = Field(description="Its zero-based place in the log")
    records: tuple[RecordId, ...] = Field(description="Those whose bodies are gone")
    backups_expire: date | None = Field(
        description="The last day on which a backup may still hold them"
    )


class ReceiptGiven(_Given):
    """A record's header and the proof that it stands in the log."""

    header: str = Field(description="The canonical bytes that the log hashes, as text")
    proof: str = Field(description="A C2SP tlog-proof with a signed checkpoint")


class InformationRecorded(_Given):
    """A patient's information or objection, now in the log."""

    information_id: RecordId
    pseudonym: Pseudonym


class StepRecorded(_Given):
    """One more record, now in the log."""

    record_id: RecordId
    index: int = Field(description="Its zero-based place in the log")


class VoteRecorded(StepRecorded):
    """A vote, now in the log, and what it led to."""

    verdict: Verdict


class KeyRecorded(StepRecorded):
    """A key, now in the log."""

    thumbprint: str = Field(description="RFC 7638: what `kid` names the key by")


class PayloadGiven(_Given):
    """What to sign: read it, then sign these characters as UTF-8, byte for byte."""

    payload: str = Field(description="RFC 8785 JSON")


class SampleRecorded(StepRecorded):
    """A sample, now in the log."""

    inferences: tuple[str, ...] = Field(description="The drawn cases")


class ModelSummary(_Given):
    """A model in the list."""

    name: str
    title: Text | None
    standing: Standing
    version: str | None = Field(description="The one that answers")
    suspension: str | None = Field(description="Why it was stopped")


class VersionGiven(_Given):
    """A registered version."""

    version: str
    digest: str = Field(description="SHA-256 over its files, hexadecimal")
    verdict: Verdict
    missing_votes: tuple[str, ...]
    registered: datetime
    card: Card


class ModelGiven(ModelSummary):
    """A model with its versions."""

    versions: tuple[VersionGiven, ...]


class ContractGiven(_Given):
    """What the version that answers takes."""

    model: str
    version: str
    features: tuple[Feature, ...] = Field(
        description="By name, with the unit to send; outside `possible` a value is refused, "
        "outside `plausible` it is taken and flagged"
    )


class LeafletGiven(_Given):
    """What a patient is given to read."""

    model: str
    version: str
    language: Language
    text: str
    sha256: str = Field(description="Of the text in UTF-8, as the information records it")


class ModelNamed(_Given):
    """What answered."""

    name: str
    version: str
    digest: str
    title: Text


class Ranked(_Given):
    """One label of the ranking."""

    label: str
    words: Text
    probability: float


class Prediction(_Given):
    """The answer: help for a decision, never the decision."""

    label: str
    words: Text
    codes: tuple[Code, ...]
    probability: float = Field(description="Calibrated")
    prediction_set: tuple[str, ...] = Field(description="Labels that stay possible")
    ranking: tuple[Ranked, ...]


class FeatureWeight(_Given):
    """One feature's part in the answer."""

    feature: str
    value: float | None = Field(description="None where it is missing")
    contribution: float = Field(description="To the label's margin; positive speaks for it")


class ExplanationGiven(_Given):
    """Why: parts that add up to the answer's margin, exactly."""

    label: str
    margin: float = Field(description="Of the label, before calibration, in log-odds")
    base_value: float = Field(description="The margin when nothing is known of the patient")
    top_features: tuple[FeatureWeight, ...]
    rest: float = Field(description="What all other features contribute together")


class Review(_Given):
    """What the clinician has to do."""

    mode: Mode
    step: Step
    next: Literal["first-read", "decision", "told", "outcome"] | None
    lapses: datetime = Field(description="When an answer without a decision is recorded as such")


class InferenceGiven(_Given):
    """An answer whose record is durable; no prediction while it is withheld."""

    inference_id: RecordId
    model: ModelNamed
    prediction: Prediction | None
    explanation: ExplanationGiven | None
    flags: tuple[str, ...] | None
    missing_features: tuple[str, ...] | None
    notice: Text | None = Field(description="Without CE marking: research, not for care")
    review: Review
    receipt: ReceiptGiven


class DecisionGiven(_Given):
    """A decision as it was signed; the token that attests it stays in the vault."""

    decision: Decision
    label: str | None
    reason: str | None
    assurance: Assurance
    signature: str | None


Followed = (
    FirstRead
    | DecisionGiven
    | PatientTold
    | OutcomeConfirmed
    | ReviewLapsed
    | Corrected
    | CaseReviewed
    | AccessRecorded
    | BreakGlass
)


class EventGiven(_Given):
    """One record of a dossier."""

    record_id: RecordId
    index: int
    type: RecordType
    at: datetime = Field(description="As the record claims; the order is the index")
    actor: Pseudonym
    outcome: str
    body: Followed | None = Field(
        description="None of the inference itself, which stands beside the events"
    )


class DossierGiven(InferenceGiven):
    """An inference, its input, and what followed."""

    information_id: RecordId
    input: dict[str, float | None] | None = Field(description="By feature, in its unit")
    lapsed: bool
    events: tuple[EventGiven, ...]


class ReplayGiven(_Given):
    """The same version on the stored input, once more."""

    identical: bool = Field(description="Margins agree bit for bit")
    largest_difference: float = Field(description="Between margins")
    recorded_platform: str
    platform: str


class Seat(_Given):
    """One member of the college."""

    member: Pseudonym
    profession: Profession
    own_key: bool = Field(description="Whether their votes carry their own signature")


class OpenVersion(_Given):
    """A version that waits for the college."""

    name: str
    version: str
    missing_votes: tuple[str, ...]


class DrawGiven(_Given):
    """A draw and how far its review has come."""

    draw: RecordId
    announced: datetime
    rate: str
    model: str | None
    drawn: int | None = Field(description="How many cases; none before the sample is drawn")
    to_review: tuple[str, ...] = Field(description="Drawn cases that nobody has reviewed yet")
    erased: tuple[str, ...] = Field(description="Drawn cases whose patients were erased")
    overdue: bool = Field(description="Announced more than 30 days ago, and still no sample")


class DisagreementGiven(_Given):
    """On how many of the reviewed cases a member disagreed."""

    disagreed: int
    cases: int
    share: float
    low: float = Field(description="Of Wilson's 95 % interval")
    high: float


class DeferralGiven(_Given):
    """A patient's information that was put off, and not made good yet."""

    information_id: RecordId
    models: tuple[str, ...]
    since: datetime


class CollegeGiven(_Given):
    """Who sits in the college, and what waits for it."""

    members: tuple[Seat, ...]
    empty_seats: tuple[str, ...] = Field(description="Of the quorum")
    open_versions: tuple[OpenVersion, ...]
    draws: tuple[DrawGiven, ...]
    disagreement: DisagreementGiven | None = Field(description="None before the first review")
    deferred_informations: tuple[DeferralGiven, ...]
    lapsed: tuple[str, ...] = Field(description="Inferences whose time went by, undecided")


class Waiting(_Given):
    """One dossier that waits for a clinician."""

    inference_id: RecordId
    model: str
    version: str
    next: Literal["first-read", "decision"]
    lapsed: bool
    asked: datetime
    flags: tuple[str, ...] | None = Field(default=None, description="None while withheld")


class RecordGiven(_Given):
    """One record of the log, which names nobody."""

    index: int
    header: Header


class RecordsGiven(_Given):
    """A page of the log."""

    size: int = Field(description="Records in the whole log")
    records: tuple[RecordGiven, ...]


class ConsistencyGiven(_Given):
    """Proof that the log only grew since an earlier checkpoint. RFC 9162, section 2.1.4."""

    path: tuple[str, ...] = Field(description="Hashes, hexadecimal")
    checkpoint: str
