"""The master key: given or kept, rotated under load, found again after a stop at any moment."""

import base64
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from guarantee import custody, rotation
from guarantee.appending import Request
from guarantee.bodies import KeyRotated
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.keyring import GivenKeys, KeyFiles, keyring_of
from guarantee.ledger import Ledger
from guarantee.logged import LedgerUnavailable
from guarantee.pseudonyms import UnknownPerson
from guarantee.refusals import RoleRefused
from guarantee.store import KEYS
from guarantee.vault import CannotOpen, KeyUnavailable, MasterKey, new_key
from tests.guarantee.clinic import Clinic, check_ledger, patient
from tests.guarantee.test_ledger import start, worker


def operate(clinic: Clinic) -> rotation.Rotation:
    return rotation.rotate_master_key(clinic.ledger, clinic.actor("op", Role.INTEGRATOR))


def master_in(home: Home) -> bytes:
    return (home.keys / "master.key").read_bytes()


def given_as(*keys: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in keys)


# Rotation


def test_a_rotation_changes_the_key_and_nothing_that_it_opens(clinic: Clinic) -> None:
    inference = clinic.whole_dossier()
    pseudonym = clinic.ledger.people.patient(patient())
    before = master_in(clinic.home)
    rotation = operate(clinic)
    after = master_in(clinic.home)
    assert before != after
    assert not (clinic.home.keys / "master.next").exists()
    said = clinic.ledger.open_as(rotation.recorded, KeyRotated)
    assert said.old == MasterKey(before).fingerprint
    assert said.new == MasterKey(after).fingerprint == rotation.fingerprint
    assert said.keys == rotation.keys
    assert clinic.ledger.open_body(clinic.ledger.find(inference)) is not None
    assert clinic.ledger.people.patient(patient()) == pseudonym
    assert clinic.actor("899700000001", Role.CLINICIAN).pseudonym == clinic.clinician.pseudonym
    clinic.whole_dossier(2)
    clinic.ledger.close()
    (clinic.home.keys / "master.key").write_bytes(before)
    with pytest.raises(KeyUnavailable, match=r"master\.key"):
        Ledger.open(clinic.home)
    (clinic.home.keys / "master.key").write_bytes(after)


def test_a_rotation_is_for_whoever_operates_the_house(clinic: Clinic) -> None:
    before = master_in(clinic.home)
    with pytest.raises(RoleRefused):
        rotation.rotate_master_key(clinic.ledger, clinic.actor("dpo", Role.DPO))
    assert master_in(clinic.home) == before
    # The key that was made for it is taken by the next one.
    made = (clinic.home.keys / "master.next").read_bytes()
    operate(clinic)
    assert master_in(clinic.home) == made


def test_an_idempotency_key_outlives_a_rotation(clinic: Clinic) -> None:
    information = clinic.inform()
    request = Request(actor="a", route="infer", key="k", content=b"same")
    first = clinic.infer(information, request=request)
    operate(clinic)
    assert clinic.infer(information, request=request).id == first.id


def test_a_worker_that_started_before_a_rotation_goes_on_after_it(clinic: Clinic) -> None:
    clinic.whole_dossier()
    pseudonym = clinic.ledger.people.patient(patient())
    operator = Clinic.opened(clinic.home)
    for _ in range(2):
        operate(operator)
    operator.ledger.close()
    # Looked up first: a lookup under the former key finds nobody, and must not enrol anybody.
    assert clinic.ledger.people.patient(patient()) == pseudonym
    operator = Clinic.opened(clinic.home)
    operate(operator)
    operator.ledger.close()
    clinic.whole_dossier(2)
    assert custody.holding(clinic.ledger, pseudonym).records


def test_a_rotation_hides_no_altered_key(file_clinic: Clinic) -> None:
    file_clinic.whole_dossier()
    pseudonym = file_clinic.ledger.people.patient(patient())
    key = file_clinic.ledger.people.master.wrap(new_key(), owner="somebody else")
    with file_clinic.ledger.store.writing() as connection:
        kept = KEYS.c.id == pseudonym
        whole = connection.scalar(KEYS.select().with_only_columns(KEYS.c.wrapped).where(kept))
        connection.execute(update(KEYS).where(kept).values(wrapped=key))
    before = master_in(file_clinic.home)
    with pytest.raises(CannotOpen):
        operate(file_clinic)
    assert master_in(file_clinic.home) == before
    with file_clinic.ledger.store.writing() as connection:
        connection.execute(update(KEYS).where(kept).values(wrapped=whole))


def test_a_stop_before_the_commit_leaves_the_old_key_in_force(file_clinic: Clinic) -> None:
    inference = file_clinic.whole_dossier()
    before = master_in(file_clinic.home)
    with sqlite3.connect(file_clinic.home.database) as database:
        database.execute(
            "CREATE TRIGGER stop BEFORE UPDATE ON head BEGIN SELECT RAISE(ABORT, 'power'); END"
        )
        database.commit()
        with pytest.raises(LedgerUnavailable):
            operate(file_clinic)
        database.execute("DROP TRIGGER stop")
    assert file_clinic.ledger.open_body(file_clinic.ledger.find(inference)) is not None
    assert (file_clinic.home.keys / "master.next").exists()
    reopened = Clinic.opened(file_clinic.home)
    assert master_in(file_clinic.home) == before
    assert reopened.ledger.open_body(reopened.ledger.find(inference)) is not None
    operate(reopened)
    reopened.ledger.close()


def test_a_stop_between_the_commit_and_the_files_leaves_the_new_key_in_force(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference = clinic.whole_dossier()
    with monkeypatch.context() as patched:
        patched.setattr(KeyFiles, "settle", lambda _self, _key: None)
        rotation = operate(clinic)
        # Both files are there, and the verifier reads both.
        assert (clinic.home.keys / "master.next").exists()
    check_ledger(clinic.home)
    reopened = Clinic.opened(clinic.home)
    assert not (clinic.home.keys / "master.next").exists()
    assert MasterKey(master_in(clinic.home)).fingerprint == rotation.fingerprint
    assert reopened.ledger.open_body(reopened.ledger.find(inference)) is not None
    reopened.ledger.close()


@pytest.mark.slow
def test_a_rotation_killed_at_any_moment_loses_no_key(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    clinic = Clinic.founded(home)
    dossiers = [clinic.whole_dossier(number) for number in range(20)]
    clinic.ledger.close()
    rotating = """
        from guarantee import rotation
        from guarantee.identity import Role
        operator = clinic.actor("op", Role.INTEGRATOR)
        while True:
            print(rotation.rotate_master_key(clinic.ledger, operator).fingerprint, flush=True)
        """
    for attempt in range(12):
        with worker(home, rotating) as process:
            start(process)
            assert process.stdout is not None
            process.stdout.readline()
            # Somewhere else in a rotation each time.
            time.sleep(attempt * 0.0015)
            process.send_signal(signal.SIGKILL)
        clinic = Clinic.opened(home)
        for number, inference in enumerate(dossiers):
            assert clinic.ledger.open_body(clinic.ledger.find(inference)) is not None
            pseudonym = clinic.ledger.people.patient(patient(number))
            assert clinic.ledger.sealed_for(inference) == pseudonym
        clinic.ledger.close()
    check_ledger(home)


# Where the key comes from


def test_a_key_from_the_environment_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GARANT_MASTER_KEY", given_as(key := new_key()))
    home = Home(tmp_path / "home")
    clinic = Clinic.founded(home)
    clinic.whole_dossier()
    assert clinic.ledger.people.master == MasterKey(key)
    clinic.ledger.close()
    assert not list(home.keys.glob("master*"))
    assert not any(key in path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    check_ledger(home)
    monkeypatch.setenv("GARANT_MASTER_KEY", given_as(new_key()))
    with pytest.raises(KeyUnavailable):
        Ledger.open(home)


def test_keys_from_the_environment_rotate_to_the_other_one_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = new_key(), new_key()
    monkeypatch.setenv("GARANT_MASTER_KEY", given_as(old))
    home = Home(tmp_path / "home")
    clinic = Clinic.founded(home)
    inference = clinic.whole_dossier()
    with pytest.raises(KeyUnavailable, match="comma"):
        operate(clinic)
    clinic.ledger.close()
    monkeypatch.setenv("GARANT_MASTER_KEY", given_as(new, old))
    clinic = Clinic.opened(home)
    assert operate(clinic).fingerprint == MasterKey(new).fingerprint
    clinic.ledger.close()
    monkeypatch.setenv("GARANT_MASTER_KEY", given_as(new))
    clinic = Clinic.opened(home)
    assert clinic.ledger.open_body(clinic.ledger.find(inference)) is not None
    clinic.ledger.close()
    check_ledger(home)


@given(st.text(max_size=60))
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(KeyUnavailable) as refused:
        GivenKeys.parse(f"{text}?")
    assert len(text) < 8 or text not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_key_tells_itself_nowhere() -> None:
    key = MasterKey(b"k" * 32)
    assert "kkk" not in repr(key) + key.fingerprint
    assert "kkk" not in repr(GivenKeys((key,)))
    assert key.fingerprint == MasterKey(b"k" * 32).fingerprint
    assert key.fingerprint != MasterKey(b"l" * 32).fingerprint


def test_a_damaged_key_file_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    clinic = Clinic.founded(home)
    clinic.ledger.close()
    (home.keys / "master.key").write_bytes(b"short")
    with pytest.raises(KeyUnavailable, match=r"master\.key"):
        Ledger.open(home)


def test_a_lost_key_is_not_made_anew_over_a_vault(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    clinic = Clinic.founded(home)
    clinic.ledger.close()
    (home.keys / "master.key").unlink()
    with pytest.raises(KeyUnavailable, match="restore"):
        Ledger.open(home)
    assert not (home.keys / "master.key").exists()


def test_the_variable_goes_before_the_files(tmp_path: Path) -> None:
    assert isinstance(keyring_of(tmp_path, {}), KeyFiles)
    ring = keyring_of(tmp_path, {"GARANT_MASTER_KEY": given_as(new_key())})
    assert isinstance(ring, GivenKeys)
    with pytest.raises(KeyUnavailable):
        keyring_of(tmp_path, {"GARANT_MASTER_KEY": "not a key"})


def test_an_unknown_ins_is_nobody_s(clinic: Clinic) -> None:
    with pytest.raises(UnknownPerson):
        clinic.ledger.people.patient_by_ins(oid=patient().oid, matricule="0000000000000")
