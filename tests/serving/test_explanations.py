"""Why an answer was given, over HTTP: in words, as a picture, and not while it is withheld."""

import xml.etree.ElementTree as ET
from typing import Any

import httpx
import pytest

from guarantee.card import Language
from guarantee.identity import Role
from tests.serving.conftest import LABELS, WITHHELD_MODEL, Service, asked, check_ledger
from tests.serving.test_rest import problem


def explanation(client: httpx.Client, inference: str, **query: str) -> dict[str, Any]:
    given = client.get(f"/v1/inferences/{inference}/explanation", params=query)
    assert given.status_code == 200, given.text
    return dict(given.json())


def test_an_answer_is_told_in_both_languages_and_its_parts_add_up(
    clinician: httpx.Client,
) -> None:
    answer = asked(clinician)
    inference = answer["inference_id"]
    for language in Language:
        told = explanation(clinician, inference, lang=language)
        assert (told["label"], told["language"]) == (answer["prediction"]["label"], language)
        reasons = [*told["reasons_for"], *told["reasons_against"]]
        parts = told["start"] + sum(one["contribution"] for one in reasons) + told["rest"]
        assert parts == pytest.approx(told["total"], abs=1e-4)
        assert told["total"] == pytest.approx(answer["explanation"]["margin"], abs=1e-5)
        assert set(one["sentence"] for one in reasons) < set(told["sentences"])  # noqa: C401
    assert explanation(clinician, inference)["language"] == "fr"


def test_any_label_and_any_two_are_explained_and_no_other(clinician: httpx.Client) -> None:
    inference = asked(clinician)["inference_id"]
    one, other = (explanation(clinician, inference, label=name) for name in LABELS[:2])
    contrast = explanation(clinician, inference, label=LABELS[0], rather_than=LABELS[1])
    assert contrast["total"] == pytest.approx(one["total"] - other["total"], abs=1e-5)
    for query in (
        {"label": "foot"},
        {"rather_than": "foot"},
        {"label": "lung", "rather_than": "lung"},
    ):
        refused = clinician.get(f"/v1/inferences/{inference}/explanation", params=query)
        assert problem(refused, 422)["errors"][0]["field"] in query


def test_the_picture_comes_by_its_name_or_by_what_is_accepted(clinician: httpx.Client) -> None:
    path = f"/v1/inferences/{asked(clinician)['inference_id']}/explanation"
    named = clinician.get(f"{path}.svg", params={"lang": "en"})
    accepted = clinician.get(path, params={"lang": "en"}, headers={"Accept": "image/svg+xml"})
    for given in (named, accepted):
        assert given.status_code == 200
        assert given.headers["Content-Type"].startswith("image/svg+xml")
        assert given.headers["Content-Security-Policy"] == "default-src 'none'"
        assert ET.fromstring(given.text).get("lang") == "en"  # noqa: S314
    assert named.content == accepted.content


def test_the_map_marks_the_answer_between_the_labels_and_names_no_case(
    clinician: httpx.Client,
) -> None:
    inference = asked(clinician)["inference_id"]
    given = clinician.get(f"/v1/inferences/{inference}/map.svg")
    assert given.status_code == 200
    assert given.headers["Content-Type"].startswith("image/svg+xml")
    assert given.headers["Content-Security-Policy"] == "default-src 'none'"
    tree = ET.fromstring(given.text)  # noqa: S314 - our own
    assert [one.text for one in tree.iter() if one.tag.endswith("text")] == list(LABELS)
    marks = [one for one in tree.iter() if one.get("stroke-width") == "3"]
    assert len(marks) == 1
    assert not any(one.tag.endswith("title") for one in tree.iter())


def test_it_is_withheld_as_long_as_the_answer_is(clinician: httpx.Client) -> None:
    inference = asked(clinician, WITHHELD_MODEL)["inference_id"]
    for path in ("explanation", "explanation.svg", "explanation?label=lung", "map.svg"):
        refused = problem(clinician.get(f"/v1/inferences/{inference}/{path}"), 409)
        assert "FirstRead" in refused["detail"]
    clinician.post(f"/v1/inferences/{inference}/first-read", json={"label": "lung"})
    assert explanation(clinician, inference)["sentences"]


def test_it_is_for_those_who_may_read_the_dossier_and_their_reading_is_on_record(
    service: Service, clinician: httpx.Client
) -> None:
    inference = asked(clinician)["inference_id"]
    path = f"/v1/inferences/{inference}/explanation"
    for role, subject, status in (
        (Role.CLINICIAN, "10000000002", 403),
        (Role.DATA_SCIENTIST, None, 403),
        (None, None, 401),
    ):
        with service.client(role, subject) as stranger:
            problem(stranger.get(path), status)
    with service.client(Role.DPO) as officer:
        problem(officer.get(path), 422)
        explanation(officer, inference, purpose="audit")
    events = clinician.get(f"/v1/inferences/{inference}").json()["events"]
    assert [event["type"] for event in events][-1] == "AccessRecorded"
    check_ledger(service.home)


def test_an_unknown_language_is_refused(clinician: httpx.Client) -> None:
    inference = asked(clinician)["inference_id"]
    problem(clinician.get(f"/v1/inferences/{inference}/explanation?lang=de"), 422)
