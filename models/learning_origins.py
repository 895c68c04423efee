"""Tumour-origin models that go on learning: light enough to train anew in seconds."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.centroids import Centroids
from models.cohorts import Cohort
from models.composite import View
from models.discriminant import Discriminant
from models.gated import Gated, Likeness
from models.linear import Linear
from models.predictor import Predictor
from models.representation import Ranks
from models.training import Parameters, Progress

PARAMETERS: Final = Parameters(folds=3, site_folds=2, forward_parts=0)
MICROARRAY_PARAMETERS: Final = Parameters(
    folds=3, site_folds=0, forward_parts=0, held_out_share=0.2
)

MICROARRAY_LATER: Final = ("mesothelioma", "pancreas", "uterus")
"""Origins of GCM that the first version of `tumour-origin-microarray-learning` does not know."""
_FIRST_YEARS: Final = "2012"

# Of covariances: of thousands of cases, and of fewer than there are features.
_SHRINKAGE, _SHRINKAGE_OF_FEW = 0.01, 0.3
_FACTORS: Final = 50
_SPREAD: Final = 0.05  # of ranks, from 0 to 1
_SPREAD_ELSEWHERE: Final = 0.2
_SCALE_ELSEWHERE: Final = 0.5
_FAR: Final = 0.985
_FARTHEST: Final = 5  # times as far as that is like nothing
_MOST_MISSING: Final = 0.1
_TINY: Final = 1e-9
_NEVER: Final = -50.0  # the margin of a class that no training case has


def first_tcga(cohort: Cohort) -> Cohort:
    """The tumours shipped before 2012; those without a date are left out."""
    days = np.array(cohort.dates or [""] * len(cohort.ids))
    return cohort.take(np.flatnonzero((days != "") & (days < _FIRST_YEARS)))


def first_gcm(cohort: Cohort) -> Cohort:
    """Two of three tumours of the origins known from the start; the others are left to arrive."""
    known = ~np.isin(cohort.labels, MICROARRAY_LATER)
    return cohort.take(np.flatnonzero(known & (np.arange(len(cohort.ids)) % 3 != 2)))


def learn(
    profiles: NDArray[np.float32],
    truth: NDArray[np.intp],
    runs: Sequence[NDArray[np.intp]],
    *,
    classes: int,
    parameters: Parameters,
    progress: Progress | None,
    likeness: bool,
) -> list[Predictor]:
    """Linear discriminants of ranks; arguments as for `Learn`.

    Args:
        likeness: Whether profiles that are far from all centroids, or lack much, are answered by
            a discriminant that leaves out what is missing and trusts no single feature. False
            where cases are fewer than features.
    """
    from threadpoolctl import threadpool_limits

    ranks = Ranks()
    # A profile's ranks are its own, whichever cases are learned from.
    columns = ranks.columns(profiles)
    found: list[Predictor] = []
    threads = parameters.threads or os.cpu_count() or 1

    def one(rows: NDArray[np.intp]) -> Predictor:
        some, truths = columns[rows], truth[rows]
        linear = _linear(
            some, truths,
            classes=classes, shrinkage=_SHRINKAGE if likeness else _SHRINKAGE_OF_FEW,
        )  # fmt: skip
        seen_by: Predictor = linear
        if likeness:
            seen_by = _gated(linear, some, truths, classes=classes, seed=parameters.seed)
        return View(representation=ranks, seen_by=seen_by)

    with threadpool_limits(1), ThreadPoolExecutor(min(threads, len(runs))) as pool:
        for predictor in pool.map(one, runs):
            found.append(predictor)
            if progress is not None:
                progress(len(found), len(runs))
    return found


def _linear(
    columns: NDArray[np.float32], truth: NDArray[np.intp], *, classes: int, shrinkage: float
) -> Linear:
    """Linear discriminants with a shrunk covariance; a missing rank counts as the usual one.

    Every origin is as probable as any other beforehand: what a hospital sends next year is not
    what it sent last year.

    Source: Friedman, Regularized discriminant analysis, JASA 1989, with one covariance for all.
    """
    usual = np.asarray(np.nanmean(columns, axis=0, dtype=np.float64))
    gaps = np.nan_to_num(columns - usual)
    known, places = np.unique(truth, return_inverse=True)
    means = np.vstack([gaps[truth == one].mean(axis=0) for one in known])
    within = gaps - means[places]
    covariance = (1 - shrinkage) * (within.T @ within) / len(truth)
    covariance.flat[:: len(usual) + 1] += shrinkage * (within**2).sum() / within.size + _TINY
    slopes = np.linalg.solve(covariance, means.T).T
    heights = -(slopes * means).sum(axis=1) / 2
    weights, bases = np.zeros((classes, len(usual))), np.full(classes, _NEVER)
    # What all classes share says nothing, and costs digits.
    weights[known] = slopes - slopes.mean(axis=0)
    bases[known] = heights - heights.mean()
    return Linear(
        weights=weights.astype(np.float32),
        bases=bases.astype(np.float32),
        usual=usual.astype(np.float32),
    )


def _gated(
    linear: Linear,
    columns: NDArray[np.float32],
    truth: NDArray[np.intp],
    *,
    classes: int,
    seed: int,
) -> Gated:
    """The linear discriminants, and what answers where a profile is unlike.

    Too far is what few cases are from centroids made without them.
    """
    filled = np.where(np.isnan(columns), linear.usual, columns).astype(np.float32)
    half = np.random.default_rng(seed).permutation(len(truth)) % 2 == 0
    others = Centroids.of(filled[half], truth[half], classes=classes, factors=_FACTORS)
    distances = others.distances(columns[~half], spread=_SPREAD)
    centroids = Centroids.of(filled, truth, classes=classes, factors=_FACTORS)
    far = float(np.quantile(distances, _FAR))
    return Gated(
        here=linear,
        elsewhere=Discriminant(
            centroids=centroids, spread=_SPREAD_ELSEWHERE, scale=_SCALE_ELSEWHERE
        ),
        likeness=Likeness(
            centroids=centroids,
            spread=_SPREAD,
            most_distant=far,
            hopeless=_FARTHEST * far,
            most_missing=_MOST_MISSING,
        ),
        temperature=1.0,
    )
