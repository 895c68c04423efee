"""The college of human guarantee: its seats, its votes, and what they decide."""

from dataclasses import dataclass

from guarantee.bodies import MemberAppointed, ModelApproved, VoteCast
from guarantee.identity import Profession
from guarantee.ledger import Draft, Ledger, Recorded, Request
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import AlreadyDone, ProtocolError
from guarantee.situations import Member, Verdict, Version, version_key
from guarantee.versions import RegisteredVersion, registered_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A vote and, where it made the quorum, the approval that followed."""

    cast: Recorded
    approval: Recorded | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollegeStatus:
    """Who sits, and what waits for a vote."""

    members: tuple[tuple[str, Profession], ...]
    open_versions: tuple[RegisteredVersion, ...]


def appoint(
    ledger: Ledger,
    actor: Actor,
    *,
    member: Actor,
    profession: Profession,
    request: Request | None = None,
) -> Recorded:
    """Give a person a seat.

    Raises:
        AlreadyDone: They have one.
    """
    return ledger.record(
        Draft(
            type=RecordType.MEMBER_APPOINTED,
            actor=actor,
            outcome=profession,
            body=MemberAppointed(profession=profession),
            subject=member.pseudonym,
        ),
        request,
    )


def vote(
    ledger: Ledger,
    actor: Actor,
    *,
    name: str,
    version: str,
    in_favour: bool,
    reason: str | None = None,
    request: Request | None = None,
) -> Vote:
    """Cast one member's vote; the vote that makes the quorum is followed by the approval.

    Raises:
        UnknownModel: No such version is registered.
        NotAMember: The actor has no seat.
        AlreadyDone: The member has voted, or the version is approved.
    """
    registration = registered_version(ledger, name, version)
    seat = ledger.get(Member, actor.pseudonym)
    draft = Draft(
        type=RecordType.VOTE_CAST,
        actor=actor,
        outcome="for" if in_favour else "against",
        body=VoteCast(reason=reason),
        follows=(seat.appointment,) if seat else (),
        model=name,
        model_version=version,
    )
    try:
        cast = ledger.record(draft, request)
    except AlreadyDone:
        # A stop between the last vote and the approval is mended by asking again.
        _approve_if_quorate(ledger, actor, registration)
        raise
    return Vote(cast=cast, approval=_approve_if_quorate(ledger, actor, registration))


def _approve_if_quorate(
    ledger: Ledger, actor: Actor, registration: RegisteredVersion
) -> Recorded | None:
    name, version = registration.name, registration.version
    if registered_version(ledger, name, version).missing:
        return None
    situation = ledger.get(Version, version_key(name, version))
    draft = Draft(
        type=RecordType.MODEL_APPROVED,
        actor=actor,
        outcome="approved",
        body=ModelApproved(digest=registration.digest),
        follows=(situation.registration,) if situation else (),
        model=name,
        model_version=version,
    )
    try:
        return ledger.record(draft)
    except ProtocolError:
        # Another member's vote made the same quorum a moment earlier.
        return None


def status(ledger: Ledger) -> CollegeStatus:
    """Who sits, and what waits for a vote."""
    members = tuple((key, member.step) for key, member in ledger.situations(Member, Profession))
    waiting = tuple(
        registered_version(ledger, *key.split("/", 1))
        for key, _ in ledger.situations(Version, [Verdict.OPEN])
    )
    return CollegeStatus(members=members, open_versions=waiting)
