"""Who reads what over HTTP, and a patient's rights, against a real service of two workers."""

import json
from typing import Any

import httpx
import pytest

from guarantee.identity import Role
from tests.serving.conftest import FEATURES, MODEL, WITHHELD_MODEL, Service, a_patient, size
from tests.serving.test_rest import problem

OTHER = "10000000002"


class Met:
    """A patient who was informed and asked about, and what came back."""

    def __init__(self, clinician: httpx.Client, model: str = MODEL) -> None:
        self.identity = a_patient()
        informed = clinician.post(
            "/v1/patients/information",
            json={"patient": self.identity, "recipient": "patient", "models": [model]},
        ).json()
        self.information = informed["information_id"]
        self.pseudonym = informed["pseudonym"]
        answer = clinician.post(
            f"/v1/models/{model}/inferences",
            json={"information_id": self.information, "features": FEATURES},
        ).json()
        self.inference = answer["inference_id"]
        self.path = f"/v1/patients/{self.pseudonym}"
        self.dossier = f"/v1/inferences/{self.inference}"


def types(given: httpx.Response) -> list[str]:
    assert given.status_code in (200, 201), given.text
    return [one["type"] for one in given.json()["events"]]


# Reading


def test_whoever_cares_for_the_patient_reads_without_a_record_and_nobody_else_does(
    service: Service, clinician: httpx.Client
) -> None:
    met = Met(clinician)
    before = size(service)
    assert types(clinician.get(met.dossier)) == ["InferenceMade"]
    assert size(service) == before
    with service.client(Role.CLINICIAN, OTHER) as other:
        for given in (other.get(met.dossier), other.post(f"{met.dossier}/replay")):
            assert "break-glass" in problem(given, 403)["detail"]
        given = other.post(f"{met.dossier}/decision-payload", json={"decision": "accepted"})
        problem(given, 403)
    assert size(service) == before


def test_broken_glass_opens_one_dossier_to_one_clinician_and_is_seen(
    service: Service, clinician: httpx.Client
) -> None:
    met, another = Met(clinician), Met(clinician)
    key = {"Idempotency-Key": "night-shift"}
    with service.client(Role.CLINICIAN, OTHER) as other:
        opened = other.post(f"{met.dossier}/break-glass", json={"ground": "urgency"}, headers=key)
        assert types(opened) == ["InferenceMade", "BreakGlass"]
        assert opened.json()["prediction"]
        again = other.post(f"{met.dossier}/break-glass", json={"ground": "urgency"}, headers=key)
        assert types(again) == ["InferenceMade", "BreakGlass"]
        assert types(other.get(met.dossier)) == ["InferenceMade", "BreakGlass"]
        problem(other.get(another.dossier), 403)
        problem(other.post(f"{met.dossier}/break-glass", json={"ground": "curiosity"}), 422)
    with service.client(Role.CLINICIAN, "10000000003") as third:
        problem(third.get(met.dossier), 403)
    with service.client(Role.COLLEGE, "member-physician") as member:
        problem(member.post(f"{met.dossier}/break-glass", json={"ground": "urgency"}), 403)


def test_a_carer_brings_in_a_colleague_who_then_decides(
    service: Service, clinician: httpx.Client
) -> None:
    met = Met(clinician)
    with service.client(Role.CLINICIAN, OTHER) as other:
        refused = problem(other.post(f"{met.dossier}/decision", json={"decision": "accepted"}), 403)
        assert refused["type"].endswith(":not-caring")
        assert "/carers" in refused["detail"]
        # No answer is told by what is wrong with a stranger's words.
        guess = {"decision": "overridden", "label": "lung", "reason": "why"}
        assert problem(other.post(f"{met.dossier}/decision", json=guess), 403) == refused
        correction = {"corrects": met.inference, "statement": "The slides were swapped."}
        problem(other.post(f"{met.dossier}/correction", json=correction), 403)
        problem(other.get(met.dossier), 403)

        sent = {"number": OTHER, "reason": "on_call"}
        problem(other.post(f"{met.dossier}/carers", json=sent), 403)
        key = {"Idempotency-Key": "tonight"}
        first = clinician.post(f"{met.dossier}/carers", json=sent, headers=key)
        assert first.status_code == 201, first.text
        assert (
            clinician.post(f"{met.dossier}/carers", json=sent, headers=key).json() == first.json()
        )
        problem(clinician.post(f"{met.dossier}/carers", json=sent), 409)

        assert types(other.get(met.dossier)) == ["InferenceMade", "CareShared"]
        decided = other.post(f"{met.dossier}/decision", json={"decision": "accepted"})
        assert decided.status_code == 201, decided.text
    for odd in ({"number": "1", "reason": "team"}, {"number": OTHER, "reason": "curiosity"}):
        problem(clinician.post(f"{met.dossier}/carers", json=odd), 422)
    with service.client(Role.DPO) as dpo:
        (shared,) = [
            one
            for one in dpo.post(f"{met.path}/access", json={}).json()["accesses"]
            if one["type"] == "CareShared"
        ]
        assert shared["whom"] == {"role": "clinician", "number": OTHER}
        assert shared["outcome"] == "on_call"
        problem(dpo.post(f"{met.dossier}/carers", json=sent), 403)


def test_broken_glass_shows_no_withheld_answer(service: Service, clinician: httpx.Client) -> None:
    met = Met(clinician, WITHHELD_MODEL)
    with service.client(Role.CLINICIAN, OTHER) as other:
        opened = other.post(f"{met.dossier}/break-glass", json={"ground": "urgency"}).json()
    assert opened["prediction"] is None
    assert opened["input"] is None


def test_the_dpo_reads_with_a_purpose_that_is_on_record_first(
    service: Service, clinician: httpx.Client
) -> None:
    met = Met(clinician)
    with service.client(Role.DPO) as dpo:
        found = problem(dpo.get(met.dossier), 422)
        assert [one["field"] for one in found["errors"]] == ["purpose"]
        problem(dpo.get(met.dossier, params={"purpose": "care"}), 422)
        problem(dpo.get(met.dossier, params={"purpose": "curiosity"}), 422)
        before = size(service)
        assert dpo.get(met.dossier, params={"purpose": "audit"}).status_code == 200
        assert size(service) == before + 1
    assert types(clinician.get(met.dossier)) == ["InferenceMade", "AccessRecorded"]
    with service.client(Role.MONITOR) as monitor:
        problem(monitor.get(met.dossier), 403)


def test_the_college_reads_no_case_that_was_not_drawn(
    service: Service, clinician: httpx.Client
) -> None:
    met = Met(clinician)
    with service.client(Role.COLLEGE, "member-physician") as member:
        refused = problem(member.get(met.dossier, params={"purpose": "review"}), 403)
        assert "drawn" in refused["detail"]
    with service.client(Role.COLLEGE, "nobody-appointed") as stranger:
        problem(stranger.get(met.dossier, params={"purpose": "review"}), 403)


def test_a_dossier_gives_nobody_the_token_that_attests_its_decision(
    service: Service, clinician: httpx.Client
) -> None:
    met = Met(clinician)
    clinician.post(f"{met.dossier}/decision", json={"decision": "accepted"})
    token = clinician.headers["Authorization"].removeprefix("Bearer ")
    given = clinician.get(met.dossier)
    assert given.json()["events"][1]["body"]["assurance"] == "attested_by_issuer"
    assert token not in given.text
    with service.client(Role.DPO) as dpo:
        assert token not in dpo.post(f"{met.path}/access", json={}).text


# Rights


def test_a_patient_is_told_all_that_is_held_and_who_read_it(
    service: Service, clinician: httpx.Client
) -> None:
    met = Met(clinician)
    clinician.post(f"{met.dossier}/decision", json={"decision": "accepted"})
    with service.client(Role.CLINICIAN, OTHER) as other:
        other.post(f"{met.dossier}/break-glass", json={"ground": "continuity_of_care"})
    with service.client(Role.DPO) as dpo:
        given = dpo.post(f"{met.path}/access", json={"purpose": "patient_request"})
        assert given.status_code == 201, given.text
        report: dict[str, Any] = given.json()
        problem(dpo.post(f"/v1/patients/{'0' * 32}/access", json={}), 404)
        problem(dpo.post("/v1/patients/nobody/access", json={}), 422)
        problem(dpo.post(f"{met.path}/access", json={"purpose": "care"}), 422)
    assert report["identity"] == met.identity
    assert report["on_hold"] is False
    assert [one["standing"] for one in report["informations"]] == ["informed"]
    (dossier,) = report["dossiers"]
    assert [one["type"] for one in dossier["records"]] == [
        "InferenceMade",
        "DecisionSigned",
        "BreakGlass",
    ]
    made = dossier["records"][0]
    assert made["by"] == {"role": "clinician", "number": "10000000001"}
    assert made["facts"]["profile"] == FEATURES
    assert set(made["facts"]["answer"]["contributions"]) == set(FEATURES)
    assert [one["type"] for one in report["accesses"]] == ["BreakGlass", "AccessRecorded"]
    assert report["accesses"][0]["by"]["number"] == OTHER
    assert report["accesses"][-1]["record_id"] == report["access_id"]


def test_a_patient_is_not_told_an_answer_that_is_withheld(
    service: Service, clinician: httpx.Client
) -> None:
    met = Met(clinician, WITHHELD_MODEL)
    with service.client(Role.DPO) as dpo:
        report = dpo.post(f"{met.path}/access", json={}).json()
    (dossier,) = report["dossiers"]
    assert "answer" not in dossier
    assert "facts" not in dossier["records"][0]


def test_a_rectified_identity_is_the_one_that_counts(
    service: Service, clinician: httpx.Client
) -> None:
    met, another = Met(clinician), Met(clinician)
    after = {**met.identity, "birth_name": "ZÉNITH"}
    with service.client(Role.DPO) as dpo:
        key = {"Idempotency-Key": "rectified"}
        body = {"patient": after}
        first = dpo.post(f"{met.path}/rectification", json=body, headers=key)
        assert first.status_code == 201, first.text
        again = dpo.post(f"{met.path}/rectification", json=body, headers=key)
        assert again.json() == first.json()
        problem(dpo.post(f"{met.path}/rectification", json=body), 409)
        taken = {"patient": {**another.identity, "birth_name": "AUTRE"}}
        refused = dpo.post(f"{met.path}/rectification", json=taken)
        assert "AUTRE" not in json.dumps(problem(refused, 409), ensure_ascii=False)
    told = {"recipient": "patient", "models": [MODEL]}
    former = clinician.post("/v1/patients/information", json={**told, "patient": met.identity})
    problem(former, 409)
    present = clinician.post("/v1/patients/information", json={**told, "patient": after})
    assert present.json()["pseudonym"] == met.pseudonym


def test_erasure_waits_for_the_law_and_the_hold_and_then_leaves_410(
    service: Service, clinician: httpx.Client
) -> None:
    met = Met(clinician)
    with service.client(Role.DPO) as dpo:
        refused = problem(dpo.post(f"{met.path}/erasure", json={"ground": "retention_ended"}), 409)
        assert "R. 1112-7" in refused["detail"]
        held = dpo.post(f"{met.path}/hold", json={"reason": "litigation"})
        assert held.status_code == 201, held.text
        ordered = {"ground": "court_order"}
        assert "hold" in problem(dpo.post(f"{met.path}/erasure", json=ordered), 409)["detail"]
        lifted = dpo.post(f"{met.path}/hold", json={"reason": "litigation", "lifted": True})
        assert lifted.status_code == 201, lifted.text
        key = {"Idempotency-Key": "erased"}
        erased = dpo.post(f"{met.path}/erasure", json=ordered, headers=key)
        assert erased.status_code == 201, erased.text
        assert set(erased.json()["records"]) == {met.information, met.inference}
        assert dpo.post(f"{met.path}/erasure", json=ordered, headers=key).json() == erased.json()
        problem(dpo.post(f"{met.path}/access", json={}), 410)
        problem(dpo.post(f"{met.path}/rectification", json={"patient": met.identity}), 410)
        problem(dpo.get(met.dossier, params={"purpose": "audit"}), 410)
    problem(clinician.get(met.dossier), 410)
    problem(clinician.post(f"{met.dossier}/replay"), 410)
    problem(clinician.post(f"{met.dossier}/decision", json={"decision": "accepted"}), 410)
    again = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": met.information, "features": FEATURES},
    )
    problem(again, 410)
    # The header stays, and its proof.
    assert clinician.get(f"{met.dossier}/receipt").status_code == 200
    assert met.inference not in [
        one["inference_id"] for one in clinician.get("/v1/worklist").json()
    ]


@pytest.mark.parametrize("call", ["access", "rectification", "erasure", "hold"])
def test_a_patient_s_rights_are_exercised_through_the_dpo_alone(
    service: Service, clinician: httpx.Client, call: str
) -> None:
    met = Met(clinician)
    bodies: dict[str, dict[str, Any]] = {
        "access": {},
        "rectification": {"patient": met.identity},
        "erasure": {"ground": "court_order"},
        "hold": {"reason": "inquiry"},
    }
    problem(clinician.post(f"{met.path}/{call}", json=bodies[call]), 403)
