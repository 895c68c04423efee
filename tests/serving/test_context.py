"""Where a case comes from: sent by the client, vaulted, read by monitoring alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from guarantee import seen
from guarantee.bodies import Context
from guarantee.card import MonitoringPolicy
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.ledger import Ledger
from tests.models.conftest import card_of
from tests.serving.conftest import (
    FEATURES,
    GARANT_SERVE,
    LABELS,
    MODEL,
    ROOT,
    Service,
    approved,
    establish,
    informed,
    promote,
    start,
    stop,
    token,
)

HOSPITAL = "QZ-7714"


def test_a_context_is_vaulted_and_in_no_header(service: Service, clinician: httpx.Client) -> None:
    context = {"hospital": HOSPITAL, "machine": "HiSeq", "sex": "F", "age_band": "40-64"}
    given = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={
            "information_id": informed(clinician, MODEL),
            "features": FEATURES,
            "context": context,
        },
    )
    assert given.status_code == 201, given.text
    assert HOSPITAL not in json.loads(given.text)["receipt"]["header"]
    with Ledger.open(service.home) as ledger:
        latest = next(seen.inferences(ledger, model=MODEL, version="1"))
    assert latest.id == given.json()["inference_id"]
    assert latest.context == Context.model_validate(context)
    with service.client(None) as anonymous:
        assert HOSPITAL not in anonymous.get("/metrics").text
    assert HOSPITAL not in service.printed()


@pytest.mark.parametrize(
    "context",
    [
        {"hospital": "x" * 65},
        {"hospital": " "},
        {"age_band": "52"},
        {"name": "Ariane"},
    ],
)
def test_a_context_is_a_few_short_words(clinician: httpx.Client, context: dict[str, str]) -> None:
    given = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={
            "information_id": informed(clinician, MODEL),
            "features": FEATURES,
            "context": context,
        },
    )
    assert given.status_code == 422, given.text
    assert given.headers["content-type"] == "application/problem+json"
    assert "Ariane" not in given.text


@pytest.mark.slow
def test_a_new_machine_that_clients_tell_of_is_drift_to_a_run(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    establish(home, tmp_path)
    name = "three-on-machines"
    policy = MonitoringPolicy(least_cases=20, window_cases=20)
    approved(home, tmp_path, card_of(LABELS, name).model_copy(update={"monitoring": policy}))
    promote(home, name)
    service = start(home, tmp_path / "service.log", *GARANT_SERVE, "--workers", "1")
    try:
        with service.client(Role.CLINICIAN) as clinician:
            for number in range(40):
                machine = "sequencer 1" if number < 20 else "sequencer 2"
                asked = {
                    "information_id": informed(clinician, name),
                    "features": FEATURES,
                    "context": {"machine": machine, "sex": "F"},
                }
                given = clinician.post(f"/v1/models/{name}/inferences", json=asked)
                assert given.status_code == 201, given.text
        run = subprocess.run(
            [sys.executable, "-m", "garant", "monitor", "run", name],
            cwd=ROOT,
            env={
                **os.environ,
                "GARANT_HOME": str(home.path),
                "GARANT_TOKEN": token(service.issuer, Role.MONITOR),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        stop(service)
    assert run.returncode == 0, run.stderr
    assert "mix: machine: total_variation" in run.stdout
    assert "mix: sex" not in run.stdout
