"""The college draws cases that nobody chose, reviews those alone, and sees what stands open."""

import secrets
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from guarantee import college, custody, dossier, erasure, informing, review
from guarantee.appending import Draft, Request
from guarantee.bodies import (
    BodyRefused,
    CaseReviewed,
    Concern,
    Decision,
    DrawAnnounced,
    ErasureGround,
    Glass,
    InformationDeferred,
    Opinion,
    SampleDrawn,
)
from guarantee.draw import (
    DAYS_TO_DRAW,
    Frame,
    SampleRefused,
    check_announcement,
    check_review,
    check_sample,
)
from guarantee.home import Home
from guarantee.identity import Profession, Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.merkle import leaf_hash, root_of
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import AlreadyDone, Erased, NotAMember, StepMissing, UnknownModel
from guarantee.verify import verify_home
from tests.guarantee.clinic import CARD, CLINICIAN, Clinic, caller, patient

SECRET = b"s" * 32
DIGEST = sha256(SECRET).hexdigest()


def physician(clinic: Clinic) -> Actor:
    return clinic.actor("member-physician", Role.COLLEGE)


def announced(clinic: Clinic, rate: str = "1/2", secret: bytes = SECRET) -> Recorded:
    return review.announce(
        clinic.ledger, physician(clinic), rate=rate, secret_sha256=sha256(secret).hexdigest()
    )


def drawn(clinic: Clinic, announcement: Recorded, secret: bytes = SECRET) -> review.Drawn:
    return review.draw(
        clinic.ledger, physician(clinic), announcement=announcement.id, secret=secret
    )


def judged(
    clinic: Clinic,
    announcement: Recorded,
    case: str,
    opinion: Opinion = Opinion.AGREED,
    member: str = "member-physician",
) -> Recorded:
    return review.review(
        clinic.ledger,
        clinic.actor(member, Role.COLLEGE),
        announcement=announcement.id,
        dossier=case,
        opinion=opinion,
    )


def cases(clinic: Clinic, count: int = 6) -> list[str]:
    """Every third case is overridden, every third undecided, the others accepted."""
    information = clinic.inform()
    made = [clinic.infer(information).id for _ in range(count)]
    for place, inference in enumerate(made):
        if place % 3 == 0:
            clinic.decide(inference)
        elif place % 3 == 1:
            clinic.decide(inference, Decision.OVERRIDDEN, "LUNG", "TTF-1 positive.")
    return made


def whole_frame(clinic: Clinic) -> Frame:
    """As a verifier makes it: one pass over every header, also those after the announcement."""
    frame = Frame()
    for one in clinic.ledger.page(0, 10_000):
        frame.add(one.index, one.header)
    return frame


def test_anyone_draws_the_same_sample_from_headers_secret_and_root(clinic: Clinic) -> None:
    made = cases(clinic)
    announcement = announced(clinic)
    # What comes later changes neither frame nor strata.
    clinic.decide(made[2])
    clinic.infer(clinic.inform(2))
    sample = drawn(clinic, announcement)
    assert len(sample.dossiers) == 3
    assert set(sample.dossiers) <= set(made)

    body = clinic.ledger.open_as(announcement, DrawAnnounced)
    recorded = clinic.ledger.open_as(sample.recorded, SampleDrawn)
    headers = [one.header.encode() for one in clinic.ledger.page(0, announcement.index + 1)]
    root = root_of(leaf_hash(header) for header in headers)
    frame = whole_frame(clinic).cases(body, before=announcement.index)
    assert frame == review.announced_draw(clinic.ledger, announcement.id).cases
    assert sorted({case.outcome for case in frame}) == ["accepted", "overridden", "undecided"]
    check_announcement(announcement.header, body, start=0)
    with pytest.raises(SampleRefused, match="left out or taken twice"):
        check_announcement(announcement.header, body, start=1)
    check_sample(body, recorded, frame, root)


def test_a_sample_with_a_case_left_out_put_in_or_exchanged_is_refused(clinic: Clinic) -> None:
    made = cases(clinic)
    announcement = announced(clinic)
    sample = drawn(clinic, announcement)
    body = clinic.ledger.open_as(announcement, DrawAnnounced)
    frame = whole_frame(clinic).cases(body, before=announcement.index)
    root = clinic.ledger.root(announcement.index + 1)
    undrawn = next(one for one in made if one not in sample.dossiers)
    for picked in (
        sample.dossiers[1:],
        (*sample.dossiers, undrawn),
        (*sample.dossiers[1:], undrawn),
        tuple(reversed(sample.dossiers)),
        (),
    ):
        with pytest.raises(SampleRefused):
            check_sample(body, SampleDrawn(secret=SECRET.hex(), dossiers=picked), frame, root)
    other = SampleDrawn(secret="00" * 32, dossiers=sample.dossiers)
    with pytest.raises(SampleRefused, match="secret"):
        check_sample(body, other, frame, root)
    right = SampleDrawn(secret=SECRET.hex(), dossiers=sample.dossiers)
    without = [case for case in frame if case.dossier != sample.dossiers[0]]
    with pytest.raises(SampleRefused):
        check_sample(body, right, without, root)


def test_another_secret_and_other_cases_than_the_college_drew_are_not_recorded(
    clinic: Clinic,
) -> None:
    made = cases(clinic)
    announcement = announced(clinic)
    before = clinic.ledger.head()
    with pytest.raises(SampleRefused, match="secret"):
        drawn(clinic, announcement, secrets.token_bytes(32))
    with pytest.raises(SampleRefused, match="differ"):
        review.draw(
            clinic.ledger,
            physician(clinic),
            announcement=announcement.id,
            secret=SECRET,
            expected=made[:1],
        )
    with pytest.raises(StepMissing):
        review.draw(clinic.ledger, physician(clinic), announcement=made[0], secret=SECRET)
    with pytest.raises(StepMissing):
        judged(clinic, announcement, made[0])
    assert clinic.ledger.head() == before
    drawn(clinic, announcement)
    with pytest.raises(AlreadyDone):
        drawn(clinic, announcement)


def test_an_announcement_names_a_share_and_a_known_model(clinic: Clinic) -> None:
    member = physician(clinic)
    for rate in ("2/1", "0/5", "1/0", "0.05", "1/20 "):
        with pytest.raises(SampleRefused, match="rate"):
            review.announce(clinic.ledger, member, rate=rate, secret_sha256=DIGEST)
    with pytest.raises(SampleRefused, match="secret_sha256"):
        review.announce(clinic.ledger, member, rate="1/2", secret_sha256="s")
    with pytest.raises(UnknownModel):
        review.announce(
            clinic.ledger, member, rate="1/2", secret_sha256=DIGEST, model="no-such-model"
        )
    stranger = clinic.actor("stranger", Role.COLLEGE)
    with pytest.raises(NotAMember):
        review.announce(clinic.ledger, stranger, rate="1/2", secret_sha256=DIGEST)


def announced_for(clinic: Clinic, model: str | None, secret: bytes) -> Recorded:
    return review.announce(
        clinic.ledger,
        physician(clinic),
        rate="1/1",
        secret_sha256=sha256(secret).hexdigest(),
        model=model,
    )


def test_a_frame_starts_where_the_last_draw_of_it_ended(clinic: Clinic) -> None:
    made = cases(clinic, 3)
    first = drawn(clinic, announced_for(clinic, CARD.name, b"a" * 32), b"a" * 32)
    assert first.dossiers == tuple(sorted(made))
    later = clinic.infer(clinic.inform(2)).id
    second = drawn(clinic, announced_for(clinic, CARD.name, b"b" * 32), b"b" * 32)
    assert second.dossiers == (later,)
    # The frame of every model's cases has its own beginning.
    every = drawn(clinic, announced_for(clinic, None, b"c" * 32), b"c" * 32)
    assert every.dossiers == tuple(sorted([*made, later]))
    with pytest.raises(SampleRefused, match="announced before"):
        announced(clinic, "1/1", b"a" * 32)


def test_nobody_starts_a_frame_elsewhere(empty_home: Home) -> None:
    """Past the function: the protocol refuses another predecessor, the verifier another start."""
    clinic = Clinic.founded(empty_home)
    cases(clinic, 3)
    first = announced_for(clinic, CARD.name, b"a" * 32)
    drawn(clinic, first, b"a" * 32)
    clinic.infer(clinic.inform(2))
    start = clinic.ledger.head().size - 1

    def announcing(follows: tuple[str, ...]) -> Draft:
        body = DrawAnnounced(rate="1/1", model=CARD.name, first_index=start, secret_sha256=DIGEST)
        return Draft(
            type=RecordType.DRAW_ANNOUNCED,
            actor=physician(clinic),
            outcome="announced",
            body=body,
            follows=follows,
            model=CARD.name,
        )

    with pytest.raises(StepMissing, match="where the last draw of it ended"):
        clinic.ledger.record(announcing(()))
    steered = clinic.ledger.record(announcing((first.id,)))
    clinic.ledger.close()
    found = [str(finding) for finding in verify_home(clinic.home).findings]
    assert [one for one in found if steered.id in one and "left out or taken twice" in one]


@pytest.mark.parametrize("models", [(None, None), (None, CARD.name), (CARD.name, None)])
def test_one_announcement_alone_stands_open_over_a_case(
    clinic: Clinic, models: tuple[str | None, str | None]
) -> None:
    cases(clinic, 3)
    first = announced_for(clinic, models[0], b"a" * 32)
    with pytest.raises(StepMissing, match=first.id):
        announced_for(clinic, models[1], b"b" * 32)
    drawn(clinic, first, b"a" * 32)
    announced_for(clinic, models[1], b"b" * 32)


def test_another_member_abandons_a_forgotten_draw_and_its_cases_fall_to_the_next(
    clinic: Clinic,
) -> None:
    made = cases(clinic, 3)
    forgotten = announced(clinic, "1/1", b"f" * 32)
    paramedic = clinic.actor("member-paramedic", Role.COLLEGE)
    stranger = clinic.actor("stranger", Role.COLLEGE)
    for who in (physician(clinic), stranger):
        with pytest.raises(NotAMember):
            review.abandon(clinic.ledger, who, announcement=forgotten.id, reason="lost")
    with pytest.raises(BodyRefused, match="reason: is blank"):
        review.abandon(clinic.ledger, paramedic, announcement=forgotten.id, reason=" ")
    given_up = review.abandon(clinic.ledger, paramedic, announcement=forgotten.id, reason="lost")
    with pytest.raises(AlreadyDone):
        drawn(clinic, forgotten, b"f" * 32)
    (standing,) = college.status(clinic.ledger, at=2**43).draws
    assert (standing.abandoned, standing.overdue) == (True, False)
    assert drawn(clinic, announced(clinic, "1/1")).dossiers == tuple(sorted(made))
    report = verify_home(clinic.home)
    assert report.verified
    assert any(given_up.id in remark and "abandoned" in remark for remark in report.remarks)


def test_an_announcement_asked_for_twice_is_recorded_once(clinic: Clinic) -> None:
    member = physician(clinic)
    request = Request(actor=member.pseudonym, route="draws", key=DIGEST, content=b"1/2")
    first, again = (
        review.announce(clinic.ledger, member, rate="1/2", secret_sha256=DIGEST, request=request)
        for _ in range(2)
    )
    assert (again.id, again.repeated) == (first.id, True)
    # In the same words it is the same announcement, with no request's key, too.
    assert announced(clinic).id == first.id
    for rate, model in (("1/3", None), ("1/2", CARD.name)):
        with pytest.raises(SampleRefused, match="announced before"):
            review.announce(clinic.ledger, member, rate=rate, secret_sha256=DIGEST, model=model)
    paramedic = clinic.actor("member-paramedic", Role.COLLEGE)
    with pytest.raises(SampleRefused, match="announced before"):
        review.announce(clinic.ledger, paramedic, rate="1/2", secret_sha256=DIGEST)
    drawn(clinic, first)
    with pytest.raises(SampleRefused, match="announced before"):
        announced(clinic)


# Reviews


def test_only_drawn_cases_are_reviewed_and_by_each_member_once(clinic: Clinic) -> None:
    made = cases(clinic)
    announcement = announced(clinic)
    sample = drawn(clinic, announcement).dossiers
    undrawn = next(one for one in made if one not in sample)
    with pytest.raises(SampleRefused, match="not drawn"):
        judged(clinic, announcement, undrawn)
    with pytest.raises(NotAMember):
        judged(clinic, announcement, sample[0], member="stranger")
    first = judged(clinic, announcement, sample[0])
    with pytest.raises(AlreadyDone):
        judged(clinic, announcement, sample[0], Opinion.DISAGREED)
    judged(clinic, announcement, sample[0], Opinion.DISAGREED, "member-paramedic")

    standing = clinic.ledger.find(first.header.follows[1])
    body = clinic.ledger.open_as(first, CaseReviewed)
    drawing = clinic.ledger.open_as(standing, SampleDrawn)
    check_review(first.header, body, drawing)
    with pytest.raises(SampleRefused, match="not drawn"):
        check_review(first.header, body, SampleDrawn(secret=SECRET.hex(), dossiers=(undrawn,)))
    with pytest.raises(SampleRefused, match="opinion"):
        check_review(
            first.header,
            CaseReviewed(opinion=Opinion.UNCLEAR, concerns=(Concern.ANSWER,)),
            drawing,
        )


def test_whoever_asked_or_decided_in_a_case_does_not_review_it(clinic: Clinic) -> None:
    """A member who is a clinician, too: the same person, in another role."""
    decided, asked = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    clinician = clinic.actor("member-physician", Role.CLINICIAN)
    assert clinician.pseudonym == physician(clinic).pseudonym
    custody.break_glass(clinic.ledger, clinician, dossier=decided, ground=Glass.URGENCY)
    dossier.sign_decision(
        clinic.ledger,
        clinician,
        caller("member-physician", Role.CLINICIAN),
        dossier=decided,
        decision=Decision.ACCEPTED,
        label=None,
        reason=None,
    )
    asker = clinic.actor(CLINICIAN.subject, Role.COLLEGE)
    college.appoint(clinic.ledger, physician(clinic), member=asker, profession=Profession.OTHER)
    announcement = announced(clinic, "1/1")
    drawn(clinic, announcement)
    for case, member in (
        (decided, "member-physician"),
        (decided, CLINICIAN.subject),
        (asked, CLINICIAN.subject),
    ):
        with pytest.raises(NotAMember, match="cared for"):
            judged(clinic, announcement, case, member=member)
    judged(clinic, announcement, asked)


def test_the_college_sees_what_is_open_disagreed_and_overdue(clinic: Clinic) -> None:
    cases(clinic)
    announcement = announced(clinic)
    assert college.status(clinic.ledger).disagreement is None
    sample = drawn(clinic, announcement).dossiers
    forgotten = announced(clinic, "1/20", b"f" * 32)
    judged(clinic, announcement, sample[0])
    judged(clinic, announcement, sample[0], Opinion.DISAGREED, "member-paramedic")
    judged(clinic, announcement, sample[1], Opinion.UNCLEAR)

    status = college.status(clinic.ledger)
    first, second = status.draws
    assert (first.announcement, first.drawn, first.open) == (announcement.id, 3, sample[2:])
    assert (second.announcement, second.drawn, second.overdue) == (forgotten.id, None, False)
    assert status.disagreement is not None
    assert (status.disagreement.disagreed, status.disagreement.cases) == (1, 2)
    low, high = status.disagreement.interval()
    # Wilson's interval for 1 of 2, as R's binom.confint gives it.
    assert (low, high) == pytest.approx((0.0945, 0.9055), abs=1e-4)

    late = forgotten.header.time + (DAYS_TO_DRAW * 24 * 3600 + 1) * 1000
    overdue = {
        one.announcement: one.overdue for one in college.status(clinic.ledger, at=late).draws
    }
    assert overdue == {announcement.id: False, forgotten.id: True}


def test_the_college_and_the_verifier_say_at_the_same_moment_that_a_draw_is_overdue(
    tmp_path: Path,
) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    at = announced(clinic).header.time + DAYS_TO_DRAW * 24 * 3600 * 1000
    for late in (0, 1):
        with Ledger.open(clinic.home, clock=partial(int, at + late)) as then:
            Clinic(clinic.home, then, clinic.clinician).inform(20 + late)
        (standing,) = college.status(clinic.ledger, at=at + late).draws
        assert standing.overdue == bool(late)
        found = [str(one) for one in verify_home(clinic.home).findings]
        assert any("no sample was drawn in 30 days" in one for one in found) == bool(late)
    clinic.ledger.close()


def test_a_deferred_information_stays_open_until_the_patient_is_informed(clinic: Clinic) -> None:
    deferred = informing.defer_information(
        clinic.ledger,
        clinic.clinician,
        patient=patient(5),
        models=[CARD.name],
        deferral=InformationDeferred(ground="urgency", statement="Unconscious on arrival."),
    )
    clinic.infer(deferred.recorded.id)
    clinic.inform(6)
    (open_one,) = college.status(clinic.ledger).deferrals
    assert open_one.information == deferred.recorded.id
    clinic.inform(5)
    assert college.status(clinic.ledger).deferrals == ()
    clinic.infer(deferred.recorded.id)


def test_an_erased_case_stays_in_the_frame_and_is_reviewed_by_nobody(clinic: Clinic) -> None:
    erased, kept = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    pseudonym = clinic.ledger.sealed_for(erased)
    assert pseudonym is not None
    erasure.erase(
        clinic.ledger,
        clinic.actor("officer", Role.DPO),
        pseudonym=pseudonym,
        ground=ErasureGround.COURT_ORDER,
    )
    announcement = announced(clinic, "1/1")
    assert drawn(clinic, announcement).dossiers == tuple(sorted((erased, kept)))
    with pytest.raises(Erased):
        judged(clinic, announcement, erased)
    (standing,) = college.status(clinic.ledger).draws
    assert (standing.open, standing.erased) == ((kept,), (erased,))
