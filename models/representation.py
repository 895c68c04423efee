"""How a member sees a profile: columns made of it, each of which is one feature's."""

from functools import cached_property
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Representation(Protocol):
    """What a predictor is given in place of a profile: as many columns, in the same order.

    A column's contribution is its feature's. Where other features bear on a column, as in ranks,
    the contribution explains the model as a function of the columns: it is exact in that it adds
    up to the margin, and it does not say what would happen if the feature alone were changed.
    """

    def columns(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Columns, (n, n_features), of profiles, (n, n_features); NaN stays NaN."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


class Ranks(_Stored):
    """The rank of each feature among those measured in the same profile, from 0 to 1.

    Ties share the mean of their ranks; a feature measured alone has 0.5. Whatever is increasing
    in all features of a profile at once, a scale, a depth or a logarithm, changes nothing.
    """

    kind: Literal["ranks"] = "ranks"

    def columns(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Representation`."""
        ranks = np.full(profiles.shape, np.nan, dtype=np.float32)
        for row, profile in enumerate(profiles):
            measured = np.flatnonzero(~np.isnan(profile))
            last = len(measured) - 1
            ranks[row, measured] = _mean_ranks(profile[measured]) / last if last > 0 else 0.5
        return ranks


class Centred(_Stored):
    """Each feature minus the mean of those measured in the same profile.

    Attributes:
        log_offset: The profile is first taken to log2(value + offset), what has no logarithm as
            missing; None where the features are logarithms already.
    """

    kind: Literal["centred"] = "centred"
    log_offset: float | None = Field(default=None, ge=0)

    def columns(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Representation`."""
        values = profiles.astype(np.float64)
        if self.log_offset is not None:
            values += self.log_offset
            values = np.log2(values, where=values > 0, out=np.full(values.shape, np.nan))
        measured = ~np.isnan(values)
        counts = np.maximum(measured.sum(axis=1, keepdims=True), 1)
        means = np.where(measured, values, 0.0).sum(axis=1, keepdims=True) / counts
        return np.asarray(values - means, dtype=np.float32)


class Matched(_Stored):
    """Each feature as what its rank would be in the reference: in the reference's own unit.

    The k-th smallest of the features that a profile has becomes the k-th smallest value that the
    reference has among those same features. So a profile of another scale or depth, or one that
    lacks half its features, is read on the reference's scale, and increasing transformations of
    the whole profile change nothing.

    Attributes:
        quantiles: (n_features, n_levels), each feature's in the reference, ascending, at levels
            spread evenly.

    Source: quantile normalisation, Bolstad et al., Bioinformatics 2003.
    """

    kind: Literal["matched"] = "matched"
    quantiles: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, profiles: NDArray[np.float32], *, levels: int, digits: int) -> "Matched":
        """To the profiles of a reference, (n, n_features), without missing values."""
        shares = (np.arange(levels) + 0.5) / levels
        quantiles = np.quantile(profiles, shares, axis=0).T.round(digits)
        return cls(quantiles=tuple(tuple(map(float, row)) for row in quantiles))

    @cached_property
    def _values(self) -> NDArray[np.float64]:
        return np.array(self.quantiles)

    def columns(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Representation`."""
        matched = np.full(profiles.shape, np.nan, dtype=np.float32)
        pools: dict[bytes, NDArray[np.float64]] = {}
        for row, profile in enumerate(profiles):
            absent = np.isnan(profile)
            measured = np.flatnonzero(~absent)
            if not len(measured):
                continue
            pool = pools.get(key := absent.tobytes())
            if pool is None:
                pool = pools[key] = np.sort(self._values[measured], axis=None)
            shares = (_mean_ranks(profile[measured]) + 0.5) / len(measured)
            matched[row, measured] = np.interp(
                shares, (np.arange(len(pool)) + 0.5) / len(pool), pool
            )
        return matched


def _mean_ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Ranks from 0; those that are equal share the mean of theirs."""
    # XGBoost's and scikit-learn's start does not pay for scipy.stats: two searches a row.
    ascending = np.sort(values)
    below = np.searchsorted(ascending, values, "left")
    not_above = np.searchsorted(ascending, values, "right")
    return np.asarray((below + not_above - 1) / 2, dtype=np.float64)


class Filled(_Stored):
    """Each feature, and one value for all that are missing.

    Trees split off what is missing at once, and take it for a value like any other.
    """

    kind: Literal["filled"] = "filled"
    value: float

    def columns(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Representation`; no column is NaN."""
        return np.nan_to_num(profiles, nan=self.value)


# Those that a version's files may name; a new one is added here.
Stored = Annotated[Ranks | Centred | Matched | Filled, Field(discriminator="kind")]
