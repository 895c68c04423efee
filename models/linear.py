"""A linear model, explained in closed form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models import predictor
from models.explanation import Explanation

_FILE: Final = "linear.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Margins that are weighted sums; a missing feature has its usual value.

    A feature contributes its weight times its distance from its usual value, which is its
    Shapley value when what is not known is usual; so a missing one contributes nothing.

    Attributes:
        weights: (n_classes, n_features), float32, margin units a feature unit.
        bases: (n_classes,), float32, the margins of the usual profile.
        usual: (n_features,), float32, the training cases' means, say.

    Source: Lundberg and Lee, A unified approach to interpreting model predictions, NeurIPS
    2017, corollary 1.
    """

    weights: NDArray[np.float32]
    bases: NDArray[np.float32]
    usual: NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = (len(self.bases), len(self.usual))
        if self.weights.shape != shape or not all(
            np.isfinite(part).all() for part in (self.weights, self.bases, self.usual)
        ):
            raise ValueError(f"weights, bases and usual values are not finite, of shape {shape}")

    @classmethod
    def of(
        cls,
        weights: NDArray[np.floating],
        intercepts: NDArray[np.floating],
        usual: NDArray[np.floating],
    ) -> Self:
        """The model whose margin is `weights · x + intercept`; see `binary` for one row."""
        return cls(
            weights=np.asarray(weights, dtype=np.float32),
            bases=np.asarray(
                intercepts + np.asarray(weights, np.float64) @ np.asarray(usual, np.float64),
                dtype=np.float32,
            ),
            usual=np.asarray(usual, dtype=np.float32),
        )

    @property
    def features(self) -> int:
        """How many columns a profile has."""
        return len(self.usual)

    @property
    def classes(self) -> int:
        """How many margins a profile gets."""
        return len(self.bases)

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features), NaN where missing."""
        return self._margins(self._distances(profiles))

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        """The same margins with the contributions of every feature; errors as for `Predictor`."""
        distances = self._distances(profiles)
        contributions = distances[:, np.newaxis] * self.weights
        return Explanation(
            margins=self._margins(distances),
            bases=np.broadcast_to(self.bases, contributions.shape[:2]),
            contributions=contributions,
        )

    def write(self, folder: Path) -> None:
        """Write the three arrays."""
        predictor.describe(folder, "linear")
        np.savez_compressed(
            folder / _FILE, weights=self.weights, bases=self.bases, usual=self.usual
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote; nothing in it is unpickled.

        Raises:
            ValueError, KeyError, OSError: It is no such file.
        """
        with np.load(folder / _FILE, allow_pickle=False) as stored:
            return cls(
                weights=stored["weights"].astype(np.float32),
                bases=stored["bases"].astype(np.float32),
                usual=stored["usual"].astype(np.float32),
            )

    def _margins(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        # Weights may be large and cancel each other: single precision would lose what is left.
        sums = distances.astype(np.float64) @ self.weights.T.astype(np.float64)
        return np.asarray(sums + self.bases, dtype=np.float32)

    def _distances(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        distances = np.asarray(profiles - self.usual, dtype=np.float32)
        # NaN, and no infinity: the contract refuses those.
        return np.nan_to_num(distances, copy=False, nan=0.0)


def both_sides(row: NDArray[np.floating]) -> NDArray[np.floating]:
    """The two rows of a model of two classes from the one of its second's log-odds.

    Args:
        row: (1, …).

    Returns:
        (2, …): −row/2 and row/2, whose difference is the row.
    """
    return np.concatenate([-row / 2, row / 2])
