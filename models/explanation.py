"""Why a model answers so: contributions that add up to its margins, for every class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelsError

TOLERANCE: Final = 1e-4


class InexactExplanation(ModelsError):
    """Contributions do not add up to the margin, so no answer may carry them.

    Attributes:
        gap: The largest |Σ contributions + base − margin|, in margin units.
    """

    def __init__(self, gap: float) -> None:
        self.gap = gap
        super().__init__(
            f"contributions miss the margin by {gap:.3g}, more than {TOLERANCE:g}; "
            "do not use this answer, and suspend the version"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Exact contributions of features to every class's margin, before calibration.

    None can exist whose sums miss its margins.

    Attributes:
        margins: (n, n_classes), float32, as the model gives them.
        bases: (n, n_classes), float32: the margin when nothing is known of the profile.
        contributions: (n, n_classes, n_features), float32, in margin units; with the base each
            row adds up to its margin to 1e-4.

    Raises:
        InexactExplanation: A sum misses its margin by more than `TOLERANCE`, or is not a number.
    """

    margins: NDArray[np.float32]
    bases: NDArray[np.float32]
    contributions: NDArray[np.float32]

    def __post_init__(self) -> None:
        totals = self.contributions.sum(axis=-1, dtype=np.float64) + self.bases
        gap = float(np.abs(totals - self.margins).max(initial=0.0))
        if not gap <= TOLERANCE:
            raise InexactExplanation(gap)

    def contrast(self, row: int, one: int, other: int) -> NDArray[np.float32]:
        """What speaks for class `one` rather than `other`, (n_features,), in log-odds.

        With the difference of the bases it adds up to the log of the ratio of the two raw
        probabilities; calibration divides all of it by the temperature.
        """
        return np.asarray(
            self.contributions[row, one] - self.contributions[row, other], dtype=np.float32
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """One feature's part in a class's margin.

    Attributes:
        value: The feature's value in its unit; None where it is missing.
        contribution: In margin units; positive speaks for the class.
    """

    feature: str
    value: float | None
    contribution: float


def attributions(
    names: Sequence[str],
    values: NDArray[np.float32],
    contributions: NDArray[np.float32],
    count: int,
) -> tuple[Attribution, ...]:
    """The `count` features that weigh most, for or against; heaviest first, zeros left out.

    Args:
        names: (n_features,), the contract's.
        values: (n_features,), the profile's.
        contributions: (n_features,), to one class's margin, or a contrast of two.
    """
    return _attributions(names, values, contributions, np.abs(contributions), count)


def attributions_for(
    names: Sequence[str],
    values: NDArray[np.float32],
    contributions: NDArray[np.float32],
    count: int,
) -> tuple[Attribution, ...]:
    """The `count` features that speak most for the class; arguments as for `attributions`."""
    return _attributions(names, values, contributions, contributions, count)


def attributions_against(
    names: Sequence[str],
    values: NDArray[np.float32],
    contributions: NDArray[np.float32],
    count: int,
) -> tuple[Attribution, ...]:
    """The `count` features that speak most against it; arguments as for `attributions`."""
    return _attributions(names, values, contributions, -contributions, count)


def _attributions(
    names: Sequence[str],
    values: NDArray[np.float32],
    contributions: NDArray[np.float32],
    weights: NDArray[np.float32],
    count: int,
) -> tuple[Attribution, ...]:
    return tuple(
        Attribution(
            feature=names[place],
            value=None if np.isnan(values[place]) else float(values[place]),
            contribution=float(contributions[place]),
        )
        for place in np.argsort(-weights, kind="stable")[:count]
        if weights[place] > 0
    )
