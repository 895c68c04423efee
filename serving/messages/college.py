"""Messages of the college: votes, draws, reviews, and what waits for it."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StrictBool

from guarantee.bodies import Concern, Glass, Opinion, Words
from guarantee.card import ModelName
from guarantee.identity import Profession
from guarantee.situations import Verdict
from serving.messages.parts import Given, Pseudonym, RecordId, Signature, StepRecorded, Taken


class Ballot(Taken):
    """One member's vote on one version."""

    version: str = Field(min_length=1, max_length=100, examples=["1"])
    in_favour: StrictBool
    reason: Words | None = Field(default=None, max_length=4000)
    signature: Signature | None = Field(
        default=None,
        description="By the member's registered key, over the payload that `vote-payload` gives "
        "for this same body; needed from a member who has a key",
    )


class VoteRecorded(StepRecorded):
    """A vote, now in the log, and what it led to."""

    verdict: Verdict


OwnSignature = Annotated[
    Signature | None,
    Field(
        description="By the member's registered key; needed from a member who has one: without "
        "it, the refusal's `payload` is what to sign"
    ),
]


class Announced(Taken):
    """A draw of cases, before anyone can know which."""

    rate: str = Field(description="The share of each stratum, at most 1/1", examples=["1/20"])
    model: ModelName | None = Field(default=None, description="Every model's cases, if left out")
    secret_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="Of 32 bytes made on the college's own machine, which stay there",
    )
    signature: OwnSignature = None


class Abandoned(Taken):
    """Why an announced draw is given up."""

    reason: Words = Field(max_length=2000, examples=["The file of the secret is lost."])
    signature: OwnSignature = None


class SecretRevealed(Taken):
    """The secret of an announced draw."""

    secret: str = Field(pattern=r"^[0-9a-f]{64}$", description="The 32 bytes, hexadecimal")
    inferences: list[RecordId] | None = Field(
        default=None,
        description="The cases that the college drew from its own copy of the log, if it did: "
        "others are refused",
    )


class SampleRecorded(StepRecorded):
    """A sample, now in the log."""

    inferences: tuple[str, ...] = Field(description="The drawn cases")


class CaseJudged(Taken):
    """One member's review of one drawn case; nothing clinical."""

    draw: RecordId = Field(description="The announcement's id")
    inference_id: RecordId
    opinion: Opinion
    concerns: list[Concern] = Field(default=[], max_length=len(Concern))
    signature: OwnSignature = None


class Seat(Given):
    """One member of the college."""

    member: Pseudonym
    profession: Profession
    own_key: bool = Field(description="Whether all that they do carries their own signature")
    key: str | None = Field(description="Its thumbprint (RFC 7638)")


class OpenVersion(Given):
    """A version that waits for the college."""

    name: str
    version: str
    missing_votes: tuple[str, ...]
    beyond: tuple[str, ...] = Field(
        description="Of an update, the bounds of the change protocol that it does not keep"
    )


class DrawGiven(Given):
    """A draw and how far its review has come."""

    draw: RecordId
    announced: datetime
    rate: str
    model: str | None
    drawn: int | None = Field(description="How many cases; none before the sample is drawn")
    to_review: tuple[str, ...] = Field(description="Drawn cases that nobody has reviewed yet")
    erased: tuple[str, ...] = Field(description="Drawn cases whose patients were erased")
    overdue: bool = Field(description="Announced more than 30 days ago, and still no sample")
    abandoned: bool = Field(description="Given up: its cases fall to the next draw")


class DisagreementGiven(Given):
    """On how many of the reviewed cases a member disagreed."""

    disagreed: int
    cases: int
    share: float
    low: float = Field(description="Of Wilson's 95 % interval")
    high: float


class DeferralGiven(Given):
    """A patient's information that was put off, and not made good yet."""

    information_id: RecordId
    models: tuple[str, ...]
    since: datetime


class BrokenGiven(Given):
    """A dossier that a clinician opened who did not care for the patient."""

    inference_id: RecordId
    by: Pseudonym
    ground: Glass
    at: datetime
    until: datetime = Field(description="When it closes, or closed")


class CollegeGiven(Given):
    """Who sits in the college, and what waits for it."""

    members: tuple[Seat, ...]
    empty_seats: tuple[str, ...] = Field(description="Of the quorum")
    founded: str | None = Field(
        description="What nothing shows of those who founded the college: none where all had keys"
    )
    open_versions: tuple[OpenVersion, ...]
    draws: tuple[DrawGiven, ...]
    disagreement: DisagreementGiven | None = Field(description="None before the first review")
    deferred_informations: tuple[DeferralGiven, ...]
    lapsed: tuple[str, ...] = Field(description="Inferences whose time went by, undecided")
    broken_glasses: tuple[BrokenGiven, ...] = Field(description="The last hundred, oldest first")
