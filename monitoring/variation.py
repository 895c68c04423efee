"""The total variation between two samples of words, and how likely chance makes it."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

NAME: Final = "total_variation"
"""As cards and Evidently name the test."""
_DRAWS: Final = 20_000
_SEED: Final = 0
LEAST_P: Final = 1 / (_DRAWS + 1)
"""Of more than two words, no smaller p-value is told."""


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

    Exact where there are two words; else from 20,000 shuffles, whose counts are drawn at once
    from the multivariate hypergeometric distribution, always the same ones.

    Args:
        expected, met: (n_words,), counts.
    """
    both = expected + met
    expected, met, both = (column[both > 0] for column in (expected, met, both))
    if len(both) < 2:
        return 1.0
    if len(both) == 2:
        return _exact(expected, met)
    drawn = np.random.default_rng(_SEED).multivariate_hypergeometric(
        both, int(met.sum()), size=_DRAWS
    )
    far = _distance(both - drawn, drawn) >= _distance(expected, met) - 1e-12
    return float((1 + far.sum()) / (1 + _DRAWS))


def _exact(expected: NDArray[np.int64], met: NDArray[np.int64]) -> float:
    rare = int(np.argmin(expected + met))
    rest, of_these, all_cases = (
        int(expected.sum()), int(met.sum()), int((expected + met).sum())
    )  # fmt: skip
    both = int(expected[rare] + met[rare])
    possible = np.arange(max(0, both - rest), min(both, of_these) + 1)
    apart = np.abs(possible / of_these - (both - possible) / rest)
    observed = abs(met[rare] / of_these - expected[rare] / rest)
    chances = hypergeom.pmf(possible, all_cases, both, of_these)
    return float(min(1.0, chances[apart >= observed - 1e-12].sum()))


def _distance(expected: NDArray[np.int64], met: NDArray[np.int64]) -> NDArray[np.float64]:
    shares = expected / expected.sum(axis=-1, keepdims=True)
    return np.asarray(
        0.5 * np.abs(shares - met / met.sum(axis=-1, keepdims=True)).sum(axis=-1),
        dtype=np.float64,
    )
