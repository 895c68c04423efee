import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from sqlalchemy import update
from typer.testing import CliRunner

from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from guarantee.store import KEYS
from monitoring.commands import app
from monitoring.performance import measure
from monitoring.use import Share
from tests.guarantee.clinic import check_ledger
from tests.monitoring.conftest import NAME, Ward, caller, profiles


def _monitor(home: Home, token: str) -> Caller:
    assert token == "a token"
    return caller(Role.MONITOR)


def _invoke(*arguments: str) -> tuple[int, str]:
    door = typer.Typer()
    door.add_typer(app, name="monitor")
    result = CliRunner().invoke(door, ["monitor", *arguments], obj=_monitor)
    return result.exit_code, result.output


def test_a_run_says_undecided_in_words(ward: Ward) -> None:
    ward.ask(profiles(12, 1))
    code, said = _invoke("run", NAME, "--home", str(ward.home.path), "--token", "a token")
    assert code == 0
    assert said.splitlines() == [
        f"{NAME} 1: undecided: 12 cases, 40 needed",
        "  the card's bounds: 0 missed, 6 undecided, of 6",
    ]


def test_a_run_over_every_model_names_what_moved_and_what_it_recorded(ward: Ward) -> None:
    ward.ask(profiles(60, 1) + 2)
    code, said = _invoke("run", "--home", str(ward.home.path), "--token", "a token")
    assert code == 0
    (recorded,) = ward.ledger.latest(RecordType.DRIFT_DETECTED)
    assert f"{NAME} 1: drift: 60 cases" in said
    assert "gene 1: ks p = " in said
    assert f"recorded: DriftDetected {recorded.id}" in said


def test_a_run_takes_a_window_by_count_or_by_days(ward: Ward) -> None:
    ward.ask(profiles(60, 1))
    home = ("--home", str(ward.home.path), "--token", "a token")
    assert f"{NAME} 1: undecided: 12 cases, 40 needed" in _invoke("run", *home, "--last", "12")[1]
    assert "undecided: 0 cases" in _invoke("run", *home, "--until", "2020-01-01")[1]
    assert "stable: 60 cases" in _invoke("run", *home, "--days", "2")[1]
    assert _invoke("run", *home, "--last", "0")[0] == 2


def test_one_patients_altered_key_keeps_no_run_from_looking(ward: Ward) -> None:
    now = ward.ledger.now()
    home = ("--home", str(ward.home.path), "--token", "a token")
    (row,), _ = ward.answered(1, 1)
    with Ledger.open(ward.home, clock=lambda: now - 73 * 3_600_000) as earlier:
        replace(ward, ledger=earlier).ask(row[None], first=0)
        (asked,) = earlier.latest(RecordType.INFERENCE_MADE, count=1)
        owner = earlier.sealed_for(asked.id)
    with ward.ledger.store.writing() as connection:
        connection.execute(update(KEYS).where(KEYS.c.id == owner).values(wrapped=bytes(60)))
    code, said = _invoke("run", *home, "--last", "60")
    assert code == 1
    assert "Lapsed reviews were not all recorded" in said
    # And the model was looked at, whose window holds that patient.
    assert said.count("stored key of that person was altered") == 2


def test_reviews_lapse_once_by_the_lapse_and_by_the_run(ward: Ward) -> None:
    now = ward.ledger.now()
    home = ("--home", str(ward.home.path), "--token", "a token")
    assert _invoke("lapse", *home) == (0, "reviews lapsed: 0\n")
    (row,), _ = ward.answered(1, 1)
    for patient, command in enumerate(("lapse", "run")):
        with Ledger.open(ward.home, clock=lambda: now - 73 * 3_600_000) as earlier:
            replace(ward, ledger=earlier).ask(row[None], first=patient)
            (asked,) = earlier.latest(RecordType.INFERENCE_MADE, count=1)
        code, said = _invoke(command, *home)
        assert code == 0
        assert f"review lapsed: {NAME} {asked.id}\nreviews lapsed: 1\n" in said
        assert "lapsed" not in _invoke("run", *home)[1]
    assert _invoke("lapse", "another", *home)[0] == 1
    # Performance counts by the clock what is on record.
    assert measure(ward.ledger, ward.served).use.lapsed == Share(count=2, of=2)
    assert ward.ledger.counts()[RecordType.REVIEW_LAPSED] == 2
    check_ledger(ward.home)


def test_a_report_tells_how_the_answers_are_used(ward: Ward) -> None:
    ward.ask(profiles(12, 1))
    code, said = _invoke("report", NAME, "--home", str(ward.home.path))
    assert code == 0
    assert "undecided: 12 cases, 40 needed" in said
    assert "against confirmed truths: undecided: 0 cases, 40 needed" in said
    assert "estimated, not measured: undecided: 12 cases, 40 needed" in said
    assert "accepted none yet" in said


def test_a_report_is_a_page_under_home(ward: Ward) -> None:
    ward.ask(profiles(60, 1))
    code, said = _invoke("report", NAME, "--home", str(ward.home.path))
    assert code == 0
    page = Path(said.split("report: ")[1].strip())
    assert page.is_relative_to(ward.home.path)
    assert "gene 1" in page.read_text(encoding="utf-8")


def test_a_home_without_a_log_is_refused_and_not_made(tmp_path: Path) -> None:
    code, said = _invoke("run", "--home", str(tmp_path / "typo"), "--token", "a token")
    assert code == 1
    assert "there is no log in" in " ".join(said.split())
    assert not (tmp_path / "typo").exists()


def test_a_model_that_cannot_be_looked_at_is_said_and_exits_1(ward: Ward) -> None:
    code, said = _invoke("run", "unknown", "--home", str(ward.home.path), "--token", "a token")
    assert code == 1
    assert "no model of that name is registered" in " ".join(said.split())


@pytest.mark.parametrize("command", ["run", "report"])
def test_help_shows_an_example(command: str) -> None:
    code, said = _invoke(command, "--help")
    assert code == 0
    assert f"garant monitor {command}" in said


def test_help_waits_for_neither_evidently_nor_mlflow() -> None:
    script = (
        "import sys, monitoring.commands;"
        "sys.exit(bool({'evidently', 'mlflow', 'bentoml'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
