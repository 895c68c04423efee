"""What every command keeps to: no log made by a slip, no line broken in a pipe, no open files."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from guarantee.home import Home
from tests.guarantee.clinic import Clinic


def garant(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "garant", *words], capture_output=True, text=True, check=False
    )


READING = {
    "ledger verify": 2,
    "ledger stats": 1,
    "ledger checkpoint": 1,
    "ledger proof 019a8f3c": 1,
    "ledger export {home}.garant": 1,
    "ledger disclose 019a8f3c {home}.json --token any": 1,
    "college status": 1,
    "models list": 1,
    "models show some-model": 1,
    "models history some-model": 1,
    "models card some-model --version 1": 1,
    "monitor report": 1,
    "monitor run --token any": 1,
    "patient find --matricule 1 --oid 1 --token any": 1,
    "patient access 0f3c --token any": 1,
    "key rotate --token any": 1,
    "backup {home}.tar --token any": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize(("words", "status"), READING.items(), ids=READING.keys())
def test_a_home_without_a_log_is_refused_in_a_line_and_not_made(
    words: str, status: int, tmp_path: Path
) -> None:
    home = tmp_path / ("a-home-that-is-nowhere-" * 4)
    answered = garant(*words.format(home=home).split(), "--home", str(home))
    assert answered.returncode == status, answered
    (line,) = answered.stderr.splitlines()
    assert str(home) in line
    assert not answered.stdout
    assert list(tmp_path.iterdir()) == []


def test_lines_stay_whole_in_a_pipe(tmp_path: Path) -> None:
    home = tmp_path / ("a-long-way-down-" * 6)
    clinic = Clinic.founded(Home(home))
    key = str(clinic.ledger.verifier_key)
    clinic.ledger.close()
    told = garant("ledger", "checkpoint", "--home", str(home))
    assert told.stderr.splitlines() == [f"verifier key: {key}"]
    file = home / "log.garant"
    told = garant("ledger", "export", str(file), "--home", str(home))
    assert told.stdout.startswith(f"{file}: ")
    (home / "keys/ledger.key").unlink()
    (line,) = garant("ledger", "verify", "--home", str(home)).stderr.splitlines()
    assert line.startswith(f"could not check: {home / 'keys/ledger.key'} does not exist")


def test_the_log_s_files_are_their_owner_s_alone(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    files = [path for path in clinic.home.path.rglob("*") if path.is_file()]
    assert {"ledger.db", "ledger.db-wal", "ledger.db-shm"} <= {path.name for path in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    clinic.ledger.close()
