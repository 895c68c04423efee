"""What is like the training cases, what is not, and what is like nothing: for any model."""

from dataclasses import replace

import numpy as np
import pytest

from guarantee.abstention import Abstention
from models import recipes
from models.cohorts import Cohort
from models.composite import View
from models.likeness import judge
from models.representation import Ranks
from models.served import ServedModel


@pytest.fixture(scope="module")
def microarray(gcm: Cohort) -> ServedModel:
    recipe = recipes.recipe("tumour-origin-microarray")
    kept = recipe.train(gcm, replace(recipe.parameters, rounds=20, folds=2), None).bundle
    return ServedModel(
        name=kept.card.name, version="1", digest="", card=kept.card, contract=kept.contract,
        predictor=kept.predictor, calibration=kept.calibration, reference=kept.reference,
    )  # fmt: skip


def test_without_centroids_a_profile_most_of_which_is_unusual_gets_no_answer(
    microarray: ServedModel, gcm: Cohort
) -> None:
    real = gcm.profiles[:40].astype(np.float64)
    for profile in real:
        abstention = microarray.answer(microarray.contract.profile(profile)).abstention
        assert abstention in {None, Abstention.SET_TOO_LARGE}
    # Zeros; the natural logarithm sent for the binary one.
    for strange in (np.zeros_like(real[0]), real[0] * np.log(2)):
        answer = microarray.answer(microarray.contract.profile(strange))
        assert answer.abstention is Abstention.OUT_OF_DISTRIBUTION
        assert answer.probability < 0.15


def test_two_measurements_of_a_microarray_get_no_answer(
    microarray: ServedModel, gcm: Cohort
) -> None:
    sent = microarray.contract.vector({"U77180_at": 9.5, "X00437_s_at": 7.25})
    assert microarray.answer(sent).abstention is Abstention.TOO_FEW_FEATURES
    least = microarray.contract.least(microarray.card.least_known_share)
    assert least == 818
    for known, answered in ((least, True), (least - 1, False)):
        profile = np.where(np.arange(1363) < known, gcm.profiles[0], np.nan).astype(np.float64)
        found = microarray.answer(microarray.contract.profile(profile)).abstention
        assert (found is not Abstention.TOO_FEW_FEATURES) == answered


def test_one_or_two_unusual_features_are_no_reason_to_decline(served: ServedModel) -> None:
    quantiles = np.tile(np.linspace(0, 10, 25, dtype=np.float32), (6, 1))
    profiles = np.full((3, 6), np.nan, dtype=np.float32)
    for row in range(3):
        profiles[row, : row + 1] = 20
    found = judge(served.predictor, profiles, quantiles=quantiles, most_outside=0.1)
    assert found.unlike.tolist() == [True, True, True]
    assert found.hopeless.tolist() == [False, False, True]


def test_ranks_of_what_hardly_differs_say_nothing(served: ServedModel) -> None:
    profiles = np.full((3, 40), 5, dtype=np.float32)
    profiles[1, :10] = np.arange(10)
    profiles[2, 30:] = np.nan
    quantiles = np.tile(np.linspace(0, 10, 25, dtype=np.float32), (40, 1))
    for model, hopeless in (
        (View(representation=Ranks(), seen_by=served.predictor), [True, False, True]),
        (served.predictor, [False, False, False]),
    ):
        found = judge(model, profiles, quantiles=quantiles, most_outside=0.1)
        assert found.hopeless.tolist() == hopeless
        assert (found.unlike | ~found.hopeless).all()
