"""The college's thread: seats, votes, approvals, and cases drawn for review."""

from dataclasses import replace
from typing import Final

from guarantee.bodies import Opinion
from guarantee.footing import (
    dossier_of,
    expect,
    model_of,
    seated,
    version_named,
    version_of,
)
from guarantee.identity import Profession
from guarantee.records import Header, RecordType
from guarantee.refusals import AlreadyDone, NotAMember, NotApproved, ProtocolError, StepMissing
from guarantee.situations import (
    COLLEGE,
    EVERY,
    College,
    CollegeStep,
    Draw,
    DrawStep,
    Frames,
    FrameStep,
    Insider,
    Member,
    Review,
    Rule,
    State,
    Verdict,
    Version,
    View,
    review_key,
)

QUORUM: Final = frozenset(
    {Profession.PHYSICIAN, Profession.PARAMEDIC, Profession.PATIENT_REPRESENTATIVE}
)
"""The seats whose votes an approval needs at least."""


def _vote(header: Header, state: State) -> None:
    expect(header, outcome=("for", "against"))
    _, key = version_named(header)
    version = version_of(header, state)
    seated(header, state)
    if header.actor == version.registrar:
        raise NotAMember("whoever registered a version does not vote on it")
    if version.step is not Verdict.OPEN:
        raise AlreadyDone("the college has approved this version")
    if header.actor in (voter for voter, _ in version.votes):
        raise AlreadyDone("this member has voted on this version")
    votes = (*version.votes, (header.actor, header.outcome))
    state.put(key, replace(version, votes=votes), version)


def _approve(header: Header, state: State) -> None:
    expect(header, outcome=("approved",))
    seated(header, state)
    _, key = version_named(header)
    version = version_of(header, state)
    if version.step is not Verdict.OPEN:
        raise AlreadyDone("the college has approved this version")
    missing = missing_votes(version, state)
    if missing:
        raise NotApproved("votes are missing: " + ", ".join(missing))
    state.put(key, replace(version, step=Verdict.APPROVED), version)


def missing_votes(version: Version, state: View) -> tuple[str, ...]:
    """What an approval still needs: a seat of the quorum without a vote for, or a majority."""
    in_favour = {voter for voter, word in version.votes if word == "for"}
    seats = {member.step for voter in in_favour if (member := state.get(Member, voter))}
    missing: list[str] = sorted(QUORUM - seats)
    if not missing and 2 * len(in_favour) <= len(version.votes):
        missing = ["a majority"]
    return tuple(missing)


def _appoint(header: Header, state: State) -> None:
    expect(header, outcome=tuple(Profession))
    if header.subject is None:
        raise NotAMember("the appointment names nobody")
    if state.get(Member, header.subject) is not None:
        raise AlreadyDone("this person has a seat in the college")
    if (insider := state.get(Insider, header.subject)) is not None:
        raise NotAMember(f"this person has acted as {insider.step}: no seat for them")
    founding = state.get(College, COLLEGE) or College(step=CollegeStep.FOUNDING)
    if founding.step is CollegeStep.SEATED and state.get(Member, header.actor) is None:
        raise NotAMember("a seated college appoints its members itself")
    seats = {*founding.seats, header.outcome}
    step = CollegeStep.SEATED if seats >= QUORUM else CollegeStep.FOUNDING
    state.put(
        COLLEGE,
        College(step=step, seats=tuple(sorted(seats))),
        state.get(College, COLLEGE),
    )
    seat = Member(step=Profession(header.outcome), appointment=header.id)
    state.put(header.subject, seat, None)


def _announce(header: Header, state: State) -> None:
    expect(header, outcome=("announced",))
    seated(header, state)
    if header.model is not None:
        model_of(header, state)
    frame, frames = header.model or EVERY, state.get(Frames, COLLEGE) or Frames()
    for other, announcement in frames.open:
        # Of two open draws over the same cases, somebody could pick the one to carry out.
        if frame == other or EVERY in (frame, other):
            raise StepMissing(
                f"announcement {announcement} stands open over these cases: SampleDrawn is "
                "missing; draw it first, or have another member abandon it"
            )
    if header.follows != last_draw(frames, frame):
        raise StepMissing("the frame starts where the last draw of it ended, which it follows")
    draw = Draw(
        step=DrawStep.ANNOUNCED,
        announcer=header.actor,
        announced_at=header.time,
        model=header.model,
    )
    state.put(header.id, draw, None)
    moved = replace(frames, step=FrameStep.OPEN, open=(*frames.open, (frame, header.id)))
    state.put(COLLEGE, moved, state.get(Frames, COLLEGE))


def last_draw(frames: Frames, frame: str) -> tuple[str, ...]:
    """The announcement with which the last draw of that frame ended, if there was one."""
    return tuple(announcement for name, announcement in frames.ended if name == frame)


def _closed(frames: Frames, announcement: str) -> Frames:
    still = tuple(one for one in frames.open if one[1] != announcement)
    return replace(frames, step=FrameStep.OPEN if still else FrameStep.FREE, open=still)


def _draw(header: Header, state: State) -> None:
    expect(header, outcome=("drawn",))
    seated(header, state)
    key, draw = _announced(header, state)
    if draw.step is not DrawStep.ANNOUNCED:
        raise AlreadyDone("the sample of this announcement was drawn, or it was abandoned")
    if header.model != draw.model:
        raise ProtocolError("the sample names another model than its announcement")
    state.put(key, replace(draw, step=DrawStep.DRAWN, drawn=header.id), draw)
    frames, frame = state.get(Frames, COLLEGE), draw.model or EVERY
    closed = _closed(frames or Frames(), key)
    ended = tuple(one for one in closed.ended if one[0] != frame)
    state.put(COLLEGE, replace(closed, ended=(*ended, (frame, key))), frames)


def _abandon(header: Header, state: State) -> None:
    """A draw is given up: its cases fall to the next one. Whoever knows the sample cannot."""
    expect(header, outcome=("abandoned",))
    seated(header, state)
    key, draw = _announced(header, state)
    if draw.step is not DrawStep.ANNOUNCED:
        raise AlreadyDone("the sample of this announcement was drawn, or it was abandoned")
    if header.actor == draw.announcer:
        raise NotAMember("another member than who announced it abandons a draw")
    state.put(key, replace(draw, step=DrawStep.ABANDONED), draw)
    frames = state.get(Frames, COLLEGE)
    state.put(COLLEGE, _closed(frames or Frames(), key), frames)


def _review(header: Header, state: State) -> None:
    expect(header, outcome=tuple(Opinion))
    seated(header, state)
    key, draw = _announced(header, state)
    if draw.step is not DrawStep.DRAWN:
        raise StepMissing("no sample was drawn yet: SampleDrawn is missing")
    if header.follows[1:] != (draw.drawn,):
        raise StepMissing("the review follows another sample than the announcement's")
    dossier, case = dossier_of(header, state)
    if header.actor in case.carers:
        raise NotAMember("whoever cared for the patient in a case does not review it")
    place = review_key(key, dossier, header.actor)
    if state.get(Review, place) is not None:
        raise AlreadyDone("this member has reviewed this case")
    state.put(place, Review(step=Opinion(header.outcome), draw=key, dossier=dossier), None)


def _announced(header: Header, state: State) -> tuple[str, Draw]:
    """The announcement that the header follows, first of all."""
    draw = state.get(Draw, header.follows[0]) if header.follows else None
    if draw is None:
        raise StepMissing("no draw was announced: DrawAnnounced is missing")
    return header.follows[0], draw


RULES: Final[dict[RecordType, Rule]] = {
    RecordType.MEMBER_APPOINTED: _appoint,
    RecordType.VOTE_CAST: _vote,
    RecordType.MODEL_APPROVED: _approve,
    RecordType.DRAW_ANNOUNCED: _announce,
    RecordType.SAMPLE_DRAWN: _draw,
    RecordType.DRAW_ABANDONED: _abandon,
    RecordType.CASE_REVIEWED: _review,
}
