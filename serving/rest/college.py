"""Calls of the college: votes, draws, reviews, and what waits for it."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path

from guarantee import college, review, versions
from guarantee.appending import Request
from guarantee.bodies import SampleDrawn
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from serving.messages.college import (
    Abandoned,
    Announced,
    Ballot,
    BrokenGiven,
    CaseJudged,
    CollegeGiven,
    DeferralGiven,
    DisagreementGiven,
    DrawGiven,
    OpenVersion,
    SampleRecorded,
    Seat,
    SecretRevealed,
    VoteRecorded,
)
from serving.messages.parts import PayloadGiven, RecordId, StepRecorded
from serving.received import ReceivedRoute
from serving.rest.frame import CREATED, REFUSALS, ActingMember, Name, TheHouse, only
from serving.shown import instant

router = APIRouter(prefix="/v1", tags=["college"], responses=REFUSALS, route_class=ReceivedRoute)
DrawId = Annotated[RecordId, Path(description="The announcement's id")]


@router.post("/models/{name}/votes", status_code=CREATED)
def vote(by: ActingMember, name: Name, ballot: Ballot) -> VoteRecorded:
    """Cast your vote on a version; the vote that makes the quorum approves it."""
    cast = college.vote(
        by.ledger,
        by.actor,
        name=name,
        version=ballot.version,
        in_favour=ballot.in_favour,
        reason=ballot.reason,
        signature=ballot.signature,
        request=by.request,
    ).cast
    version = versions.registered_version(by.ledger, name, ballot.version)
    return VoteRecorded(record_id=cast.id, index=cast.index, verdict=version.verdict)


@router.post("/models/{name}/vote-payload", dependencies=[only(Role.COLLEGE)])
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


@router.post("/college/draws", status_code=CREATED)
def announce_draw(by: ActingMember, announced: Announced) -> StepRecorded:
    """Announce a draw of cases; only the SHA-256 of your secret is sent.

    It takes from every case since the last draw of these; one draw at a time stands open.
    """
    return by.step(
        partial(
            review.announce,
            rate=announced.rate,
            model=announced.model,
            secret_sha256=announced.secret_sha256,
            signature=announced.signature,
        )
    )


@router.post("/college/draws/{draw_id}/abandonment", status_code=CREATED)
def abandon_draw(by: ActingMember, draw_id: DrawId, abandoned: Abandoned) -> StepRecorded:
    """Give up another member's draw whose secret is lost; its cases fall to the next draw."""
    return by.step(
        partial(
            review.abandon,
            announcement=draw_id,
            reason=abandoned.reason,
            signature=abandoned.signature,
        )
    )


@router.post("/college/draws/{draw_id}/sample", status_code=CREATED)
def draw_sample(by: ActingMember, draw_id: DrawId, revealed: SecretRevealed) -> SampleRecorded:
    """Reveal the secret; secret and log draw the cases, and anyone can draw them again."""

    def record(ledger: Ledger, actor: Actor, /, *, request: Request | None) -> Recorded:
        return review.draw(
            ledger,
            actor,
            announcement=draw_id,
            secret=bytes.fromhex(revealed.secret),
            expected=revealed.inferences,
            request=request,
        ).recorded

    recorded = by.once(record)
    drawn = by.ledger.open_as(recorded, SampleDrawn).dossiers
    return SampleRecorded(record_id=recorded.id, index=recorded.index, inferences=drawn)


@router.post("/college/reviews", status_code=CREATED)
def review_case(by: ActingMember, judged: CaseJudged) -> StepRecorded:
    """Record your review of a drawn case."""
    return by.step(
        partial(
            review.review,
            announcement=judged.draw,
            dossier=judged.inference_id,
            opinion=judged.opinion,
            concerns=judged.concerns,
            signature=judged.signature,
        )
    )


@router.get("/college", dependencies=[only(Role.COLLEGE)])
def show_college(house: TheHouse) -> CollegeGiven:
    """Who sits, and what waits for votes, draws and reviews."""
    status = college.status(house.ledger)
    return CollegeGiven(
        members=tuple(
            Seat(
                member=seat.member,
                profession=seat.profession,
                own_key=seat.key is not None,
                key=seat.key,
            )
            for seat in status.members
        ),
        empty_seats=status.empty_seats,
        founded=status.founded,
        open_versions=tuple(
            OpenVersion(
                name=one.name,
                version=one.version,
                missing_votes=one.missing,
                beyond=one.beyond,
            )
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
                abandoned=one.abandoned,
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
        broken_glasses=tuple(
            BrokenGiven(
                inference_id=one.dossier,
                by=one.by,
                ground=one.ground,
                at=instant(one.at),
                until=instant(one.until),
            )
            for one in status.broken
        ),
    )


def _disagreement(found: review.Disagreement | None) -> DisagreementGiven | None:
    if found is None:
        return None
    low, high = found.interval()
    return DisagreementGiven(
        disagreed=found.disagreed, cases=found.cases, share=found.share, low=low, high=high
    )
