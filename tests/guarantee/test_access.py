"""Who is entitled to a dossier, and what each reading leaves on record."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from guarantee import college, custody, erasure, review
from guarantee import dossier as steps_of
from guarantee.access import NotEntitled, PurposeMissing, patient_access, read_dossier
from guarantee.appending import Draft
from guarantee.bodies import (
    AccessRecorded,
    BreakGlass,
    Corrected,
    Decision,
    ErasureGround,
    FirstRead,
    Glass,
    Purpose,
    Sharing,
)
from guarantee.card import Mode
from guarantee.custody_thread import GLASS_MS
from guarantee.identity import Profession, Role
from guarantee.logged import Recorded
from guarantee.records import RecordType
from guarantee.refusals import AlreadyDone, Erased, NotCaring, ProtocolError
from guarantee.verify import verify_home
from tests.guarantee.attacker import Row, log_key, rewrite
from tests.guarantee.clinic import CARD, Clinic, caller, patient

SECRET = b"s" * 32


def readings(clinic: Clinic) -> int:
    return len(clinic.ledger.latest(RecordType.ACCESS_RECORDED))


def test_the_college_reads_a_drawn_case_with_a_purpose(clinic: Clinic) -> None:
    drawn = clinic.whole_dossier()
    member = clinic.actor(f"member-{Profession.PHYSICIAN}", Role.COLLEGE)
    with pytest.raises(NotEntitled, match="drawn"):
        read_dossier(clinic.ledger, member, dossier=drawn, purpose=Purpose.REVIEW)
    announced = review.announce(
        clinic.ledger, member, rate="1/1", secret_sha256=sha256(SECRET).hexdigest()
    )
    review.draw(clinic.ledger, member, announcement=announced.id, secret=SECRET)
    with pytest.raises(PurposeMissing, match="review"):
        read_dossier(clinic.ledger, member, dossier=drawn)
    with pytest.raises(PurposeMissing):
        read_dossier(clinic.ledger, member, dossier=drawn, purpose=Purpose.CARE)
    assert readings(clinic) == 0
    assert read_dossier(clinic.ledger, member, dossier=drawn, purpose=Purpose.REVIEW).inference
    (recorded,) = clinic.ledger.latest(RecordType.ACCESS_RECORDED)
    assert clinic.ledger.open_as(recorded, AccessRecorded).purpose is Purpose.REVIEW
    assert recorded.header.dossier == drawn
    later = clinic.whole_dossier(2)
    with pytest.raises(NotEntitled):
        read_dossier(clinic.ledger, member, dossier=later, purpose=Purpose.REVIEW)
    stranger = clinic.actor("nobody-appointed", Role.COLLEGE)
    with pytest.raises(NotEntitled, match="seat"):
        read_dossier(clinic.ledger, stranger, dossier=drawn, purpose=Purpose.REVIEW)


def colleague(clinic: Clinic, subject: str = "10000000002") -> Clinic:
    """Another clinician at the same clinic."""
    return Clinic(clinic.home, clinic.ledger, clinic.actor(subject, Role.CLINICIAN))


def glass(clinic: Clinic, dossier: str) -> Recorded:
    return custody.break_glass(
        clinic.ledger, clinic.clinician, dossier=dossier, ground=Glass.CONTINUITY_OF_CARE
    )


def share(clinic: Clinic, dossier: str, whom: str) -> Recorded:
    return custody.share_care(
        clinic.ledger,
        clinic.clinician,
        dossier=dossier,
        colleague=caller(whom, Role.CLINICIAN),
        reason=Sharing.ON_CALL,
    )


def correct(clinic: Clinic, dossier: str) -> Recorded:
    correction = Corrected(corrects=dossier, statement="The slides were swapped.")
    return steps_of.correct(clinic.ledger, clinic.clinician, dossier=dossier, correction=correction)


def reads(clinic: Clinic, dossier: str) -> bool:
    try:
        read_dossier(clinic.ledger, clinic.clinician, dossier=dossier)
    except NotCaring:
        return False
    return True


def at(clinic: Clinic, milliseconds: int) -> None:
    clinic.ledger._clock = clinic.ledger._appender._clock = lambda: milliseconds


def test_no_step_of_a_stranger_is_taken_and_none_makes_them_a_carer(clinic: Clinic) -> None:
    withheld = clinic.infer(clinic.inform(2), mode=Mode.WITHHELD).id
    dossier = clinic.infer(clinic.inform()).id
    stranger = colleague(clinic)
    size = clinic.ledger.head().size

    def first_read() -> Recorded:
        read = FirstRead(label="LUNG")
        return steps_of.read_first(clinic.ledger, stranger.clinician, dossier=withheld, read=read)

    steps: list[Callable[[], object]] = [
        first_read,
        lambda: stranger.decide(dossier),
        # What is wrong with the words would tell the answer.
        lambda: stranger.decide(dossier, Decision.OVERRIDDEN, "BREAST", "why"),
        lambda: stranger.decide(dossier, Decision.ACCEPTED, "LUNG"),
        lambda: correct(stranger, dossier),
        lambda: share(stranger, dossier, "10000000002"),
        lambda: share(stranger, dossier, "10000000003"),
    ]
    for step in steps:
        with pytest.raises(NotCaring, match=r"break-glass"):
            step()
    clinic.decide(dossier)
    with pytest.raises(NotCaring):
        stranger.tell(dossier)
    clinic.tell(dossier)
    with pytest.raises(NotCaring):
        stranger.confirm(dossier)
    assert not reads(stranger, dossier)
    assert clinic.ledger.head().size == size + 2


def test_who_informed_asked_or_decided_cares_for_the_patient(clinic: Clinic) -> None:
    """A nurse informs, a technician asks, a physician on call decides, the nurse tells."""
    technician, physician = colleague(clinic), colleague(clinic, "10000000003")
    dossier = technician.infer(clinic.inform()).id
    assert reads(clinic, dossier)
    assert reads(technician, dossier)
    assert not reads(physician, dossier)
    share(technician, dossier, "10000000003")
    assert reads(physician, dossier)
    steps_of.sign_decision(
        clinic.ledger,
        physician.clinician,
        caller("10000000003", Role.CLINICIAN),
        dossier=dossier,
        decision=Decision.ACCEPTED,
        label=None,
        reason=None,
    )
    clinic.tell(dossier)
    correct(physician, dossier)
    assert readings(clinic) == 0
    with pytest.raises(AlreadyDone):
        share(clinic, dossier, "10000000003")
    # It is one dossier that was shared, not the patient.
    assert not reads(physician, clinic.infer(clinic.inform()).id)


def test_broken_glass_closes_again_to_whoever_did_not_decide(clinic: Clinic) -> None:
    dossier, other = clinic.infer(clinic.inform()).id, clinic.infer(clinic.inform(2)).id
    stranger = colleague(clinic)
    broken = glass(stranger, dossier)
    until = broken.header.time + GLASS_MS
    assert broken.header.valid_until is not None
    assert broken.header.valid_until <= until
    assert reads(stranger, dossier)
    assert not reads(stranger, other)
    assert not reads(colleague(clinic, "10000000003"), dossier)
    with pytest.raises(NotCaring, match="alone"):
        share(stranger, dossier, "10000000003")
    clinic.decide(dossier)
    stranger.tell(dossier)
    correct(stranger, dossier)
    at(clinic, broken.header.valid_until)
    assert reads(stranger, dossier)
    at(clinic, until + 1)
    assert not reads(stranger, dossier)
    with pytest.raises(NotCaring):
        correct(stranger, dossier)
    # Broken anew, it is open anew.
    glass(stranger, dossier)
    assert reads(stranger, dossier)


def test_who_decides_under_a_broken_glass_took_the_patient_on(clinic: Clinic) -> None:
    dossier = clinic.infer(clinic.inform()).id
    stranger = colleague(clinic)
    broken = glass(stranger, dossier)
    steps_of.sign_decision(
        clinic.ledger,
        stranger.clinician,
        caller("10000000002", Role.CLINICIAN),
        dossier=dossier,
        decision=Decision.ACCEPTED,
        label=None,
        reason=None,
    )
    at(clinic, broken.header.time + 10 * GLASS_MS)
    assert reads(stranger, dossier)


@pytest.mark.parametrize("until", [None, -1, 0, GLASS_MS + 60_000, 10**15])
def test_a_glass_that_does_not_say_when_it_closes_or_too_late_is_refused(
    clinic: Clinic, until: int | None
) -> None:
    dossier = clinic.infer(clinic.inform()).id
    draft = Draft(
        type=RecordType.BREAK_GLASS,
        actor=colleague(clinic).clinician,
        outcome="opened",
        body=BreakGlass(ground=Glass.URGENCY),
        dossier=dossier,
        follows=(dossier,),
        model=CARD.name,
        model_version="1",
        valid_until=None if until is None else clinic.ledger.now() + until,
    )
    with pytest.raises(ProtocolError, match="closes"):
        clinic.ledger.record(draft)


def test_an_erased_patient_s_broken_glass_opens_nothing(clinic: Clinic) -> None:
    dossier = clinic.infer(clinic.inform()).id
    stranger = colleague(clinic)
    glass(stranger, dossier)
    erasure.erase(
        clinic.ledger,
        clinic.actor("the-dpo", Role.DPO),
        pseudonym=clinic.ledger.people.patient(patient()),
        ground=ErasureGround.COURT_ORDER,
    )
    for refused in (reads, glass, correct):
        with pytest.raises(Erased):
            refused(stranger, dossier)


def test_the_college_sees_broken_glasses(clinic: Clinic) -> None:
    dossier = clinic.infer(clinic.inform()).id
    assert college.status(clinic.ledger).broken == ()
    stranger = colleague(clinic)
    broken = glass(stranger, dossier)
    (seen,) = college.status(clinic.ledger).broken
    assert (seen.dossier, seen.by) == (dossier, stranger.clinician.pseudonym)
    assert seen.ground is Glass.CONTINUITY_OF_CARE
    assert (seen.at, seen.until) == (broken.header.time, broken.header.valid_until)


def test_the_patient_is_told_who_was_let_in_and_until_when(clinic: Clinic) -> None:
    dossier = clinic.infer(clinic.inform()).id
    broken = glass(colleague(clinic), dossier)
    share(clinic, dossier, "10000000003")
    dpo = clinic.actor("the-dpo", Role.DPO)
    pseudonym = clinic.ledger.people.patient(patient())
    report = patient_access(clinic.ledger, dpo, pseudonym=pseudonym)
    assert [one.type for one in report.accesses] == [
        RecordType.BREAK_GLASS,
        RecordType.CARE_SHARED,
        RecordType.ACCESS_RECORDED,
    ]
    until = report.accesses[0].until
    assert until is not None
    assert until.timestamp() * 1000 == broken.header.valid_until
    assert report.accesses[1].whom is not None
    assert report.accesses[1].whom.number == "10000000003"


@pytest.mark.parametrize("home", ["a glass that stays open", "a step by a stranger"])
def test_a_house_that_lets_a_stranger_in_is_convicted_by_headers_alone(
    tmp_path: Path, home: str
) -> None:
    """Whoever holds every key writes such a log; an export of it tells."""
    clinic = Clinic.founded(tmp_path / "home")
    dossier = clinic.infer(clinic.inform()).id
    stranger = colleague(clinic)
    if home == "a step by a stranger":
        correct(clinic, dossier)
    else:
        glass(stranger, dossier)
        correct(stranger, dossier)
    clinic.ledger.close()

    def change(rows: list[Row]) -> list[Row]:
        last = rows[-1]
        late = replace(last.header, time=last.header.time + 2 * GLASS_MS)
        taken = replace(last.header, actor=stranger.clinician.pseudonym)
        header = taken if home == "a step by a stranger" else late
        return [*rows[:-1], replace(last, header=header)]

    rewrite(clinic.home, change, signer=log_key(clinic.home))
    report = verify_home(clinic.home)
    assert [finding.index for finding in report.findings] == [report.size - 1]
    assert "none of those who care" in report.findings[0].problem


def test_reading_makes_nobody_a_carer(clinic: Clinic) -> None:
    """Neither a break-glass of long ago nor a review is a part in the care."""
    dossier = clinic.whole_dossier()
    dpo = clinic.actor("the-dpo", Role.DPO)
    assert read_dossier(clinic.ledger, dpo, dossier=dossier, purpose=Purpose.AUDIT).inference
    as_clinician = clinic.actor("the-dpo", Role.CLINICIAN)
    with pytest.raises(NotCaring):
        read_dossier(clinic.ledger, as_clinician, dossier=dossier)


def test_a_withheld_answer_stays_closed_to_every_reader(clinic: Clinic) -> None:
    dossier = clinic.infer(clinic.inform(), mode=Mode.WITHHELD).id
    dpo = clinic.actor("the-dpo", Role.DPO)
    view = read_dossier(clinic.ledger, dpo, dossier=dossier, purpose=Purpose.AUDIT)
    assert view.inference is None
    report = patient_access(clinic.ledger, dpo, pseudonym=clinic.ledger.people.patient(patient()))
    assert report.dossiers[0].answer is None
    assert "BREAST" not in report.model_dump_json()


def test_a_patient_s_report_counts_every_reading_and_is_one(clinic: Clinic) -> None:
    dossier = clinic.whole_dossier()
    clinic.whole_dossier(2)
    dpo = clinic.actor("the-dpo", Role.DPO)
    read_dossier(clinic.ledger, dpo, dossier=dossier, purpose=Purpose.LITIGATION)
    pseudonym = clinic.ledger.people.patient(patient())
    patient_access(clinic.ledger, dpo, pseudonym=pseudonym)
    report = patient_access(clinic.ledger, dpo, pseudonym=pseudonym)
    assert [one.outcome for one in report.accesses] == [
        "litigation",
        "patient_request",
        "patient_request",
    ]
    assert [one.inference_id for one in report.dossiers] == [dossier]
    assert report.dossiers[0].records[0].facts is not None
    assert report.dossiers[0].records[0].facts["profile"] == [1.0, 2.0, None]
    with pytest.raises(NotEntitled):
        patient_access(clinic.ledger, clinic.clinician, pseudonym=pseudonym)
