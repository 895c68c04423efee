"""How a member sees a profile: columns made of it, each of which is one feature's."""

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
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ranks(_Stored):
    """The rank of each feature among those measured in the same profile, from 0 to 1.

    Ties share the mean of their ranks; a feature measured alone has 0.5. Whatever is increasing
    in all features of a profile at once, a scale, a depth or a logarithm, changes nothing.
    """

    kind: Literal["ranks"] = "ranks"

    def columns(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Representation`."""
        # XGBoost's and scikit-learn's start does not pay for scipy.stats: two searches a row.
        ranks = np.full(profiles.shape, np.nan, dtype=np.float32)
        for row, profile in enumerate(profiles):
            measured = np.flatnonzero(~np.isnan(profile))
            values = profile[measured]
            ascending = np.sort(values)
            below = np.searchsorted(ascending, values, "left")
            not_above = np.searchsorted(ascending, values, "right")
            last = len(values) - 1
            ranks[row, measured] = (below + not_above - 1) / (2 * last) if last > 0 else 0.5
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


# Those that a version's files may name; a new one is added here.
Stored = Annotated[Ranks | Centred, Field(discriminator="kind")]
