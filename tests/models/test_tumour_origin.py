"""The cards of the tumour-origin models."""

import os
import re
from pathlib import Path

import pytest

from guarantee.card import Kind, Reliance
from guarantee.home import Home
from models import recipes, tumour_origin
from models.cohorts import GCM_ORIGINS
from models.recipes import UnknownRecipe


def test_the_microarray_card_names_every_origin_of_gcm() -> None:
    labels = tumour_origin.microarray_card().labels
    assert {label.id for label in labels} == set(GCM_ORIGINS.values())


@pytest.mark.parametrize("name", ["tumour-origin-microarray", "tumour-origin"])
def test_every_label_has_a_topography_and_a_category_in_their_systems_form(name: str) -> None:
    card = recipes.recipe(name).card()
    assert card.name == name
    shapes = {"ICD-O-3": r"C\d\d\.\d", "CIM-10": r"C\d\d(\.\d)?"}
    for label in card.labels:
        assert {code.system for code in label.codes} == set(shapes)
        assert all(re.fullmatch(shapes[code.system], code.code) for code in label.codes)


@pytest.mark.skipif("GARANT_COHORTS" not in os.environ, reason="needs GARANT_COHORTS")
def test_the_mirna_card_names_every_origin_of_tcga(tmp_path: Path) -> None:
    recipe = recipes.recipe("tumour-origin")
    cohort = recipe.cohort(Home(tmp_path), Path(os.environ["GARANT_COHORTS"]))
    assert {label.id for label in recipe.card().labels} == set(cohort.labels)


def test_the_microarray_card_is_for_research_and_says_what_it_does_not_know() -> None:
    card = tumour_origin.microarray_card()
    assert card.regulatory.notice() is not None
    assert (card.kind, card.reliance) == (Kind.FIXED, Reliance.AIDED)
    assert "not identified" in card.provenance.en
    assert "n’y sont pas identifiés" in card.provenance.fr


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(UnknownRecipe, match="tumour-origin-microarray"):
        recipes.recipe("horoscope")
