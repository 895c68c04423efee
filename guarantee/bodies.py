"""What records mean: bodies, which the vault keeps, sealed where they are clinical or personal."""

from datetime import date
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, Literal, Self, TypeVar

import rfc8785
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import to_json

from guarantee.abstention import ABSTAINED, Abstention
from guarantee.card import Card, Language, Measure, Mode, ModelName
from guarantee.errors import GuaranteeError
from guarantee.identity import Assurance, Patient, Profession
from guarantee.records import RecordType
from guarantee.wording import in_words

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""What a person wrote, without the blanks around it; blanks alone are no words."""


class Body(BaseModel):
    """What the vault keeps of a record; encoded as RFC 8785 JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def encode(self) -> bytes:
        """The canonical bytes that the header commits to."""
        facts: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        try:
            return to_json(_words_in_order(facts))
        except _NotWords:
            return rfc8785.dumps(facts)


class _NotWords(ValueError):
    """Numbers, or names of members that are not ASCII: RFC 8785 has rules of its own for them."""


def _words_in_order(value: object) -> object:
    """The same words, the members of objects in their order: a fifth of what an encoder takes."""
    if isinstance(value, dict):
        if not all(map(str.isascii, value)):
            raise _NotWords
        return {name: _words_in_order(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [*map(_words_in_order, value)]
    if value is None or isinstance(value, (str, bool)):
        return value
    raise _NotWords


class BodyRefused(GuaranteeError):
    """What a record would say cannot be taken; names each field, what is wrong, and no value."""


B = TypeVar("B", bound=Body)


def stated(kind: type[B], **facts: object) -> B:
    """The body that says these facts, as somebody gave them.

    Raises:
        BodyRefused: One of them cannot be taken.
    """
    try:
        return kind.model_validate(facts)
    except ValidationError as error:
        problems = [
            ".".join(map(str, one["loc"]))
            + ": "
            + in_words(one["type"], one["msg"], one.get("ctx", {}))
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise BodyRefused("; ".join(problems)) from error


class Recipient(StrEnum):
    """Who was told on behalf of whom."""

    PATIENT = "patient"
    PARENT = "parent"
    GUARDIAN = "guardian"
    TRUSTED_PERSON = "trusted_person"


class PatientInformed(Body):
    """That a person was told, before its use, that an AI will be used. CSP L. 4001-3, I.

    Attributes:
        reuse: Whether they were told, too, that the model may be trained again on what is
            recorded, which is another purpose, and that they may refuse it. GDPR, article 13, 3.
    """

    recipient: Recipient
    recipient_name: Words | None = Field(default=None, max_length=200)
    language: Language = Language.FRENCH
    reuse: bool = False
    leaflet_sha256: dict[str, str] = Field(description="Model to SHA-256 of the leaflet given")


class InformationDeferred(Body):
    """Why a patient could not be informed beforehand; shown to the college."""

    ground: Literal["urgency", "impossibility"]
    statement: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=10, max_length=2000)
    ]


class PatientObjected(Body):
    """That the patient refuses the AI from now on, or the training on their records alone.

    Attributes:
        reuse_only: Whether answers may still be given. GDPR, article 21.
    """

    recipient: Recipient
    reuse_only: bool = False
    statement: Words | None = Field(default=None, max_length=2000)


class Answer(Body):
    """What a model version answered to one profile.

    Attributes:
        label: The most probable one, which is no answer where the model abstains.
        probabilities: Base64 float32, (n_labels,), in the card's order of labels.
        margins: Base64 float32, (n_labels,), before calibration.
        base_values: Base64 float32, (n_labels,): the margins of no information.
        contributions: Base64 float32, (n_features,), towards `label`'s margin; they and its
            base value add up to that margin within 1e-4.
        flags: `abstained` among them where, and only where, there is an `abstention`.
        abstention: Why the model does not answer; none where it does.
    """

    label: str
    probability: float
    probabilities: str
    margins: str
    base_values: str
    contributions: str
    prediction_set: tuple[str, ...]
    flags: tuple[str, ...]
    missing_features: tuple[str, ...]
    abstention: Abstention | None = None

    @model_validator(mode="after")
    def _an_abstention_has_its_reason(self) -> Self:
        if (self.abstention is None) == (ABSTAINED in self.flags):
            raise ValueError("the flag abstained and the reason of the abstention go together")
        return self


GroupName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
"""A word that many cases share, as a hospital's code."""


class Context(Body):
    """Where a case comes from, as its client says: what monitoring groups by, and no more.

    Vaulted with the inference, never in a header; the model does not see it.
    """

    hospital: GroupName | None = Field(default=None, description="A code that many cases share")
    machine: GroupName | None = Field(default=None, description="A code that many cases share")
    sex: Literal["F", "M", "I"] | None = None
    age_band: Literal["0-17", "18-39", "40-64", "65-79", "80+"] | None = None


class InferenceMade(Body):
    """One answer and all that it rests on.

    Attributes:
        profile: Base64 float32, (n_features,), in the contract's order; NaN where missing.
        version_digest: SHA-256 of the version that answered.
        platform: Machine and libraries on which margins are reproducible bit for bit.
    """

    information_id: str
    mode: Mode
    profile: str
    version_digest: str
    platform: str
    answer: Answer
    notice: str | None = None
    context: Context | None = None


class FirstRead(Body):
    """What the clinician thinks before seeing the answer."""

    label: str
    comment: Words | None = Field(default=None, max_length=4000)


class Decision(StrEnum):
    """What the clinician does with the answer."""

    ACCEPTED = "accepted"
    OVERRIDDEN = "overridden"
    DISREGARDED = "disregarded"


class DecisionSigned(Body):
    """The clinician's decision, and what the signature is worth.

    Attributes:
        label: What the clinician decides; none where the answer was disregarded.
        attestation: The token by which an issuer attested the signer.
        issuer_key: That issuer's public key, a JWK.
        salt: Where the header holds a signature by the signer's own key, 32 bytes, hexadecimal:
            they and the words make the header's `statement`.
    """

    decision: Decision
    label: str | None = None
    reason: Words | None = Field(default=None, max_length=4000)
    assurance: Assurance
    attestation: str
    issuer_key: str
    salt: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class PatientTold(Body):
    """The interpretation that the patient was told. CSP L. 4001-3, I."""

    recipient: Recipient
    interpretation: Words = Field(max_length=4000)
    language: Language = Language.FRENCH


class OutcomeConfirmed(Body):
    """What the truth turned out to be."""

    label: Words = Field(max_length=200)
    source: Literal["pathology", "imaging", "follow_up", "other"]
    comment: Words | None = Field(default=None, max_length=4000)


class ReviewLapsed(Body):
    """That the time on the card went by without a decision."""

    lapse_hours: int


class WhatIfMade(Body):
    """What the version that answered says of the same input with some features changed.

    A simulation, never an inference: it opens no dossier, and nothing is decided on it.

    Attributes:
        profile, version_digest, platform, answer: As of an inference, for the changed input.
        label: The inference's own, towards which both are compared.
        contributions: Base64 float32, (n_features,), of the changed input, towards `label`'s
            margin.
    """

    profile: str
    version_digest: str
    platform: str
    answer: Answer
    label: str
    contributions: str


class Corrected(Body):
    """A later word on an earlier record, which stays as it is."""

    corrects: str
    statement: Words = Field(max_length=4000)


class Difference(Body):
    """Two versions' answers on the same cases, none of which the later one learned from.

    Attributes:
        right_before, right_after: Cases whose label was answered.
        flipped: Cases with another answer than before, right or wrong.
    """

    cases: int = Field(ge=0)
    right_before: int = Field(ge=0)
    right_after: int = Field(ge=0)
    flipped: int = Field(ge=0)


class Learned(Body):
    """What an update of a learning model learned from, and how it differs from the one before.

    Attributes:
        base: The version that answered.
        cases: All that were learned from.
        new_cases: Those of them that `base` had not learned from.
        cases_sha256: Over the cases learned from, their labels and profiles.
        up_to: Of outcomes, those confirmed before this place in the log were learned from.
        locked: On cases that no version learns from.
        window: On the latest confirmed outcomes.
    """

    base: str
    cases: int = Field(ge=1)
    new_cases: int = Field(ge=0)
    cases_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    up_to: int = Field(ge=0)
    locked: Difference
    window: Difference


class ModelRegistered(Body):
    """A version that the college may vote on.

    Attributes:
        digest: SHA-256 over the digests of the version's files.
        run: MLflow's run, for the data scientist.
        learned: Of an update of a learning model.
    """

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    card: Card
    run: str
    learned: Learned | None = None


class VoteCast(Body):
    """One member's vote on one version; the header holds their signature."""

    reason: Words | None = Field(default=None, max_length=4000)


class ModelApproved(Body):
    """That the votes it follows make the card's quorum."""

    digest: str


class ModelPromoted(Body):
    """The version that answers from here on.

    Attributes:
        reason: Why an earlier version answers again; none where a version answers first.
    """

    digest: str
    reason: Words | None = Field(default=None, max_length=2000)


class ModelSuspended(Body):
    """Why no answer is given any more."""

    reason: Words = Field(max_length=2000)


class ModelResumed(Body):
    """Why answers may be given again."""

    reason: Words = Field(max_length=2000)


class ModelUpdated(Body):
    """That an update keeps inside the change protocol which the college approved beforehand.

    It takes the place of votes; its registration holds the figures. It follows the registration
    whose change protocol that is.

    Attributes:
        new_cases, cases_sha256: As registered.
    """

    digest: str
    new_cases: int
    cases_sha256: str


class CohortScored(Body):
    """An evaluation, not care: a file of profiles and its digest; nobody's answer."""

    cases: int
    input_sha256: str
    output_sha256: str


class DriftDetected(Body):
    """What changed between the reference and a window of inferences: aggregates only."""

    cases: int
    first_index: int
    last_index: int
    features: tuple["FeatureDrift", ...]
    report_sha256: str | None = None


class DriftCleared(Body):
    """That a later window no longer differs."""

    cases: int
    first_index: int
    last_index: int


class FeatureDrift(Body):
    """One feature that differs from the reference.

    Attributes:
        threshold: Of the p-value, corrected for the number of features watched.
        shift: The means' difference in the reference's standard deviations; none for labels.
    """

    feature: str
    test: str
    p_value: float
    threshold: float
    shift: float | None = None


class IncidentReported(Body):
    """That performance, or people's use of the answers, is beyond the card's bounds.

    An incident is a deterioration in the performance of a device, or a use error: MDR, article 2,
    64. Aggregates only.

    Attributes:
        cases: Of the latest window; each figure has a number of its own.
        first_index, last_index: Between them lie the inferences that the figures were read of.
    """

    cases: int
    first_index: int
    last_index: int
    missed: tuple["BoundMissed", ...]


class BoundMissed(Body):
    """One figure that does not keep its bound.

    Attributes:
        group: As "hospital H1"; none for all cases.
        low, high: Its interval, which lies beyond the bound as a whole.
        least, most: The card's bound.
    """

    measure: Measure
    group: str | None = None
    cases: int
    value: float
    low: float
    high: float
    least: float | None = None
    most: float | None = None


class IncidentEnded(Body):
    """That a later window keeps what an incident's did not."""

    cases: int
    first_index: int
    last_index: int


class MemberAppointed(Body):
    """A seat in the college."""

    profession: Profession


class DrawAnnounced(Body):
    """That the college will draw cases, and how, before anyone can know which.

    Attributes:
        rate: A fraction above 0, at most 1, as "1/20".
        model: The model whose cases are in the frame; none: every model's.
        first_index: The frame holds the inferences from this place in the log up to the
            announcement: where the last draw of it was announced, or the log's beginning.
        secret_sha256: Of 32 bytes that only the college's machine knows yet, hexadecimal.
    """

    rate: str = Field(pattern=r"^[1-9][0-9]{0,5}/[1-9][0-9]{0,5}$")
    model: ModelName | None = None
    first_index: int = Field(ge=0)
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("rate")
    @classmethod
    def _rate_is_a_share(cls, rate: str) -> str:
        if Fraction(rate) > 1:
            raise ValueError("a rate is at most 1/1")
        return rate


class DrawAbandoned(Body):
    """Why an announced draw leads to no sample: its cases fall to the next draw."""

    reason: Words = Field(max_length=2000)


class SampleDrawn(Body):
    """The secret, and the cases that it draws; anyone can draw them again."""

    secret: str = Field(pattern=r"^[0-9a-f]{64}$")
    dossiers: tuple[str, ...]


class Opinion(StrEnum):
    """What a member of the college thinks of a case."""

    AGREED = "agreed"
    DISAGREED = "disagreed"
    UNCLEAR = "unclear"


class Concern(StrEnum):
    """What a member of the college finds wrong with a case."""

    ANSWER = "answer"
    EXPLANATION = "explanation"
    DECISION = "decision"
    INFORMATION = "information"
    INTERPRETATION = "interpretation"
    OTHER = "other"


class CaseReviewed(Body):
    """One member's review of one drawn case; names no patient and nothing clinical."""

    opinion: Opinion
    concerns: tuple[Concern, ...] = ()


class Purpose(StrEnum):
    """Why somebody looked at a patient's records."""

    CARE = "care"
    REVIEW = "review"
    MONITORING = "monitoring"
    AUDIT = "audit"
    PATIENT_REQUEST = "patient_request"
    LITIGATION = "litigation"


class AccessRecorded(Body):
    """That somebody read, and why: the header's dossier, or all that is held on its subject.

    As it stood at that place in the log.
    """

    purpose: Purpose


class Glass(StrEnum):
    """Why somebody not entitled had to read a dossier."""

    URGENCY = "urgency"
    CONTINUITY_OF_CARE = "continuity_of_care"
    RISK_TO_ANOTHER = "risk_to_another"


class BreakGlass(Body):
    """That somebody not entitled opened a dossier because it could not wait.

    Until the header's `valid_until`; to read it, and to take its next step.
    """

    ground: Glass


class Sharing(StrEnum):
    """Why a carer brings in another one."""

    TEAM = "team"
    ON_CALL = "on_call"
    ADVICE = "advice"
    TRANSFER = "transfer"


class CareShared(Body):
    """That a carer made the header's subject one, too, of the header's dossier."""

    reason: Sharing


class InformationsGathered(Body):
    """That the informations that the header follows are of one patient.

    Made where a patient has more of them than one header can follow; a record that concerns them
    all follows it in their place.
    """


class PatientRectified(Body):
    """What a patient's identity said before and says now."""

    before: Patient
    after: Patient


class ErasureGround(StrEnum):
    """Why a patient's records may be erased."""

    RETENTION_ENDED = "retention_ended"
    UNLAWFUL_PROCESSING = "unlawful_processing"
    COURT_ORDER = "court_order"


class PatientErased(Body):
    """That a patient's key, identity and bodies were destroyed; the headers stay.

    The same transaction destroyed them. So a missing body is accounted for if, and only if, a
    `PatientErased` names its record; and the key of the header's subject is gone.

    Attributes:
        records: Ids of the records whose bodies are gone: every one sealed for the patient.
        backups_expire: The last day on which a backup may still hold them.
    """

    ground: ErasureGround
    records: tuple[str, ...]
    backups_expire: date | None = None


class HoldReason(StrEnum):
    """What a patient's records are kept for."""

    LITIGATION = "litigation"
    COMPLAINT = "complaint"
    INQUIRY = "inquiry"


class HoldPlaced(Body):
    """That a patient's records may not be erased, or may be again."""

    reason: HoldReason


class KeyRegistered(Body):
    """A person's own public key, to verify what they sign.

    The header's signature, by this very key, proves that they hold the private half.

    Attributes:
        log: The origin of the log that the key was registered in.
        endorsement: A detached JWS over the same by the key that stood before.
    """

    jwk: str = Field(max_length=8192)
    thumbprint: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$")
    log: str = Field(max_length=1000)
    endorsement: str | None = None


class KeyGround(StrEnum):
    """Why somebody's own key signs no more."""

    LOST = "lost"
    EXPOSED = "exposed"


class KeyWithdrawn(Body):
    """One member's word that the key of the header's subject is lost; two are needed."""

    thumbprint: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$")
    ground: KeyGround


class KeyRotated(Body):
    """That every key was wrapped anew under another master key.

    Attributes:
        old: Fingerprint of the master key that no longer opens anything.
        new: Fingerprint of the one that does.
        keys: How many keys were wrapped anew.
    """

    old: str
    new: str
    keys: int


class BackupTaken(Body):
    """A copy of the log at a size; it expires, so that erasure reaches it.

    Attributes:
        sha256: Of the backup file, hexadecimal.
    """

    size: int
    root: str
    sha256: str
    expires: date


class LogOpened(Body):
    """That this log goes on from another, under a key of its own, after a restore.

    Only a restore appends it. The first `shared` records of this log are the other log's first
    `shared` records, with the same hashes. So a checkpoint of `origin`, signed by
    `verifier_key`, over at most `shared` records must be consistent with this log; one over more
    covers records that the restore gave up, as this record declares.

    Attributes:
        origin: The log that ended: its key signs nothing any more.
        size: How many records it had, as far as the restore could know.
        root: Its root at that size, hexadecimal.
        shared: How many of its first records this log begins with; 0 where it was replaced by
            another log.
        checkpoint: Its last signed checkpoint, where one was found.
        verifier_key: Its vkey, where one was found; `origin` is derived from it by
            `guarantee.ledger.origin_of`, so that it cannot be another's.
        copies_expire: The last day on which backups of either log, or what the restore kept
            aside, may still hold a patient who is erased later.
    """

    origin: str
    size: int
    root: str
    shared: int
    checkpoint: str | None = None
    verifier_key: str | None = None
    copies_expire: date
    reason: Words = Field(max_length=2000)


DriftDetected.model_rebuild()
IncidentReported.model_rebuild()

BODY_TYPES: dict[RecordType, type[Body]] = {
    kind: body
    for kind in RecordType
    for body in Body.__subclasses__()
    if body.__name__ == kind.value
}

SEALED_TYPES = frozenset(
    {
        RecordType.PATIENT_INFORMED,
        RecordType.INFORMATION_DEFERRED,
        RecordType.PATIENT_OBJECTED,
        RecordType.INFERENCE_MADE,
        RecordType.FIRST_READ,
        RecordType.DECISION_SIGNED,
        RecordType.PATIENT_TOLD,
        RecordType.OUTCOME_CONFIRMED,
        RecordType.REVIEW_LAPSED,
        RecordType.WHAT_IF_MADE,
        RecordType.CORRECTED,
        RecordType.PATIENT_RECTIFIED,
    }
)
"""Clinical or personal: under the patient's key. Governance and custody are in clear."""
