"""The main job as a newcomer runs it: one command, a real tumour, a ledger that verifies."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guarantee.bodies import InferenceMade
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.records import RecordType, unpack_floats
from models import cohorts
from serving.demo import _PATIENT, DemoFailed, clear
from tests.serving.conftest import ROOT, check_ledger, watched, watching


@pytest.fixture(scope="module")
def home(gcm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home where the tumours were fetched before, as that is the one call that leaves."""
    cohorts.gcm(gcm_folder)
    home = Home(tmp_path_factory.mktemp("demo") / "home")
    shutil.copytree(gcm_folder, home.cohorts)
    return home


def garant(home: Home, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "garant", *arguments, "--home", str(home.path)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def told(
    home: Home, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], str, set[str]]:
    """What the demo printed: its object, its story, and what its processes called."""
    folder = tmp_path_factory.mktemp("watch")
    ran = garant(home, "demo", "--json", **watching(folder))
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), ran.stderr, watched(folder)


def test_the_demo_tells_one_object_about_a_real_tumour(
    told: tuple[dict[str, Any], str, set[str]], home: Home
) -> None:
    outcome, story, _ = told
    assert outcome["model"] == "tumour-origin-microarray"
    assert outcome["label"] in set(cohorts.gcm(home.cohorts).labels)
    assert 0 < outcome["probability"] <= 1
    assert len(outcome["top_features"]) >= 10
    assert all(part["contribution"] for part in outcome["top_features"][:5])
    assert outcome["decision"] == (
        "accepted" if outcome["label"] == outcome["truth"] else "overridden"
    )
    assert outcome["records"] >= 8
    assert outcome["ledger_verified"] is True
    assert "tokens" not in outcome
    assert "Research, not for care" in story
    check_ledger(home)


def test_the_dossier_went_through_every_step(
    told: tuple[dict[str, Any], str, set[str]], home: Home
) -> None:
    with Ledger.open(home) as ledger:
        thread = ledger.thread(told[0]["inference_id"])
    assert [recorded.header.type for recorded in thread] == [
        RecordType.INFERENCE_MADE,
        RecordType.DECISION_SIGNED,
        RecordType.PATIENT_TOLD,
        RecordType.OUTCOME_CONFIRMED,
    ]


def test_nothing_leaves_the_machine(told: tuple[dict[str, Any], str, set[str]]) -> None:
    assert told[2] == {"watching"}


def test_no_log_line_holds_a_value_of_the_tumour_or_the_patient(
    told: tuple[dict[str, Any], str, set[str]], home: Home
) -> None:
    outcome, story, _ = told
    with Ledger.open(home) as ledger:
        inference = ledger.open_as(ledger.find(outcome["inference_id"]), InferenceMade)
    log = home.path / "service.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    lines = story + log.read_text()
    values = {f"{value:.9g}" for value in unpack_floats(inference.profile)}
    distinctive = {value for value in values if len(value) > 6}
    assert len(distinctive) > 40  # half of a tumour may lie at the floor
    assert not [value for value in distinctive if value in lines]
    for secret in ("matricule", "birth_name", "given_names", "birth_date"):
        assert str(_PATIENT[secret]) not in lines


def test_one_byte_of_it_altered_is_found_by_the_command(
    told: tuple[dict[str, Any], str, set[str]], home: Home, tmp_path: Path
) -> None:
    copy = Home(tmp_path / "home")
    shutil.copytree(home.path, copy.path, ignore=shutil.ignore_patterns("mlflow", "cohorts"))
    assert garant(copy, "ledger", "verify").returncode == 0
    with sqlite3.connect(copy.database) as database:
        database.execute(
            "UPDATE bodies SET stored = substr(stored, 1, 20) || x'00' || substr(stored, 22)"
            " WHERE position = (SELECT position FROM records WHERE id = ?)",
            (told[0]["inference_id"],),
        )
    database.close()
    found = garant(copy, "ledger", "verify")
    assert found.returncode == 1
    assert told[0]["inference_id"] in found.stdout


@pytest.mark.slow
def test_a_second_demo_in_the_same_home_goes_on_from_the_first(
    told: tuple[dict[str, Any], str, set[str]], home: Home
) -> None:
    again = garant(home, "demo")
    assert again.returncode == 0, again.stderr
    assert "records verified" in again.stdout
    check_ledger(home)


def test_a_demos_home_is_deleted_only_where_nothing_runs_on_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    clear(home)
    with Ledger.open(home) as ledger:
        ledger.head()
    with pytest.raises(DemoFailed, match="not a demo's home"):
        clear(home)
    (home.path / "demo.pid").write_text(f"{os.getpid()}\n")
    with Ledger.open(home), pytest.raises(DemoFailed, match=f"kill {os.getpid()}"):
        clear(home)
    check_ledger(home)
    clear(home)
    assert not home.path.exists()
