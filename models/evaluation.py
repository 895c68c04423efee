"""How good a model is on cases it was not trained on, each figure with its interval."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.uncertainty import COVERAGE

_RESAMPLES: Final = 500
_BINS: Final = 10
_Z95: Final = 1.959963984540054


class _Figure(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Figure):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Undefined(_Figure):
    """A figure that has no meaning here, and why."""

    reason: str


class Evaluation(_Figure):
    """Figures on cases each judged by a model that had not seen their patient.

    Attributes:
        method: How the cases were kept apart from training.
        patients: None where patients are not identified: then a patient may count twice.
        accuracy: Interval of Wilson; the others' come from resampled patients.
        balanced_accuracy: Mean of the classes' recalls.
        top_3: Share of cases whose truth is among the three most probable labels.
        log_loss: In nats, lower is better.
        calibration_error: Mean |confidence − accuracy| over ten bins of as many cases.
        coverage: Share of cases whose prediction set, fitted on the other folds, holds the truth.
        set_size: Mean number of labels in a prediction set.
        recalls: By label.
        notes: What a reader of these figures must know.
    """

    method: Literal["cross-validation"] = "cross-validation"
    folds: int
    seed: int
    cases: int
    patients: int | None
    held_out_cases: int
    accuracy: Estimate
    balanced_accuracy: Estimate
    top_3: Estimate | Undefined
    log_loss: Estimate
    calibration_error: Estimate
    coverage: Estimate
    set_size: float
    recalls: dict[str, float]
    notes: tuple[str, ...] = ()

    def figures(self) -> dict[str, float]:
        """The defined figures and their intervals' ends, flat, by name."""
        flat = {"cases": float(self.cases), "set_size": self.set_size}
        for name in (
            "accuracy",
            "balanced_accuracy",
            "top_3",
            "log_loss",
            "calibration_error",
            "coverage",
        ):
            figure = getattr(self, name)
            if isinstance(figure, Estimate):
                flat |= {
                    name: figure.value,
                    f"{name}_low": figure.low,
                    f"{name}_high": figure.high,
                }
        return flat


def wilson(successes: int, trials: int) -> Estimate:
    """A share with Wilson's 95 % interval; `trials` is at least 1."""
    share, z2 = successes / trials, _Z95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 * np.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return Estimate(
        value=share, low=max(0.0, float(centre - half)), high=min(1.0, float(centre + half))
    )


def evaluate(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.intp],
    in_set: NDArray[np.bool_],
    *,
    labels: Sequence[str],
    groups: NDArray[np.intp],
    patients: int | None,
    folds: int,
    seed: int,
    held_out_cases: int,
    notes: tuple[str, ...],
) -> Evaluation:
    """Figures of out-of-fold answers.

    Args:
        probabilities: (n, n_classes), calibrated on other folds.
        truth: (n,), class indices.
        in_set: (n, n_classes), the prediction sets.
        labels: (n_classes,), ids in the order of the columns.
        groups: (n,), the patient of each case as an index from 0; resampled as a whole.
    """
    rows, classes = np.arange(len(truth)), len(labels)
    guess = probabilities.argmax(axis=1)
    correct = (guess == truth).astype(np.float64)
    chosen = probabilities[rows, truth]
    rank = (probabilities > chosen[:, np.newaxis]).sum(axis=1)
    losses = -np.log(np.maximum(chosen, 1e-15))
    one_hot = np.eye(classes)[truth]
    # Bins of as many cases, cut once, so that resamples differ in their cases alone.
    order = np.argsort(probabilities.max(axis=1), kind="stable")
    bins = np.empty(len(truth), dtype=np.intp)
    bins[order] = rows * min(_BINS, len(truth)) // len(truth)
    gaps = np.eye(_BINS)[bins] * (correct - probabilities.max(axis=1))[:, np.newaxis]

    weights = np.vstack([np.ones(len(truth)), _resamples(groups, seed)])
    total = weights.sum(axis=1)
    members = weights @ one_hot
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = (weights @ (one_hot * correct[:, np.newaxis])) / members
    covered = int(in_set[rows, truth].sum())
    return Evaluation(
        folds=folds,
        seed=seed,
        cases=len(truth),
        patients=patients,
        held_out_cases=held_out_cases,
        accuracy=wilson(int(correct.sum()), len(truth)),
        # A resample may miss a rare class: its mean is over the classes it has.
        balanced_accuracy=_estimate(np.nanmean(recalls, axis=1)),
        top_3=_estimate(weights @ (rank < 3) / total)
        if classes > 3
        else Undefined(reason=f"of {classes} labels, three always hold the truth"),
        log_loss=_estimate(weights @ losses / total),
        calibration_error=_estimate(np.abs(weights @ gaps).sum(axis=1) / total),
        coverage=wilson(covered, len(truth)),
        set_size=float(in_set.sum(axis=1).mean()),
        recalls={
            label: float(recall)
            for label, recall in zip(labels, recalls[0], strict=True)
            if not np.isnan(recall)
        },
        notes=(*notes, f"prediction sets aim at {COVERAGE:.0%} coverage over all cases"),
    )


def _resamples(groups: NDArray[np.intp], seed: int) -> NDArray[np.float64]:
    """How often each case counts in each resample of patients, (_RESAMPLES, n)."""
    count = int(groups.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), size=_RESAMPLES
    )
    return drawn[:, groups].astype(np.float64)


def _estimate(figures: NDArray[np.float64]) -> Estimate:
    """The figure of the cohort itself, first, with the middle 95 % of the resamples' figures."""
    low, high = np.quantile(figures[1:], (0.025, 0.975))
    return Estimate(value=float(figures[0]), low=float(low), high=float(high))
