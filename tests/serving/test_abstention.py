"""Where the model does not know: an answer of its own, over HTTP, against a real service."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from guarantee import dossier, versions
from guarantee.abstention import ABSTAINED, Abstention
from guarantee.bodies import InferenceMade
from guarantee.card import Mode
from guarantee.identity import Role
from guarantee.ledger import Ledger, now_ms
from guarantee.records import pack_floats
from models.served import Flag
from serving.house import LoadedVersions
from serving.inference import PLATFORM, recordable
from tests.models.conftest import card_of
from tests.serving.conftest import (
    FEATURES,
    LABELS,
    MODEL,
    Service,
    asked,
    check_ledger,
    informed,
    promoted,
)
from tests.serving.test_rest import problem


def abstained(
    service: Service, clinician: httpx.Client, reason: Abstention, *, mode: Mode = Mode.SHOWN
) -> tuple[str, str]:
    """An inference on which the version's answer is an abstention, as `ask` records it.

    Returns:
        Its id, and the label that is the most probable one all the same.
    """
    information = informed(clinician)
    token = clinician.headers["Authorization"].removeprefix("Bearer ")
    with Ledger.open(service.home) as ledger:
        registered = versions.standing(ledger, MODEL).check_serving()
        version = LoadedVersions(service.home).get(registered)
        profile = version.contract.vector(FEATURES)
        answer = version.answer(profile)
        answer = replace(answer, flags=(*answer.flags, Flag.ABSTAINED), abstention=reason)
        recorded = dossier.record_inference(
            ledger,
            ledger.people.actor(service.issuer.verify_token(token)),
            pseudonym=dossier.check_informed(ledger, information, MODEL, at=now_ms()),
            inference=InferenceMade(
                information_id=information,
                mode=mode,
                profile=pack_floats(profile.values),
                version_digest=version.digest,
                platform=PLATFORM,
                answer=recordable(answer),
            ),
            version=registered,
        )
        assert recorded.header.outcome == (ABSTAINED if mode is Mode.SHOWN else "withheld")
    return recorded.id, answer.label


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


@pytest.mark.parametrize("reason", list(Abstention))
def test_an_abstention_says_why_and_names_no_label_as_if_it_stood(
    service: Service, clinician: httpx.Client, reason: Abstention
) -> None:
    inference, likeliest = abstained(service, clinician, reason)
    shown = clinician.get(f"/v1/inferences/{inference}").json()
    states(shown, reason, likeliest)
    assert shown["events"][0]["outcome"] == "abstained"
    assert shown["review"]["next"] == "decision"


def test_there_is_nothing_to_accept_and_the_clinician_decides_all_the_same(
    service: Service, clinician: httpx.Client
) -> None:
    inference, likeliest = abstained(service, clinician, Abstention.OUT_OF_DISTRIBUTION)
    path = f"/v1/inferences/{inference}"
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
    other, _ = abstained(service, clinician, Abstention.TOO_FEW_FEATURES)
    given = clinician.post(f"/v1/inferences/{other}/decision", json={"decision": "disregarded"})
    assert given.status_code == 201, given.text
    check_ledger(service.home)


def test_a_withheld_abstention_is_told_by_nothing_before_the_first_read(
    service: Service, clinician: httpx.Client
) -> None:
    reason = Abstention.SET_TOO_LARGE
    inference, likeliest = abstained(service, clinician, reason, mode=Mode.WITHHELD)
    path = f"/v1/inferences/{inference}"
    shown = clinician.get(path)
    assert shown.json()["prediction"] is None
    assert "abstain" not in shown.text
    assert clinician.post(f"{path}/first-read", json={"label": "lung"}).status_code == 201
    states(clinician.get(path).json(), reason, likeliest)
    problem(clinician.post(f"{path}/decision", json={"decision": "accepted"}), 422)


def test_a_patient_is_told_that_the_model_abstained(
    service: Service, clinician: httpx.Client
) -> None:
    reason = Abstention.TOO_FEW_FEATURES
    inference, _ = abstained(service, clinician, reason)
    with Ledger.open(service.home) as ledger:
        pseudonym = ledger.sealed_for(inference)
    with service.client(Role.DPO) as dpo:
        report = dpo.post(f"/v1/patients/{pseudonym}/access", json={}).json()
    assert report["dossiers"][0]["answer"] == {"fr": reason.words.fr, "en": reason.words.en}


def test_without_the_features_that_it_needs_a_model_abstains_and_says_which(
    service: Service, clinician: httpx.Client, tmp_path: Path
) -> None:
    card = card_of(LABELS, "three-needing")
    promoted(service.home, tmp_path, card, required=("gene 0", "gene 2"))
    features = {name: value for name, value in FEATURES.items() if name != "gene 2"}
    answer = asked(clinician, card.name, features)
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
    inference = asked(clinician, card.name)
    assert simulated["after"]["prediction"] == inference["prediction"]
    assert inference["prediction"]["label"]
    lacking = {"removed": ["gene 0"]}
    path = f"/v1/inferences/{inference['inference_id']}/what-if"
    abstains = clinician.post(path, json=lacking).json()["after"]["prediction"]
    assert abstains["label"] is None
    assert abstains["abstention"]["needed"] == ["gene 0"]
    check_ledger(service.home)
