"""Evidently's workspace: what its own UI opens, and that no case's value is in it."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from guarantee.identity import Role
from monitoring.watch import look, report
from tests.monitoring.conftest import NAME, Ward, profiles
from tests.serving.conftest import free_port


def _runs(ward: Ward) -> list[Path]:
    return sorted((ward.home.monitoring / "workspace").glob("*/snapshots/*.json"))


def test_what_is_put_on_record_and_what_is_reported_are_runs_of_one_project_without_a_value(
    ward: Ward,
) -> None:
    monitor = ward.actor(Role.MONITOR)
    given = profiles(120, 2)
    given[60:, 1] += 4
    ward.ask(given[:60])
    look(ward.ledger, ward.home, monitor, NAME)
    assert _runs(ward) == []
    ward.ask(given[60:], first=60)
    look(ward.ledger, ward.home, monitor, NAME)
    assert len(_runs(ward)) == 1
    look(ward.ledger, ward.home, monitor, NAME)
    assert len(_runs(ward)) == 1
    report(ward.ledger, ward.home, NAME)
    runs = _runs(ward)
    assert len(runs) == 2
    assert len({run.parent for run in runs}) == 1
    for run in runs:
        said = run.read_text()
        assert json.loads(said)["name"] == "version 1: drift, 60 cases"
        assert "gene 1" in said
        numbers = {float(number) for number in re.findall(r"-?\d+\.\d{4,}", said)}
        assert len(numbers) > 50
        assert numbers.isdisjoint(map(float, given.ravel()))
        assert numbers.isdisjoint(float(str(value)) for value in given.ravel())
        assert not [one for one in (ward.information, *ward.others) if one.pseudonym in said]
    kept = {path.name for path in (ward.home.monitoring / "workspace").rglob("*") if path.is_file()}
    assert kept == {"metadata.json", *(run.name for run in runs)}


@pytest.mark.slow
def test_evidentlys_own_ui_opens_the_reports(ward: Ward, tmp_path: Path) -> None:
    ward.ask(profiles(60, 1))
    report(ward.ledger, ward.home, NAME)
    port = free_port()
    command = Path(sys.executable).with_name("evidently")
    arguments = ["ui", "--workspace", str(ward.home.monitoring / "workspace")]
    with (tmp_path / "ui.log").open("wb") as printed:
        ui = subprocess.Popen(
            [command, *arguments, "--host", "127.0.0.1", "--port", str(port)],
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DO_NOT_TRACK": "true"},
        )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60
        ) as browser:
            deadline = time.monotonic() + 120
            while not _answers(browser):
                assert ui.poll() is None, (tmp_path / "ui.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            (project,) = browser.get("/api/projects").json()
            assert project["name"] == NAME
            (run,) = browser.get(f"/api/projects/{project['id']}/snapshots").json()
            page = browser.get(f"/api/projects/{project['id']}/{run['id']}/data")
            assert page.status_code == 200, page.text
            assert "gene 1" in page.text
    finally:
        ui.terminate()
        ui.wait(timeout=30)


def _answers(browser: httpx.Client) -> bool:
    try:
        return browser.get("/api/version").status_code == 200
    except httpx.TransportError:
        return False
