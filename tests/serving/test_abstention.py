"""Where the model does not know: an answer of its own, over HTTP, against a real service."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from guarantee.abstention import Abstention
from guarantee.identity import Role
from guarantee.ledger import Ledger
from tests.serving.conftest import (
    FEATURES,
    LABELS,
    LIKENESS_MODEL,
    MODEL,
    NEEDED,
    NEEDING_MODEL,
    NOBODYS,
    UNDECIDED,
    Service,
    asked,
    check_ledger,
    informed,
)
from tests.serving.test_rest import problem


def states(
    shown: dict[str, Any], reason: Abstention, likeliest: str, *, needed: Sequence[str] = ()
) -> None:
    """That it says that the model abstained, and why, and names no label as if it stood."""
    prediction = shown["prediction"]
    assert prediction["label"] is None
    assert prediction["words"] is None
    assert prediction["probability"] is None
    assert prediction["codes"] == []
    assert prediction["abstention"] == {
        "reason": reason,
        "words": {"fr": reason.words.fr, "en": reason.words.en},
        "needed": list(needed),
    }
    assert prediction["abstention"]["words"]["fr"].startswith("Le modèle s’abstient")
    assert prediction["ranking"][0]["label"] == likeliest
    assert prediction["prediction_set"]
    assert "abstained" in shown["flags"]
    assert shown["explanation"]["label"] == likeliest
    assert shown["explanation"]["top_features"]


def test_where_too_many_labels_remain_it_says_so_and_names_none_as_if_it_stood(
    clinician: httpx.Client,
) -> None:
    answer = asked(clinician, MODEL, UNDECIDED)
    likeliest = answer["explanation"]["label"]
    states(answer, Abstention.SET_TOO_LARGE, likeliest)
    assert set(answer["prediction"]["prediction_set"]) == set(LABELS)
    assert json.loads(answer["receipt"]["header"])["outcome"] == "abstained"
    shown = clinician.get(f"/v1/inferences/{answer['inference_id']}").json()
    states(shown, Abstention.SET_TOO_LARGE, likeliest)
    assert shown["events"][0]["outcome"] == "abstained"
    assert shown["review"]["next"] == "decision"


def test_there_is_nothing_to_accept_and_the_clinician_decides_all_the_same(
    service: Service, clinician: httpx.Client
) -> None:
    answer = asked(clinician, MODEL, UNDECIDED)
    path, likeliest = f"/v1/inferences/{answer['inference_id']}", answer["explanation"]["label"]
    for call in ("decision", "decision-payload"):
        for body in ({"decision": "accepted"}, {"decision": "accepted", "label": likeliest}):
            refused = problem(clinician.post(f"{path}/{call}", json=body), 422)
            assert refused["errors"] == [
                {
                    "field": "decision",
                    "detail": "the model abstained: there is nothing to accept",
                }
            ]
    # The most probable label is no answer, so that it can be decided on.
    decided = clinician.post(
        f"{path}/decision",
        json={"decision": "overridden", "label": likeliest, "reason": "Seen on the slide."},
    )
    assert decided.status_code == 201, decided.text
    other = asked(clinician, MODEL, UNDECIDED)["inference_id"]
    given = clinician.post(f"/v1/inferences/{other}/decision", json={"decision": "disregarded"})
    assert given.status_code == 201, given.text
    check_ledger(service.home)


def test_a_withheld_abstention_is_told_by_nothing_before_the_first_read(
    clinician: httpx.Client,
) -> None:
    asking = clinician.post(
        f"/v1/models/{MODEL}/inferences",
        json={"information_id": informed(clinician), "features": UNDECIDED, "mode": "withheld"},
    )
    path = f"/v1/inferences/{asking.json()['inference_id']}"
    for shown in (asking, clinician.get(path)):
        assert shown.json()["prediction"] is None
        assert "abstain" not in shown.text
        assert json.loads(shown.json()["receipt"]["header"])["outcome"] == "withheld"
    assert clinician.post(f"{path}/first-read", json={"label": "lung"}).status_code == 201
    opened = clinician.get(path).json()
    states(opened, Abstention.SET_TOO_LARGE, opened["explanation"]["label"])
    problem(clinician.post(f"{path}/decision", json={"decision": "accepted"}), 422)


def test_a_patient_is_told_that_the_model_abstained(
    service: Service, clinician: httpx.Client
) -> None:
    inference = asked(clinician, MODEL, UNDECIDED)["inference_id"]
    with Ledger.open(service.home) as ledger:
        pseudonym = ledger.sealed_for(inference)
    with service.client(Role.DPO) as dpo:
        report = dpo.post(f"/v1/patients/{pseudonym}/access", json={}).json()
    words = Abstention.SET_TOO_LARGE.words
    assert report["dossiers"][0]["answer"] == {"fr": words.fr, "en": words.en}


def test_without_the_features_that_it_needs_a_model_abstains_and_says_which(
    service: Service, clinician: httpx.Client
) -> None:
    assert NEEDED == ("gene 0", "gene 2")
    features = {name: value for name, value in FEATURES.items() if name != "gene 2"}
    answer = asked(clinician, NEEDING_MODEL, features)
    likeliest = answer["explanation"]["label"]
    states(answer, Abstention.TOO_FEW_FEATURES, likeliest, needed=["gene 2"])
    assert json.loads(answer["receipt"]["header"])["outcome"] == "abstained"
    assert answer["missing_features"] == ["gene 2"]
    path = f"/v1/inferences/{answer['inference_id']}"
    assert clinician.post(f"{path}/replay").json()["identical"] is True
    refused = problem(clinician.post(f"{path}/decision", json={"decision": "accepted"}), 422)
    assert "nothing to accept" in refused["detail"]

    # Given them, it answers: beside the abstention, as a simulation, or as an inference.
    whole = {"features": {"gene 2": FEATURES["gene 2"]}}
    simulated = clinician.post(f"{path}/what-if", json=whole).json()
    assert simulated["before"]["prediction"]["abstention"]["needed"] == ["gene 2"]
    assert simulated["after"]["prediction"]["abstention"] is None
    inference = asked(clinician, NEEDING_MODEL)
    assert simulated["after"]["prediction"] == inference["prediction"]
    assert inference["prediction"]["label"]
    lacking = {"removed": ["gene 0"]}
    path = f"/v1/inferences/{inference['inference_id']}/what-if"
    abstains = clinician.post(path, json=lacking).json()["after"]["prediction"]
    assert abstains["label"] is None
    assert abstains["abstention"]["needed"] == ["gene 0"]
    check_ledger(service.home)


def looks_unsure(shown: dict[str, Any]) -> None:
    """That no label looks sure, and none is ruled out."""
    assert max(one["probability"] for one in shown["prediction"]["ranking"]) < 0.45
    assert set(shown["prediction"]["prediction_set"]) == set(LABELS)


def test_what_is_like_nothing_it_knows_gets_no_answer_and_no_label_looks_sure(
    service: Service, clinician: httpx.Client
) -> None:
    answer = asked(clinician, LIKENESS_MODEL, NOBODYS)
    likeliest = answer["explanation"]["label"]
    states(answer, Abstention.OUT_OF_DISTRIBUTION, likeliest)
    looks_unsure(answer)
    assert answer["flags"] == ["out_of_distribution", "implausible_features", "abstained"]
    assert json.loads(answer["receipt"]["header"])["outcome"] == "abstained"
    path = f"/v1/inferences/{answer['inference_id']}"
    shown = clinician.get(path).json()
    states(shown, Abstention.OUT_OF_DISTRIBUTION, likeliest)
    looks_unsure(shown)
    assert clinician.post(f"{path}/replay").json()["identical"] is True
    refused = problem(clinician.post(f"{path}/decision", json={"decision": "accepted"}), 422)
    assert "nothing to accept" in refused["detail"]
    known = asked(clinician, LIKENESS_MODEL)
    assert known["flags"] == []
    assert known["prediction"]["label"] == "breast"
    assert known["prediction"]["probability"] > 0.5
    check_ledger(service.home)


def test_an_abstention_is_explained_label_by_label_and_for_none_by_itself(
    clinician: httpx.Client,
) -> None:
    answer = asked(clinician, LIKENESS_MODEL, NOBODYS)
    path = f"/v1/inferences/{answer['inference_id']}/explanation"
    for itself in (path, f"{path}.svg", f"{path}?rather_than=lung"):
        refused = problem(clinician.get(itself), 422)
        assert refused["errors"] == [
            {"field": "label", "detail": "the model abstained: name the label to be explained"}
        ]
    for label in LABELS:
        told = clinician.get(path, params={"label": label, "lang": "en"}).json()
        reasons = [*told["reasons_for"], *told["reasons_against"]]
        parts = told["start"] + sum(one["contribution"] for one in reasons) + told["rest"]
        assert parts == pytest.approx(told["total"], abs=1e-4)
        (shown,) = (
            one["probability"] for one in answer["prediction"]["ranking"] if one["label"] == label
        )
        assert f"(probability {int(100 * shown)} %)" in told["sentences"][0]
    drawn = clinician.get(f"{path}.svg", params={"label": "lung"})
    assert drawn.status_code == 200
    contrast = clinician.get(path, params={"label": "lung", "rather_than": "colon"})
    assert contrast.json()["rather_than"] == "colon"


def test_no_route_tells_a_withheld_abstention_before_the_first_read(
    service: Service, clinician: httpx.Client
) -> None:
    asking = clinician.post(
        f"/v1/models/{LIKENESS_MODEL}/inferences",
        json={
            "information_id": informed(clinician, LIKENESS_MODEL),
            "features": NOBODYS,
            "mode": "withheld",
        },
    )
    path = f"/v1/inferences/{asking.json()['inference_id']}"
    withheld = (
        clinician.get(f"{path}/explanation"),
        clinician.get(f"{path}/explanation", params={"label": "lung"}),
        clinician.get(f"{path}/explanation.svg", params={"label": "lung"}),
        clinician.post(f"{path}/what-if", json={"features": {"gene 0": 5.0}}),
        clinician.post(f"{path}/replay"),
    )
    for refused in withheld:
        assert "FirstRead" in problem(refused, 409)["detail"]
    for shown in (asking, clinician.get(path), clinician.get(f"{path}/receipt"), *withheld):
        assert "abstain" not in shown.text
        assert "out_of_distribution" not in shown.text
    assert clinician.post(f"{path}/first-read", json={"label": "lung"}).status_code == 201
    opened = clinician.get(path).json()
    states(opened, Abstention.OUT_OF_DISTRIBUTION, opened["explanation"]["label"])
    told = clinician.get(f"{path}/explanation", params={"label": "lung"})
    assert told.json()["label"] == "lung"
    check_ledger(service.home)


def test_a_simulation_goes_into_an_abstention_and_out_of_it(clinician: httpx.Client) -> None:
    abstained = asked(clinician, LIKENESS_MODEL, NOBODYS)
    path = f"/v1/inferences/{abstained['inference_id']}/what-if"
    out = clinician.post(path, json={"features": FEATURES}).json()
    states(out["before"], Abstention.OUT_OF_DISTRIBUTION, abstained["explanation"]["label"])
    assert out["after"]["prediction"] == asked(clinician, LIKENESS_MODEL)["prediction"]
    assert out["after"]["flags"] == []

    answered = asked(clinician, LIKENESS_MODEL)
    path = f"/v1/inferences/{answered['inference_id']}/what-if"
    into = clinician.post(path, json={"features": NOBODYS}).json()
    states(into["after"], Abstention.OUT_OF_DISTRIBUTION, into["after"]["explanation"]["label"])
    looks_unsure(into["after"])
    assert into["before"]["prediction"] == answered["prediction"]
    moved = sum(one["difference"] for one in into["differences"]) + into["rest"]
    assert moved == pytest.approx(into["margin_after"] - into["margin_before"], abs=2e-4)

    # Three features of six are enough, two are not.
    enough = {"removed": ["gene 3", "gene 4", "gene 5"]}
    assert clinician.post(path, json=enough).json()["after"]["prediction"]["abstention"] is None
    sparse = {"removed": [*enough["removed"], "gene 2"]}
    into = clinician.post(path, json=sparse).json()
    states(into["after"], Abstention.TOO_FEW_FEATURES, into["after"]["explanation"]["label"])
    looks_unsure(into["after"])


def test_a_contract_says_how_many_features_are_the_least(clinician: httpx.Client) -> None:
    for model, least in ((LIKENESS_MODEL, 3), (MODEL, 1)):
        contract = clinician.get(f"/v1/models/{model}/contract").json()
        assert contract["least_features"] == least
