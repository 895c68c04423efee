"""How sure a model may be: calibrated probabilities, and sets that should hold the truth."""

from functools import cached_property
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

COVERAGE: Final = 0.9
# A class with fewer cases than this has no threshold of its own: it would be one case's.
LEAST_CASES: Final = 30


class Calibration(BaseModel):
    """Temperature scaling, linear in the margins, and the thresholds of the prediction sets.

    Attributes:
        temperature: Margins are divided by it; above 1 the raw model was too sure.
        set_threshold: Classes at least this probable are in the prediction set, where they have
            no threshold of their own.
        class_thresholds: (n_classes,), each class's own, None for one with fewer than
            `LEAST_CASES` cases; empty where no class has one.
        coverage: Share of cases whose set should hold the truth, of each class that has a
            threshold and of all.
        cases: Cross-validated cases behind these figures.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017; Sadinle, Lei and
    Wasserman, Least ambiguous set-valued classifiers, JASA 2019; Vovk, Conditional validity of
    inductive conformal predictors, ACML 2012.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    temperature: float = Field(gt=0, allow_inf_nan=False)
    set_threshold: float = Field(ge=0, le=1)
    class_thresholds: tuple[Annotated[float, Field(ge=0, le=1)] | None, ...] = ()
    coverage: float = Field(default=COVERAGE, gt=0, lt=1)
    cases: int = Field(ge=0)

    def probabilities(self, margins: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of margins of shape (…, n_classes); each row sums to 1."""
        return softmax(np.asarray(margins, dtype=np.float64) / self.temperature)

    def prediction_set(self, probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
        """The classes that stay possible, most probable first; the most probable is among them.

        Of cases like those of calibration, `coverage` at least have their truth in the set: of
        each class with a threshold of its own, and of the others together. The thresholds come
        from folds, which is close to, but not exactly, split conformal. Where the most probable
        class does not reach its threshold, those that reach `coverage` together are in the set,
        too: fewer would claim that the model knows.

        Args:
            probabilities: (n_classes,).
        """
        order = np.argsort(-probabilities, kind="stable")
        kept = (probabilities >= self._least)[order]
        if not kept[0]:
            # Sums of many probabilities fall short of it by rounding alone.
            reached = np.cumsum(probabilities[order]) < self.coverage - 1e-9
            kept[: int(reached.sum()) + 1] = True
        return order[kept]

    @cached_property
    def _least(self) -> NDArray[np.float64] | float:
        """The threshold of each class, (n_classes,), or of all."""
        if not self.class_thresholds:
            return self.set_threshold
        return np.array(
            [self.set_threshold if own is None else own for own in self.class_thresholds]
        )


KNOWS_NOTHING: Final = Calibration(temperature=20, set_threshold=0, cases=0)
"""For a profile that no case of calibration was like, or of which next to nothing is known.

Its margins may be as high as any, and say nothing: at the highest temperature that is ever fitted
hardly more than the order of the labels is left of them, and every label stays possible.
"""


def undecided(sizes: NDArray[np.intp], *, classes: int) -> NDArray[np.bool_]:
    """`is_undecided` of prediction sets of these sizes, (n,)."""
    return np.array([is_undecided(int(size), classes=classes) for size in sizes], dtype=np.bool_)


def is_undecided(size: int, *, classes: int) -> bool:
    """Whether a prediction set of that size had better not be given for an answer.

    More than half of the classes, and more than two: with two left there is something to say.
    """
    return size > max(2, classes // 2)


def softmax(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of margins over the last axis, without overflow."""
    raised = np.exp(margins - margins.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float64)


def fit_temperature(margins: NDArray[np.floating], truth: NDArray[np.intp]) -> float:
    """The temperature that minimises log loss, found to 0.1 % between 1/20 and 20.

    Args:
        margins: (n, n_classes), of cases that the model has not been trained on.
        truth: (n,), class indices.
    """
    scale = np.asarray(margins, dtype=np.float64)
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        chosen = softmax(scale / np.exp(log_temperature))[rows, truth]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())

    # Log loss is convex in 1 / temperature, hence unimodal here: a golden section finds it.
    high = np.log(KNOWS_NOTHING.temperature)
    low = -high
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def fit(margins: NDArray[np.floating], truth: NDArray[np.intp]) -> Calibration:
    """Calibration from cross-validated margins; arguments as for `fit_temperature`."""
    temperature = fit_temperature(margins, truth)
    probabilities = softmax(np.asarray(margins, dtype=np.float64) / temperature)
    truths = probabilities[np.arange(len(truth)), truth]
    counts = np.bincount(truth, minlength=margins.shape[1])
    own = tuple(
        set_threshold(truths[truth == place]) if count >= LEAST_CASES else None
        for place, count in enumerate(counts)
    )
    few = counts[truth] < LEAST_CASES
    return Calibration(
        temperature=temperature,
        # Of the classes that share it; of all where there are too few of those cases.
        set_threshold=set_threshold(truths[few] if few.sum() >= LEAST_CASES else truths),
        class_thresholds=own if any(least is not None for least in own) else (),
        cases=len(truth),
    )


def set_threshold(truths: NDArray[np.float64], coverage: float = COVERAGE) -> float:
    """The probability that the truth reaches in at least `coverage` of further cases.

    Args:
        truths: (n,), the probability given to the truth of each case.

    Returns:
        The conformal quantile; 0, so that every class is kept, where `n` is too small.
    """
    rank = int(np.floor((len(truths) + 1) * (1 - coverage) + 1e-9))
    return float(np.sort(truths)[rank - 1]) if rank >= 1 else 0.0
