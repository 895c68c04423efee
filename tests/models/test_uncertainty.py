"""Calibration and prediction sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models import uncertainty
from models.uncertainty import Calibration


def drawn(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Margins whose softmax is the truth's own distribution."""
    draw = np.random.default_rng(seed)
    margins = draw.normal(scale=2, size=(n, 4))
    probabilities = uncertainty.softmax(margins)
    truth = np.array([draw.choice(4, p=row) for row in probabilities], dtype=np.intp)
    return margins, truth


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_known_overconfidence(factor: float) -> None:
    margins, truth = drawn(4000, 1)
    assert uncertainty.fit_temperature(margins * factor, truth) == pytest.approx(factor, rel=0.1)


def test_sets_hold_the_truth_of_new_cases_nine_times_in_ten() -> None:
    calibration = uncertainty.fit(*drawn(2000, 2))
    margins, truth = drawn(2000, 3)
    probabilities = calibration.probabilities(margins)
    held = [
        label in calibration.prediction_set(row)
        for row, label in zip(probabilities, truth, strict=True)
    ]
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)


def test_a_class_that_is_hard_has_its_truth_in_the_set_as_often_as_an_easy_one() -> None:
    draw = np.random.default_rng(4)

    def cases(n: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        truth = draw.integers(0, 3, n)
        margins = draw.normal(size=(n, 3))
        # The third class is mostly taken for the second.
        margins[np.arange(n), truth] += np.where(truth == 2, 0, 4)
        margins[truth == 2, 1] += 1
        return margins, truth.astype(np.intp)

    calibration = uncertainty.fit(*cases(6000))
    assert len(calibration.class_thresholds) == 3
    margins, truth = cases(6000)
    probabilities = calibration.probabilities(margins)
    held = np.array(
        [
            label in calibration.prediction_set(row)
            for row, label in zip(probabilities, truth, strict=True)
        ]
    )
    for place in range(3):
        assert held[truth == place].mean() >= 0.88


def test_a_class_with_few_cases_shares_the_threshold_of_all() -> None:
    margins, truth = drawn(600, 5)
    few = np.concatenate([np.flatnonzero(truth != 0), np.flatnonzero(truth == 0)[:20]])
    calibration = uncertainty.fit(margins[few], truth[few])
    assert calibration.class_thresholds[0] is None
    assert all(own is not None for own in calibration.class_thresholds[1:])
    probabilities = uncertainty.softmax(margins[few] / calibration.temperature)
    assert calibration.set_threshold == uncertainty.set_threshold(
        probabilities[np.arange(len(few)), truth[few]]
    )


def test_a_model_is_undecided_when_most_labels_stay_possible() -> None:
    sizes = np.array([1, 2, 3, 15, 16])
    assert uncertainty.undecided(sizes, classes=31).tolist() == [False] * 4 + [True]
    assert uncertainty.undecided(sizes, classes=2).tolist() == [False] * 2 + [True] * 3


def test_with_too_few_cases_a_set_holds_every_class() -> None:
    assert uncertainty.set_threshold(np.full(8, 0.9)) == 0
    assert uncertainty.set_threshold(np.linspace(0.1, 0.9, 9)) == pytest.approx(0.1)


@settings(deadline=None)
@given(
    arrays(np.float32, (5,), elements=st.floats(-(2.0**99), 2.0**99, width=32)),
    st.floats(0.05, 20),
    st.floats(0, 1),
)
def test_calibration_keeps_the_order_and_sums_to_one(
    margins: NDArray[np.float32], temperature: float, threshold: float
) -> None:
    calibration = Calibration(temperature=temperature, set_threshold=threshold, cases=1)
    probabilities = calibration.probabilities(margins)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[margins.argmax()] == probabilities.max()
    kept = calibration.prediction_set(probabilities)
    assert kept[0] == probabilities.argmax()
    assert np.all(np.diff(probabilities[kept]) <= 0)


def test_where_no_label_is_as_probable_as_its_own_cases_the_set_says_how_little_is_known() -> None:
    calibration = Calibration(temperature=1, set_threshold=0.8, cases=1)
    spread = np.array([0.05, 0.4, 0.3, 0.25])
    assert calibration.prediction_set(spread).tolist() == [1, 2, 3]
    assert calibration.prediction_set(np.full(10, 0.1)).tolist() == list(range(9))
    # A rare class reaches its own low threshold: it alone would name another answer.
    thresholds = (0.9, 0.8, 0.05, None)
    own = Calibration(temperature=1, set_threshold=0.8, class_thresholds=thresholds, cases=1)
    assert own.prediction_set(np.array([0.55, 0.38, 0.06, 0.01])).tolist() == [0, 1, 2]
    assert own.prediction_set(np.array([0.92, 0.01, 0.06, 0.01])).tolist() == [0, 2]
    assert calibration.prediction_set(np.array([0.1, 0.85, 0.05])).tolist() == [1]
