"""The college of human guarantee: its seats, its votes, and what waits for it."""

from dataclasses import dataclass

from guarantee.appending import Draft, Request
from guarantee.bodies import BreakGlass, Glass, MemberAppointed, ModelApproved, VoteCast, stated
from guarantee.college_thread import QUORUM
from guarantee.founding import Founding
from guarantee.identity import Profession
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.opened import waiting
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType, made_at
from guarantee.refusals import AlreadyDone, NotAMember, ProtocolError, UnknownModel
from guarantee.review import Disagreement, DrawStanding, disagreement, draws
from guarantee.signing_keys import signed, vote_payload
from guarantee.situations import (
    Gate,
    Information,
    KeyHolder,
    KeyStep,
    Member,
    Verdict,
    Version,
    version_key,
)
from guarantee.versions import RegisteredVersion, registered_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A vote and, where it made the quorum, the approval that followed."""

    cast: Recorded
    approval: Recorded | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One member.

    Attributes:
        member: Their pseudonym.
        key: Thumbprint of their registered key, with which they must sign what they do; none
            where they have none, or it was withdrawn.
    """

    member: str
    profession: Profession
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """A patient's information that was put off, and not made good yet.

    Attributes:
        since: Milliseconds since 1970, UTC.
    """

    information: str
    models: tuple[str, ...]
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A dossier that a clinician opened who did not care for the patient.

    Attributes:
        by: The clinician's pseudonym.
        at: When, in milliseconds since 1970; `until` when it closes, or closed.
    """

    dossier: str
    by: str
    ground: Glass
    at: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CollegeStatus:
    """Who sits, and what waits for the college.

    Attributes:
        empty_seats: Of the quorum; while there are any, the college is being founded.
        founded: What nothing in the log shows of the founders, in words; none where it does.
        deferrals: Informations put off and still open.
        lapsed: Dossiers whose time went by without a decision, and that still have none.
        disagreement: None before the first review.
        broken: The last hundred broken glasses, oldest first.
    """

    members: tuple[Seat, ...]
    empty_seats: tuple[str, ...]
    founded: str | None
    open_versions: tuple[RegisteredVersion, ...]
    draws: tuple[DrawStanding, ...]
    disagreement: Disagreement | None
    deferrals: tuple[Deferral, ...]
    lapsed: tuple[str, ...]
    broken: tuple[Broken, ...]


def appoint(
    ledger: Ledger,
    actor: Actor,
    *,
    member: Actor,
    profession: Profession,
    signature: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Give a person a seat.

    Args:
        signature: By the actor's own key, where they have one, over `signing_keys.act_payload`.

    Raises:
        SignatureNeeded: The actor has a key: sign this with it; carries what to sign.
        SignatureRefused: The key did not sign this.
        AlreadyDone: They have one.
        NotAMember: They have acted as one who makes, runs or watches the models, or the college
            is seated and the actor has no seat in it.
    """
    draft = Draft(
        type=RecordType.MEMBER_APPOINTED,
        actor=actor,
        outcome=profession,
        body=MemberAppointed(profession=profession),
        subject=member.pseudonym,
    )
    return ledger.record(signed(ledger, draft, signature), request)


def vote(
    ledger: Ledger,
    actor: Actor,
    *,
    name: str,
    version: str,
    in_favour: bool,
    reason: str | None = None,
    signature: str | None = None,
    request: Request | None = None,
) -> Vote:
    """Cast one member's vote; the vote that makes the quorum is followed by the approval.

    Args:
        signature: A detached JWS over `vote_to_sign`; a member who has a key of their own must
            give one.

    Raises:
        UnknownModel: No such version is registered.
        SignatureNeeded: The member has a key: sign this with it; carries what to sign.
        SignatureRefused: The member's key did not sign this vote, or they have none.
        NotAMember: The actor has no seat, or registered the version.
        AlreadyDone: The member has voted, or the version is approved.
    """
    registration = registered_version(ledger, name, version)
    if request is not None and (repeat := ledger.repeated(request)) is not None:
        return Vote(cast=repeat, approval=_approve_if_quorate(ledger, actor, registration))
    seat = ledger.get(Member, actor.pseudonym)
    if seat is None:
        raise NotAMember("the voter has no seat in the college: MemberAppointed is missing")
    draft = Draft(
        type=RecordType.VOTE_CAST,
        actor=actor,
        outcome=_word(in_favour=in_favour),
        body=stated(VoteCast, reason=reason),
        follows=(seat.appointment,),
        model=name,
        model_version=version,
    )
    payload = vote_to_sign(ledger, name=name, version=version, in_favour=in_favour, reason=reason)
    try:
        cast = ledger.record(signed(ledger, draft, signature, payload=payload), request)
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


def vote_to_sign(
    ledger: Ledger, *, name: str, version: str, in_favour: bool, reason: str | None
) -> bytes:
    """The bytes that a member's own key signs: see `signing_keys.vote_payload`.

    Raises:
        BodyRefused: The reason is blank or too long.
        UnknownModel: No such version is registered.
    """
    situation = ledger.get(Version, version_key(name, version))
    if situation is None:
        raise UnknownModel("no such version of this model is registered")
    registration = ledger.find(situation.registration).header
    # As the record will have it: without the blanks around it.
    said = stated(VoteCast, reason=reason).reason
    return vote_payload(registration, outcome=_word(in_favour=in_favour), reason=said)


def _word(*, in_favour: bool) -> str:
    return "for" if in_favour else "against"


def status(ledger: Ledger, *, at: int | None = None) -> CollegeStatus:
    """Who sits, and what waits for the college.

    Args:
        at: Milliseconds since 1970, UTC: by which an announcement may be overdue; now by default.
    """
    members = tuple(
        Seat(
            member=key,
            profession=member.step,
            key=_present_key(ledger, key),
        )
        for key, member in ledger.situations(Member, Profession)
    )
    return CollegeStatus(
        members=members,
        empty_seats=tuple(sorted(QUORUM - {seat.profession for seat in members})),
        founded=_founding(ledger).words,
        open_versions=tuple(
            registered_version(ledger, *key.split("/", 1))
            for key, _ in ledger.situations(Version, [Verdict.OPEN])
        ),
        draws=tuple(draws(ledger, at=ledger.now() if at is None else at)),
        disagreement=disagreement(ledger),
        deferrals=tuple(
            Deferral(
                information=key,
                models=information.models,
                since=made_at(key),
            )
            for key, information in ledger.situations(Information, [Gate.DEFERRED])
        ),
        lapsed=tuple(key for key, dossier in waiting(ledger) if dossier.lapsed),
        broken=tuple(
            Broken(
                dossier=one.header.dossier or "",
                by=one.header.actor,
                ground=ledger.open_as(one, BreakGlass).ground,
                at=one.header.time,
                until=one.header.valid_until or one.header.time,
            )
            for one in ledger.latest(RecordType.BREAK_GLASS)
        ),
    )


def _present_key(ledger: Ledger, member: str) -> str | None:
    holder = ledger.get(KeyHolder, member)
    return holder.key if holder is not None and holder.step is KeyStep.REGISTERED else None


def _founding(ledger: Ledger) -> Founding:
    founding = Founding()
    kinds = (RecordType.MEMBER_APPOINTED, RecordType.KEY_REGISTERED)
    for one in ledger.stretch(kinds):
        founding.add(one.header)
    return founding
