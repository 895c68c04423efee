"""Where cases lie among labels: likeness is seen, and nothing of a profile is kept."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.atlas import Atlas
from models.cohorts import Cohort
from models.training import Training


def taken(pairs: dict[int, int], *, classes: int, each: int) -> tuple[Atlas, NDArray[np.float64]]:
    """Cases of classes, some of which are half taken for another."""
    truth = np.repeat(np.arange(classes), each)
    probabilities = np.full((len(truth), classes), 0.01)
    probabilities[np.arange(len(truth)), truth] = 1
    for one, other in pairs.items():
        probabilities[truth == one, other] = 0.9
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Atlas.of(probabilities, truth, seed=0), probabilities


def test_labels_taken_for_each_other_are_neighbours_and_their_cases_lie_between() -> None:
    atlas, probabilities = taken({0: 4, 4: 0, 2: 5, 5: 2}, classes=6, each=10)
    np.testing.assert_allclose(np.linalg.norm(atlas.places, axis=1), 1, atol=1e-3)
    side = np.linalg.norm(atlas.places[0] - atlas.places[4])
    assert side == pytest.approx(1, abs=1e-3)  # of a hexagon
    assert np.linalg.norm(atlas.places[2] - atlas.places[5]) == pytest.approx(side, abs=1e-3)
    sure, torn = atlas.cases[atlas.truth == 1], atlas.cases[atlas.truth == 0]
    assert np.linalg.norm(sure - atlas.places[1], axis=1).max() < 0.5
    middle = (atlas.places[0] + atlas.places[4]) / 2
    assert np.linalg.norm(torn - middle, axis=1).max() < 0.5
    assert atlas.place(probabilities[0]) == pytest.approx(torn[0])


def test_two_labels_are_the_ends_of_a_line() -> None:
    atlas = Atlas.of(np.array([[0.9, 0.1], [0.2, 0.8]]), np.arange(2), seed=0)
    np.testing.assert_allclose(atlas.places, [[1, 0], [-1, 0]], atol=1e-6)
    np.testing.assert_allclose(atlas.cases, [[0.5, 0], [-0.33, 0]], atol=1e-6)


def test_a_thousand_cases_at_most_are_kept_of_each_label_alike_in_no_order() -> None:
    atlas, _ = taken({}, classes=4, each=400)
    assert np.bincount(atlas.truth).tolist() == [250] * 4
    few, _ = taken({}, classes=4, each=3)
    assert len(few.cases) == 12
    order = np.lexsort((*few.cases.T, few.truth))
    assert order.tolist() == list(range(12))


def test_a_training_keeps_two_rounded_numbers_a_case_and_no_id(
    training: Training, cohort: Cohort
) -> None:
    atlas = training.bundle.reference.atlas
    assert atlas.cases.shape == (training.bundle.evaluation.cases, 2)
    np.testing.assert_array_equal(atlas.cases, atlas.cases.round(2))
    # Each nearer to its own label's place than to any other, for most: it is what was answered.
    gaps = np.linalg.norm(atlas.cases[:, np.newaxis] - atlas.places, axis=2)
    assert (gaps.argmin(axis=1) == atlas.truth).mean() > 0.6
