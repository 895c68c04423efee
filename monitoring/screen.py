"""Every feature at once, against the reference's quantiles: which of them Evidently looks at."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstwo

from models.reference import LEVELS
from monitoring.sample import Expected, Sample
from monitoring.variation import p_value

_COLUMNS_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """p-values by feature, (n_features,); NaN where too few cases know it.

    Attributes:
        values: Of the Kolmogorov-Smirnov test between reference and window.
        missing: Of the test that the feature is missing as often as in the reference.
        known: (n_features,), cases of the window that know the feature.
    """

    values: NDArray[np.float64]
    missing: NDArray[np.float64]
    known: NDArray[np.int64]


def screen(expected: Expected, window: Sample, least_cases: int) -> Screen:
    """Test every feature's values and how often it is missing.

    The distance is read at the reference's quantiles: of the distributions that they allow, the
    one nearest to the window's is taken (see `Expected.values`), so that values which many cases
    share are no change. It is at most Evidently's, on the same column.
    """
    known, distance = _distances(expected.quantiles, window.features)
    of_reference = expected.known()
    enough = np.flatnonzero((known >= least_cases) & (of_reference >= least_cases))
    values = np.full(len(known), np.nan)
    together = known[enough] * of_reference[enough] / (known[enough] + of_reference[enough])
    # As SciPy's two-sample test has it where it is not exact.
    values[enough] = np.clip(kstwo.sf(distance[enough], np.rint(together)), 0, 1)
    missing = np.ones(len(known))
    lacking = len(window) - known
    never = np.rint(expected.rows * expected.missing_rates).astype(np.int64)
    for place in np.flatnonzero(lacking + never > 0):
        missing[place] = p_value(
            np.array([never[place], expected.rows - never[place]]),
            np.array([lacking[place], known[place]]),
        )
    return Screen(values=values, missing=missing, known=known)


def _distances(
    quantiles: NDArray[np.float32], features: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Known values by feature, and the largest gap between the distribution functions."""
    count = features.shape[1]
    known, distance = np.zeros(count, dtype=np.int64), np.zeros(count)
    for start in range(0, count, _COLUMNS_AT_ONCE):
        # Sorted by row, NaN last: along the columns memory would be read in leaps.
        block = np.sort(features[:, start : start + _COLUMNS_AT_ONCE].T, axis=1)
        for row, place in enumerate(range(start, start + len(block))):
            known[place] = met = len(block[row]) - int(np.isnan(block[row]).sum())
            stored = quantiles[place]
            if met == 0 or np.isnan(stored[0]):
                continue
            values = block[row, :met]
            below = np.searchsorted(values, stored, side="left") / met
            up_to = np.searchsorted(values, stored, side="right") / met
            # What the quantile at level l says: at most l lies below it, at least l up to it.
            distance[place] = max(0.0, (below - LEVELS).max(), (LEVELS - up_to).max())
    return known, distance
