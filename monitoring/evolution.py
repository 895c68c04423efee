"""Version against version, on cases that the later one did not learn from.

Gains, losses, individual flips, subgroups, and whether the explanations rest on other features.
"""

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
class Evolution:
    """How answers and explanations changed on some cases; an abstention counts as its label.

    Attributes:
        gained: Wrong before and right after.
        lost: Right before and wrong after.
        before, after: Accuracy, with Wilson's 95 % interval; none where there is no case.
        groups: Those of at least twenty cases.
        moved: Share of the explanations' weight that lies on other features than before, for the
            label that each version answers; none where there is no case.
    """

    difference: Difference
    gained: int
    lost: int
    before: Estimate | None
    after: Estimate | None
    groups: tuple[Group, ...]
    moved: float | None


def compare(before: Version, after: Version, cases: Cases) -> Evolution:
    """Compare two versions that read the same features on the same cases."""
    answered = [_answers(version, cases.profiles) for version in (before, after)]
    truth = np.array(cases.labels, dtype=np.str_)
    earlier, later = (answers == truth for answers in answered)
    count = len(truth)
    return Evolution(
        difference=Difference(
            cases=count,
            right_before=int(earlier.sum()),
            right_after=int(later.sum()),
            flipped=int((answered[0] != answered[1]).sum()),
        ),
        gained=int((later & ~earlier).sum()),
        lost=int((earlier & ~later).sum()),
        before=wilson(int(earlier.sum()), count) if count else None,
        after=wilson(int(later.sum()), count) if count else None,
        groups=tuple(
            _group(kind, name, rows, earlier, later)
            for kind, said in cases.groups.items()
            for name in sorted(set(said) - {""})
            if (rows := np.array(said) == name).sum() >= _LEAST_IN_A_GROUP
        ),
        moved=_moved(before, after, cases.profiles[:_EXPLAINED]) if count else None,
    )


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


def _moved(before: Version, after: Version, profiles: NDArray[np.float32]) -> float:
    """Total variation between where the weight lies, the mean of it over the cases."""
    distances = np.abs(_weights(before, profiles) - _weights(after, profiles)).sum(axis=1) / 2
    return float(distances.mean())


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
        f"{evolution.moved:.0%} of the explanations' weight lies on other features",
        *(
            f"{group.kind} {group.name}: {group.cases} cases, {group.before.value:.3f} before, "
            f"{group.after.value:.3f} after"
            for group in evolution.groups
        ),
    )


def _in_words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
