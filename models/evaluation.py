"""How good a model is on cases it was not trained on, each figure with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

# Fewer cases than this and a group says that it is small.
SMALL: Final = 30

_RESAMPLES: Final = 500
_BINS: Final = 10
_Z95: Final = 1.959963984540054
_TOP: Final = 3
# A trait of more values than this shows the large groups, and the small ones together.
_MOST_GROUPS: Final = 12


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


class OfLabel(_Figure):
    """What became of the cases of one label, and of the answers that named it.

    Attributes:
        precision: Share of the answers naming the label that were right.
        coverage: Share of its cases whose prediction set holds it.
    """

    cases: int
    recall: Estimate
    precision: Estimate | Undefined
    coverage: Estimate


class ReliabilityBin(_Figure):
    """Cases of like confidence; where calibrated, `confidence` lies within the interval."""

    cases: int
    confidence: float
    accuracy: Estimate


class RiskPoint(_Figure):
    """What errors remain where only the surest cases are answered.

    Attributes:
        coverage: Share of cases answered.
        confidence: The least among them.
        risk: Share of them that are wrong.
    """

    coverage: float
    confidence: float
    risk: Estimate


class Subgroup(_Figure):
    """The cases that share a trait.

    Attributes:
        trait: What is grouped by, such as `site`.
        value: In the cohort's words; empty where not known.
        pooled: Over how many values these cases are pooled, each of them small; else 1.
        small: Whether there are fewer than `SMALL` cases, or every pooled value has.
        expected: The accuracy that its labels would lead to expect, had each label's cases been
            recognised as often as in the whole: what a group's mix of labels explains.
        confidence: Mean, to set beside the accuracy.
    """

    trait: str
    value: str
    pooled: int = 1
    cases: int
    patients: int | None
    small: bool
    accuracy: Estimate
    expected: float
    confidence: float
    coverage: Estimate


class Part(_Figure):
    """Cases judged by one model, fitted on cases kept apart from them.

    Attributes:
        accuracy: Over the cases whose label was among those trained on.
        unseen: Cases of a label that was not.
    """

    name: str
    trained: int
    cases: int
    unseen: int
    accuracy: Estimate | Undefined


class Judged(_Figure):
    """Figures on cases each judged by a model that had not seen their patient.

    Abstentions count as errors, but in the risk against coverage, where they are not answered.
    Cases of a label that the model judging them was never taught are counted apart.

    Attributes:
        patients: None where patients are not identified: then a patient may count twice.
        accuracy: Interval of Wilson, as for every share but `top_3`; the others come from
            resampled patients, or hospitals where these were left out.
        balanced_accuracy: Mean of the labels' recalls.
        top_3: Share of cases whose truth is among the three most probable labels.
        log_loss: In nats, lower is better.
        calibration_error: Mean |confidence − accuracy| over ten bins of as many cases.
        coverage: Share of cases whose prediction set, fitted on other cases, holds the truth.
        set_size: Mean number of labels in a prediction set.
        abstained: Share of cases on which the model abstained.
        flagged: Share of cases flagged as unlike those learned from, answered or not.
        risk_area: Mean risk over all coverages, lower is better.
        confusion: Cases by truth, then by answer, in the order of `labels`.
        unseen: Cases of a label that was not trained on, in no other figure.
        unseen_confidence: Their mean confidence: high is wrong and sure of it.
        unseen_abstained: Share of them on which the model abstained.
    """

    cases: int
    patients: int | None
    accuracy: Estimate
    balanced_accuracy: Estimate
    top_3: Estimate | Undefined
    log_loss: Estimate
    calibration_error: Estimate
    coverage: Estimate
    set_size: Estimate
    abstained: Estimate
    risk_area: Estimate | Undefined
    labels: tuple[str, ...]
    by_label: dict[str, OfLabel]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    risk: tuple[RiskPoint, ...]
    subgroups: tuple[Subgroup, ...]
    parts: tuple[Part, ...]
    unseen: int
    unseen_confidence: Estimate | Undefined
    unseen_abstained: Estimate | Undefined
    flagged: Estimate | Undefined = Undefined(reason="it was not measured")

    def figures(self) -> dict[str, float]:
        """The defined figures and their intervals' ends, flat, by name."""
        flat = {"cases": float(self.cases), "unseen": float(self.unseen)}
        for name in HEADLINES:
            figure = getattr(self, name)
            if isinstance(figure, Estimate):
                flat |= {
                    name: figure.value,
                    f"{name}_low": figure.low,
                    f"{name}_high": figure.high,
                }
        return flat


HEADLINES: Final = (
    "accuracy",
    "balanced_accuracy",
    "top_3",
    "log_loss",
    "calibration_error",
    "coverage",
    "set_size",
    "abstained",
    "flagged",
    "risk_area",
)


class Evaluation(Judged):
    """A version's figures: of cross-validation by patient, and of harder questions beside it.

    Attributes:
        method: How the cases were kept apart from training.
        by_site: Each hospital judged by a model that had not seen it.
        forward: Each case judged by a model that had seen only earlier ones.
        notes: What a reader of these figures must know.
    """

    method: Literal["cross-validation"] = "cross-validation"
    folds: int
    seed: int
    held_out_cases: int
    by_site: Judged | Undefined
    forward: Judged | Undefined
    notes: tuple[str, ...] = ()

    def figures(self) -> dict[str, float]:
        """As `Judged.figures`, and those of the harder questions under their names."""
        flat = Judged.figures(self)
        for name in ("by_site", "forward"):
            harder = getattr(self, name)
            if isinstance(harder, Judged):
                flat |= {f"{name}.{figure}": value for figure, value in harder.figures().items()}
        return flat


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


def wilson(successes: int, trials: int) -> Estimate:
    """A share with Wilson's 95 % interval; `trials` is at least 1."""
    share, z2 = successes / trials, _Z95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 * np.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return Estimate(
        value=share, low=max(0.0, float(centre - half)), high=min(1.0, float(centre + half))
    )


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
        truth=truth, right=right, covered=covered, confidence=confidence[kept], patients=patients
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
            confidence=float(self.confidence[rows].mean()),
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
    value, half = float(figures[0]), _Z95 * float(figures[1:].std())
    return Estimate(value=value, low=max(0.0, value - half), high=value + half)
