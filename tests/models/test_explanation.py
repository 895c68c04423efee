"""Contributions against Shapley values computed from their definition, and their sum."""

import json
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.boosted import Boosted
from models.explanation import (
    Explanation,
    InexactExplanation,
    attributions,
    attributions_against,
    attributions_for,
)
from models.served import ServedModel
from tests.models.conftest import floats

# XGBoost dumps trees as JSON.
Node = dict[str, Any]
FEATURES, CLASSES = 5, 3


def small_booster(classes: int = CLASSES) -> xgboost.Booster:
    draw = np.random.default_rng(7)
    profiles = draw.normal(size=(80, FEATURES)).astype(np.float32)
    truth = (np.nan_to_num(profiles[:, 0]) + profiles[:, 1] * profiles[:, 2] > 0).astype(int)
    truth[profiles[:, 3] > 0.8] = classes - 1
    profiles[draw.random(profiles.shape) < 0.15] = np.nan
    settings = {"objective": "multi:softprob", "num_class": classes, "max_depth": 3, "nthread": 1}
    return xgboost.train(settings, xgboost.DMatrix(profiles, truth), 4)


def expectation(node: Node, profile: NDArray[np.float32], known: set[int]) -> float:
    """The tree's value when only the `known` features are; the others follow the cover.

    Source: Lundberg et al. 2020, algorithm 1 (path-dependent TreeSHAP's value function).
    """
    if "leaf" in node:
        return float(node["leaf"])
    children: list[Node] = node["children"]
    by_id = {child["nodeid"]: child for child in children}
    place = int(node["split"].removeprefix("f"))
    if place in known:
        if np.isnan(profile[place]):
            chosen = node["missing"]
        else:
            chosen = node["yes" if profile[place] < np.float32(node["split_condition"]) else "no"]
        return expectation(by_id[chosen], profile, known)
    covers = [child["cover"] for child in children]
    values = [expectation(child, profile, known) for child in children]
    return float(np.average(values, weights=covers))


def shapley(trees: list[Node], profile: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shapley values from their definition, then the value of knowing nothing."""

    def value(known: set[int]) -> float:
        return sum(expectation(tree, profile, known) for tree in trees)

    values = np.zeros(FEATURES + 1)
    for place in range(FEATURES):
        others = [other for other in range(FEATURES) if other != place]
        for size in range(FEATURES):
            for known in combinations(others, size):
                gain = value({*known, place}) - value(set(known))
                values[place] += gain / (FEATURES * comb(FEATURES - 1, size))
    values[FEATURES] = value(set())
    return values


@pytest.mark.parametrize("classes", [2, 3])
def test_contributions_are_the_shapley_values_of_the_trees(classes: int) -> None:
    booster = small_booster(classes)
    trees = [json.loads(tree) for tree in booster.get_dump(dump_format="json", with_stats=True)]
    profiles = np.random.default_rng(1).normal(size=(4, FEATURES)).astype(np.float32)
    profiles[0, 1] = profiles[1, 0] = profiles[1, 3] = np.nan
    explanation = Boosted(booster=booster).explain(profiles)
    for row, profile in enumerate(profiles):
        for label in range(classes):
            of_class = trees[label::classes]
            expected = shapley(of_class, profile)
            everything = sum(expectation(tree, profile, set(range(FEATURES))) for tree in of_class)
            intercept = explanation.margins[row, label] - everything
            np.testing.assert_allclose(
                explanation.contributions[row, label], expected[:-1], atol=2e-6
            )
            assert explanation.bases[row, label] == pytest.approx(
                expected[-1] + intercept, abs=2e-6
            )


BOOSTER = small_booster()


@settings(deadline=None)
@given(arrays(np.float32, (2, FEATURES), elements=st.floats(width=32, allow_infinity=False)))
def test_contributions_add_up_to_every_margin(profiles: NDArray[np.float32]) -> None:
    explanation = Boosted(booster=BOOSTER).explain(profiles)
    total = explanation.contributions.sum(axis=-1) + explanation.bases
    np.testing.assert_allclose(total, explanation.margins, atol=1e-4)


def test_a_profile_is_explained_alike_alone_and_in_a_batch() -> None:
    profiles = np.random.default_rng(3).normal(size=(6, FEATURES)).astype(np.float32)
    batch = Boosted(booster=BOOSTER).explain(profiles)
    for row in range(len(profiles)):
        alone = Boosted(booster=BOOSTER).explain(profiles[row : row + 1])
        np.testing.assert_array_equal(alone.contributions[0], batch.contributions[row])


@pytest.mark.parametrize("wrong", [2e-4, -1.0, np.nan])
def test_contributions_that_miss_the_margin_are_refused_with_the_gap(wrong: float) -> None:
    contributions = np.zeros((2, CLASSES, FEATURES), dtype=np.float32)
    bases = margins = np.zeros((2, CLASSES), dtype=np.float32)
    Explanation(margins=margins + np.float32(5e-5), bases=bases, contributions=contributions)
    margins = margins.copy()
    margins[1, 2] = wrong
    with pytest.raises(InexactExplanation) as refusal:
        Explanation(margins=margins, bases=bases, contributions=contributions)
    assert refusal.value.gap == pytest.approx(abs(wrong), nan_ok=True)


def test_a_contrast_adds_up_to_the_log_of_the_ratio_of_probabilities() -> None:
    profile = np.random.default_rng(5).normal(size=(1, FEATURES)).astype(np.float32)
    explanation = Boosted(booster=BOOSTER).explain(profile)
    probabilities = BOOSTER.inplace_predict(profile)[0]
    bases = explanation.bases[0, 1] - explanation.bases[0, 2]
    assert explanation.contrast(0, 1, 2).sum() + bases == pytest.approx(
        np.log(probabilities[1] / probabilities[2]), abs=1e-5
    )


def test_attributions_are_ordered_by_weight_and_say_what_is_missing() -> None:
    names, values = ["a", "b", "c", "d"], floats([1, np.nan, 3, 4])
    contributions = floats([0.5, -2, 0, 1])
    assert [a.feature for a in attributions(names, values, contributions, 9)] == ["b", "d", "a"]
    assert [a.feature for a in attributions_for(names, values, contributions, 9)] == ["d", "a"]
    (against,) = attributions_against(names, values, contributions, 9)
    assert (against.feature, against.value, against.contribution) == ("b", None, -2.0)


def test_a_loaded_model_explains_as_it_predicts(served: ServedModel) -> None:
    profile = served.contract.vector({"gene 0": 8.5, "gene 3": 4.0})
    answer = served.answer(profile)
    np.testing.assert_allclose(
        answer.contributions.sum(axis=1) + answer.bases, answer.margins, atol=1e-4
    )
    np.testing.assert_array_equal(served.margins(profile.values[np.newaxis])[0], answer.margins)
