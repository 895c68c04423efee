"""Models that go on learning: how they are trained anew, and what their cards allow."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from guarantee.card import Kind
from models import cohorts, heart_disease, learning_cards, learning_origins, recipes
from models.cohorts import Cohort
from models.gated import likeness_of
from models.predictor import Predictor
from models.tumour_origin import MICROARRAY_LABELS, MIRNA_LABELS

_LEARNING = [name for name in recipes.RECIPES if name.endswith("-learning")]


_LEVELS = np.random.default_rng(9).permutation(60) / 5


def cases(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Three classes of 60 features, each at its own level; each class raises ten of its own."""
    draw = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    profiles = draw.normal(_LEVELS, 1, (count, 60))
    for one in range(3):
        profiles[truth == one, one * 10 : one * 10 + 10] += 1.5
    return profiles.astype(np.float32), truth


def learned(classes: int = 4) -> Predictor:
    profiles, truth = cases(300, 0)
    (found,) = learning_origins.learn(
        profiles, truth, [np.arange(300)],
        classes=classes, parameters=learning_origins.PARAMETERS, progress=None, likeness=True,
    )  # fmt: skip
    return found


def test_what_it_learns_holds_for_others_whatever_their_scale_and_gaps() -> None:
    predictor = learned()
    profiles, truth = cases(90, 1)
    for seen in (profiles, np.exp2(profiles) * 37):
        assert (predictor.margins(seen).argmax(axis=1) == truth).mean() > 0.95
    sparse = profiles.copy()
    sparse[:, ::2] = np.nan
    assert (predictor.margins(sparse).argmax(axis=1) == truth).mean() > 0.8


def test_contributions_add_up_and_a_label_without_a_case_is_never_answered() -> None:
    predictor = learned()
    profiles, _ = cases(30, 1)
    profiles[::3, 5] = np.nan
    profiles[1::3, ::2] = np.nan
    explained = predictor.explain(profiles)
    totals = explained.contributions.sum(axis=2, dtype=np.float64) + explained.bases
    np.testing.assert_allclose(totals, explained.margins, atol=1e-4)
    np.testing.assert_array_equal(explained.margins, predictor.margins(profiles))
    assert not np.any(explained.margins.argmax(axis=1) == 3)


def test_a_class_that_it_has_not_met_is_unlike() -> None:
    predictor = learned()
    profiles, _ = cases(90, 1)
    others = np.random.default_rng(2).normal(_LEVELS, 1, profiles.shape).astype(np.float32)
    others[:, 40:50] += 4
    found = likeness_of(predictor)
    assert found is not None
    likeness, distances = found
    assert (distances(profiles) > likeness.most_distant).mean() < 0.1
    assert (distances(others) > likeness.most_distant).mean() > 0.5


@pytest.mark.parametrize("name", _LEARNING)
def test_a_learning_recipe_carries_its_protocol_and_its_own_name(name: str) -> None:
    card = recipes.recipe(name).card()
    assert (card.name, card.kind) == (name, Kind.LEARNING)
    assert card.model_validate(card.model_dump()) == card
    protocol = card.change_protocol
    assert protocol is not None
    assert not {label.id for label in protocol.new_labels} & {label.id for label in card.labels}


def test_known_and_new_origins_are_together_all_there_are() -> None:
    for card, labels in (
        (learning_cards.mirna_learning_card(), MIRNA_LABELS),
        (learning_cards.microarray_learning_card(), MICROARRAY_LABELS),
    ):
        assert card.change_protocol is not None
        together = {*card.labels, *card.change_protocol.new_labels}
        assert {label.id for label in together} == {label.id for label in labels}


@pytest.fixture(scope="module", params=_LEARNING)
def first(request: pytest.FixtureRequest, gcm_folder: Path) -> tuple[str, Cohort]:
    name = str(request.param)
    recipe = recipes.recipe(name)
    if recipe.source == "tcga-mirna":
        if "GARANT_COHORTS" not in os.environ:
            pytest.skip("needs GARANT_COHORTS")
        cohort = cohorts.tcga_mirna(Path(os.environ["GARANT_COHORTS"]))
    else:
        read = cohorts.gcm if recipe.source == "gcm" else heart_disease.cohort
        cohort = read(gcm_folder)
    learned_from = recipe.learned_from(cohort)
    assert len(learned_from.ids) < len(cohort.ids)
    return name, learned_from


def test_a_first_version_learns_the_labels_of_its_card_and_leaves_cases_to_arrive(
    first: tuple[str, Cohort],
) -> None:
    name, cohort = first
    assert set(cohort.labels) == {label.id for label in recipes.recipe(name).card().labels}
