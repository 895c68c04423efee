"""What if some features were other ones: over HTTP, against a real service of two workers."""

import json
import shutil
from typing import Any
from uuid import uuid4

import httpx
import pytest

from guarantee.access import read_dossier
from guarantee.bodies import WhatIfMade
from guarantee.identity import Role
from guarantee.ledger import Ledger
from models.shelf import NotOnTheShelf
from serving import what_if
from serving.house import LoadedVersions
from serving.messages.inferences import WhatIf
from tests.serving.conftest import (
    CHANGING_MODEL,
    FEATURES,
    MODEL,
    WITHHELD_MODEL,
    Service,
    a_patient,
    asked,
    check_ledger,
    informed,
    promote,
    size,
)
from tests.serving.test_rest import NOBODY, problem

# The cohort raises one gene in each class: the first in breast, the third in lung.
BREAST = {**dict.fromkeys(FEATURES, 5.0), "gene 0": 9.5}
CHANGES = {"features": {"gene 0": 5.0, "gene 2": 9.5}}


def simulated(clinician: httpx.Client, inference: str, changes: dict[str, Any]) -> dict[str, Any]:
    given = clinician.post(f"/v1/inferences/{inference}/what-if", json=changes)
    assert given.status_code == 201, given.text
    found: dict[str, Any] = given.json()
    return found


def test_changed_features_are_answered_beside_the_inference_that_they_depart_from(
    service: Service, clinician: httpx.Client
) -> None:
    answer = asked(clinician, features=BREAST)
    given = simulated(clinician, answer["inference_id"], CHANGES)

    assert given["simulation"]["fr"].startswith("Simulation, pas une inférence")
    assert given["notice"]["en"] == "Research, not for care."
    assert given["superseded_by"] is None
    assert given["model"] == answer["model"]
    assert given["before"]["prediction"] == answer["prediction"]
    assert given["before"]["explanation"] == answer["explanation"]
    assert answer["prediction"]["label"] == "breast"
    assert given["after"]["prediction"]["label"] == "lung"
    assert given["changed"] == [
        {"feature": "gene 0", "before": 9.5, "after": 5.0},
        {"feature": "gene 2", "before": 5.0, "after": 9.5},
    ]

    assert given["label"] == answer["prediction"]["label"]
    assert given["margin_before"] == answer["explanation"]["margin"]
    moved = sum(one["difference"] for one in given["differences"]) + given["rest"]
    assert moved == pytest.approx(given["margin_after"] - given["margin_before"], abs=2e-4)
    assert moved < -0.1
    for one in given["differences"]:
        assert one["after"] - one["before"] == pytest.approx(one["difference"], abs=1e-6)


def test_it_answers_as_an_inference_on_that_input_would(clinician: httpx.Client) -> None:
    given = simulated(clinician, asked(clinician)["inference_id"], CHANGES)
    inference = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={
            "information_id": informed(clinician),
            "features": {**FEATURES, **CHANGES["features"]},
        },
    ).json()
    for part in ("prediction", "explanation", "flags", "missing_features"):
        assert given["after"][part] == inference[part]


def test_a_removed_feature_is_missing_and_what_was_missing_can_be_given(
    clinician: httpx.Client,
) -> None:
    features = {name: value for name, value in FEATURES.items() if name != "gene 5"}
    inference = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": informed(clinician), "features": features},
    ).json()["inference_id"]
    given = simulated(clinician, inference, {"features": {"gene 5": 4}, "removed": ["gene 1"]})
    assert given["changed"] == [
        {"feature": "gene 1", "before": FEATURES["gene 1"], "after": None},
        {"feature": "gene 5", "before": None, "after": 4},
    ]
    assert given["before"]["missing_features"] == ["gene 5"]
    assert given["after"]["missing_features"] == ["gene 1"]


def test_it_is_on_record_sealed_and_moves_nothing(
    service: Service, clinician: httpx.Client
) -> None:
    inference = asked(clinician)["inference_id"]
    path = f"/v1/inferences/{inference}"
    given = simulated(clinician, inference, CHANGES)
    dossier = clinician.get(path).json()
    assert [one["type"] for one in dossier["events"]] == ["InferenceMade", "WhatIfMade"]
    assert dossier["review"]["next"] == "decision"
    event = dossier["events"][1]
    assert event["record_id"] == given["record_id"]
    assert event["outcome"] == "simulated"
    assert event["body"] == {name: given[name] for name in event["body"]}
    assert event["body"]["after"]["prediction"]["label"] == "lung"

    page = clinician.get("/v1/ledger/records", params={"start": given["index"], "count": 1})
    header = page.json()["records"][0]["header"]
    assert header["commitment"]
    assert header["model_version"] == "1"
    assert "lung" not in json.dumps(header)
    assert "gene" not in json.dumps(header)

    for step, body in (
        ("decision", {"decision": "accepted"}),
        ("told", {"recipient": "patient", "interpretation": "Le sein."}),
    ):
        assert clinician.post(f"{path}/{step}", json=body).status_code == 201
        simulated(clinician, inference, CHANGES)
    worklist = clinician.get("/v1/worklist").json()
    assert inference not in {one["inference_id"] for one in worklist}
    check_ledger(service.home)


def test_a_retry_is_recorded_once(service: Service, clinician: httpx.Client) -> None:
    path = f"/v1/inferences/{asked(clinician)['inference_id']}/what-if"
    key = {"Idempotency-Key": str(uuid4())}
    first = clinician.post(path, json=CHANGES, headers=key)
    before = size(service)
    assert clinician.post(path, json=CHANGES, headers=key).json() == first.json()
    assert size(service) == before
    other = {"features": {"gene 1": 1}}
    problem(clinician.post(path, json=other, headers=key), 422)


def test_a_withheld_answer_is_simulated_only_once_it_was_read_alone(
    clinician: httpx.Client,
) -> None:
    inference = asked(clinician, WITHHELD_MODEL)["inference_id"]
    path = f"/v1/inferences/{inference}"
    refused = problem(clinician.post(f"{path}/what-if", json=CHANGES), 409)
    assert "FirstRead" in refused["detail"]
    assert clinician.post(f"{path}/first-read", json={"label": "lung"}).status_code == 201
    simulated(clinician, inference, CHANGES)


def test_an_answer_withheld_later_is_not_told_by_an_earlier_dossier_s_simulation(
    clinician: httpx.Client,
) -> None:
    information = informed(clinician)
    path = f"/v1/models/{MODEL}/inferences"
    question = {"information_id": information, "features": FEATURES}
    shown = clinician.post(path, json=question).json()["inference_id"]
    features = {**FEATURES, **CHANGES["features"]}
    withheld = clinician.post(
        path, json={"information_id": information, "features": features, "mode": "withheld"}
    ).json()
    assert withheld["prediction"] is None
    refused = problem(clinician.post(f"/v1/inferences/{shown}/what-if", json=CHANGES), 409)
    assert "FirstRead" in refused["detail"]


def test_it_is_for_clinicians_who_may_read_the_dossier(
    service: Service, clinician: httpx.Client
) -> None:
    path = f"/v1/inferences/{asked(clinician)['inference_id']}"
    before = size(service)
    with service.client(Role.CLINICIAN, "10000000002") as other:
        problem(other.post(f"{path}/what-if", json=CHANGES), 403)
        for role in (Role.COLLEGE, Role.DPO, Role.MONITOR, Role.DATA_SCIENTIST):
            with service.client(role) as caller:
                problem(caller.post(f"{path}/what-if", json=CHANGES), 403)
        assert size(service) == before
        glass = other.post(f"{path}/break-glass", json={"ground": "urgency"})
        assert glass.status_code == 201, glass.text
        assert other.post(f"{path}/what-if", json=CHANGES).status_code == 201
    with service.client(None) as nobody:
        problem(nobody.post(f"{path}/what-if", json=CHANGES), 401)


def test_after_an_objection_nothing_is_simulated(clinician: httpx.Client) -> None:
    information = informed(clinician)
    inference = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": information, "features": FEATURES},
    ).json()["inference_id"]
    objected = clinician.post(
        "/v1/patients/objection",
        json={"information_id": information, "recipient": "patient"},
    )
    assert objected.status_code == 201, objected.text
    refused = clinician.post(f"/v1/inferences/{inference}/what-if", json=CHANGES)
    assert problem(refused, 409)["type"].endswith(":objected")


def test_a_suspended_model_simulates_nothing_and_says_why(
    service: Service, clinician: httpx.Client
) -> None:
    inference = asked(clinician)["inference_id"]
    path = f"/v1/models/{MODEL}/suspension"
    stopped = clinician.post(path, json={"reason": "the scanner drifts"})
    assert stopped.status_code == 201, stopped.text
    try:
        refused = clinician.post(f"/v1/inferences/{inference}/what-if", json=CHANGES)
        assert "the scanner drifts" in problem(refused, 503)["detail"]
    finally:
        with service.client(Role.COLLEGE, "member-physician") as member:
            assert member.request("DELETE", path, json={"reason": "repaired"}).status_code == 200
    simulated(clinician, inference, CHANGES)


def test_of_an_erased_patient_nothing_is_simulated(
    service: Service, clinician: httpx.Client
) -> None:
    given = clinician.post(
        "/v1/patients/information",
        json={"patient": a_patient(), "recipient": "patient", "models": [MODEL]},
    ).json()
    inference = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": given["information_id"], "features": FEATURES},
    ).json()["inference_id"]
    simulated(clinician, inference, CHANGES)
    with service.client(Role.DPO) as dpo:
        erased = dpo.post(
            f"/v1/patients/{given['pseudonym']}/erasure", json={"ground": "court_order"}
        )
    assert erased.status_code == 201, erased.text
    assert len(erased.json()["records"]) == 3
    problem(clinician.post(f"/v1/inferences/{inference}/what-if", json=CHANGES), 410)
    check_ledger(service.home)


def test_an_inference_that_the_log_does_not_hold_is_404(clinician: httpx.Client) -> None:
    problem(clinician.post(f"/v1/inferences/{NOBODY}/what-if", json=CHANGES), 404)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "body"),
        ({"features": {}, "removed": []}, "body"),
        ({"features": {"gene 7": 1}}, "features.gene 7"),
        ({"features": {"gene 1": "4.0"}}, "features.gene 1"),
        ({"features": {"gene 1": True}}, "features.gene 1"),
        ({"features": {"gene 1": None}}, "features.gene 1"),
        ({"features": {"gene 1": 31}}, "features.gene 1"),
        ({"removed": ["gene 7"]}, "removed.0"),
        ({"features": {"gene 1": 4}, "removed": ["gene 0", "gene 1"]}, "removed.1"),
        ({"removed": sorted(FEATURES)}, "features"),
        ({"removed": "gene 1"}, "removed"),
        ({"features": {"gene 1": 4}, "label": "lung"}, "label"),
    ],
)
def test_changes_that_cannot_be_taken_are_named_and_their_values_are_not(
    service: Service, clinician: httpx.Client, changes: dict[str, Any], field: str
) -> None:
    inference = asked(clinician)["inference_id"]
    before = size(service)
    refused = problem(clinician.post(f"/v1/inferences/{inference}/what-if", json=changes), 422)
    assert refused["errors"][0]["field"] == field
    assert size(service) == before


def test_the_version_that_answered_is_simulated_whichever_answers_now(
    service: Service, clinician: httpx.Client
) -> None:
    answer = asked(clinician, CHANGING_MODEL)
    promote(service.home, CHANGING_MODEL, "2")
    given = simulated(clinician, answer["inference_id"], CHANGES)
    assert given["model"]["version"] == "1"
    assert given["superseded_by"] == "2"
    assert given["before"]["prediction"] == answer["prediction"]
    newer = clinician.post(
        f"/v1/models/{CHANGING_MODEL}/inferences",
        json={
            "information_id": informed(clinician, CHANGING_MODEL),
            "features": {**FEATURES, **CHANGES["features"]},
        },
    ).json()
    assert newer["model"]["version"] == "2"
    assert given["after"]["prediction"]["ranking"] != newer["prediction"]["ranking"]

    # Where its files are gone, that is said, and no other version answers in its place.
    shutil.rmtree(service.home.bentoml / "models" / CHANGING_MODEL / "1")
    with Ledger.open(service.home) as ledger:
        caller = service.issuer.verify_token(
            clinician.headers["Authorization"].removeprefix("Bearer ")
        )
        actor = ledger.people.actor(caller)
        view = read_dossier(ledger, actor, dossier=answer["inference_id"])
        before = ledger.head().size
        with pytest.raises(NotOnTheShelf):
            what_if.simulate(
                ledger,
                actor,
                loaded=LoadedVersions(service.home),
                view=view,
                changes=WhatIf(features={"gene 1": 4}),
            )
        assert ledger.head().size == before
        recorded = ledger.find(given["record_id"])
        assert ledger.open_as(recorded, WhatIfMade).label == answer["prediction"]["label"]


def test_a_patient_is_told_what_was_simulated_on_them(
    service: Service, clinician: httpx.Client
) -> None:
    information = informed(clinician)
    answer = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": information, "features": FEATURES},
    ).json()
    simulated(clinician, answer["inference_id"], CHANGES)
    with Ledger.open(service.home) as ledger:
        pseudonym = ledger.sealed_for(information)
    with service.client(Role.DPO) as dpo:
        report = dpo.post(f"/v1/patients/{pseudonym}/access", json={}).json()
    told = report["dossiers"][0]["records"][1]
    assert told["type"] == "WhatIfMade"
    assert told["facts"]["profile"] == {**FEATURES, **CHANGES["features"]}
    assert set(told["facts"]["contributions"]) == set(FEATURES)
