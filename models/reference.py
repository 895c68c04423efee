"""What a model was trained on, without any profile: quantiles, missing rates, importance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.atlas import Atlas

LEVELS: Final = np.array(
    [0.005, 0.01, 0.025, *np.arange(0.05, 0.96, 0.05).round(2), 0.975, 0.99, 0.995]
)
_LOW, _HIGH = 1, -2  # the levels 0.01 and 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Marginal statistics of a training cohort; joint ones would say more about each patient.

    Attributes:
        quantiles: (n_features, n_levels), float32, at `LEVELS`, in the features' units; the
            measured values alone, NaN for a feature that was never measured.
        missing_rates: (n_features,), share of training profiles without the feature.
        whole: (n_features,), whether every training value is a whole number (a count or a code).
        priors: (n_classes,), share of each class, in the order of the card's labels.
        answered: (n_classes,), share of each class among the cross-validated answers.
        importance: (n_features,), mean |contribution| over profiles and classes, in margin units.
        most_outside: A profile with a larger share of unusual features is unlike the cohort: the
            99 % quantile of that share among training profiles judged by folds they were left out
            of. Each feature is seen alone: an unusual combination of usual values passes.
        profiles: How many profiles the cohort had.
        atlas: Where cases lie among the labels, two coordinates and the label alone.
    """

    quantiles: NDArray[np.float32]
    missing_rates: NDArray[np.float32]
    whole: NDArray[np.bool_]
    priors: NDArray[np.float64]
    answered: NDArray[np.float64]
    importance: NDArray[np.float32]
    most_outside: float
    profiles: int
    atlas: Atlas

    def important(self, count: int) -> NDArray[np.intp]:
        """Places of the `count` most important features, most important first."""
        return np.argsort(-self.importance, kind="stable")[:count]

    def sample(self, n: int, seed: int) -> NDArray[np.float32]:
        """`n` made-up profiles, (n, n_features), each feature drawn alone from its quantiles.

        Missing values are as frequent as in the cohort. Features are independent of each other,
        so the sample serves tests of one column at a time and nothing else.
        """
        draw = np.random.default_rng(seed)
        count = len(self.quantiles)
        sample = np.full((n, count), np.nan, dtype=np.float32)
        for place in range(count):
            measured = np.flatnonzero(draw.random(n) >= self.missing_rates[place])
            levels = draw.random(len(measured))
            values = np.interp(levels, LEVELS, self.quantiles[place])
            sample[measured, place] = np.rint(values) if self.whole[place] else values
        return sample

    def write(self, path: Path) -> None:
        """Write as an .npz; the same reference gives the same bytes."""
        np.savez_compressed(
            path,
            quantiles=self.quantiles,
            missing_rates=self.missing_rates,
            whole=self.whole,
            priors=self.priors,
            answered=self.answered,
            importance=self.importance,
            most_outside=np.float64(self.most_outside),
            profiles=np.int64(self.profiles),
            places=self.atlas.places,
            cases=self.atlas.cases,
            truth=self.atlas.truth,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote; nothing in it is unpickled.

        Raises:
            ValueError, KeyError: The file is not a reference.
        """
        with np.load(path, allow_pickle=False) as stored:
            return cls(
                quantiles=stored["quantiles"],
                missing_rates=stored["missing_rates"],
                whole=stored["whole"],
                priors=stored["priors"],
                answered=stored["answered"],
                importance=stored["importance"],
                most_outside=float(stored["most_outside"]),
                profiles=int(stored["profiles"]),
                atlas=Atlas(places=stored["places"], cases=stored["cases"], truth=stored["truth"]),
            )


def quantiles_of(profiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Quantiles of each column's measured values, (n_features, n_levels), at `LEVELS`."""
    quantiles = np.full((profiles.shape[1], len(LEVELS)), np.nan, dtype=np.float32)
    measured = ~np.isnan(profiles)
    whole_columns = measured.all(axis=0)
    if whole_columns.any():
        quantiles[whole_columns] = np.quantile(profiles[:, whole_columns], LEVELS, axis=0).T
    for place in np.flatnonzero(~whole_columns & measured.any(axis=0)):
        quantiles[place] = np.quantile(profiles[measured[:, place], place], LEVELS)
    return quantiles


def outside_share(
    quantiles: NDArray[np.float32], profiles: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Share of measured features below their 1 % or above their 99 % quantile.

    Args:
        quantiles: As in `Reference`.
        profiles: (n, n_features), NaN where missing.

    Returns:
        (n,); zero for a profile without any measured feature.
    """
    # Comparisons with NaN are false: what is missing or was never measured counts as usual.
    outside = (profiles < quantiles[:, _LOW]) | (profiles > quantiles[:, _HIGH])
    measured = np.maximum((~np.isnan(profiles)).sum(axis=1), 1)
    return np.asarray(outside.sum(axis=1) / measured, dtype=np.float64)
