"""Who is entitled to a dossier, and what each reading leaves on record."""

from hashlib import sha256

import pytest

from guarantee import access, custody, review
from guarantee.access import NotEntitled, PurposeMissing, patient_access, read_dossier
from guarantee.bodies import AccessRecorded, Glass, Purpose
from guarantee.card import Mode
from guarantee.identity import Profession, Role
from guarantee.records import RecordType
from tests.guarantee.clinic import Clinic, patient

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


def test_whoever_took_a_step_cares_for_the_patient(clinic: Clinic) -> None:
    dossier = clinic.infer(clinic.inform()).id
    colleague = clinic.actor("10000000002", Role.CLINICIAN)
    with pytest.raises(NotEntitled, match="break"):
        read_dossier(clinic.ledger, colleague, dossier=dossier)
    clinic.decide(dossier)
    own = Clinic(clinic.home, clinic.ledger, colleague)
    own.tell(dossier)
    assert read_dossier(clinic.ledger, colleague, dossier=dossier).inference
    assert readings(clinic) == 0


def test_broken_glass_closes_again(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    dossier = clinic.infer(clinic.inform()).id
    stranger = clinic.actor("10000000002", Role.CLINICIAN)
    recorded = custody.break_glass(
        clinic.ledger, stranger, dossier=dossier, ground=Glass.CONTINUITY_OF_CARE
    )
    assert read_dossier(clinic.ledger, stranger, dossier=dossier).inference
    end = recorded.header.time + access.GLASS_HOURS * 3_600_000
    monkeypatch.setattr(access, "now_ms", lambda: end)
    with pytest.raises(NotEntitled):
        read_dossier(clinic.ledger, stranger, dossier=dossier)


def test_reading_makes_nobody_a_carer(clinic: Clinic) -> None:
    """Neither a break-glass of long ago nor a review is a part in the care."""
    dossier = clinic.whole_dossier()
    dpo = clinic.actor("the-dpo", Role.DPO)
    assert read_dossier(clinic.ledger, dpo, dossier=dossier, purpose=Purpose.AUDIT).inference
    as_clinician = clinic.actor("the-dpo", Role.CLINICIAN)
    with pytest.raises(NotEntitled):
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
