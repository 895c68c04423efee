"""Whose a body is, is found at any size of the log, and not noted otherwise unseen."""

import shutil
from pathlib import Path

import pytest

from guarantee.appending import Draft
from guarantee.bodies import PatientInformed, Recipient
from guarantee.home import Home
from guarantee.logged import Recorded
from guarantee.owned import TOGETHER, owned_by
from guarantee.records import RecordType
from guarantee.verify import main
from tests.guarantee.clinic import CARD, Clinic, check_ledger, patient
from tests.guarantee.test_tables import Cells, problems


def places(clinic: Clinic, pseudonym: str) -> list[int]:
    with clinic.ledger.store.reading() as connection:
        return sorted(connection.scalars(owned_by(pseudonym)))


def grown(clinic: Clinic, size: int) -> dict[str, list[int]]:
    """Grow a log to that size; what it then holds of three patients."""
    patients = [clinic.ledger.people.patient(patient(number)) for number in range(3)]
    body = PatientInformed(recipient=Recipient.PATIENT, leaflet_sha256={CARD.name: "ab" * 32})
    informed: dict[str, list[int]] = {one: [] for one in patients}
    drafts = [
        Draft(
            type=RecordType.PATIENT_INFORMED,
            actor=clinic.clinician,
            outcome="informed",
            body=body,
            sealed_for=patients[index % 3],
            models=(CARD.name,),
        )
        for index in range(clinic.ledger.head().size, size)
    ]
    # In two groups, the second of which goes past the bound.
    for some in (drafts[:50], drafts[50:]):
        for draft, recorded in zip(some, clinic.ledger.record_all(some), strict=True):
            assert isinstance(recorded, Recorded)
            informed[draft.sealed_for or ""].append(recorded.index)
    return informed


@pytest.mark.parametrize("size", [TOGETHER - 1, TOGETHER, TOGETHER + 3])
def test_what_is_sealed_for_a_patient_is_found_at_any_size(clinic: Clinic, size: int) -> None:
    informed = grown(clinic, size)
    for pseudonym, expected in informed.items():
        assert places(clinic, pseudonym) == expected
        found = clinic.ledger.of_patient(pseudonym, RecordType.PATIENT_INFORMED)
        assert [one.index for one in found] == expected
    check_ledger(clinic.home)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Home:
    clinic = Clinic.founded(tmp_path_factory.mktemp("pristine") / "home")
    grown(clinic, TOGETHER + 3)
    clinic.ledger.close()
    return clinic.home


OTHERWISE = {
    "for another patient": "UPDATE owned SET key_id = 'nobody' WHERE position = 200",
    "at another place": "UPDATE owned SET position = 300 WHERE position = 200",
    "twice": "INSERT INTO owned SELECT 'nobody', position FROM owned LIMIT 1",
    "that is not there": "INSERT INTO owned VALUES ('nobody', 9000)",
    "too early": "INSERT INTO owned SELECT key_id, position FROM bodies WHERE position = 256",
    "not at all": "DELETE FROM owned WHERE position = (SELECT max(position) FROM owned)",
    "in bytes": "UPDATE owned SET key_id = CAST(key_id AS BLOB) WHERE position = 200",
    "in words": "UPDATE owned SET position = 'x' WHERE position = 200",
}


@pytest.mark.parametrize("edit", OTHERWISE.values(), ids=OTHERWISE.keys())
def test_a_body_that_is_noted_otherwise_is_found(pristine: Home, tmp_path: Path, edit: str) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(pristine.path, home.path)
    assert problems(home) == []
    assert Cells(home).edit(edit)
    assert any("what is noted is not whose its body is" in problem for problem in problems(home))
    assert main(["--home", str(home.path)]) == 1
