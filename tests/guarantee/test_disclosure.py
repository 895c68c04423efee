"""One dossier opened for whoever holds an export: all of it, only it, and no key."""

import base64
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from guarantee import review
from guarantee.access import NotEntitled
from guarantee.bodies import DecisionSigned, InferenceMade, PatientTold, Purpose
from guarantee.card import Mode
from guarantee.disclosure import DisclosureRefused, disclose, open_disclosed, write_disclosure
from guarantee.export import ExportedLog, write_export
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import StepMissing
from guarantee.verify import reading
from tests.guarantee.clinic import Clinic

SECRET = b"s" * 32


@dataclass
class Opened:
    export: Path
    case: str
    disclosure: str

    def open(self, disclosure: str | None = None) -> list[object]:
        with ExportedLog(self.export) as log:
            return [one.body for one in open_disclosed(log, disclosure or self.disclosure)]


def drawn(clinic: Clinic, member: Actor) -> None:
    announced = review.announce(
        clinic.ledger, member, rate="1/1", secret_sha256=sha256(SECRET).hexdigest()
    )
    review.draw(clinic.ledger, member, announcement=announced.id, secret=SECRET)


@pytest.fixture
def opened(file_clinic: Clinic, tmp_path: Path) -> Opened:
    case = file_clinic.whole_dossier(1)
    file_clinic.whole_dossier(2)
    member = file_clinic.actor("member-physician", Role.COLLEGE)
    drawn(file_clinic, member)
    disclosure = disclose(file_clinic.ledger, member, dossier=case, purpose=Purpose.REVIEW)
    Ledger.open(file_clinic.home).close()  # signs the head
    with reading(file_clinic.home) as log:
        write_export(log, tmp_path / "log.garant")
    return Opened(tmp_path / "log.garant", case, disclosure)


def test_a_disclosed_dossier_says_what_was_recorded(opened: Opened) -> None:
    inference, decision, told, *_ = opened.open()
    assert isinstance(inference, InferenceMade)
    assert inference.answer.label == "BREAST"
    assert isinstance(decision, DecisionSigned)
    assert isinstance(told, PatientTold)


def test_that_it_was_read_and_why_is_on_record(opened: Opened, file_clinic: Clinic) -> None:
    (access,) = file_clinic.ledger.latest(RecordType.ACCESS_RECORDED)
    assert (access.header.dossier, access.header.outcome) == (opened.case, "review")


def test_a_reworded_body_another_nonce_or_a_record_left_out_is_refused(opened: Opened) -> None:
    facts = json.loads(opened.disclosure)
    records = list(facts["opened"])
    for record in records:
        for change in (0, 40):
            opening = bytearray(base64.b64decode(facts["opened"][record]))
            opening[change] ^= 1
            altered = {**facts["opened"], record: base64.b64encode(opening).decode()}
            with pytest.raises(DisclosureRefused, match=f"{record} committed to another"):
                opened.open(json.dumps({**facts, "opened": altered}))
        fewer = {key: value for key, value in facts["opened"].items() if key != record}
        with pytest.raises(DisclosureRefused, match=f"{record} of the dossier was left out"):
            opened.open(json.dumps({**facts, "opened": fewer}))
    swapped = dict(zip(records, reversed(list(facts["opened"].values())), strict=True))
    with pytest.raises(DisclosureRefused, match="committed to another"):
        opened.open(json.dumps({**facts, "opened": swapped}))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "garant-disclosure"}', "\x00"])
def test_what_is_no_disclosure_is_refused(opened: Opened, text: str) -> None:
    with ExportedLog(opened.export) as log, pytest.raises(DisclosureRefused):
        open_disclosed(log, text)


def test_a_dossier_that_the_export_does_not_hold_yet_asks_for_a_newer_one(
    opened: Opened, file_clinic: Clinic
) -> None:
    later = file_clinic.whole_dossier(3)
    officer = file_clinic.actor("officer", Role.DPO)
    disclosure = disclose(file_clinic.ledger, officer, dossier=later, purpose=Purpose.AUDIT)
    with pytest.raises(DisclosureRefused, match="newer export"):
        opened.open(disclosure)


def test_a_case_that_was_not_drawn_is_not_opened_for_the_college(file_clinic: Clinic) -> None:
    case = file_clinic.whole_dossier(1)
    member = file_clinic.actor("member-physician", Role.COLLEGE)
    with pytest.raises(NotEntitled):
        disclose(file_clinic.ledger, member, dossier=case, purpose=Purpose.REVIEW)


def test_a_withheld_answer_is_not_disclosed(file_clinic: Clinic) -> None:
    case = file_clinic.infer(file_clinic.inform(), mode=Mode.WITHHELD).id
    officer = file_clinic.actor("officer", Role.DPO)
    with pytest.raises(StepMissing, match="withheld"):
        disclose(file_clinic.ledger, officer, dossier=case, purpose=Purpose.AUDIT)


def test_its_file_is_for_its_owner_s_eyes_and_replaces_none(tmp_path: Path) -> None:
    file = tmp_path / "case.json"
    write_disclosure(file, "{}")
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(DisclosureRefused):
        write_disclosure(file, "{}")
