"""Figures against their published or plain values."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation import Estimate, Evaluation, Undefined, evaluate, wilson


def figures(probabilities: NDArray[np.float64], truth: NDArray[np.intp]) -> Evaluation:
    return evaluate(
        probabilities,
        truth,
        probabilities >= 0.3,
        labels=[f"label {place}" for place in range(probabilities.shape[1])],
        groups=np.arange(len(truth)),
        patients=None,
        folds=5,
        seed=0,
        held_out_cases=0,
        notes=(),
    )


def test_wilsons_interval_is_that_of_the_literature() -> None:
    # Newcombe, Statistics in Medicine 1998;17:857, table I: 81 of 263, and 0 of 20.
    share = wilson(81, 263)
    assert (round(share.low, 4), round(share.high, 4)) == (0.2553, 0.3662)
    none = wilson(0, 20)
    assert (none.low, round(none.high, 4)) == (0, 0.1611)


def test_a_perfect_model_has_perfect_figures() -> None:
    truth = np.arange(40) % 4
    evaluation = figures(np.eye(4)[truth], truth)
    assert evaluation.accuracy.value == 1
    assert evaluation.log_loss.value == 0
    assert evaluation.calibration_error.value == 0
    assert evaluation.set_size == 1
    assert evaluation.top_3 == Estimate(value=1, low=1, high=1)


def test_balanced_accuracy_weighs_classes_alike() -> None:
    truth = np.array([0] * 90 + [1] * 10)
    evaluation = figures(np.tile([0.9, 0.1], (100, 1)), truth)
    assert evaluation.accuracy.value == pytest.approx(0.9)
    assert evaluation.balanced_accuracy.value == pytest.approx(0.5)
    assert evaluation.calibration_error.value == pytest.approx(0.18)
    assert isinstance(evaluation.top_3, Undefined)
    assert evaluation.recalls == {"label 0": 1.0, "label 1": 0.0}


def test_a_class_without_cases_has_no_recall() -> None:
    evaluation = figures(np.tile([0.5, 0.3, 0.2], (6, 1)), np.array([0, 0, 0, 1, 1, 1]))
    assert set(evaluation.recalls) == {"label 0", "label 1"}
