"""What a class usually looks like, and how its cases vary: centroids with a shared covariance."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

# Shares of a feature's variance within classes: what stays its own at least, and of all features
# together, so that one that hardly ever varies is not taken for a certain sign.
_LEAST_OWN: Final = 0.02
_FLOOR: Final = 1e-3
_ROUNDS: Final = 8
_REMEMBERED: Final = 16
_FILE: Final = "centroids.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Centroids:
    """Class means, and the covariance within classes as a few factors and each feature's own.

    No case can be read from them: a class's mean is over all its cases, the covariance over all.

    Attributes:
        means: (n_classes, n_features), float32; NaN for a class without a case.
        loadings: (n_features, n_factors), float32.
        own: (n_features,), float32, variance that no factor explains, above zero.
    """

    means: NDArray[np.float32]
    loadings: NDArray[np.float32]
    own: NDArray[np.float32]
    # Profiles of one laboratory lack the same features: solved once for each such set. A race
    # between threads solves one twice, to the same numbers.
    _cache: dict[tuple[bytes, float], "_Solved"] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        features = self.means.shape[1]
        if (
            len(self.loadings) != features
            or self.own.shape != (features,)
            or not np.isfinite(self.loadings).all()
            or not (self.own > 0).all()
            or not self.seen.any()
        ):
            raise ValueError("means, loadings and variances are of the same features, and finite")

    @classmethod
    def of(
        cls,
        columns: NDArray[np.float32],
        truth: NDArray[np.intp],
        *,
        classes: int,
        factors: int,
    ) -> Self:
        """Those of training cases.

        Args:
            columns: (n, n_features), without missing values.
            truth: (n,), class indices.

        Source: principal factor analysis, iterated; see Harman, Modern Factor Analysis, 1976.
        """
        counts = np.bincount(truth, minlength=classes)
        one_hot = np.eye(classes)[truth]
        with np.errstate(invalid="ignore"):
            means = (one_hot.T @ columns) / counts[:, np.newaxis]
        residuals = columns - means[truth]
        covariance = residuals.T @ residuals / len(truth)
        variances = np.diag(covariance)
        least = _LEAST_OWN * variances + _FLOOR
        own, loadings = variances / 2, np.zeros((len(variances), factors))
        for _ in range(_ROUNDS):
            values, vectors = np.linalg.eigh(covariance - np.diag(own))
            loadings = vectors[:, -factors:] * np.sqrt(np.maximum(values[-factors:], 0))
            own = np.maximum(variances - (loadings**2).sum(axis=1), least)
        return cls(
            means=means.astype(np.float32),
            loadings=loadings.astype(np.float32),
            own=(own + _FLOOR * variances.mean()).astype(np.float32),
        )

    @property
    def classes(self) -> int:
        """How many classes there are, seen or not."""
        return len(self.means)

    @property
    def features(self) -> int:
        """How many columns a case has."""
        return len(self.own)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which classes had a case, (n_classes,)."""
        return np.asarray(np.isfinite(self.means).all(axis=1), dtype=np.bool_)

    def weights(self, measured: NDArray[np.bool_], *, spread: float) -> NDArray[np.float64]:
        """Σ⁻¹ of the measured features times their centroids, (n_classes, n_measured).

        Args:
            measured: (n_features,).
            spread: Standard deviation of what a laboratory adds to each feature on its own, in
                the columns' unit; Σ holds it beside the covariance within classes.

        Source: Woodbury's identity.
        """
        return self._solved(measured, spread).weights

    def distances(self, columns: NDArray[np.float32], *, spread: float) -> NDArray[np.float64]:
        """Mahalanobis' squared distance to the nearest centroid a measured feature, (n,).

        Args:
            columns: (n, n_features), NaN where missing; missing features are left out.
            spread: See `weights`.
        """
        nearest = np.empty(len(columns))
        for measured, rows in patterns(columns):
            solved = self._solved(measured, spread)
            seen = columns[np.ix_(rows, measured)].astype(np.float64)
            own = (seen**2 @ solved.precisions) - ((seen @ solved.factors) ** 2).sum(axis=1)
            away = solved.norms - 2 * seen @ solved.weights[self.seen].T
            nearest[rows] = (own + away.min(axis=1)) / measured.sum()
        return nearest

    def write(self, folder: Path) -> None:
        """Write the three arrays into an existing folder."""
        np.savez_compressed(folder / _FILE, means=self.means, loadings=self.loadings, own=self.own)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote; nothing in it is unpickled.

        Raises:
            ValueError, KeyError, OSError: It is no such file.
        """
        with np.load(folder / _FILE, allow_pickle=False) as stored:
            return cls(
                means=stored["means"].astype(np.float32),
                loadings=stored["loadings"].astype(np.float32),
                own=stored["own"].astype(np.float32),
            )

    def _solved(self, measured: NDArray[np.bool_], spread: float) -> "_Solved":
        key = (np.packbits(measured).tobytes(), spread)
        solved = self._cache.get(key)
        if solved is None:
            if len(self._cache) >= _REMEMBERED:
                self._cache.clear()
            solved = self._cache[key] = self._solve(measured, spread)
        return solved

    def _solve(self, measured: NDArray[np.bool_], spread: float) -> "_Solved":
        means = self.means[:, measured].astype(np.float64)
        loadings = self.loadings[measured].astype(np.float64)
        precisions = 1 / (self.own[measured].astype(np.float64) + spread**2)
        scaled = loadings * precisions[:, np.newaxis]
        inner = np.eye(loadings.shape[1]) + loadings.T @ scaled
        factors = np.linalg.solve(np.linalg.cholesky(inner), scaled.T).T
        weights = means * precisions - (means @ factors) @ factors.T
        return _Solved(
            precisions=precisions,
            factors=factors,
            weights=weights,
            norms=(weights * means).sum(axis=1)[self.seen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solved:
    """Σ⁻¹ = diag(precisions) − factors · factorsᵀ, and what it makes of the centroids."""

    precisions: NDArray[np.float64]
    factors: NDArray[np.float64]
    weights: NDArray[np.float64]
    norms: NDArray[np.float64]


def patterns(
    columns: NDArray[np.float32],
) -> list[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Which features are measured, (n_features,), and the rows in which just those are."""
    measured = ~np.isnan(columns)
    rows: dict[bytes, list[int]] = {}
    for row, pattern in enumerate(np.packbits(measured, axis=1)):
        rows.setdefault(pattern.tobytes(), []).append(row)
    return [(measured[found[0]], np.array(found, dtype=np.intp)) for found in rows.values()]
