"""Judging answers: figures of what models said of cases they were not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from models.evaluation import (
    SMALL,
    Z95,
    Estimate,
    Judged,
    OfLabel,
    Part,
    ReliabilityBin,
    RiskPoint,
    Subgroup,
    Undefined,
    wilson,
)

_RESAMPLES: Final = 500
_BINS: Final = 10
_TOP: Final = 3
# A trait of more values than this shows the large groups, and the small ones together.
_MOST_GROUPS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a model, or one a part, said of cases that it had not been trained on.

    Attributes:
        probabilities: (n, n_classes), calibrated on other cases.
        truth: (n,), class indices.
        in_set: (n, n_classes), the prediction sets.
        groups: (n,), what is resampled as a whole, as an index: the patient or the hospital.
        part: (n,), the place in `parts` of the model that answered.
        parts: Each model's name, and the class index of each case that it was fitted on.
        patients: (n,), the patient of each case; None where not identified.
        abstained: (n,); None where the model never does.
        flagged: (n,), whether it says that the case is unlike those learned from; None where
            that was not asked.
        traits: By trait, a word for each case, empty where it is not known.
    """

    probabilities: NDArray[np.float64]
    truth: NDArray[np.intp]
    in_set: NDArray[np.bool_]
    groups: NDArray[np.intp]
    part: NDArray[np.intp]
    parts: Sequence[tuple[str, NDArray[np.intp]]]
    patients: NDArray[np.intp] | None
    abstained: NDArray[np.bool_] | None = None
    flagged: NDArray[np.bool_] | None = None
    traits: Mapping[str, Sequence[str]] = field(default_factory=dict)


def _share(successes: NDArray[np.bool_]) -> Estimate | Undefined:
    if not len(successes):
        return Undefined(reason="there is no such case")
    return wilson(int(successes.sum()), len(successes))


def judge(answers: Answers, *, labels: Sequence[str], seed: int) -> Judged | Undefined:
    """Figures of answers, those on labels that were not taught counted apart.

    Args:
        labels: (n_classes,), ids in the order of the columns.
        seed: Of the resamples.
    """
    abstained = (
        np.zeros(len(answers.truth), dtype=np.bool_)
        if answers.abstained is None
        else answers.abstained
    )
    confidence = answers.probabilities.max(axis=1)
    seen = np.zeros(len(answers.truth), dtype=np.bool_)
    for place, (_, taught) in enumerate(answers.parts):
        seen |= (answers.part == place) & np.isin(answers.truth, taught)
    unseen = ~seen
    if not seen.any():
        return Undefined(reason="no case has a label that its model was trained on")
    kept = np.flatnonzero(seen)
    probabilities, truth = answers.probabilities[kept], answers.truth[kept]
    right = (probabilities.argmax(axis=1) == truth) & ~abstained[kept]
    covered = answers.in_set[kept, truth]
    weights = _resamples(answers.groups[kept], seed)
    unseen_weights = _resamples(answers.groups[unseen], seed) if unseen.any() else None
    patients = None if answers.patients is None else answers.patients[kept]
    groups = _Groups(
        truth=truth,
        right=right,
        covered=covered,
        confidence=confidence[kept],
        patients=patients,
        weights=weights,
    )
    return Judged(
        cases=len(kept),
        patients=None if patients is None else len(np.unique(patients)),
        accuracy=wilson(int(right.sum()), len(kept)),
        **_resampled(probabilities, truth, right, abstained[kept], weights),
        risk_area=_risk_area(confidence[kept], right, abstained[kept], weights),
        coverage=wilson(int(covered.sum()), len(kept)),
        set_size=_estimate(_means(weights, answers.in_set[kept].sum(axis=1))),
        abstained=wilson(int(abstained[kept].sum()), len(kept)),
        labels=tuple(labels),
        by_label=_by_label(labels, probabilities, truth, right, covered),
        confusion=_confusion(len(labels), probabilities, truth),
        reliability=_reliability(probabilities, truth),
        risk=_risk(confidence[kept], right, abstained[kept]),
        subgroups=tuple(
            group
            for trait, words in answers.traits.items()
            for group in groups.of(trait, np.array(words)[kept])
        ),
        parts=_parts(answers, seen, abstained),
        unseen=int(unseen.sum()),
        unseen_confidence=Undefined(reason="every label was trained on")
        if unseen_weights is None
        else _estimate(_means(unseen_weights, confidence[unseen])),
        unseen_abstained=_share(abstained[unseen]),
        answered=_share(right[~abstained[kept]]),
        confidence=_of_answers(confidence[kept], abstained[kept], weights),
        flagged=Undefined(reason="it was not measured")
        if answers.flagged is None
        else _share(answers.flagged[kept]),
    )


class _Resampled(TypedDict):
    balanced_accuracy: Estimate
    top_3: Estimate | Undefined
    log_loss: Estimate
    calibration_error: Estimate


def _resampled(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.intp],
    right: NDArray[np.bool_],
    abstained: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> _Resampled:
    rows, classes = np.arange(len(truth)), probabilities.shape[1]
    chosen = probabilities[rows, truth]
    rank = (probabilities > chosen[:, np.newaxis]).sum(axis=1)
    confidence, bins = probabilities.max(axis=1), _bins(probabilities)
    hit = probabilities.argmax(axis=1) == truth
    gaps = np.eye(_BINS)[bins] * (hit - confidence)[:, np.newaxis]
    one_hot = np.eye(classes)[truth]
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = (weights @ (one_hot * right[:, np.newaxis])) / (weights @ one_hot)
    calibration = np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)
    return {
        # A resample may miss a rare class: its mean is over the classes it has.
        "balanced_accuracy": _estimate(np.nanmean(recalls, axis=1)),
        "top_3": _estimate(_means(weights, (rank < _TOP) & ~abstained))
        if classes > _TOP
        else Undefined(reason=f"of {classes} labels, three always hold the truth"),
        "log_loss": _estimate(_means(weights, -np.log(np.maximum(chosen, 1e-15)))),
        # Chance makes a resample's gaps wider than the cohort's, so that their middle would
        # lie above the figure: their spread alone is used.
        "calibration_error": _spread(calibration),
    }


def _bins(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """The bin of each case, (n,): as many cases in each, by confidence.

    Cut once, so that resamples differ in their cases alone.
    """
    count = len(probabilities)
    bins = np.empty(count, dtype=np.intp)
    order = np.argsort(probabilities.max(axis=1), kind="stable")
    bins[order] = np.arange(count) * min(_BINS, count) // count
    return bins


def _reliability(
    probabilities: NDArray[np.float64], truth: NDArray[np.intp]
) -> tuple[ReliabilityBin, ...]:
    bins, confidence = _bins(probabilities), probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == truth
    return tuple(
        ReliabilityBin(
            cases=int((bins == place).sum()),
            confidence=float(confidence[bins == place].mean()),
            accuracy=wilson(int(hit[bins == place].sum()), int((bins == place).sum())),
        )
        for place in np.unique(bins)
    )


def _risk(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], abstained: NDArray[np.bool_]
) -> tuple[RiskPoint, ...]:
    """The surest 5 %, 10 %, … of all cases, as far as they were answered."""
    order = np.argsort(-confidence[~abstained], kind="stable")
    sure, correct = confidence[~abstained][order], right[~abstained][order]
    counts = {int(np.ceil(len(confidence) * step / 20)) for step in range(1, 21)} | {len(sure)}
    return tuple(
        RiskPoint(
            coverage=count / len(confidence),
            confidence=float(sure[count - 1]),
            risk=wilson(int((~correct[:count]).sum()), count),
        )
        for count in sorted(counts)
        if 0 < count <= len(sure)
    )


def _risk_area(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    abstained: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> Estimate | Undefined:
    if abstained.all():
        return Undefined(reason="the model abstained on every case")
    order = np.flatnonzero(~abstained)[np.argsort(-confidence[~abstained], kind="stable")]
    answered = weights[:, order]
    wrong = np.cumsum(answered * ~right[order], axis=1)
    risks = wrong / np.maximum(np.cumsum(answered, axis=1), 1)
    return _estimate((risks * answered).sum(axis=1) / np.maximum(answered.sum(axis=1), 1))


def _of_answers(
    confidence: NDArray[np.float64],
    abstained: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> Estimate | Undefined:
    """Mean confidence of the cases answered."""
    if abstained.all():
        return Undefined(reason="the model abstained on every case")
    return _mean_of(confidence[~abstained], weights[:, ~abstained])


def _mean_of(values: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimate:
    """The mean of some cases, of which a resample may have none."""
    return _estimate(_means(weights[weights.any(axis=1)], values))


def _confusion(
    classes: int, probabilities: NDArray[np.float64], truth: NDArray[np.intp]
) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros((classes, classes), dtype=np.intp)
    np.add.at(counts, (truth, probabilities.argmax(axis=1)), 1)
    return tuple(tuple(int(count) for count in row) for row in counts)


def _by_label(
    labels: Sequence[str],
    probabilities: NDArray[np.float64],
    truth: NDArray[np.intp],
    right: NDArray[np.bool_],
    covered: NDArray[np.bool_],
) -> dict[str, OfLabel]:
    guess = probabilities.argmax(axis=1)
    found = {}
    for place, label in enumerate(labels):
        members = truth == place
        if cases := int(members.sum()):
            found[label] = OfLabel(
                cases=cases,
                recall=wilson(int(right[members].sum()), cases),
                precision=_share(right[guess == place]),
                coverage=wilson(int(covered[members].sum()), cases),
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """What is told of the cases that share a trait."""

    truth: NDArray[np.intp]
    right: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    patients: NDArray[np.intp] | None
    weights: NDArray[np.float64]

    def of(self, trait: str, words: NDArray[np.str_]) -> list[Subgroup]:
        values, counts = np.unique(words, return_counts=True)
        # What is not known is a group of its own, whatever its size.
        small = values[(counts < SMALL) & (values != "")]
        pooled = small if len(values) > _MOST_GROUPS else small[:0]
        groups = [
            self._group(words == value, trait=trait, value=str(value), pooled=1)
            for value in values
            if value not in pooled
        ]
        if len(pooled):
            rows = np.isin(words, pooled)
            groups.append(self._group(rows, trait=trait, value="", pooled=len(pooled)))
        return groups

    def _group(self, rows: NDArray[np.bool_], *, trait: str, value: str, pooled: int) -> Subgroup:
        cases = int(rows.sum())
        recalls = np.bincount(self.truth, weights=self.right) / np.maximum(
            np.bincount(self.truth), 1
        )
        return Subgroup(
            trait=trait,
            value=value,
            pooled=pooled,
            cases=cases,
            patients=None if self.patients is None else len(np.unique(self.patients[rows])),
            small=cases < SMALL or pooled > 1,
            accuracy=wilson(int(self.right[rows].sum()), cases),
            expected=float(recalls[self.truth[rows]].mean()),
            confidence=_mean_of(self.confidence[rows], self.weights[:, rows]),
            coverage=wilson(int(self.covered[rows].sum()), cases),
        )


def _parts(
    answers: Answers, seen: NDArray[np.bool_], abstained: NDArray[np.bool_]
) -> tuple[Part, ...]:
    right = (answers.probabilities.argmax(axis=1) == answers.truth) & ~abstained
    return tuple(
        Part(
            name=name,
            trained=len(taught),
            cases=int((answers.part == place).sum()),
            unseen=int((~seen & (answers.part == place)).sum()),
            accuracy=_share(right[seen & (answers.part == place)]),
        )
        for place, (name, taught) in enumerate(answers.parts)
    )


def _resamples(groups: NDArray[np.intp], seed: int) -> NDArray[np.float64]:
    """How often each case counts: once, first; then in each resample of groups.

    Returns:
        (1 + _RESAMPLES, n).
    """
    places = np.unique(groups, return_inverse=True)[1]
    count = int(places.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), size=_RESAMPLES
    )
    return np.vstack([np.ones(len(groups)), drawn[:, places]])


def _means(weights: NDArray[np.float64], values: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(weights @ values.astype(np.float64) / weights.sum(axis=1), dtype=np.float64)


def _estimate(figures: NDArray[np.float64]) -> Estimate:
    """The figure of the cohort itself, first, with the middle 95 % of the resamples' figures."""
    low, high = np.quantile(figures[1:], (0.025, 0.975))
    return Estimate(value=float(figures[0]), low=float(low), high=float(high))


def _spread(figures: NDArray[np.float64]) -> Estimate:
    """The figure of the cohort itself, first, within 1.96 standard deviations of resamples."""
    value, half = float(figures[0]), Z95 * float(figures[1:].std())
    return Estimate(value=value, low=max(0.0, value - half), high=value + half)
