"""The commands, as a data scientist and a college type them."""

import csv
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from guarantee import college
from guarantee.card import Card
from guarantee.home import Home
from guarantee.identity import Caller, Profession, Role
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from models import registry
from models.cohorts import Cohort
from models.commands import app
from models.registry import Registration
from tests.models.conftest import card_of

NAME = "three-origins"


def authenticate(_: Home, token: str) -> Caller:
    """Here a token is its role."""
    return Caller(issuer="tests", subject=token, role=Role(token))


def run(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--home", str(home.path)], obj=authenticate)


def said(home: Home, *arguments: str) -> str:
    result = run(home, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def house(registered: tuple[Home, Registration], tmp_path: Path) -> Home:
    home = Home(tmp_path / "house")
    shutil.copytree(registered[0].mlflow, home.mlflow)
    return home


def approve(home: Home) -> None:
    with Ledger.open(home) as ledger:
        for seat in Profession.PHYSICIAN, Profession.PARAMEDIC, Profession.PATIENT_REPRESENTATIVE:
            caller = Caller(issuer="tests", subject=seat, role=Role.COLLEGE)
            member = ledger.people.actor(caller)
            college.appoint(ledger, member, member=member, profession=seat)
            college.vote(ledger, member, name=NAME, version="1", in_favour=True)
        fourth = ledger.people.actor(authenticate(home, "college"))
        physician = Caller(issuer="tests", subject=Profession.PHYSICIAN, role=Role.COLLEGE)
        appointing = ledger.people.actor(physician)
        college.appoint(ledger, appointing, member=fourth, profession=Profession.OTHER)


def _day(home: Home) -> str:
    """The day of the promotion: before it nothing answered, and in it a suspension came."""
    with Ledger.open(home) as ledger:
        (promoted,) = ledger.latest(RecordType.MODEL_PROMOTED, model=NAME, count=10)
    return datetime.fromtimestamp(promoted.header.time / 1000, UTC).date().isoformat()


def test_every_command_shows_an_example() -> None:
    runner = CliRunner()
    names = [command.name or "" for command in app.registered_commands]
    named = [
        name or (command.callback.__name__ if command.callback else "")
        for name, command in zip(names, app.registered_commands, strict=True)
    ]
    assert len(named) == 14
    for name in named:
        shown = runner.invoke(app, [name, "--help"])
        assert shown.exit_code == 0, name
        assert "Example: garant models " in shown.output.replace("\n", " "), name


def test_a_model_of_ones_own_is_trained_on_a_file_and_registered(
    cohort: Cohort, tmp_path: Path, house: Home
) -> None:
    data = tmp_path / "cohort.csv"
    with data.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "label", *cohort.contract.names])
        for sample, label, row in zip(cohort.ids, cohort.labels, cohort.profiles, strict=True):
            writer.writerow([sample, label, *("" if np.isnan(value) else value for value in row)])
    card = tmp_path / "card.json"
    card.write_text(card_of(("lung", "sein gauche", "["), "own-model").model_dump_json())
    shown = said(
        house, "train", "own-model", "--card", str(card), "--cohort", str(data), "--seed", "3"
    )
    assert "accuracy" in shown
    assert "patients are not identified" in shown.replace("\n", " ")
    assert "own-model version 1" in said(
        house, "register", "own-model", "--token", "data_scientist"
    )
    assert "own-model" in said(house, "list")
    # An evaluation comes before the votes.
    answers = tmp_path / "answers.csv"
    score = ["score", "own-model", "--input", str(data), "--output", str(answers)]
    assert "own-model 1, not for care" in said(house, *score, "--token", "data_scientist")
    shown = said(house, "show", "own-model", "--lang", "fr")
    assert "Recherche" in shown
    assert "mots" in shown
    page = tmp_path / "page.html"
    assert "page.html" in said(house, "show", "own-model", "--html", str(page))
    assert page.read_text().startswith("<!doctype html>")
    refused = run(house, "show", "own-model", "--html", str(tmp_path / "absent" / "page.html"))
    assert refused.exit_code == 1
    assert "cannot be written" in refused.output
    assert Card.model_validate_json(said(house, "card", "own-model")).name == "own-model"


def test_the_card_of_a_recipe_starts_another_and_a_wrong_one_names_each_field(
    house: Home, tmp_path: Path
) -> None:
    printed = json.loads(said(house, "card", "tumour-origin-microarray"))
    printed["lapse_hours"] = "soon 42"
    printed["regulatory"]["ce_marked"] = "perhaps 42"
    del printed["leaflet"]
    card = tmp_path / "card.json"
    card.write_text(json.dumps(printed))
    refused = run(house, "train", printed["name"], "--card", str(card), "--cohort", "gcm")
    assert refused.exit_code == 1
    first, *lines = refused.output.splitlines()
    assert first.startswith("refused (NotACard)")
    assert [line.split(":")[0].strip() for line in lines] == [
        "regulatory.ce_marked",
        "leaflet",
        "lapse_hours",
    ]
    assert "42" not in "".join(lines)
    assert "http" not in refused.output
    card.write_text("{")
    refused = run(house, "train", printed["name"], "--card", str(card), "--cohort", "gcm")
    assert len(refused.output.splitlines()) == 2
    assert run(house, "train", "m", "--card", str(tmp_path / "absent.json")).exit_code == 1


def test_a_version_is_proposed_promoted_suspended_resumed_and_its_history_told(
    house: Home, tmp_path: Path
) -> None:
    assert "version 1" in said(house, "register", NAME, "--token", "data_scientist")
    assert "waits for votes" in said(house, "propose", NAME, "--token", "data_scientist")
    refused = run(house, "promote", NAME, "--version", "1", "--token", "data_scientist")
    assert refused.exit_code == 1
    assert "NotApproved" in refused.output
    approve(house)
    said(house, "promote", NAME, "--version", "1", "--token", "data_scientist")
    assert "yes" in said(house, "list")
    said(house, "suspend", NAME, "--reason", "drift", "--token", "monitor")
    assert "suspended" in said(house, "list")
    # What is stopped is evaluated to find out whether it may go on.
    profile, answers = tmp_path / "profile.csv", tmp_path / "answers.csv"
    profile.write_text("id,gene 0\na,8\n")
    score = ["score", NAME, "--input", str(profile), "--output", str(answers)]
    assert "not for care" in said(house, *score, "--token", "data_scientist")
    assert run(house, "resume", NAME, "--reason", "ok", "--token", "monitor").exit_code == 1
    said(house, "resume", NAME, "--reason", "checked", "--token", "college")
    shown = said(house, "history", NAME)
    assert "drift" in shown
    assert "checked" in shown
    assert [shown.count(word) for word in ("ModelPromoted", "ModelSuspended", "ModelResumed")] == [
        1,
        1,
        1,
    ]
    assert "no version could answer" in said(house, "history", NAME, "--at", "2020-01-01")
    assert said(house, "history", NAME, "--at", "2999-01-01T00:00:00+00:00").strip() == "1"
    assert said(house, "history", NAME, "--at", "2999-01-01T00:00:00Z").strip() == "1"
    assert said(house, "history", NAME, "--at", _day(house)).strip() == "1"
    assert run(house, "history", NAME, "--at", "yesterday").exit_code == 2

    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,study,gene 0,gene 1,hsa-mir-7\na,x,8,5,1\nb,y,5,,2\n")
    score = ["score", NAME, "--input", str(source), "--output", str(target)]
    shown = said(house, *score, "--token", "data_scientist")
    assert "not for care" in shown.replace("\n", " ")
    assert "Missing in every row: gene 2, gene 3, gene 4, gene 5.\n" in shown
    assert "Missing in some rows: gene 1; most often gene 1, in 1.\n" in shown
    assert "no such feature: study, hsa-mir-7.\n" in shown
    assert len(target.read_text().splitlines()) == 3
    with Ledger.open(house) as ledger:
        record = ledger.latest(RecordType.COHORT_SCORED, model=NAME, count=1)[0]
        assert record.header.model_version == "1"
    target.unlink()
    assert run(house, *score, "--token", "clinician").exit_code == 1
    source.write_text("id,gene 0,gene 1\na,8,5\nb,5,text42\n")
    refused = run(house, *score, "--token", "data_scientist")
    assert refused.exit_code == 1
    assert "row 2, column “gene 1”" in refused.output.replace("\n", " ")
    assert "42" not in refused.output
    assert not target.exists()
    source.write_text("id,gene 0,gene 1\na,8,5\n")
    for wrong in source, tmp_path / "absent" / "out.csv", tmp_path:
        refused = run(house, *score[:-1], str(wrong), "--token", "data_scientist")
        assert refused.exit_code == 1, wrong
        assert "UnwritableOutput" in refused.output
    assert source.read_text() == "id,gene 0,gene 1\na,8,5\n"


def test_what_is_checked_and_rolled_back_is_said(house: Home) -> None:
    said(house, "register", NAME, "--token", "data_scientist")
    approve(house)
    said(house, "promote", NAME, "--version", "1", "--token", "data_scientist")
    assert "as the log says" in said(house, "check")
    back = ["rollback", NAME, "--reason", "worse", "--token", "data_scientist"]
    refused = run(house, *back)
    assert refused.exit_code == 1
    assert "NothingEarlier" in refused.output
    client = MlflowClient(registry.tracking_uri(house), registry.tracking_uri(house))
    client.delete_registered_model_alias(NAME, registry.PROMOTED)
    found = run(house, "check")
    assert found.exit_code == 1
    assert "Finding: three-origins: MLflow's alias" in found.output
    assert "garant models check" in run(house, "list").output


def test_an_unknown_model_is_refused_in_one_line(house: Home) -> None:
    for arguments in (
        ["train", "horoscope"],
        ["register", "horoscope", "--token", "data_scientist"],
        ["show", "horoscope"],
        ["history", "horoscope"],
        ["propose", "horoscope", "--token", "data_scientist"],
    ):
        result = run(house, *arguments)
        assert result.exit_code == 1, arguments
        assert "refused (" in result.output
