"""Version against version, on cases that the later one did not learn from.

Gains, losses, individual flips, subgroups, and whether the explanations rest on other features.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee.bodies import Difference
from models.bundle import Bundle
from models.evaluation import Estimate, wilson
from models.served import ServedModel

_EXPLAINED: Final = 200
_AT_ONCE: Final = 50
_LEAST_IN_A_GROUP: Final = 20
_MOST_TOLD: Final = 10
_NAMED: Final = 3

Version = Bundle | ServedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """Cases with their truths, n of them.

    Attributes:
        profiles: (n, n_features), NaN where missing.
        labels: (n,), the truths; one that no version knows counts as an error of both.
        groups: Kind, as "hospital", to each case's group; empty where nobody said.
    """

    profiles: NDArray[np.float32]
    labels: tuple[str, ...]
    groups: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The same cases before and after, of one hospital, machine, sex, age band."""

    kind: str
    name: str
    cases: int
    before: Estimate
    after: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """Cases that got one answer and get another.

    Attributes:
        gained, lost: Those of them that are right now, and that were.
    """

    before: str
    after: str
    cases: int
    gained: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A feature's share of the explanations' weight, the mean over the cases."""

    feature: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """How answers and explanations changed on some cases; an abstention counts as its label.

    Attributes:
        gained: Wrong before and right after.
        lost: Right before and wrong after.
        flips: From which answer to which, the most frequent first.
        before, after: Accuracy, with Wilson's 95 % interval; none where there is no case.
        groups: Those of at least twenty cases.
        moved: Share of the explanations' weight that lies on other features than before, for the
            label that each version answers; none where there is no case.
        weights: The features whose share changed most, at most ten.
    """

    difference: Difference
    gained: int
    lost: int
    flips: tuple[Flip, ...]
    before: Estimate | None
    after: Estimate | None
    groups: tuple[Group, ...]
    moved: float | None
    weights: tuple[Weight, ...]


def compare(before: Version, after: Version, cases: Cases) -> Evolution:
    """Compare two versions that read the same features on the same cases."""
    answered = [_answers(version, cases.profiles) for version in (before, after)]
    truth = np.array(cases.labels, dtype=np.str_)
    earlier, later = (answers == truth for answers in answered)
    count = len(truth)
    moved, weights = _moved(before, after, cases.profiles[:_EXPLAINED]) if count else (None, ())
    return Evolution(
        difference=Difference(
            cases=count,
            right_before=int(earlier.sum()),
            right_after=int(later.sum()),
            flipped=int((answered[0] != answered[1]).sum()),
        ),
        gained=int((later & ~earlier).sum()),
        lost=int((earlier & ~later).sum()),
        flips=_flips(answered[0], answered[1], earlier, later),
        before=wilson(int(earlier.sum()), count) if count else None,
        after=wilson(int(later.sum()), count) if count else None,
        groups=tuple(
            _group(kind, name, rows, earlier, later)
            for kind, said in cases.groups.items()
            for name in sorted(set(said) - {""})
            if (rows := np.array(said) == name).sum() >= _LEAST_IN_A_GROUP
        ),
        moved=moved,
        weights=weights,
    )


def _flips(
    before: NDArray[np.str_],
    after: NDArray[np.str_],
    earlier: NDArray[np.bool_],
    later: NDArray[np.bool_],
) -> tuple[Flip, ...]:
    pairs = Counter((str(before[row]), str(after[row])) for row in np.flatnonzero(before != after))
    flips = []
    for (was, now), cases in pairs.most_common():
        rows = (before == was) & (after == now)
        flips.append(
            Flip(
                before=was,
                after=now,
                cases=cases,
                gained=int(later[rows].sum()),
                lost=int(earlier[rows].sum()),
            )
        )
    return tuple(flips)


def _group(
    kind: str,
    name: str,
    rows: NDArray[np.bool_],
    earlier: NDArray[np.bool_],
    later: NDArray[np.bool_],
) -> Group:
    cases = int(rows.sum())
    return Group(
        kind=kind,
        name=name,
        cases=cases,
        before=wilson(int(earlier[rows].sum()), cases),
        after=wilson(int(later[rows].sum()), cases),
    )


def _answers(version: Version, profiles: NDArray[np.float32]) -> NDArray[np.str_]:
    labels = np.array([label.id for label in version.card.labels], dtype=np.str_)
    if not len(profiles):
        return labels[:0]
    probabilities = version.calibration.probabilities(version.predictor.margins(profiles))
    return np.asarray(labels[probabilities.argmax(axis=1)], dtype=np.str_)


def _moved(
    before: Version, after: Version, profiles: NDArray[np.float32]
) -> tuple[float, tuple[Weight, ...]]:
    """Total variation between where the weight lies, the mean of it over the cases; and where."""
    was, now = _weights(before, profiles), _weights(after, profiles)
    distances = np.abs(was - now).sum(axis=1) / 2
    shares = was.mean(axis=0), now.mean(axis=0)
    most = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:_MOST_TOLD]
    names = after.contract.names
    return float(distances.mean()), tuple(
        Weight(feature=names[place], before=float(shares[0][place]), after=float(shares[1][place]))
        for place in most
        if shares[0][place] != shares[1][place]
    )


def _weights(version: Version, profiles: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, n_features), each feature's share of the explanation of the label answered."""
    weights = []
    for start in range(0, len(profiles), _AT_ONCE):
        some = profiles[start : start + _AT_ONCE]
        answered = version.predictor.margins(some).argmax(axis=1)
        contributions = version.predictor.explain(some).contributions
        weights.append(np.abs(contributions[np.arange(len(some)), answered].astype(np.float64)))
    whole = np.vstack(weights)
    totals = np.maximum(whole.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(whole / totals, dtype=np.float64)


def told(evolution: Evolution) -> tuple[str, ...]:
    """Lines for whoever reads it: aggregates alone."""
    difference = evolution.difference
    if evolution.before is None or evolution.after is None or evolution.moved is None:
        return ("no case",)
    accuracy = (
        f"{difference.cases} cases: accuracy {_in_words(evolution.before)} before, "
        f"{_in_words(evolution.after)} after; {evolution.gained} gained, {evolution.lost} lost, "
        f"{difference.flipped} get another answer"
    )
    return (
        accuracy,
        *(
            f"{flip.cases} from {flip.before} to {flip.after}: {flip.gained} gained, "
            f"{flip.lost} lost"
            for flip in evolution.flips[:_MOST_TOLD]
        ),
        f"{evolution.moved:.0%} of the explanations' weight lies on other features, most on "
        + ", ".join(
            f"{weight.feature} ({weight.before:.1%}, now {weight.after:.1%})"
            for weight in evolution.weights[:_NAMED]
        )
        if evolution.weights
        else "the explanations rest on the same features",
        *(
            f"{group.kind} {group.name}: {group.cases} cases, {group.before.value:.3f} before, "
            f"{group.after.value:.3f} after"
            for group in evolution.groups
        ),
    )


def _in_words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
