"""The college draws cases that nobody chose, reviews those alone, and sees what stands open."""

import secrets
from hashlib import sha256

import pytest

from guarantee import college, custody, dossier, review
from guarantee.appending import Draft, Request
from guarantee.bodies import (
    CaseReviewed,
    Concern,
    Decision,
    DrawAnnounced,
    ErasureGround,
    InformationDeferred,
    Opinion,
    ReviewLapsed,
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
from guarantee.identity import Role
from guarantee.logged import Recorded
from guarantee.merkle import leaf_hash, root_of
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import AlreadyDone, Erased, NotAMember, StepMissing, UnknownModel
from tests.guarantee.clinic import CARD, Clinic, patient

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
    check_announcement(announcement.header, body, index=announcement.index)
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


def test_an_announcement_names_a_share_a_known_model_and_a_start_within_the_log(
    clinic: Clinic,
) -> None:
    member = physician(clinic)
    for rate in ("2/1", "0/5", "1/0", "0.05", "1/20 "):
        with pytest.raises(SampleRefused, match="rate"):
            review.announce(clinic.ledger, member, rate=rate, secret_sha256=DIGEST)
    with pytest.raises(SampleRefused, match="secret_sha256"):
        review.announce(clinic.ledger, member, rate="1/2", secret_sha256="s")
    with pytest.raises(SampleRefused, match="end"):
        review.announce(clinic.ledger, member, rate="1/2", secret_sha256=DIGEST, first_index=10_000)
    with pytest.raises(UnknownModel):
        review.announce(
            clinic.ledger, member, rate="1/2", secret_sha256=DIGEST, model="no-such-model"
        )
    stranger = clinic.actor("stranger", Role.COLLEGE)
    with pytest.raises(NotAMember):
        review.announce(clinic.ledger, stranger, rate="1/2", secret_sha256=DIGEST)


def test_a_frame_starts_where_the_announcement_says_and_holds_its_model_alone(
    clinic: Clinic,
) -> None:
    made = cases(clinic, 3)
    start = clinic.ledger.head().size
    later = clinic.infer(clinic.inform(2)).id
    member = physician(clinic)
    for model, secret in ((CARD.name, b"a" * 32), (None, b"b" * 32)):
        announcement = review.announce(
            clinic.ledger,
            member,
            rate="1/1",
            secret_sha256=sha256(secret).hexdigest(),
            model=model,
            first_index=start,
        )
        assert drawn(clinic, announcement, secret).dossiers == (later,)
    with pytest.raises(SampleRefused, match="announced before"):
        announced(clinic, "1/1", b"a" * 32)
    whole = drawn(clinic, announced(clinic, "1/1"))
    assert whole.dossiers == tuple(sorted([*made, later]))


def test_an_announcement_asked_for_twice_is_recorded_once(clinic: Clinic) -> None:
    member = physician(clinic)
    request = Request(actor=member.pseudonym, route="draws", key=DIGEST, content=b"1/2")
    first, again = (
        review.announce(clinic.ledger, member, rate="1/2", secret_sha256=DIGEST, request=request)
        for _ in range(2)
    )
    assert (again.id, again.repeated) == (first.id, True)


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


def test_a_deferred_information_stays_open_until_the_patient_is_informed(clinic: Clinic) -> None:
    deferred = dossier.defer_information(
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


def test_a_lapsed_case_is_shown_until_it_is_decided(clinic: Clinic) -> None:
    inference = clinic.infer(clinic.inform()).id
    clinic.ledger.record(
        Draft(
            type=RecordType.REVIEW_LAPSED,
            actor=clinic.actor("watch", Role.MONITOR),
            outcome="lapsed",
            body=ReviewLapsed(lapse_hours=72),
            sealed_for=clinic.ledger.sealed_for(inference),
            dossier=inference,
            follows=(inference,),
            model=CARD.name,
            model_version="1",
        )
    )
    assert college.status(clinic.ledger).lapsed == (inference,)
    clinic.decide(inference)
    assert college.status(clinic.ledger).lapsed == ()


def test_an_erased_case_stays_in_the_frame_and_is_reviewed_by_nobody(clinic: Clinic) -> None:
    erased, kept = (clinic.infer(clinic.inform(number)).id for number in (1, 2))
    pseudonym = clinic.ledger.sealed_for(erased)
    assert pseudonym is not None
    custody.erase(
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
