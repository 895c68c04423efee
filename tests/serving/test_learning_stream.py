"""A model that learns, as a house runs it: the commands, HTTP, and the log; and its rehearsal."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from guarantee import college, versions
from guarantee.bodies import Learned
from guarantee.college_thread import QUORUM
from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from models import cohorts, recipes
from models.cohorts import Cohort
from models.learning import Origin
from models.training import split
from monitoring.rehearsal import Proposed, rehearse
from serving.auth import Issuer
from tests.serving.conftest import (
    GARANT_SERVE,
    ROOT,
    Service,
    a_patient,
    check_ledger,
    start,
    stop,
    token,
)

pytestmark = pytest.mark.slow

NAME = "tumour-origin-microarray-learning"
_FEW = 21
"""Tumours that arrive before each update."""


@dataclass(kw_only=True)
class House:
    """Its commands are typed, and its service answers."""

    home: Home
    issuer: Issuer

    def types(self, *arguments: str, role: Role | None = None) -> str:
        """What a command of `garant` prints; it must succeed."""
        given = () if role is None else ("--token", token(self.issuer, role))
        done = subprocess.run(
            [sys.executable, "-m", "garant", *arguments, *given, "--home", str(self.home.path)],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def votes(self, version: str) -> None:
        """The college approves."""
        with Ledger.open(self.home) as ledger:
            for seat in QUORUM:
                caller = Caller(issuer=self.issuer.name, subject=f"the-{seat}", role=Role.COLLEGE)
                member = ledger.people.actor(caller)
                if not ledger.latest(RecordType.MODEL_PROMOTED, model=NAME):
                    college.appoint(ledger, member, member=member, profession=seat)
                college.vote(ledger, member, name=NAME, version=version, in_favour=True)

    def answering(self) -> str:
        with Ledger.open(self.home) as ledger:
            return versions.standing(ledger, NAME).check_serving().version

    def learned(self, version: str) -> Learned:
        with Ledger.open(self.home) as ledger:
            learned = versions.registered_version(ledger, NAME, version).learned
        assert learned is not None
        return learned


def goes_through(clinician: httpx.Client, cohort: Cohort, row: int) -> str:
    """A patient informed, asked about, decided on, told, and their truth; what answered them."""

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        given = clinician.post(path, json=body)
        assert given.status_code == 201, given.text
        answer: dict[str, Any] = given.json()
        return answer

    informed = post(
        "/v1/patients/information",
        {"patient": a_patient(), "recipient": "patient", "models": [NAME], "reuse": True},
    )
    made = post(
        f"/v1/models/{NAME}/inferences",
        {
            "information_id": informed["information_id"],
            "features": cohort.features_of(cohort.ids[row]),
        },
    )
    dossier = f"/v1/inferences/{made['inference_id']}"
    post(f"{dossier}/decision", {"decision": "disregarded"})
    post(f"{dossier}/told", {"recipient": "patient", "interpretation": "As pathology says."})
    post(f"{dossier}/outcome", {"label": cohort.labels[row], "source": "pathology"})
    return str(made["model"]["version"])


@pytest.fixture
def house(tmp_path: Path, gcm_folder: Path) -> House:
    """The model trained, approved with its change protocol, and promoted."""
    home = Home(tmp_path / "home")
    cohorts.gcm(gcm_folder)
    shutil.copytree(gcm_folder, home.cohorts)
    house = House(home=home, issuer=Issuer.open(home))
    house.types("models", "train", NAME)
    house.types("models", "register", NAME, role=Role.DATA_SCIENTIST)
    house.votes("1")
    house.types("models", "promote", NAME, "--version", "1", role=Role.DATA_SCIENTIST)
    return house


@pytest.fixture
def service(house: House, tmp_path: Path) -> Iterator[Service]:
    service = start(house.home, tmp_path / "service.log", *GARANT_SERVE)
    yield service
    stop(service)


def rehearsed(gcm: Cohort, arrivals: Cohort) -> list[Proposed | None]:
    """What a rehearsal says that each update will be."""
    recipe = recipes.recipe(NAME)
    cohort, parameters = recipe.learned_from(gcm), recipe.parameters
    origin = Origin(
        cohort=cohort,
        parameters=parameters,
        parts=split(cohort, share=parameters.held_out_share, seed=parameters.seed),
        learner=recipe.learn_from,
    )
    first = recipe.train(gcm, parameters, None)
    names = [str(row // _FEW) for row in range(len(arrivals.ids))]
    return [window.update for window in rehearse(first, origin, arrivals, names)]


def test_from_inference_to_update_and_back_and_just_as_it_was_rehearsed(
    house: House, service: Service, gcm_folder: Path
) -> None:
    gcm = cohorts.gcm(gcm_folder)
    rest = np.flatnonzero(~np.isin(gcm.ids, recipes.recipe(NAME).learned_from(gcm).ids))
    arrivals = gcm.take(np.random.default_rng(0).permutation(rest)[: 2 * _FEW])
    inside, beyond = rehearsed(gcm, arrivals)
    assert inside is not None
    assert beyond is not None
    assert (bool(inside.reasons), bool(beyond.reasons)) == (False, True)

    with service.client(Role.CLINICIAN) as clinician:
        met = [goes_through(clinician, arrivals, row) for row in range(_FEW)]
        assert set(met) == {"1"}
        watched = house.types("monitor", "run", NAME, role=Role.MONITOR)
        assert f"{NAME} 1: " in watched
        assert f"{_FEW} cases" in watched

        said = house.types("models", "update", NAME, role=Role.DATA_SCIENTIST)
        assert f"Inside the change protocol: {NAME} 2 answers." in said
        assert _without_place(house.learned("2")) == _without_place(inside.attempt.learned)

        met = [goes_through(clinician, arrivals, row) for row in range(_FEW, 2 * _FEW)]
        assert set(met) == {"2"}
        said = house.types("models", "update", NAME, role=Role.DATA_SCIENTIST)
        for reason in beyond.reasons:
            assert f"Beyond the change protocol: {reason}." in said
        assert _without_place(house.learned("3")) == _without_place(beyond.attempt.learned)
        assert house.answering() == "2"

        house.votes("3")
        house.types("models", "promote", NAME, "--version", "3", role=Role.DATA_SCIENTIST)
        assert goes_through(clinician, arrivals, 0) == "3"
        why = ("--reason", "Worse than its figures.")
        assert f"{NAME} 2 answers again" in house.types(
            "models", "rollback", NAME, *why, role=Role.DATA_SCIENTIST
        )
        assert goes_through(clinician, arrivals, 0) == "2"
    check_ledger(house.home)


def _without_place(learned: Learned) -> Learned:
    """The log counts all records, a rehearsal the arrivals."""
    return learned.model_copy(update={"up_to": 0})
