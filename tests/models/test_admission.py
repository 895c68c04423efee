"""Nothing is registered that lacks what college, clinician and patient are owed."""

import json
import shutil
from pathlib import Path

import pytest

from models.admission import Inadmissible, check_admissible

NAME = "three-origins"


@pytest.fixture
def mine(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "mine"))


def missing(folder: Path, name: str = NAME) -> tuple[str, ...]:
    with pytest.raises(Inadmissible) as refusal:
        check_admissible(folder, name=name)
    return refusal.value.missing


def test_what_was_trained_here_is_admissible(folder: Path) -> None:
    check_admissible(folder, name=NAME)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("card.json", "garant models card"),
        ("contract.json", "feature contract"),
        ("calibration.json", "calibration"),
        ("reference.npz", "reference"),
        ("metrics.json", "evaluation"),
        ("evaluation.html", "page"),
        ("predictor.json", "model itself"),
    ],
)
def test_each_file_that_is_missing_is_named_with_its_remedy(
    mine: Path, file: str, said: str
) -> None:
    (mine / file).unlink()
    (problem,) = missing(mine)
    assert said in problem
    assert "garant models" in problem


@pytest.mark.parametrize(
    "field",
    [
        "title",
        "intended_use",
        "kind",
        "regulatory",
        "labels",
        "responsibilities",
        "leaflet",
        "lapse_hours",
    ],
)
def test_each_thing_that_a_card_lacks_is_named(mine: Path, field: str) -> None:
    card = json.loads((mine / "card.json").read_bytes())
    del card[field]
    (mine / "card.json").write_text(json.dumps(card))
    (problem,) = missing(mine)
    assert problem.startswith(f"card: {field}: ")


def test_words_codes_and_the_change_protocol_are_asked_for(mine: Path) -> None:
    card = json.loads((mine / "card.json").read_bytes())
    card["labels"][0]["words"]["fr"] = " "
    card["labels"][1]["codes"] = []
    card["labels"][2]["codes"][0]["code"] = "somewhere"
    (mine / "card.json").write_text(json.dumps(card))
    words, none, form, *_ = missing(mine)
    assert words.startswith("card: labels.0.words.fr: ")
    assert none.startswith("card: labels.1.codes: ")
    assert form.startswith("card: labels.2.codes.0: ")
    assert "somewhere" not in form
    card = json.loads((mine / "card.json").read_bytes())
    for label in card["labels"]:
        label |= {"words": {"fr": "x", "en": "x"}, "codes": [{"system": "CIM-10", "code": "C34"}]}
    card["kind"] = "learning"
    (mine / "card.json").write_text(json.dumps(card))
    (problem,) = missing(mine)
    assert "change protocol" in problem


def test_files_that_do_not_fit_each_other_are_refused(mine: Path) -> None:
    assert "not of another-name" in missing(mine, "another-name")[0]
    figures = json.loads((mine / "metrics.json").read_bytes())
    (mine / "metrics.json").write_text(json.dumps(figures | {"labels": ["a", "b"]}))
    assert "other labels" in missing(mine)[0]
    (mine / "metrics.json").write_text("{}")
    assert "figures cannot be read" in missing(mine)[0]
    (mine / "contract.json").write_text("{}")
    assert "train again" in missing(mine)[0]
