"""What the log holds: headers that anyone may read, and bodies that the vault keeps.

A header is RFC 8785 JSON and carries nothing clinical or personal; the whole protocol can be
checked from headers alone. A body is everything else.
"""

import base64
import binascii
import json
import secrets
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from guarantee.card import Card, Language, Mode
from guarantee.errors import GuaranteeError
from guarantee.identity import Assurance, Profession, Role


class RecordType(StrEnum):
    """Facts, in the past tense."""

    PATIENT_INFORMED = "PatientInformed"
    INFORMATION_DEFERRED = "InformationDeferred"
    PATIENT_OBJECTED = "PatientObjected"
    INFERENCE_MADE = "InferenceMade"
    FIRST_READ = "FirstRead"
    DECISION_SIGNED = "DecisionSigned"
    PATIENT_TOLD = "PatientTold"
    OUTCOME_CONFIRMED = "OutcomeConfirmed"
    REVIEW_LAPSED = "ReviewLapsed"
    CORRECTED = "Corrected"
    MODEL_REGISTERED = "ModelRegistered"
    VOTE_CAST = "VoteCast"
    MODEL_APPROVED = "ModelApproved"
    MODEL_PROMOTED = "ModelPromoted"
    MODEL_SUSPENDED = "ModelSuspended"
    MODEL_RESUMED = "ModelResumed"
    COHORT_SCORED = "CohortScored"
    DRIFT_DETECTED = "DriftDetected"
    DRIFT_CLEARED = "DriftCleared"
    MEMBER_APPOINTED = "MemberAppointed"


class MalformedRecord(GuaranteeError):
    """Bytes that no record of this log could have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One record, as the log's leaf holds it.

    Attributes:
        id: UUIDv7.
        time: Milliseconds since 1970, UTC: a claim; the log's order is the index.
        dossier: Id of the `InferenceMade` that the record belongs to.
        follows: Ids of the records that it relies on.
        actor: Random pseudonym of who acted.
        outcome: One word.
        vaulted_digest: SHA-256 of the stored body, hexadecimal.
        commitment: SHA-256 over tag, nonce and body of a sealed record; none where it is clear.
        models: What a patient was informed of.
        valid_until: When that information ends, in milliseconds since 1970.
        subject: Pseudonym of the person whom a governance record concerns.
    """

    type: RecordType
    version: int = 1
    id: str
    time: int
    dossier: str | None = None
    follows: tuple[str, ...] = ()
    model: str | None = None
    model_version: str | None = None
    actor: str
    role: Role
    outcome: str
    vaulted_digest: str
    commitment: str | None = None
    models: tuple[str, ...] | None = None
    valid_until: int | None = None
    subject: str | None = None

    def encode(self) -> bytes:
        """The canonical bytes that the log hashes; absent facts are left out."""
        return rfc8785.dumps(
            {
                name: list(value) if isinstance(value, tuple) else value
                for name in HEADER_FIELDS
                if (value := getattr(self, name)) is not None
            }
        )

    @classmethod
    def decode(cls, encoded: bytes) -> "Header":
        """Read a header back.

        Raises:
            MalformedRecord: Not the canonical bytes of a header of a known version.
        """
        try:
            facts = json.loads(encoded)
            header = cls(
                **{
                    **facts,
                    "type": RecordType(facts["type"]),
                    "role": Role(facts["role"]),
                    "follows": tuple(facts["follows"]),
                    "models": tuple(facts["models"]) if "models" in facts else None,
                }
            )
            canonical = header.encode() == encoded
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise MalformedRecord("the bytes are not a header's") from error
        if not canonical:
            raise MalformedRecord("the header is not in canonical form")
        if header.version != 1:
            raise MalformedRecord("the header is of a later version: update the verifier")
        return header


HEADER_FIELDS = tuple(Header.__slots__)


def new_id(time: int) -> str:
    """A UUIDv7 of that time in milliseconds. Source: RFC 9562, section 5.7."""
    bits = (time & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    text = f"{bits | 0b10 << 62 | secrets.randbits(62):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def pack_floats(values: Iterable[float]) -> str:
    """Base64 of little-endian float32: no decimal rounding, a third of JSON's size."""
    packed = array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()


def unpack_floats(text: str) -> "array[float]":
    """The values that `pack_floats` packed.

    Raises:
        MalformedRecord: Not base64, or not whole float32 values.
    """
    values = array("f")
    try:
        values.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise MalformedRecord("not base64 of float32 values") from error
    if sys.byteorder == "big":
        values.byteswap()
    return values


class Body(BaseModel):
    """What the vault keeps of a record; encoded as RFC 8785 JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def encode(self) -> bytes:
        """The canonical bytes that the header commits to."""
        facts: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return rfc8785.dumps(facts)


class Recipient(StrEnum):
    """Who was told on behalf of whom."""

    PATIENT = "patient"
    PARENT = "parent"
    GUARDIAN = "guardian"
    TRUSTED_PERSON = "trusted_person"


class PatientInformed(Body):
    """That a person was told, before its use, that an AI will be used. CSP L. 4001-3, I."""

    recipient: Recipient
    recipient_name: str | None = Field(default=None, max_length=200)
    language: Language = Language.FRENCH
    leaflet_sha256: dict[str, str] = Field(description="Model to SHA-256 of the leaflet given")


class InformationDeferred(Body):
    """Why a patient could not be informed beforehand; shown to the college."""

    ground: Literal["urgency", "impossibility"]
    statement: str = Field(min_length=10, max_length=2000)


class PatientObjected(Body):
    """That the patient refuses the AI from now on."""

    recipient: Recipient
    statement: str | None = Field(default=None, max_length=2000)


class Answer(Body):
    """What a model version answered to one profile.

    Attributes:
        probabilities: Base64 float32, (n_labels,), in the card's order of labels.
        margins: Base64 float32, (n_labels,), before calibration.
        base_values: Base64 float32, (n_labels,): the margins of no information.
        contributions: Base64 float32, (n_features,), towards `label`'s margin; they and its
            base value add up to that margin within 1e-4.
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


class FirstRead(Body):
    """What the clinician thinks before seeing the answer."""

    label: str
    comment: str | None = Field(default=None, max_length=4000)


class Decision(StrEnum):
    """What the clinician does with the answer."""

    ACCEPTED = "accepted"
    OVERRIDDEN = "overridden"
    DISREGARDED = "disregarded"


class DecisionSigned(Body):
    """The clinician's decision, and what the signature is worth.

    Attributes:
        label: What the clinician decides; none where the answer was disregarded.
        evidence: SHA-256 of the token by which the issuer attested the signer.
    """

    decision: Decision
    label: str | None
    reason: str | None = Field(default=None, max_length=4000)
    assurance: Assurance
    evidence: str | None


class PatientTold(Body):
    """The interpretation that the patient was told. CSP L. 4001-3, I."""

    recipient: Recipient
    interpretation: str = Field(min_length=1, max_length=4000)
    language: Language = Language.FRENCH


class OutcomeConfirmed(Body):
    """What the truth turned out to be."""

    label: str
    source: Literal["pathology", "imaging", "follow_up", "other"]
    comment: str | None = Field(default=None, max_length=4000)


class ReviewLapsed(Body):
    """That the time on the card went by without a decision."""

    lapse_hours: int


class Corrected(Body):
    """A later word on an earlier record, which stays as it is."""

    corrects: str
    statement: str = Field(min_length=1, max_length=4000)


class ModelRegistered(Body):
    """A version that the college may vote on.

    Attributes:
        digest: SHA-256 over the digests of the version's files.
        run: MLflow's run, for the data scientist.
    """

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    card: Card
    run: str


class VoteCast(Body):
    """One member's vote on one version."""

    reason: str | None = Field(default=None, max_length=4000)


class ModelApproved(Body):
    """That the votes it follows make the card's quorum."""

    digest: str


class ModelPromoted(Body):
    """The version that answers from here on."""

    digest: str


class ModelSuspended(Body):
    """Why no answer is given any more."""

    reason: str = Field(min_length=1, max_length=2000)


class ModelResumed(Body):
    """Why answers may be given again."""

    reason: str = Field(min_length=1, max_length=2000)


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


class MemberAppointed(Body):
    """A seat in the college."""

    profession: Profession


DriftDetected.model_rebuild()

BODY_TYPES: dict[RecordType, type[Body]] = {
    kind: body
    for kind in RecordType
    for body in Body.__subclasses__()
    if body.__name__ == kind.value
}

CLEAR_TYPES = frozenset(
    {
        RecordType.MODEL_REGISTERED,
        RecordType.VOTE_CAST,
        RecordType.MODEL_APPROVED,
        RecordType.MODEL_PROMOTED,
        RecordType.MODEL_SUSPENDED,
        RecordType.MODEL_RESUMED,
        RecordType.COHORT_SCORED,
        RecordType.DRIFT_DETECTED,
        RecordType.DRIFT_CLEARED,
        RecordType.MEMBER_APPOINTED,
    }
)
"""Governance and custody: bodies in clear, for the college to read."""
