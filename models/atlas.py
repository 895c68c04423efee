"""Where cases lie among a model's labels: two coordinates and the label, and nothing else."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

# As many cases as a picture can show; the same number of each label where it has as many.
_MOST_CASES: Final = 1000
_DIGITS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """Labels on a circle, those taken for each other side by side, and cases between them.

    A case lies at the mean of the labels' places, weighed by the square roots of its
    probabilities, so that the second answer shows, too. A profile cannot be told from it: many
    features become two rounded numbers by way of probabilities that add up to one.

    Attributes:
        places: (n_classes, 2), the label's, on the circle of radius 1 around the origin.
        cases: (n, 2), rounded; of at most a thousand cases, each as a model says that was not
            trained on them, in no order that says anything of them.
        truth: (n,), their class indices.

    Source: RadViz; Hoffman et al., DNA visual and analytic data mining, 1997.
    """

    places: NDArray[np.float32]
    cases: NDArray[np.float32]
    truth: NDArray[np.intp]

    @classmethod
    def of(cls, probabilities: NDArray[np.float64], truth: NDArray[np.intp], *, seed: int) -> Self:
        """That of cases answered by models that had not seen them.

        Args:
            probabilities: (n, n_classes), calibrated.
            truth: (n,), class indices.
            seed: Of the draw of the cases to keep.
        """
        classes = probabilities.shape[1]
        angles = np.empty(classes)
        angles[_side_by_side(np.sqrt(probabilities), truth)] = np.arange(classes)
        angles *= 2 * np.pi / classes
        places = np.column_stack([np.cos(angles), np.sin(angles)]).round(4)
        shuffled = np.random.default_rng(seed).permutation(len(truth))
        each = max(1, _MOST_CASES // classes)
        kept = np.concatenate(
            [shuffled[truth[shuffled] == label][:each] for label in range(classes)]
        )
        cases, labels = _between(places, probabilities[kept]), truth[kept]
        order = np.lexsort((*cases.T, labels))
        return cls(places=places.astype(np.float32), cases=cases[order], truth=labels[order])

    def place(self, probabilities: NDArray[np.float64]) -> tuple[float, float]:
        """Where an answer lies, of calibrated probabilities, (n_classes,)."""
        across, up = _between(self.places, probabilities[np.newaxis])[0]
        return float(across), float(up)


def _between(
    places: NDArray[np.floating], probabilities: NDArray[np.float64]
) -> NDArray[np.float32]:
    weights = np.sqrt(probabilities)
    weights /= weights.sum(axis=1, keepdims=True)
    # What is rounded to -0 is 0.
    return np.asarray((weights @ places).round(_DIGITS) + 0.0, dtype=np.float32)


def _side_by_side(weights: NDArray[np.float64], truth: NDArray[np.intp]) -> list[int]:
    """Labels in an order in which each follows the one, of those left, that it is most taken for.

    Args:
        weights: (n, n_classes), of each label in each case.
    """
    classes = weights.shape[1]
    counts = np.bincount(truth, minlength=classes)
    taken = np.eye(classes)[truth].T @ weights / np.maximum(counts, 1)[:, np.newaxis]
    alike = taken + taken.T
    order, left = [0], list(range(1, classes))
    while left:
        nearest = max(left, key=lambda label: alike[order[-1], label])
        order.append(nearest)
        left.remove(nearest)
    return order
