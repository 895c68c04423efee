"""Where a case comes from: sent by the client, vaulted, read by monitoring alone."""

import json

import httpx
import pytest

from guarantee import seen
from guarantee.bodies import Context
from guarantee.ledger import Ledger
from tests.serving.conftest import FEATURES, MODEL, Service, informed

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
