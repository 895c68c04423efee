"""Whether a profile is like those that a model has learned from, or like nothing that it knows."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.composite import read_values, reads_ranks
from models.gated import likeness_of
from models.predictor import Predictor
from models.reference import outside_share

# A share of unusual features. Our cohorts' own cases reach 0.26, made-up laboratories as read by
# their ranks 0.37; a file of another logarithm, or of noise, has from 0.43 to all of them.
_HOPELESSLY_OUTSIDE: Final = 0.4
# One or two of a few features are unusual in many a patient.
_FEWEST_UNUSUAL: Final = 3
# A share of features that have one value, to a model that reads ranks. TCGA's tumours reach 0.68,
# the shallowest of made-up laboratories 0.98, one in a hundred of all theirs more than 0.91.
_MOST_TIED: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a model holds of profiles.

    Attributes:
        unlike: (n,), whether each is unlike those learned from.
        hopeless: (n,), whether it is so unlike that nobody knows what the answer would be worth.
    """

    unlike: NDArray[np.bool_]
    hopeless: NDArray[np.bool_]


def judge(
    model: Predictor,
    profiles: NDArray[np.float32],
    *,
    quantiles: NDArray[np.float32],
    most_outside: float,
) -> Judgement:
    """What the model holds of profiles, (n, n_features).

    A model that can tell how far a profile is from its training cases goes by that distance; any
    other by how many features are unusual, each by itself. To one that reads ranks, a profile
    whose features hardly differ says nothing.

    Args:
        quantiles: Of the training cases; see `Reference`.
        most_outside: The same.
    """
    if (found := likeness_of(model)) is not None:
        likeness, distances = found
        away = distances(profiles)
        unlike, hopeless = away > likeness.most_distant, away > likeness.hopeless
    else:
        outside = outside_share(quantiles, profiles)
        unlike = outside > most_outside
        if (read := read_values(model, profiles)) is not None:
            outside = outside_share(quantiles, read)
        unusual = outside * (~np.isnan(profiles)).sum(axis=1)
        # Where training cases themselves have many unusual features, twice as many.
        hopeless = (outside > max(_HOPELESSLY_OUTSIDE, 2 * most_outside)) & (
            unusual > _FEWEST_UNUSUAL - 0.5
        )
    if reads_ranks(model):
        hopeless = hopeless | np.array([_tied(profile) > _MOST_TIED for profile in profiles])
    return Judgement(unlike=unlike | hopeless, hopeless=hopeless)


def _tied(profile: NDArray[np.float32]) -> float:
    """The share of measured features that have the commonest value."""
    measured = profile[~np.isnan(profile)]
    if len(measured) < _FEWEST_TIED:
        return 0.0
    return float(np.unique(measured, return_counts=True)[1].max() / len(measured))


# Fewer are too few to tell, and mostly too few to answer from.
_FEWEST_TIED: Final = 20
