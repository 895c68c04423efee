"""From MLflow to the shelf, by way of the college and the log."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from guarantee import college, versions
from guarantee.bodies import BodyRefused
from guarantee.home import Home
from guarantee.identity import Caller, Profession, Role
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.refusals import AlreadyDone, NotApproved, Suspended, UnknownModel
from models import registry, shelf
from models.bundle import DigestMismatch
from models.promotion import (
    NothingEarlier,
    findings,
    lagging_aliases,
    promote_version,
    propose_version,
    record_registration,
    roll_back,
)
from models.registry import Registration, UnknownVersion
from models.training import Training

NAME = "three-origins"


@pytest.fixture
def house(registered: tuple[Home, Registration], tmp_path: Path) -> Iterator[tuple[Home, Ledger]]:
    """A fresh log beside a copy of MLflow's database; the artifacts stay where they are."""
    home = Home(tmp_path / "house")
    shutil.copytree(registered[0].mlflow, home.mlflow)
    with Ledger.open(home) as ledger:
        yield home, ledger


def actor(ledger: Ledger, role: Role, subject: str = "1") -> Actor:
    return ledger.people.actor(Caller(issuer="tests", subject=subject, role=role))


def approve(ledger: Ledger, version: str) -> None:
    for seat in Profession.PHYSICIAN, Profession.PARAMEDIC, Profession.PATIENT_REPRESENTATIVE:
        member = actor(ledger, Role.COLLEGE, seat)
        if version == "1":
            college.appoint(ledger, member, member=member, profession=seat)
        college.vote(ledger, member, name=NAME, version=version, in_favour=True)


def test_a_version_answers_once_the_college_approved_it_and_not_before(
    house: tuple[Home, Ledger], digest: str
) -> None:
    home, ledger = house
    scientist = actor(ledger, Role.DATA_SCIENTIST)
    record_registration(home, ledger, scientist, name=NAME)
    with pytest.raises(NotApproved):
        promote_version(home, ledger, scientist, name=NAME, version="1")
    approve(ledger, "1")
    promote_version(home, ledger, scientist, name=NAME, version="1")
    serving = versions.standing(ledger, NAME).check_serving()
    served = shelf.load(home, name=NAME, version=serving.version, digest=serving.digest)
    assert (served.version, served.digest, served.card) == ("1", digest, serving.card)
    assert lagging_aliases(home, ledger) == ()


def test_a_version_is_put_on_record_once_and_only_if_it_exists(house: tuple[Home, Ledger]) -> None:
    home, ledger = house
    scientist = actor(ledger, Role.DATA_SCIENTIST)
    record_registration(home, ledger, scientist, name=NAME, version="1")
    with pytest.raises(AlreadyDone):
        record_registration(home, ledger, scientist, name=NAME, version="1")
    with pytest.raises(UnknownVersion):
        record_registration(home, ledger, scientist, name=NAME, version="2")


def test_only_what_is_on_record_and_open_is_proposed(house: tuple[Home, Ledger]) -> None:
    home, ledger = house
    with pytest.raises(UnknownModel):
        propose_version(home, ledger, name=NAME, version="1")
    record_registration(home, ledger, actor(ledger, Role.DATA_SCIENTIST), name=NAME)
    assert propose_version(home, ledger, name=NAME, version="1").missing
    approve(ledger, "1")
    with pytest.raises(AlreadyDone):
        propose_version(home, ledger, name=NAME, version="1")


def test_an_alias_moved_in_mlflow_is_a_finding(house: tuple[Home, Ledger]) -> None:
    home, ledger = house
    record_registration(home, ledger, actor(ledger, Role.DATA_SCIENTIST), name=NAME)
    registry.project_promotion(home, NAME, "1")
    assert lagging_aliases(home, ledger) == (NAME,)


def test_files_changed_after_the_vote_are_not_promoted(
    house: tuple[Home, Ledger], registered: tuple[Home, Registration]
) -> None:
    home, ledger = house
    scientist = actor(ledger, Role.DATA_SCIENTIST)
    record_registration(home, ledger, scientist, name=NAME)
    approve(ledger, "1")
    run_id = registered[1].run_id
    (card,) = registered[0].mlflow.rglob(f"{run_id}/artifacts/bundle/card.json")
    original = card.read_bytes()
    card.write_bytes(original + b" ")
    try:
        with pytest.raises(DigestMismatch):
            promote_version(home, ledger, scientist, name=NAME, version="1")
    finally:
        card.write_bytes(original)
    assert versions.standing(ledger, NAME).serving is None


def test_an_earlier_version_answers_again_for_a_reason_on_record(
    house: tuple[Home, Ledger], training: Training
) -> None:
    home, ledger = house
    scientist = actor(ledger, Role.DATA_SCIENTIST)
    for version in ("1", "2"):
        if version == "2":
            registry.register(home, registry.log(home, training))
        record_registration(home, ledger, scientist, name=NAME, version=version)
        approve(ledger, version)
        with pytest.raises(NothingEarlier, match="these did: none"):
            roll_back(home, ledger, scientist, name=NAME, reason="too soon")
        promote_version(home, ledger, scientist, name=NAME, version=version)
    for wanted in ("2", "3"):
        with pytest.raises(NothingEarlier, match="these did: 1"):
            roll_back(home, ledger, scientist, name=NAME, reason="lost", version=wanted)
    with pytest.raises(BodyRefused, match="reason"):
        roll_back(home, ledger, scientist, name=NAME, reason=" ")
    assert versions.standing(ledger, NAME).check_serving().version == "2"
    recorded = roll_back(home, ledger, scientist, name=NAME, reason="worse on metastases")
    assert versions.standing(ledger, NAME).check_serving().version == "1"
    reigns = versions.history(ledger, NAME)
    assert [(reign.version, reign.reason) for reign in reigns] == [
        ("1", None),
        ("2", None),
        ("1", "worse on metastases"),
    ]
    assert recorded.header.model_version == "1"
    assert findings(home, ledger) == ()
    # A suspension stays until the college lifts it.
    versions.suspend(ledger, actor(ledger, Role.MONITOR), name=NAME, reason="drift")
    roll_back(home, ledger, scientist, name=NAME, reason="checked")
    suspended = versions.history(ledger, NAME)[-1]
    assert (suspended.version, suspended.promoted) == (None, "2")
    with pytest.raises(Suspended):
        versions.standing(ledger, NAME).check_serving()


def test_what_was_changed_behind_the_logs_back_is_found(
    house: tuple[Home, Ledger], registered: tuple[Home, Registration]
) -> None:
    home, ledger = house
    scientist = actor(ledger, Role.DATA_SCIENTIST)
    record_registration(home, ledger, scientist, name=NAME)
    approve(ledger, "1")
    promote_version(home, ledger, scientist, name=NAME, version="1")
    assert findings(home, ledger) == ()
    client = MlflowClient(registry.tracking_uri(home), registry.tracking_uri(home))
    client.delete_registered_model_alias(NAME, registry.PROMOTED)
    client.set_model_version_tag(NAME, "1", "garant.digest", "0" * 64)
    (laid,) = (home.bentoml / "models" / NAME).rglob("card.json")
    laid.write_bytes(laid.read_bytes() + b" ")
    alias, digest, shelved = findings(home, ledger)
    assert "alias “promoted” names version none, but the log promoted 1" in alias
    assert "another digest than the log" in digest
    assert "card.json" in shelved
    client.delete_model_version(NAME, "1")
    assert any("MLflow has it no more" in finding for finding in findings(home, ledger))
