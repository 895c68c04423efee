"""Linear discriminants that leave out what a profile lacks, explained in closed form."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models import predictor
from models.centroids import Centroids, patterns
from models.explanation import Explanation

# Margin of a class without a training case, far below any other's.
_NEVER: Final = -50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Discriminant:
    """Margins of Gaussian classes that share a covariance, which what is not measured leaves.

    For the features that a profile has, the margins are linear: each contributes its weight times
    its distance from the mean of the centroids, and a missing one nothing. Which weights they are
    depends on which features are missing, as the density of those measured does.

    Attributes:
        spread: Standard deviation, in the columns' unit, of what another laboratory adds to each
            feature on its own; the larger, the less any single feature is trusted.
        scale: Margins are multiplied by it: correlated features make the densities too sure.

    Source: Fisher, The use of multiple measurements in taxonomic problems, 1936; with the gains
    of a laboratory as a random effect.
    """

    centroids: Centroids
    spread: float
    scale: float

    @property
    def features(self) -> int:
        """How many columns a profile has."""
        return self.centroids.features

    @property
    def classes(self) -> int:
        """How many margins a profile gets."""
        return self.centroids.classes

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features), NaN where missing."""
        margins = np.empty((len(profiles), self.classes), dtype=np.float32)
        for measured, rows in patterns(profiles):
            weights, bases, usual = self._linear(measured)
            gaps = profiles[np.ix_(rows, measured)] - usual
            margins[rows] = gaps @ weights.T + bases
        return margins

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        """The same margins with the contributions of every feature; errors as for `Predictor`."""
        shape = (len(profiles), self.classes)
        margins, bases = np.empty(shape, np.float32), np.empty(shape, np.float32)
        contributions = np.zeros((*shape, self.features), dtype=np.float32)
        for measured, rows in patterns(profiles):
            weights, of_usual, usual = self._linear(measured)
            gaps = profiles[np.ix_(rows, measured)] - usual
            margins[rows] = gaps @ weights.T + of_usual
            bases[rows] = of_usual
            places = np.flatnonzero(measured)
            contributions[rows[:, np.newaxis], :, places] = (
                gaps[:, np.newaxis] * weights
            ).transpose(0, 2, 1)
        return Explanation(margins=margins, bases=bases, contributions=contributions)

    def write(self, folder: Path) -> None:
        """Write the two numbers, and the centroids' arrays."""
        predictor.describe(folder, "discriminant", spread=self.spread, scale=self.scale)
        self.centroids.write(folder)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote; errors as for `predictor.read`."""
        stored = json.loads((folder / predictor.FILE).read_bytes())
        return cls(
            centroids=Centroids.read(folder),
            spread=float(stored["spread"]),
            scale=float(stored["scale"]),
        )

    def _linear(
        self, measured: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Weights, margins of the usual profile, and the usual profile, of measured features."""
        seen = self.centroids.seen
        means = self.centroids.means[:, measured].astype(np.float64)
        usual = means[seen].mean(axis=0)
        weights = self.centroids.weights(measured, spread=self.spread)
        bases = (weights * (usual - means / 2)).sum(axis=1)
        # What all classes share says nothing, and costs digits.
        weights = np.where(seen[:, np.newaxis], weights - weights[seen].mean(axis=0), 0.0)
        bases = np.where(seen, (bases - bases[seen].mean()) * self.scale, _NEVER)
        return weights * self.scale, bases, usual
