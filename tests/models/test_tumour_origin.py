"""The cards of the tumour-origin models."""

import re

import pytest

from guarantee.card import Kind, Reliance
from models import tumour_origin
from models.cohorts import GCM_ORIGINS
from models.tumour_origin import UnknownRecipe


def test_the_microarray_card_names_every_origin_of_gcm_with_its_codes() -> None:
    card = tumour_origin.microarray_card()
    assert {label.id for label in card.labels} == set(GCM_ORIGINS.values())
    shapes = {"ICD-O-3": r"C\d\d\.\d", "CIM-10": r"C\d\d(\.\d)?"}
    for label in card.labels:
        assert {code.system for code in label.codes} == set(shapes)
        assert all(re.fullmatch(shapes[code.system], code.code) for code in label.codes)
        assert label.words.fr
        assert label.words.en


def test_the_microarray_card_is_for_research_and_says_what_it_does_not_know() -> None:
    card = tumour_origin.microarray_card()
    assert card.regulatory.notice() is not None
    assert (card.kind, card.reliance) == (Kind.FIXED, Reliance.AIDED)
    assert "not identified" in card.provenance.en
    assert "n’y sont pas identifiés" in card.provenance.fr


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(UnknownRecipe, match="tumour-origin-microarray"):
        tumour_origin.recipe("horoscope")
