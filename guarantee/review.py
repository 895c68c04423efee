"""Cases that the college reviews: announced, drawn, judged, and what came of it."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import ValidationError

from guarantee.appending import Draft, Request
from guarantee.bodies import (
    CaseReviewed,
    Concern,
    DrawAbandoned,
    DrawAnnounced,
    Opinion,
    SampleDrawn,
    stated,
)
from guarantee.college_thread import last_draw
from guarantee.draw import FRAMED, Case, Frame, SampleRefused, check_sample, is_overdue, sample
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.merkle import Hash
from guarantee.opened import is_erased
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import StepMissing, UnknownDossier
from guarantee.signing_keys import signed
from guarantee.situations import (
    COLLEGE,
    EVERY,
    Dossier,
    Draw,
    DrawStep,
    Frames,
    Review,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A sample on record.

    Attributes:
        dossiers: The drawn cases, sorted by id.
    """

    recorded: Recorded
    dossiers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """On how many of the reviewed cases a member of the college disagreed.

    The sample takes a share of each stratum, rounded up: of a small frame these cases are no
    estimate of all.

    Attributes:
        disagreed: Cases with at least one review that disagreed.
        cases: Cases with a review.
    """

    disagreed: int
    cases: int

    @property
    def share(self) -> float:
        """The share of cases; `cases` is at least 1."""
        return self.disagreed / self.cases

    def interval(self) -> tuple[float, float]:
        """The share's 95 % interval. Source: Wilson, 1927; `cases` is at least 1."""
        z, n = 1.959963984540054, self.cases
        centre = (self.share + z * z / (2 * n)) / (1 + z * z / n)
        spread = self.share * (1 - self.share) / n + z * z / (4 * n * n)
        half = z * math.sqrt(spread) / (1 + z * z / n)
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawStanding:
    """One draw, and how far its review has come.

    Attributes:
        announcement: The id that names the draw.
        announced_at: Milliseconds since 1970, UTC.
        drawn: How many cases; none before the sample is drawn.
        open: Drawn cases that nobody has reviewed yet.
        erased: Drawn cases that nobody can review any more: their patients were erased.
        overdue: Whether it was announced so long ago without a draw that it is a finding.
        abandoned: Whether it was given up: its cases fall to the next draw.
    """

    announcement: str
    announced_at: int
    rate: str
    model: str | None
    drawn: int | None
    open: tuple[str, ...]
    erased: tuple[str, ...]
    overdue: bool
    abandoned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedDraw:
    """All that a draw follows from, but the secret.

    Attributes:
        cases: The frame.
        root: Of the first log that includes the announcement.
    """

    body: DrawAnnounced
    cases: list[Case]
    root: Hash


def announce(
    ledger: Ledger,
    actor: Actor,
    *,
    rate: str,
    secret_sha256: str,
    model: str | None = None,
    signature: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Announce a draw before anyone can know which cases it takes.

    Its frame starts where the last draw of it ended, and ends with the announcement. Asked again in
    the same words while it stands open, it is not recorded again.

    Args:
        rate: The share of each stratum, as "1/20".
        secret_sha256: Of 32 bytes that the college's own machine alone knows, hexadecimal.
        model: Whose cases are in the frame; none: every model's.
        signature: By the member's own key, where they have one, over `signing_keys.act_payload`.

    Raises:
        SampleRefused: The rate or the digest is none, or the secret was announced before:
            whoever has seen it could choose what it draws.
        StepMissing: Another announcement stands open over these cases.
        SignatureNeeded: The member has a key: sign this with it; carries what to sign.
        SignatureRefused: The key did not sign this.
        UnknownModel: No such model is registered.
        NotAMember: The actor has no seat.
    """
    if request is not None and (repeat := ledger.repeated(request)) is not None:
        return repeat
    ended = last_draw(ledger.get(Frames, COLLEGE) or Frames(), model or EVERY)
    start = ledger.find(ended[0]).index if ended else 0
    try:
        announced = DrawAnnounced(
            rate=rate, model=model, first_index=start, secret_sha256=secret_sha256
        )
    except ValidationError as error:
        fields = ", ".join(str(one["loc"][0]) for one in error.errors())
        raise SampleRefused(
            f"{fields}: a rate reads 1/20 and is at most 1/1, a SHA-256 is 64 hexadecimal digits"
        ) from error
    if (before := _announced_before(ledger, actor, announced)) is not None:
        return before
    draft = Draft(
        type=RecordType.DRAW_ANNOUNCED,
        actor=actor,
        outcome="announced",
        body=announced,
        follows=ended,
        model=model,
    )
    return ledger.record(signed(ledger, draft, signature), request)


def _announced_before(ledger: Ledger, actor: Actor, announced: DrawAnnounced) -> Recorded | None:
    """The same announcement by the same member, which stands open: a lost reply, asked again."""
    for earlier in ledger.stretch((RecordType.DRAW_ANNOUNCED,)):
        body = ledger.open_as(earlier, DrawAnnounced)
        if body.secret_sha256 != announced.secret_sha256:
            continue
        standing = ledger.get(Draw, earlier.id)
        if standing != Draw(
            step=DrawStep.ANNOUNCED,
            announcer=actor.pseudonym,
            announced_at=earlier.header.time,
            model=announced.model,
        ) or (body.rate != announced.rate):
            raise SampleRefused("this secret was announced before: make a new one for each draw")
        return replace(earlier, repeated=True)
    return None


def abandon(
    ledger: Ledger,
    actor: Actor,
    *,
    announcement: str,
    reason: str,
    signature: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Give up a draw whose secret is lost: its cases fall to the next draw.

    Whoever announced it knows what it draws, so another member does this; verifying remarks it.

    Args:
        signature: By the member's own key, where they have one, over `signing_keys.act_payload`.

    Raises:
        StepMissing: No such draw was announced.
        AlreadyDone: Its sample was drawn, or it was abandoned.
        NotAMember: The actor has no seat, or announced it.
        SignatureNeeded: The member has a key: sign this with it; carries what to sign.
        SignatureRefused: The key did not sign this.
    """
    standing = ledger.get(Draw, announcement)
    if standing is None:
        raise StepMissing("no such draw was announced: DrawAnnounced is missing")
    draft = Draft(
        type=RecordType.DRAW_ABANDONED,
        actor=actor,
        outcome="abandoned",
        body=stated(DrawAbandoned, reason=reason),
        follows=(announcement,),
        model=standing.model,
    )
    return ledger.record(signed(ledger, draft, signature), request)


def draw(
    ledger: Ledger,
    actor: Actor,
    *,
    announcement: str,
    secret: bytes,
    expected: Iterable[str] | None = None,
    request: Request | None = None,
) -> Drawn:
    """Reveal the secret, and record the cases that it draws.

    Args:
        expected: The cases that the college drew itself from its own copy of the log, if it did.

    Raises:
        StepMissing: No such draw was announced.
        SampleRefused: It is another secret, or the college drew other cases: its copy of the log
            is not this one.
        AlreadyDone: The sample of this announcement was drawn.
        NotAMember: The actor has no seat.
    """
    announced = announced_draw(ledger, announcement)
    dossiers = sample(announced.body, secret, announced.cases, announced.root)
    if expected is not None:
        claimed = SampleDrawn(secret=secret.hex(), dossiers=tuple(sorted(expected)))
        check_sample(announced.body, claimed, announced.cases, announced.root)
    recorded = ledger.record(
        Draft(
            type=RecordType.SAMPLE_DRAWN,
            actor=actor,
            outcome="drawn",
            body=SampleDrawn(secret=secret.hex(), dossiers=dossiers),
            follows=(announcement,),
            model=announced.body.model,
        ),
        request,
    )
    return Drawn(recorded=recorded, dossiers=dossiers)


def announced_draw(ledger: Ledger, announcement: str) -> AnnouncedDraw:
    """An announcement, its frame and its root, from the log.

    Raises:
        StepMissing: No such draw was announced.
    """
    if ledger.get(Draw, announcement) is None:
        raise StepMissing("no such draw was announced: DrawAnnounced is missing")
    recorded = ledger.find(announcement)
    body = ledger.open_as(recorded, DrawAnnounced)
    frame = Frame()
    for one in ledger.stretch(FRAMED, start=body.first_index, end=recorded.index, model=body.model):
        frame.add(one.index, one.header)
    return AnnouncedDraw(
        body=body,
        cases=frame.cases(body, before=recorded.index),
        root=ledger.root(recorded.index + 1),
    )


def review(
    ledger: Ledger,
    actor: Actor,
    *,
    announcement: str,
    dossier: str,
    opinion: Opinion,
    concerns: Iterable[Concern] = (),
    signature: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Record what a member thinks of a drawn case; nothing clinical is written here.

    Args:
        signature: By the member's own key, where they have one, over `signing_keys.act_payload`.

    Raises:
        SignatureNeeded: The member has a key: sign this with it; carries what to sign.
        SignatureRefused: The key did not sign this.
        StepMissing: No such draw was announced, or no sample was drawn yet.
        SampleRefused: The case was not drawn.
        UnknownDossier: No such inference.
        Erased: The patient's records were erased since.
        AlreadyDone: The member has reviewed this case.
        NotAMember: The actor has no seat, or cared for the patient in this very case.
    """
    standing = ledger.get(Draw, announcement)
    if standing is None or standing.drawn is None:
        raise StepMissing("no sample was drawn yet: SampleDrawn is missing")
    case = ledger.get(Dossier, dossier)
    if case is None:
        raise UnknownDossier("the log holds no such inference")
    if dossier not in ledger.open_as(ledger.find(standing.drawn), SampleDrawn).dossiers:
        raise SampleRefused("the case was not drawn: only drawn cases are reviewed")
    draft = Draft(
        type=RecordType.CASE_REVIEWED,
        actor=actor,
        outcome=opinion,
        body=CaseReviewed(opinion=opinion, concerns=tuple(concerns)),
        dossier=dossier,
        follows=(announcement, standing.drawn),
        model=case.model,
        model_version=case.model_version,
    )
    return ledger.record(signed(ledger, draft, signature), request)


def draws(ledger: Ledger, *, at: int) -> list[DrawStanding]:
    """Every draw and how far its review has come, oldest first.

    Args:
        at: Milliseconds since 1970, UTC: by which an announcement may be overdue.
    """
    reviewed: dict[str, set[str]] = defaultdict(set)
    for _, one in ledger.situations(Review, Opinion):
        reviewed[one.draw].add(one.dossier)
    standings = []
    # The key is a UUIDv7: announcements come in the order of their times.
    for key, standing in ledger.situations(Draw, DrawStep):
        announced = ledger.open_as(ledger.find(key), DrawAnnounced)
        drawn: tuple[str, ...] | None = None
        if standing.drawn is not None:
            drawn = ledger.open_as(ledger.find(standing.drawn), SampleDrawn).dossiers
        unseen = [one for one in drawn or () if one not in reviewed[key]]
        erased = tuple(one for one in unseen if _is_erased(ledger, one))
        standings.append(
            DrawStanding(
                announcement=key,
                announced_at=standing.announced_at,
                rate=announced.rate,
                model=announced.model,
                drawn=None if drawn is None else len(drawn),
                open=tuple(one for one in unseen if one not in erased),
                erased=erased,
                overdue=standing.step is DrawStep.ANNOUNCED
                and is_overdue(standing.announced_at, at=at),
                abandoned=standing.step is DrawStep.ABANDONED,
            )
        )
    return standings


def disagreement(ledger: Ledger) -> Disagreement | None:
    """On how many reviewed cases a member disagreed; none before the first review."""
    cases: dict[str, bool] = {}
    for _, one in ledger.situations(Review, Opinion):
        cases[one.dossier] = cases.get(one.dossier, False) or one.step is Opinion.DISAGREED
    return Disagreement(disagreed=sum(cases.values()), cases=len(cases)) if cases else None


def _is_erased(ledger: Ledger, dossier: str) -> bool:
    case = ledger.get(Dossier, dossier)
    return case is not None and is_erased(ledger, case.information)
