"""The main job over HTTP, against a real service of two workers."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from guarantee.checkpoint import parse, verify
from guarantee.identity import Caller, Role
from guarantee.lapse import record_lapses
from guarantee.ledger import Ledger
from tests.serving.conftest import (
    FEATURES,
    LABELS,
    MODEL,
    WITHHELD_MODEL,
    Service,
    a_patient,
    asked,
    check_ledger,
    informed,
    size,
)

NOBODY = "01941f29-7c00-7000-8000-000000000000"


def problem(given: httpx.Response, status: int) -> dict[str, Any]:
    assert given.status_code == status, given.text
    assert given.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = given.json()
    assert found["status"] == status
    assert found["detail"]
    return found


# The main job


def test_a_tumour_is_answered_explained_decided_told_and_confirmed(
    service: Service, clinician: httpx.Client
) -> None:
    answer = asked(clinician)
    inference = answer["inference_id"]
    prediction, explanation = answer["prediction"], answer["explanation"]

    assert prediction["label"] == prediction["ranking"][0]["label"]
    assert sum(one["probability"] for one in prediction["ranking"]) == pytest.approx(1, abs=1e-5)
    parts = [one["contribution"] for one in explanation["top_features"]]
    assert explanation["base_value"] + sum(parts) + explanation["rest"] == pytest.approx(
        explanation["margin"], abs=1e-4
    )
    assert answer["notice"]["en"] == "Research, not for care."
    assert answer["review"]["next"] == "decision"
    assert json.loads(answer["receipt"]["header"])["id"] == inference

    steps = (
        ("decision", {"decision": "accepted"}),
        ("told", {"recipient": "patient", "interpretation": "Probablement le sein."}),
        ("outcome", {"label": "breast", "source": "pathology"}),
    )
    for step, body in steps:
        given = clinician.post(f"/v1/inferences/{inference}/{step}", json=body)
        assert given.status_code == 201, given.text

    dossier = clinician.get(f"/v1/inferences/{inference}").json()
    assert [one["type"] for one in dossier["events"]] == [
        "InferenceMade",
        "DecisionSigned",
        "PatientTold",
        "OutcomeConfirmed",
    ]
    assert dossier["events"][1]["body"]["assurance"] == "attested_by_issuer"
    assert dossier["input"] == FEATURES
    assert dossier["prediction"] == prediction
    assert dossier["review"]["next"] is None


def test_every_decision_is_read_back_as_it_was_taken(
    service: Service, clinician: httpx.Client
) -> None:
    for decision in ("accepted", "overridden", "disregarded"):
        answer = asked(clinician)
        answered = answer["prediction"]["label"]
        body: dict[str, Any] = {"decision": decision}
        if decision == "overridden":
            other = next(label for label in LABELS if label != answered)
            body.update(label=other, reason="Immunohistochemistry.")
        path = f"/v1/inferences/{answer['inference_id']}"
        given = clinician.post(f"{path}/decision", json=body)
        assert given.status_code == 201, given.text
        event = clinician.get(path).json()["events"][1]
        assert event["outcome"] == decision
        said = event["body"]
        assert said["decision"] == decision
        label = answered if decision == "accepted" else body.get("label")
        assert (said["label"], said["reason"]) == (label, body.get("reason"))
    check_ledger(service.home)


def test_a_withheld_answer_is_shown_by_no_route_before_the_first_read(
    clinician: httpx.Client,
) -> None:
    answer = asked(clinician, WITHHELD_MODEL)
    inference = f"/v1/inferences/{answer['inference_id']}"
    dossier = clinician.get(inference).json()
    for shown in (answer, dossier):
        assert shown["prediction"] is None
        assert shown["explanation"] is None
        assert shown["flags"] is None
        assert shown["review"] == dossier["review"]
        assert shown["review"]["next"] == "first-read"
    assert dossier["input"] is None
    assert dossier["events"][0]["body"] is None
    problem(clinician.post(f"{inference}/replay"), 409)
    missing = problem(clinician.post(f"{inference}/decision", json={"decision": "accepted"}), 409)
    assert "FirstRead" in missing["detail"]

    again = clinician.post(
        f"/v1/models/{WITHHELD_MODEL}/inferences",
        json={"information_id": dossier["information_id"], "features": FEATURES},
    )
    assert again.json()["prediction"] is None

    read = clinician.post(f"{inference}/first-read", json={"label": "lung"})
    assert read.status_code == 201, read.text
    assert clinician.get(inference).json()["prediction"]["label"]


def test_a_request_tightens_the_mode_and_never_loosens_it(clinician: httpx.Client) -> None:
    for model, mode in ((MODEL, "withheld"), (WITHHELD_MODEL, "shown")):
        given = clinician.post(
            f"/v1/models/{model}/inferences",
            json={
                "information_id": informed(clinician, model),
                "features": FEATURES,
                "mode": mode,
            },
        )
        assert given.json()["review"]["mode"] == "withheld"


def test_a_replay_agrees_bit_for_bit_on_the_recorded_platform(clinician: httpx.Client) -> None:
    inference = asked(clinician)["inference_id"]
    replayed = clinician.post(f"/v1/inferences/{inference}/replay").json()
    assert replayed["identical"] is True
    assert replayed["largest_difference"] == 0
    assert replayed["platform"] == replayed["recorded_platform"]


def test_what_is_missing_is_said_to_be(clinician: httpx.Client) -> None:
    given = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": informed(clinician), "features": {"gene 1": 7}},
    ).json()
    assert "missing_features" in given["flags"]
    assert len(given["missing_features"]) == 5


def test_deferred_information_opens_the_gate(clinician: httpx.Client) -> None:
    given = clinician.post(
        "/v1/patients/information",
        json={
            "patient": a_patient(),
            "models": [MODEL],
            "deferred": {"ground": "urgency", "statement": "Unconscious, no relative reached."},
        },
    )
    assert given.status_code == 201, given.text
    answered = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": given.json()["information_id"], "features": FEATURES},
    )
    assert answered.status_code == 201, answered.text


def test_cards_and_leaflets_are_for_anyone_with_a_token(service: Service) -> None:
    with service.client(Role.INTEGRATOR) as integrator:
        listed = integrator.get("/v1/models").json()
        assert {one["name"] for one in listed} >= {MODEL, WITHHELD_MODEL}
        shown = integrator.get(f"/v1/models/{MODEL}").json()
        assert shown["versions"][0]["card"]["name"] == MODEL
        for language in ("fr", "en"):
            leaflet = integrator.get(f"/v1/models/{MODEL}/leaflet", params={"lang": language})
            assert leaflet.json()["language"] == language
        contract = integrator.get(f"/v1/models/{MODEL}/contract").json()
        assert [one["name"] for one in contract["features"]] == list(FEATURES)
        assert all(one["unit"] for one in contract["features"])
        assert contract["version"] == "1"
        problem(integrator.get("/v1/models/nobody/contract"), 404)
        problem(integrator.get("/v1/models/nobody"), 404)
        problem(integrator.get("/v1/models/nobody/leaflet"), 404)


def test_the_worklist_holds_what_waits_and_shows_no_answer(
    service: Service, clinician: httpx.Client
) -> None:
    inference = asked(clinician)["inference_id"]
    waiting = {one["inference_id"]: one for one in clinician.get("/v1/worklist").json()}
    assert waiting[inference]["next"] == "decision"
    with Ledger.open(service.home) as ledger:
        made = datetime.fromtimestamp(ledger.find(inference).header.time / 1000, UTC)
    assert datetime.fromisoformat(waiting[inference]["asked"]) == made
    assert "prediction" not in waiting[inference]
    clinician.post(f"/v1/inferences/{inference}/decision", json={"decision": "accepted"})
    waiting = {one["inference_id"]: one for one in clinician.get("/v1/worklist").json()}
    assert inference not in waiting


def test_a_review_that_lapsed_is_shown_and_shows_no_answer(
    service: Service, clinician: httpx.Client
) -> None:
    inference = asked(clinician, WITHHELD_MODEL)["inference_id"]
    later = time.time_ns() // 1_000_000 + 100 * 3_600_000
    with Ledger.open(service.home, clock=lambda: later) as ledger:
        monitor = Caller(issuer=service.issuer.name, subject="watch", role=Role.MONITOR)
        record_lapses(ledger, ledger.people.actor(monitor), model=WITHHELD_MODEL)
    waiting = {one["inference_id"]: one for one in clinician.get("/v1/worklist").json()}
    assert waiting[inference]["lapsed"]
    assert waiting[inference]["next"] == "first-read"
    shown = clinician.get(f"/v1/inferences/{inference}").json()
    assert shown["lapsed"]
    assert (shown["events"][-1]["type"], shown["events"][-1]["body"]) == ("ReviewLapsed", None)
    assert (shown["prediction"], shown["explanation"], shown["input"]) == (None, None, None)
    with service.client(Role.COLLEGE, "member-physician") as member:
        assert inference in member.get("/v1/college").json()["lapsed"]
    path = f"/v1/inferences/{inference}"
    clinician.post(f"{path}/first-read", json={"label": "breast"})
    assert clinician.get(path).json()["events"][1]["body"] == {"lapse_hours": 72}
    decided = clinician.post(f"{path}/decision", json={"decision": "disregarded"})
    assert decided.status_code == 201, decided.text
    waiting = {one["inference_id"]: one for one in clinician.get("/v1/worklist").json()}
    assert inference not in waiting


# The college


def test_the_college_votes_and_reads_what_waits(service: Service) -> None:
    with service.client(Role.COLLEGE, "member-physician") as member:
        status = member.get("/v1/college").json()
        # Other tests appoint more.
        assert len(status["members"]) >= 3
        voted = member.post(f"/v1/models/{MODEL}/votes", json={"version": "1", "in_favour": True})
        assert "approved" in problem(voted, 409)["detail"]
        unknown = member.post(f"/v1/models/{MODEL}/votes", json={"version": "9", "in_favour": True})
        problem(unknown, 404)
    with service.client(Role.COLLEGE, "nobody-appointed") as stranger:
        given = stranger.post(f"/v1/models/{MODEL}/votes", json={"version": "1", "in_favour": True})
        problem(given, 403)


def test_a_suspended_model_answers_503_with_the_reason_until_the_college_resumes_it(
    service: Service, clinician: httpx.Client
) -> None:
    path = f"/v1/models/{WITHHELD_MODEL}/suspension"
    opened = informed(clinician, WITHHELD_MODEL)
    question = {"information_id": opened, "features": FEATURES}
    with (
        service.client(Role.MONITOR) as monitor,
        service.client(Role.COLLEGE, "member-physician") as college,
        service.client(Role.COLLEGE) as stranger,
    ):
        stopped = monitor.post(path, json={"reason": "two scanners disagree"})
        assert stopped.status_code == 201, stopped.text
        try:
            before = size(service)
            refused = clinician.post(f"/v1/models/{WITHHELD_MODEL}/inferences", json=question)
            assert "two scanners disagree" in problem(refused, 503)["detail"]
            assert size(service) == before
            problem(monitor.post(path, json={"reason": "again"}), 409)
            for other in (monitor, stranger):
                problem(other.request("DELETE", path, json={"reason": "not mine"}), 403)
        finally:
            resumed = college.request("DELETE", path, json={"reason": "scanner repaired"})
        assert resumed.status_code == 200, resumed.text
    answered = clinician.post(f"/v1/models/{WITHHELD_MODEL}/inferences", json=question)
    assert answered.status_code == 201, answered.text


# The log


def test_the_checkpoint_and_consistency_need_no_token(service: Service) -> None:
    with Ledger.open(service.home) as ledger:
        vkey = ledger.verifier_key
    with service.client(None) as anonymous:
        note = anonymous.get("/v1/ledger/checkpoint")
        assert note.headers["content-type"].startswith("text/plain")
        verify(note.text, vkey)
        grown = anonymous.get("/v1/ledger/consistency", params={"from": 3})
        assert parse(grown.json()["checkpoint"]).size >= parse(note.text).size
        problem(anonymous.get("/v1/ledger/records"), 401)


def test_records_page_through_headers_that_name_nobody(
    service: Service, clinician: httpx.Client
) -> None:
    page = clinician.get("/v1/ledger/records", params={"start": 2, "count": 3}).json()
    assert [one["index"] for one in page["records"]] == [2, 3, 4]
    assert page["size"] >= 5
    assert "ZÉNITH" not in json.dumps(page, ensure_ascii=False)


# Retries


def test_a_retry_after_a_lost_reply_records_once_and_answers_the_same(
    service: Service, clinician: httpx.Client
) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    question = {"information_id": informed(clinician), "features": FEATURES}
    path = f"/v1/models/{MODEL}/inferences"
    first = clinician.post(path, json=question, headers=key)
    before = size(service)
    second = clinician.post(path, json=question, headers=key)
    assert second.status_code == 201
    assert second.json()["inference_id"] == first.json()["inference_id"]
    assert second.json()["prediction"] == first.json()["prediction"]
    assert size(service) == before

    turned = json.dumps(dict(reversed(question.items())), indent=1)
    third = clinician.post(
        path, content=turned, headers={"Content-Type": "application/json", **key}
    )
    assert third.json()["inference_id"] == first.json()["inference_id"]

    other = clinician.post(path, json={**question, "mode": "withheld"}, headers=key)
    problem(other, 422)
    assert size(service) == before


def test_a_retry_is_answered_as_the_first_time_whatever_has_changed_since(
    service: Service, clinician: httpx.Client
) -> None:
    key = {"Idempotency-Key": "before the change"}
    soon = datetime.now(UTC) + timedelta(seconds=2)
    information = {
        "patient": a_patient(),
        "recipient": "patient",
        "models": [WITHHELD_MODEL],
        "valid_until": soon.isoformat(),
    }
    told = clinician.post("/v1/patients/information", json=information, headers=key)
    question = {"information_id": told.json()["information_id"], "features": FEATURES}
    objection = {"information_id": question["information_id"], "recipient": "patient"}
    suspension = f"/v1/models/{WITHHELD_MODEL}/suspension"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/v1/patients/information", information),
        (f"/v1/models/{WITHHELD_MODEL}/inferences", question),
        ("/v1/patients/objection", objection),
    ]
    with (
        service.client(Role.MONITOR) as monitor,
        service.client(Role.COLLEGE, "member-physician") as college,
    ):
        first = [clinician.post(path, json=body, headers=key) for path, body in calls]
        assert [one.status_code for one in first] == [201, 201, 201], [one.text for one in first]
        assert first[0].json() == told.json()
        stopped = monitor.post(suspension, json={"reason": "recalled"}, headers=key)
        try:
            before = size(service)
            time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
            again = [clinician.post(path, json=body, headers=key) for path, body in calls]
            assert monitor.post(suspension, json={"reason": "recalled"}, headers=key).json() == (
                stopped.json()
            )
        finally:
            college.request("DELETE", suspension, json={"reason": "mended"})
    assert [one.status_code for one in again] == [201, 201, 201]
    assert again[0].json() == first[0].json()
    assert again[1].json()["inference_id"] == first[1].json()["inference_id"]
    assert again[2].json() == first[2].json()
    assert size(service) == before + 1


def test_every_step_is_recorded_once_under_its_key(
    service: Service, clinician: httpx.Client
) -> None:
    inference = asked(clinician)["inference_id"]
    key = {"Idempotency-Key": "decision-of-tuesday"}
    path = f"/v1/inferences/{inference}/decision"
    with ThreadPoolExecutor(8) as pool:
        given = list(
            pool.map(
                lambda _: clinician.post(path, json={"decision": "accepted"}, headers=key),
                range(16),
            )
        )
    assert {one.status_code for one in given} == {201}
    assert len({one.json()["record_id"] for one in given}) == 1


def test_of_concurrent_decisions_without_a_key_one_stands(clinician: httpx.Client) -> None:
    inference = asked(clinician)["inference_id"]
    path = f"/v1/inferences/{inference}/decision"
    with ThreadPoolExecutor(8) as pool:
        given = list(
            pool.map(
                lambda _: clinician.post(path, json={"decision": "accepted"}).status_code,
                range(16),
            )
        )
    assert sorted(given) == [201] + [409] * 15


# Bad input: none of it is recorded


@pytest.fixture(scope="module")
def open_information(clinician: httpx.Client) -> str:
    return informed(clinician)


def test_without_information_there_is_no_answer(service: Service, clinician: httpx.Client) -> None:
    before = size(service)
    unknown = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": NOBODY, "features": FEATURES},
    )
    assert "PatientInformed" in problem(unknown, 409)["detail"]
    assert size(service) == before
    other_model = clinician.post(
        f"/v1/models/{WITHHELD_MODEL}/inferences",
        json={"information_id": informed(clinician, MODEL), "features": FEATURES},
    )
    assert "PatientInformed" in problem(other_model, 409)["detail"]


def test_after_an_objection_there_is_no_answer(clinician: httpx.Client) -> None:
    opened = informed(clinician)
    objected = clinician.post(
        "/v1/patients/objection", json={"information_id": opened, "recipient": "patient"}
    )
    assert objected.status_code == 201, objected.text
    refused = clinician.post(
        f"/v1/models/{MODEL}/inferences", json={"information_id": opened, "features": FEATURES}
    )
    assert "objected" in problem(refused, 409)["detail"]


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "of a question that fails"}])
@pytest.mark.parametrize(
    ("features", "field"),
    [
        ('{"gene 0": 5, "gene 1": 424242.5}', "features.gene 1"),
        ('{"gene 77": 424242.5}', "features.gene 77"),
        ('{"gene 1": NaN}', "features.gene 1"),
        ('{"gene 1": Infinity}', "features.gene 1"),
        ('{"gene 1": -Infinity}', "features.gene 1"),
        ('{"gene 1": "424242"}', "features.gene 1"),
        ('{"gene 1": true}', "features.gene 1"),
        ('{"gene 1": null}', "features.gene 1"),
        ('{"gene 1": [424242]}', "features.gene 1"),
        ('{"gene 1": {"value": 424242}}', "features.gene 1"),
        ('{"gene 1": 1e400}', "features.gene 1"),
        ('{"gene 1": 1' + "0" * 4000 + "}", "features.gene 1"),
        ('{"gene 1": -1' + "0" * 5000 + "}", "features.gene 1"),
        ('{"gene 1": "\\ud800"}', "features.gene 1"),
        ('{"\\ud800": 1}', "features.?"),
        ('{"gene 1": ' + "[" * 400 + "]" * 400 + "}", "features.gene 1"),
        ('{"gene 1": ' + '{"x":' * 400 + "1" + "}" * 401, "features.gene 1"),
        ('{"gene 1": 424242, "gene 0": 5, "gene 1": 5}', "features.gene 1"),
        ('{"gene 1": {"x": [1, {"y": 1, "y": 2}]}}', "features.gene 1.x.1.y"),
        ('{"gene 1": {"y": 1, "y": 2}, "gene 1": 5}', "features.gene 1"),
        ('{"gene 1": 424242}, "features": {"gene 1": 5}', "features"),
        ("{}", "features"),
        ("[424242]", "features"),
        ('"424242"', "features"),
        ("null", "features"),
    ],
)
def test_a_feature_that_cannot_be_taken_is_named_and_its_value_is_not(
    service: Service,
    clinician: httpx.Client,
    open_information: str,
    *,
    features: str,
    field: str,
    key: dict[str, str],
) -> None:
    before = size(service)
    given = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        content=f'{{"information_id": "{open_information}", "features": {features}}}',
        headers={"Content-Type": "application/json", **key},
    )
    found = problem(given, 422)
    assert [one["field"] for one in found["errors"]] == [field]
    assert "424242" not in given.text
    assert size(service) == before


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"key": "99"}, "patient.key"),
        ({"birth_date": "1969-05-12T00:00:00"}, "patient.birth_date"),
        ({"birth_date": "1969-5-12"}, "patient.birth_date"),
        ({"birth_date": "-19000000"}, "patient.birth_date"),
        ({"birth_date": -19000000}, "patient.birth_date"),
        ({"qualified": "yes"}, "patient.qualified"),
        ({"qualified": 1}, "patient.qualified"),
        ({"birth_name": "   "}, "patient.birth_name"),
        ({"matricule": "LEFEVRE-SECRET"}, "patient.matricule"),
        ({"oid": "1.2.3.4242"}, "patient.oid"),
        ({"birth_date": "LEFEVRE-SECRET"}, "patient.birth_date"),
        ({"sex": "LEFEVRE-SECRET"}, "patient.sex"),
        ({"birth_place": "LEFEVRE-SECRET"}, "patient.birth_place"),
        ({"birth_name": ""}, "patient.birth_name"),
        ({"qualified": "LEFEVRE-SECRET"}, "patient.qualified"),
        ({"nickname": "LEFEVRE-SECRET"}, "patient.nickname"),
    ],
)
def test_a_patients_identity_is_checked_and_never_repeated(
    clinician: httpx.Client, changed: dict[str, object], field: str
) -> None:
    given = clinician.post(
        "/v1/patients/information",
        json={
            "patient": {**a_patient(), **changed},
            "recipient": "patient",
            "models": [MODEL],
        },
    )
    found = problem(given, 422)
    assert [one["field"] for one in found["errors"]] == [field]
    assert "SECRET" not in given.text
    assert "ZÉNITH" not in given.text


def test_information_says_who_was_told_or_why_nobody_was(clinician: httpx.Client) -> None:
    body = {"patient": a_patient(), "models": [MODEL]}
    problem(clinician.post("/v1/patients/information", json=body), 422)
    told = {**body, "recipient": "patient"}
    for changed, field in (
        ({"valid_until": "2020-01-01T00:00:00Z"}, "valid_until"),
        ({"valid_until": "0001-01-01T00:00:00+14:00"}, "valid_until"),
        ({"valid_until": "9999-12-31T23:59:59-14:00"}, "valid_until"),
        ({"valid_until": "2099-01-01T00:00:00"}, "valid_until"),
        ({"valid_until": "2099-01-01"}, "valid_until"),
        ({"valid_until": 99999999999999}, "valid_until"),
        ({"valid_until": "99999999999999"}, "valid_until"),
        ({"valid_until": True}, "valid_until"),
        ({"recipient_name": " \t"}, "recipient_name"),
        ({"models": [MODEL, MODEL]}, "models"),
        ({"models": []}, "models"),
        (
            {"recipient": None, "deferred": {"ground": "urgency", "statement": " short     "}},
            "deferred.statement",
        ),
    ):
        given = clinician.post("/v1/patients/information", json={**told, **changed})
        found = problem(given, 422)
        assert [one["field"] for one in found["errors"]] == [field]


@pytest.mark.parametrize(
    ("role", "path", "body", "field"),
    [
        (Role.CLINICIAN, "decision", {"decision": "overridden", "reason": " \n "}, "reason"),
        (Role.CLINICIAN, "decision-payload", {"decision": "overridden", "reason": ""}, "reason"),
        (Role.CLINICIAN, "first-read", {"label": "lung", "comment": "  "}, "comment"),
        (
            Role.CLINICIAN,
            "told",
            {"recipient": "patient", "interpretation": "\u3000"},
            "interpretation",
        ),
        (Role.CLINICIAN, "told", {"recipient": "patient", "interpretation": 1}, "interpretation"),
        (
            Role.CLINICIAN,
            "told",
            {"recipient": "patient", "interpretation": "x\ud800"},
            "interpretation",
        ),
        (
            Role.CLINICIAN,
            "outcome",
            {"label": "lung", "source": "other", "comment": " "},
            "comment",
        ),
        (Role.CLINICIAN, "outcome", {"label": " ", "source": "other"}, "label"),
        (Role.CLINICIAN, "correction", {"corrects": "x", "statement": "  "}, "statement"),
        (Role.MONITOR, f"/v1/models/{MODEL}/suspension", {"reason": "   "}, "reason"),
        (
            Role.COLLEGE,
            f"/v1/models/{MODEL}/votes",
            {"version": "1", "in_favour": "no"},
            "in_favour",
        ),
        (
            Role.COLLEGE,
            f"/v1/models/{MODEL}/votes",
            {"version": "1", "in_favour": True, "reason": " "},
            "reason",
        ),
        (
            Role.COLLEGE,
            "/v1/college/draws",
            {"rate": "1/2", "secret_sha256": "0" * 64, "first_index": 0},
            "first_index",
        ),
        (
            Role.COLLEGE,
            f"/v1/college/draws/{NOBODY}/abandonment",
            {"reason": " "},
            "reason",
        ),
        (
            Role.COLLEGE,
            "/v1/college/reviews",
            {"draw": "x", "inference_id": NOBODY, "opinion": "agreed"},
            "draw",
        ),
        (
            Role.DPO,
            f"/v1/patients/{'0' * 32}/hold",
            {"reason": "inquiry", "lifted": "no"},
            "lifted",
        ),
        (
            Role.DPO,
            f"/v1/patients/{'0' * 32}/erasure",
            {"ground": "retention_ended", "died": "2020-01-01T00:00:00"},
            "died",
        ),
    ],
)
def test_words_are_not_blank_and_values_are_of_their_own_kind(
    service: Service, role: Role, path: str, body: dict[str, object], field: str
) -> None:
    before = size(service)
    with service.client(role) as client:
        address = path if path.startswith("/") else f"/v1/inferences/{NOBODY}/{path}"
        given = client.post(
            address,
            # As ASCII: a lone surrogate has no UTF-8.
            content=json.dumps(body),
            headers={"Content-Type": "application/json", "Idempotency-Key": "of one refused"},
        )
    found = problem(given, 422)
    assert [one["field"] for one in found["errors"]] == [field]
    assert size(service) == before


@pytest.mark.parametrize(
    "jwk",
    [
        '"x"',
        "{}",
        '{"kty": "OKP", "crv": "Ed25519", "x": "\\ud800"}',
        '{"kty": "OKP", "crv": "Ed25519", "x": ' + "[" * 400 + "]" * 400 + "}",
        '{"kty": "EC", "crv": "P-256", "x": 1' + "0" * 5000 + ', "y": ""}',
    ],
)
def test_what_is_no_key_is_refused(clinician: httpx.Client, jwk: str) -> None:
    given = clinician.post(
        "/v1/keys",
        content=f'{{"jwk": {jwk}}}',
        headers={"Content-Type": "application/json", "Idempotency-Key": "of no key"},
    )
    problem(given, 422)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"/v1/ledger/records?start={'9' * 23}", "query.start"),
        (f"/v1/ledger/records?start={'9' * 5000}", "query.start"),
        ("/v1/ledger/records?start=-1", "query.start"),
        (f"/v1/ledger/records?count={'9' * 23}", "query.count"),
        (f"/v1/ledger/consistency?from={'9' * 23}", "query.from"),
        (f"/v1/ledger/tile/{'9' * 23}/000", "path.level"),
        ("/v1/inferences/nobody", "path.inference_id"),
    ],
)
def test_numbers_and_ids_in_addresses_are_bounded(
    clinician: httpx.Client, path: str, field: str
) -> None:
    given = clinician.get(path)
    found = problem(given, 422)
    assert [one["field"] for one in found["errors"]] == [field]
    assert "[0-9" not in given.text


@pytest.mark.parametrize("start", [2**31, 2**53 - 1])
def test_beyond_the_head_there_is_nothing(clinician: httpx.Client, start: int) -> None:
    page = clinician.get("/v1/ledger/records", params={"start": start, "count": 1000})
    assert page.json()["records"] == []
    problem(clinician.get("/v1/ledger/consistency", params={"from": start}), 404)
    problem(clinician.get(f"/v1/ledger/tile/0/{'x999/' * 9}999"), 404)


def test_decisions_that_contradict_themselves_name_the_field(clinician: httpx.Client) -> None:
    answer = asked(clinician)
    path = f"/v1/inferences/{answer['inference_id']}/decision"
    for body, field in (
        ({"decision": "overridden"}, "label"),
        ({"decision": "overridden", "label": "spleen", "reason": "x"}, "label"),
        ({"decision": "disregarded", "label": "lung"}, "label"),
        ({"decision": "perhaps"}, "decision"),
        ({"decision": "accepted", "colour": "red"}, "colour"),
    ):
        found = problem(clinician.post(path, json=body), 422)
        assert [one["field"] for one in found["errors"]] == [field]


def test_steps_out_of_order_name_the_step_that_is_missing(clinician: httpx.Client) -> None:
    inference = asked(clinician)["inference_id"]
    told = clinician.post(
        f"/v1/inferences/{inference}/told",
        json={"recipient": "patient", "interpretation": "Le sein."},
    )
    assert "DecisionSigned" in problem(told, 409)["detail"]


def test_unknown_things_are_404(clinician: httpx.Client) -> None:
    problem(clinician.get(f"/v1/inferences/{NOBODY}"), 404)
    problem(clinician.get(f"/v1/inferences/{NOBODY}/receipt"), 404)
    problem(clinician.post(f"/v1/inferences/{NOBODY}/decision", json={"decision": "accepted"}), 404)
    question = {"information_id": informed(clinician), "features": FEATURES}
    problem(clinician.post("/v1/models/nobody/inferences", json=question), 404)
    problem(clinician.get("/v1/nothing"), 404)
    problem(clinician.get("/nothing"), 404)
    problem(clinician.post("/"), 405)
    problem(clinician.put("/v1/models"), 405)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b'{"reason": ', {"Content-Type": "application/json"}, 400),
        (b"\xff\xfe", {"Content-Type": "application/json"}, 400),
        (b"[" * 100_000, {"Content-Type": "application/json"}, 400),
        (b'{"reason": 1' + b"0" * 5000 + b"}", {"Content-Type": "application/json"}, 422),
        (b'{"reason": "x", "reason": "y"}', {"Content-Type": "application/json"}, 422),
        (b'\xef\xbb\xbf{"reason": "x"}', {"Content-Type": "application/json"}, 400),
        ('{"reason": "x"}'.encode("utf-16"), {"Content-Type": "application/json"}, 400),
        ('{"reason": "x"}'.encode("utf-16-le"), {"Content-Type": "application/json"}, 400),
        ('{"reason": "x"}'.encode("utf-32"), {"Content-Type": "application/json"}, 400),
        ('{"reason": "é"}'.encode("latin-1"), {"Content-Type": "application/json"}, 400),
        (b"", {"Content-Type": "application/json"}, 422),
        (b"[]", {"Content-Type": "application/json"}, 422),
        (b"reason=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b'{"reason": "x"}', {"Content-Type": "text/plain"}, 415),
        (b'{"reason": "x"}', {}, 415),
        (b'"' + b"x" * (5 * 1024 * 1024) + b'"', {"Content-Type": "application/json"}, 413),
    ],
)
def test_bodies_that_are_not_one_json_object_are_refused(
    service: Service, content: bytes, headers: dict[str, str], status: int
) -> None:
    with service.client(Role.MONITOR) as monitor:
        given = monitor.post(f"/v1/models/{MODEL}/suspension", content=content, headers=headers)
        problem(given, status)
        assert monitor.get(f"/v1/models/{MODEL}").json()["suspension"] is None


def test_a_body_that_does_not_say_its_length_is_measured_all_the_same(service: Service) -> None:
    parts = iter([b'"', *[b"x" * 1024 * 1024] * 5, b'"'])
    with service.client(Role.MONITOR) as monitor:
        given = monitor.post(
            f"/v1/models/{MODEL}/suspension",
            content=parts,
            headers={"Content-Type": "application/json"},
        )
        problem(given, 413)


def test_what_nobody_registered_is_refused_without_being_repeated(
    service: Service, clinician: httpx.Client
) -> None:
    with service.client(Role.COLLEGE, "member-physician") as member:
        ballot = {"version": "Dupont\a", "in_favour": True}
        asked_of = member.post(f"/v1/models/{MODEL}/votes", json=ballot)
        drawn = {"rate": "1/2", "secret_sha256": "ab" * 32, "model": "dupont"}
        announced = member.post("/v1/college/draws", json=drawn)
    told = {"patient": a_patient(), "recipient": "patient", "models": ["dupont"]}
    for given in (asked_of, announced, clinician.post("/v1/patients/information", json=told)):
        assert "registered" in problem(given, 404)["detail"]
        assert "dupont" not in given.text.lower()


def test_what_only_the_log_can_refuse_is_named_by_its_field_too(clinician: httpx.Client) -> None:
    key = {"Idempotency-Key": "of two bodies"}
    who = a_patient()
    told = {"patient": who, "recipient": "patient", "models": [MODEL]}
    clinician.post("/v1/patients/information", json=told, headers=key)
    other = {**told, "patient": {**who, "birth_name": "AUTREMENT"}}
    objection = {"information_id": NOBODY, "recipient": "patient"}
    for path, body, headers, status, field in (
        ("information", other, key, 422, "Idempotency-Key"),
        ("information", other, {}, 409, "patient"),
        ("objection", objection, {}, 404, "information_id"),
    ):
        given = clinician.post(f"/v1/patients/{path}", json=body, headers=headers)
        found = problem(given, status)
        assert [one["field"] for one in found["errors"]] == [field]
        assert "AUTREMENT" not in given.text


def test_answers_are_kept_by_nobody_on_the_way(service: Service, clinician: httpx.Client) -> None:
    path = f"/v1/inferences/{asked(clinician)['inference_id']}"
    for call in (path, f"{path}/explanation", f"{path}/explanation.svg", "/v1/worklist", "/docs"):
        given = clinician.get(call)
        assert given.status_code == 200, call
        assert given.headers["cache-control"] == "no-store", call
        assert given.headers["x-content-type-options"] == "nosniff", call
    with service.client(None) as anonymous:
        assert "immutable" in anonymous.get("/v1/ledger/tile/0/000.p/1").headers["cache-control"]


# Tokens


def test_a_call_without_a_valid_token_is_401_and_says_how(service: Service) -> None:
    good = service.client(Role.CLINICIAN).headers["Authorization"].removeprefix("Bearer ")
    head, claims, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    before = size(service)
    for sent in (
        None,
        b"",
        b"Bearer",
        b"Basic dXNlcjpwYXNz",
        f"Bearer {none}.{claims}.".encode(),
        f"Bearer {head}.{claims}.{signature[:-6]}AAAAAA".encode(),
        f"Bearer {good}x".encode(),
        "Bearer é".encode(),
    ):
        with service.client(None) as anonymous:
            headers = [] if sent is None else [(b"Authorization", sent)]
            given = anonymous.get("/v1/models", headers=headers)
        found = problem(given, 401)
        assert given.headers["www-authenticate"].startswith("Bearer")
        assert claims not in str(found)
    assert size(service) == before


@pytest.mark.parametrize(
    ("role", "method", "path"),
    [
        (Role.DATA_SCIENTIST, "POST", f"/v1/models/{MODEL}/inferences"),
        (Role.COLLEGE, "POST", f"/v1/models/{MODEL}/inferences"),
        (Role.INTEGRATOR, "POST", "/v1/patients/information"),
        (Role.MONITOR, "POST", "/v1/patients/objection"),
        (Role.DATA_SCIENTIST, "POST", f"/v1/models/{MODEL}/suspension"),
        (Role.CLINICIAN, "DELETE", f"/v1/models/{MODEL}/suspension"),
        (Role.CLINICIAN, "POST", f"/v1/models/{MODEL}/votes"),
        (Role.INTEGRATOR, "GET", f"/v1/inferences/{NOBODY}"),
        (Role.MONITOR, "GET", "/v1/worklist"),
        (Role.CLINICIAN, "GET", "/v1/college"),
        (Role.CLINICIAN, "GET", "/metrics"),
    ],
)
def test_another_role_is_403_before_the_body_is_looked_at(
    service: Service, role: Role, method: str, path: str
) -> None:
    with service.client(role) as client:
        problem(client.request(method, path, json={} if method != "GET" else None), 403)
