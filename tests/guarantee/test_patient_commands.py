"""`garant patient` and `garant key rotate`, as typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from guarantee import custody
from guarantee.bodies import HoldReason
from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.key_commands import key_app
from guarantee.patient_commands import patient_app
from tests.guarantee.clinic import Clinic, caller, check_ledger, patient


def authenticate(_: Home, token: str) -> Caller:
    """The token is the role."""
    return caller(f"the-{token}", Role(token))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    clinic = Clinic.founded(Home(tmp_path / "home"))
    clinic.whole_dossier()
    clinic.ledger.close()
    return clinic.home


def garant(home: Home, *words: str, role: Role = Role.DPO, typed: str | None = None) -> Result:
    app = key_app if words[0] == "rotate" else patient_app
    return CliRunner().invoke(
        app, [*words, "--home", str(home.path), "--token", role], obj=authenticate, input=typed
    )


def found(home: Home) -> str:
    given = garant(home, "find", "--oid", patient().oid, "--matricule", patient().matricule)
    assert given.exit_code == 0, given.output
    return given.stdout.strip()


def test_a_patient_is_found_by_their_ins_by_the_dpo_alone(home: Home) -> None:
    assert len(found(home)) == 32
    asked = garant(home, "find", "--oid", patient().oid, typed=f"{patient().matricule}\n")
    assert found(home) in asked.stdout
    refused = garant(home, "find", "--oid", patient().oid, "--matricule", "1", role=Role.CLINICIAN)
    assert refused.exit_code == 1
    assert "NotEntitled" in refused.stderr


def test_all_that_is_held_is_printed_as_json_and_the_access_is_on_record(home: Home) -> None:
    given = garant(home, "access", found(home))
    assert given.exit_code == 0, given.output
    report = json.loads(given.stdout)
    assert report["identity"]["birth_name"] == "ZÉNITH-TESTEUR"
    assert report["dossiers"][0]["answer"]["en"] == "breast"
    assert report["accesses"][-1]["record_id"] == report["access_id"]
    assert garant(home, "access", "0" * 32).exit_code == 1
    check_ledger(home)


def test_a_file_puts_an_identity_right_and_what_is_none_is_not_repeated(
    home: Home, tmp_path: Path
) -> None:
    pseudonym = found(home)
    file = tmp_path / "identity.json"
    file.write_text(json.dumps({**patient().model_dump(mode="json"), "birth_name": "ZÉNITH"}))
    done = garant(home, "rectify", pseudonym, "--identity", str(file))
    assert done.exit_code == 0, done.output
    file.write_text(json.dumps({**patient().model_dump(mode="json"), "sex": "LEFEVRE-SECRET"}))
    refused = garant(home, "rectify", pseudonym, "--identity", str(file))
    assert refused.exit_code == 1
    assert "sex" in refused.stderr
    assert "SECRET" not in refused.output
    check_ledger(home)


def test_an_erasure_is_asked_for_twice_and_waits_for_the_hold(home: Home) -> None:
    pseudonym = found(home)
    erase = ("erase", pseudonym, "--ground", "court_order")
    assert garant(home, *erase, typed="n\n").exit_code == 1
    assert garant(home, "hold", pseudonym, "--reason", HoldReason.INQUIRY).exit_code == 0
    assert "OnHold" in garant(home, *erase, "--yes").stderr
    assert garant(home, "hold", pseudonym, "--reason", "inquiry", "--lift").exit_code == 0
    early = garant(home, "erase", pseudonym, "--ground", "retention_ended", "--yes")
    assert "RetentionRuns" in early.stderr
    done = garant(home, *erase, typed="y\n")
    assert done.exit_code == 0, done.output
    assert "5 bodies" in done.stdout
    again = garant(home, *erase, "--yes")
    assert again.exit_code == 1
    assert "Erased" in again.stderr
    check_ledger(home)


def test_the_master_key_is_rotated_by_whoever_operates_the_house(home: Home) -> None:
    before = (home.keys / "master.key").read_bytes()
    assert garant(home, "rotate", role=Role.DPO).exit_code == 1
    done = garant(home, "rotate", role=Role.INTEGRATOR)
    assert done.exit_code == 0, done.output
    assert (home.keys / "master.key").read_bytes() != before
    clinic = Clinic.opened(home)
    assert custody.holding(clinic.ledger, clinic.ledger.people.patient(patient())).records
    clinic.ledger.close()
    check_ledger(home)


def test_every_command_shows_an_example(home: Home) -> None:
    for command in ("find", "access", "rectify", "erase", "hold"):
        shown = CliRunner().invoke(patient_app, [command, "--help"], obj=authenticate)
        assert f"garant patient {command}" in shown.stdout
