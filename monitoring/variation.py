"""The total variation between two samples of words, and how likely chance makes it."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

NAME: Final = "total_variation"
"""As cards and Evidently name the test."""
_FEW_DRAWS, _DRAWS = 1000, 20_000
_ENOUGH_AS_FAR: Final = 50
_SEED: Final = 0


def total_variation(expected: Sequence[str], met: Sequence[str]) -> float:
    """The share of cases that would have to change for both to have the same shares."""
    first, second = counts(expected, met)
    return float(0.5 * np.abs(first / first.sum() - second / second.sum()).sum())


def counts(
    expected: Sequence[str], met: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each word of either sample is in each, words in order."""
    words, places = np.unique(np.concatenate([expected, met]), return_inverse=True)
    split = len(expected)
    return (
        np.bincount(places[:split], minlength=len(words)),
        np.bincount(places[split:], minlength=len(words)),
    )


def p_value(expected: NDArray[np.int64], met: NDArray[np.int64]) -> float:
    """The chance that shuffling all cases parts them at least as far: a test by permutation.

    Exact where there are two words; else from 20,000 shuffles, so that no p-value is below
    1/20,001, or from 1,000 where already 50 of these part them as far. The shuffles' counts are
    drawn at once, from the multivariate hypergeometric distribution, always the same ones.

    Args:
        expected, met: (n_words,), counts.
    """
    both = expected + met
    expected, met, both = (column[both > 0] for column in (expected, met, both))
    if len(both) < 2:
        return 1.0
    if len(both) == 2:
        return _exact(expected, met)
    draw = np.random.default_rng(_SEED)
    observed = _distance(expected, met) - 1e-12
    as_far = draws = 0
    for more in (_FEW_DRAWS, _DRAWS - _FEW_DRAWS):
        drawn = draw.multivariate_hypergeometric(both, int(met.sum()), size=more)
        as_far += int((_distance(both - drawn, drawn) >= observed).sum())
        draws += more
        if as_far >= _ENOUGH_AS_FAR:
            break
    return (1 + as_far) / (1 + draws)


def _exact(expected: NDArray[np.int64], met: NDArray[np.int64]) -> float:
    rare = int(np.argmin(expected + met))
    rest, of_these = int(expected.sum()), int(met.sum())
    both = int(expected[rare] + met[rare])
    possible = np.arange(max(0, both - rest), min(both, of_these) + 1)
    apart = np.abs(possible / of_these - (both - possible) / rest)
    observed = abs(met[rare] / of_these - expected[rare] / rest)
    far = possible[apart >= observed - 1e-12]
    # Hypergeometric: SciPy's own takes a hundred times as long on thousands of counts.
    chances = np.exp(
        _ways(both, far) + _ways(rest + of_these - both, of_these - far)
        - _ways(rest + of_these, np.array(of_these))
    )  # fmt: skip
    return float(min(1.0, chances.sum()))


def _ways(of: int, some: NDArray[np.int64]) -> NDArray[np.float64]:
    """The logarithm of how many ways there are to choose `some` of so many."""
    return np.asarray(gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1), np.float64)


def _distance(expected: NDArray[np.int64], met: NDArray[np.int64]) -> NDArray[np.float64]:
    shares = expected / expected.sum(axis=-1, keepdims=True)
    return np.asarray(
        0.5 * np.abs(shares - met / met.sum(axis=-1, keepdims=True)).sum(axis=-1),
        dtype=np.float64,
    )
