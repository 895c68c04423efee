"""The page of an evaluation: whole in itself, in both languages, and without any case in it."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from guarantee.card import Card, Text
from models.cohorts import Cohort
from models.evaluation_page import page
from models.training import Parameters, Training, train
from tests.models.conftest import card_of


@pytest.fixture(scope="module")
def trained(cohort: Cohort) -> Training:
    """A cohort that knows hospitals and dates, one of them with a name that is markup."""
    known = replace(
        cohort,
        sites=tuple("<b>&A" if place % 3 else f"H{place % 5}" for place in range(len(cohort.ids))),
        dates=tuple(f"2020-01-{1 + place // 2 % 28:02d}" for place in range(len(cohort.ids))),
        ages=tuple(float(place) for place in range(len(cohort.ids))),
    )
    return train(known, card_of(("lung", "sein gauche", "[")), Parameters(rounds=3, threads=1))


def shown(training: Training, card: Card | None = None) -> str:
    bundle = training.bundle
    return page(card or bundle.card, bundle.contract, bundle.reference, bundle.evaluation)


def test_the_page_is_well_formed_and_fetches_nothing(trained: Training) -> None:
    html = shown(trained)
    doctype, markup = html.split("\n", 1)
    assert doctype == "<!doctype html>"
    tree = ET.fromstring(markup)  # noqa: S314 - our own
    names = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert not names & {"script", "link", "img", "iframe", "image", "use", "a", "object", "form"}
    attributes = {name for element in tree.iter() for name in element.attrib}
    assert not {name for name in attributes if name.endswith(("src", "href"))}
    assert "url(" not in html
    assert "@import" not in html
    # Of addresses it knows the name of SVG alone.
    assert set(re.findall(r"https?://[^\"<> ]+", html)) == {"http://www.w3.org/2000/svg"}
    # Three reliability diagrams, three curves, hospitals, ages, years, one matrix, the cases, the
    # features.
    assert sum(element.tag.endswith("}svg") for element in tree.iter()) == 12


def test_every_word_that_differs_is_said_in_both_languages(trained: Training) -> None:
    card = card_of(("lung", "sein gauche", "["))
    html = shown(trained, card.model_copy(update={"title": Text(fr="Été <x>", en="Summer <x>")}))
    assert '<span lang="fr">Été &lt;x&gt;</span><span lang="en">Summer &lt;x&gt;</span>' in html
    tree = ET.fromstring(html.split("\n", 1)[1])  # noqa: S314 - our own
    by_language = [
        [element for element in tree.iter() if element.get("lang") == lang] for lang in ("fr", "en")
    ]
    assert len(by_language[0]) == len(by_language[1])
    assert trained.bundle.evaluation.notes
    assert "Recherche, pas pour le soin." in html
    assert "Research, not for care." in html


def test_the_page_holds_no_sample_no_patient_and_no_profile(
    trained: Training, cohort: Cohort
) -> None:
    html = shown(trained)
    text = re.sub(r"<[^>]+>", " ", html)
    words = set(re.split(r"[\s()]+", text))
    assert not words & {*cohort.ids, *(cohort.patients or ())}
    assert not words & {repr(float(value)) for value in cohort.profiles.ravel()}


def test_the_same_training_gives_the_same_page_and_small_groups_say_so(trained: Training) -> None:
    html = shown(trained)
    assert html == shown(trained)
    assert '<span lang="fr">petit</span>' in html
    assert "&lt;b&gt;&amp;A" in html


def test_what_the_cohort_does_not_know_is_said(training: Training) -> None:
    html = shown(training)
    assert "la cohorte ne distingue pas deux hôpitaux" in html
    assert "the cohort does not tell earlier from later cases" in html
    assert "La cohorte ne dit rien qui permette de former des groupes." in html
