"""One predictor for profiles like those learned from, another for those of elsewhere."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models import predictor
from models.centroids import Centroids
from models.composite import View
from models.explanation import Explanation
from models.predictor import Predictor

_HERE: Final = "here"
_ELSEWHERE: Final = "elsewhere"
_LIKENESS: Final = "likeness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How far a profile is from what was learned from, and how far is too far.

    Attributes:
        spread: See `Centroids.weights`.
        most_distant: A profile farther than this from every centroid is unlike.
        hopeless: One farther than this is like nothing that a laboratory makes of a tumour.
        most_missing: A share of missing features above this takes the other predictor, too.
    """

    centroids: Centroids
    spread: float
    most_distant: float
    hopeless: float
    most_missing: float

    def distances(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """To the nearest centroid, (n,), of columns, (n, n_features); see `Centroids`."""
        return self.centroids.distances(columns, spread=self.spread)

    def elsewhere(self, columns: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each profile, (n, n_features), is unlike, or lacks too much, (n,)."""
        sparse = np.isnan(columns).mean(axis=1) > self.most_missing
        return np.asarray(sparse | (self.distances(columns) > self.most_distant))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """Two predictors, one of which answers: the profile's likeness to the cohort says which.

    Contributions explain the margins of the one that answers, and not the choice of it.

    Attributes:
        temperature: What the margins of `elsewhere` are divided by, so that one calibration
            serves both.
    """

    here: Predictor
    elsewhere: Predictor
    likeness: Likeness
    temperature: float

    def __post_init__(self) -> None:
        shapes = {(part.features, part.classes) for part in (self.here, self.elsewhere)}
        own = (self.likeness.centroids.features, self.likeness.centroids.classes)
        if shapes != {own}:
            raise ValueError("both predictors and the centroids have as many features and classes")

    @property
    def features(self) -> int:
        """How many columns a profile has."""
        return self.here.features

    @property
    def classes(self) -> int:
        """How many margins a profile gets."""
        return self.here.classes

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features), NaN where missing."""
        margins = np.empty((len(profiles), self.classes), dtype=np.float32)
        away = self.likeness.elsewhere(profiles)
        if not away.all():
            margins[~away] = self.here.margins(profiles[~away])
        if away.any():
            margins[away] = self.elsewhere.margins(profiles[away]) / self.temperature
        return margins

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        """The same margins with the contributions of every feature; errors as for `Predictor`."""
        away = self.likeness.elsewhere(profiles)
        if not away.any():
            return self.here.explain(profiles)
        shape = (len(profiles), self.classes)
        margins, bases = np.empty(shape, np.float32), np.empty(shape, np.float32)
        contributions = np.empty((*shape, self.features), dtype=np.float32)
        for rows, part, divisor in (
            (~away, self.here, np.float32(1)),
            (away, self.elsewhere, np.float32(self.temperature)),
        ):
            if rows.any():
                explained = part.explain(profiles[rows])
                margins[rows] = explained.margins / divisor
                bases[rows] = explained.bases / divisor
                contributions[rows] = explained.contributions / divisor
        return Explanation(margins=margins, bases=bases, contributions=contributions)

    def write(self, folder: Path) -> None:
        """Write the thresholds, and both predictors and the centroids into folders of their own."""
        predictor.describe(
            folder,
            "gated",
            temperature=self.temperature,
            spread=self.likeness.spread,
            most_distant=self.likeness.most_distant,
            hopeless=self.likeness.hopeless,
            most_missing=self.likeness.most_missing,
        )
        for name in (_HERE, _ELSEWHERE, _LIKENESS):
            (folder / name).mkdir()
        self.here.write(folder / _HERE)
        self.elsewhere.write(folder / _ELSEWHERE)
        self.likeness.centroids.write(folder / _LIKENESS)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote; errors as for `predictor.read`."""
        stored = json.loads((folder / predictor.FILE).read_bytes())
        return cls(
            here=predictor.read(folder / _HERE),
            elsewhere=predictor.read(folder / _ELSEWHERE),
            likeness=Likeness(
                centroids=Centroids.read(folder / _LIKENESS),
                spread=float(stored["spread"]),
                most_distant=float(stored["most_distant"]),
                hopeless=float(stored["hopeless"]),
                most_missing=float(stored["most_missing"]),
            ),
            temperature=float(stored["temperature"]),
        )


# Squared distances to the nearest centroid, (n,), of profiles, (n, n_features).
Distances = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def likeness_of(model: Predictor) -> tuple[Likeness, Distances] | None:
    """By what a predictor judges likeness, and how far profiles are; None where it does not."""
    if isinstance(model, Gated):
        return model.likeness, model.likeness.distances
    if isinstance(model, View) and (found := likeness_of(model.seen_by)) is not None:
        likeness, inner = found
        return likeness, partial(_seen, model, inner)
    return None


def _seen(view: View, inner: Distances, profiles: NDArray[np.float32]) -> NDArray[np.float64]:
    return inner(view.representation.columns(profiles))
