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
