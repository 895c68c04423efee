"""What is compared: some cases, and what a version was registered on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.reference import LEVELS, Reference, quantiles_of
from models.served import ServedModel

_MOST_ROWS: Final = 5000
_UNLIKE: Final = 0.015
"""Thresholds are set so that between 1 and 1.5 % of cases like those of training are flagged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some cases, one a patient; n of them.

    Attributes:
        names: Of all the model's features.
        features: (n, len(names)), NaN where missing.
        labels: (n,), ids of the predicted labels.
        confidence: (n,), the probabilities of those labels.
        unlike: (n,), whether the case was flagged as out of distribution.
        abstained: (n,), whether the model did not answer.
        groups: Kind, as "hospital", to each case's group; none where nobody said.
    """

    names: tuple[str, ...]
    features: NDArray[np.float32]
    labels: tuple[str, ...]
    confidence: NDArray[np.float32]
    unlike: NDArray[np.bool_]
    abstained: NDArray[np.bool_]
    groups: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ValueError: Lengths differ, or a name stands for two columns.
        """
        if self.features.shape != (len(self), len(self.names)):
            raise ValueError("features are not one row a case and one column a name")
        of_cases = (self.labels, self.confidence, self.unlike, self.abstained)
        if any(len(column) != len(self) for column in (*of_cases, *self.groups.values())):
            raise ValueError("labels, confidence, flags and groups are not one a case")
        if len(set(self.names)) < len(self.names):
            raise ValueError("a name stands for two columns")

    def __len__(self) -> int:
        """Cases."""
        return len(self.features)

    def missing(self) -> NDArray[np.int64]:
        """(n,), how many features each case lacks."""
        lacking = np.zeros(len(self), dtype=np.int64)
        for start in range(0, len(self), 10_000):  # so that no mask is as large as the window
            some = slice(start, start + 10_000)
            lacking[some] = np.isnan(self.features[some]).sum(axis=1)
        return lacking

    def known(self, place: int) -> NDArray[np.float64]:
        """The known values of the feature at that place, in the cases' order."""
        # By way of float32 on every side: else a floor that half of the cases share, as assays
        # have, would be one number in the reference and another in the window.
        column = self.features[:, place].astype(np.float32)
        return column[np.isfinite(column)].astype(np.float64)

    def take(self, places: NDArray[np.intp]) -> "Sample":
        """Those cases."""
        return Sample(
            names=self.names,
            features=self.features[places],
            labels=tuple(self.labels[place] for place in places),
            confidence=self.confidence[places],
            unlike=self.unlike[places],
            abstained=self.abstained[places],
            groups={
                kind: tuple(said[place] for place in places) for kind, said in self.groups.items()
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a version was registered on: quantiles and shares, no case.

    Attributes:
        names: Of all features.
        watched: Places of those watched, the most important first.
        quantiles: (n_features, n_levels), at `LEVELS`.
        missing_rates: (n_features,).
        labels: Label to its share among cross-validated answers.
        unlike_rate: Share of cases like the reference that are flagged all the same, about.
        cases: How many the reference had.
    """

    names: tuple[str, ...]
    watched: tuple[int, ...]
    quantiles: NDArray[np.float32]
    missing_rates: NDArray[np.float32]
    labels: Mapping[str, float]
    unlike_rate: float
    cases: int

    @classmethod
    def of_version(cls, served: ServedModel) -> Self:
        """What that version keeps of its training cohort."""
        reference: Reference = served.reference
        watched = reference.important(served.card.monitoring.watched_features)
        return cls(
            names=served.contract.names,
            watched=tuple(map(int, watched)),
            quantiles=reference.quantiles,
            missing_rates=reference.missing_rates,
            labels=dict(zip(served.labels, map(float, reference.answered), strict=True)),
            unlike_rate=_UNLIKE,
            cases=reference.profiles,
        )

    @classmethod
    def of_cases(cls, sample: Sample, watched: tuple[int, ...]) -> Self:
        """What a version trained on these cases would keep of them."""
        labels, counts = np.unique(sample.labels, return_counts=True)
        return cls(
            names=sample.names,
            watched=watched,
            quantiles=quantiles_of(sample.features),
            missing_rates=np.isnan(sample.features).mean(axis=0).astype(np.float32),
            labels={
                str(label): float(count) / len(sample)
                for label, count in zip(labels, counts, strict=True)
            },
            unlike_rate=float(sample.unlike.mean()),
            cases=len(sample),
        )

    @property
    def rows(self) -> int:
        """How many cases the reference stands for in a test; more would be slow, not surer."""
        return min(self.cases, _MOST_ROWS)

    def known(self) -> NDArray[np.int64]:
        """(n_features,), how many of `rows` know each feature."""
        never = np.isnan(self.quantiles[:, 0])
        return np.where(never, 0, np.rint(self.rows * (1 - self.missing_rates))).astype(np.int64)

    def values(self, place: int, near: NDArray[np.float64]) -> NDArray[np.float64]:
        """One feature's reference values, evenly drawn, as many as there were cases.

        The quantiles leave open what lies between them, above all where many cases share a value,
        as at an assay's floor. Of what they allow this is the distribution nearest to `near`, so
        that no test takes the quantiles' grid for a change. No random draw adds noise.

        Args:
            near: The window's values of that feature.
        """
        stored = self.quantiles[place].astype(np.float64)
        support = np.unique(np.concatenate([near, stored]))
        met = np.searchsorted(np.sort(near), support, side="right") / max(len(near), 1)
        # Of a right-continuous distribution function: what the quantiles at or below a value say
        # of it at least, and what those above say at most.
        passed = np.searchsorted(stored, support, side="right")
        levels = np.concatenate([[0.0], LEVELS, [1.0]])
        drawn = np.clip(met, levels[passed], levels[passed + 1])
        count = int(self.known()[place])
        places = np.searchsorted(drawn, (np.arange(count) + 0.5) / count)
        values: NDArray[np.float64] = np.clip(
            support[np.minimum(places, len(support) - 1)], stored[0], stored[-1]
        )
        if count:
            # So that what is drawn for people to see has the reference's ends and no case's.
            values[0], values[-1] = stored[0], stored[-1]
        return values

    def answered(self) -> tuple[str, ...]:
        """The labels as that many rows."""
        # Each label's rows end where its share of all does: evenly, and as many as there are.
        ends = np.rint(np.cumsum(list(self.labels.values())) * self.rows).astype(int)
        return tuple(map(str, np.repeat(np.array(list(self.labels)), np.diff(ends, prepend=0))))

    def flagged(self) -> NDArray[np.bool_]:
        """Whether out of distribution, as that many rows."""
        return np.arange(self.rows) < round(self.unlike_rate * self.rows)
