"""What computes an answer: margins and what adds up to them, whatever library trained it."""

import json
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelsError
from models.explanation import Explanation

FILE: Final = "predictor.json"
Kind = Literal["xgboost", "scikit-learn", "linear", "discriminant", "view", "average", "gated"]


class MalformedPredictor(ModelsError):
    """A folder's files make no predictor; the message says which and why."""


class Predictor(Protocol):
    """A trained model in log-odds, immutable, so that threads may share it.

    Margins are the logarithms of the classes' probabilities up to a constant of each profile: a
    difference of two is the log-odds of one class against the other. A model of two classes
    that its library knows by one number, the log-odds z of the second, has the margins −z/2
    and z/2: both are explained, in opposite terms, and their contrast is z.
    """

    @property
    def features(self) -> int:
        """How many columns a profile has."""

    @property
    def classes(self) -> int:
        """How many margins a profile gets."""

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features), NaN where missing."""

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        """The same margins with the contributions of every feature to each.

        Raises:
            InexactExplanation: A sum misses its margin.
        """

    def write(self, folder: Path) -> None:
        """Write `predictor.json`, which names the kind, and its files into an existing folder.

        No file holds a pickle, and the same predictor gives the same bytes.
        """


def read(folder: Path) -> Predictor:
    """The predictor that `write` wrote; nothing is unpickled, nor any type loaded unasked.

    Raises:
        MalformedPredictor: The folder holds none.
    """
    # Each kind loads its library when it is met: scikit-learn and shap take seconds.
    try:
        description = json.loads((folder / FILE).read_bytes())
        match description["kind"]:
            case "xgboost":
                from models.boosted import Boosted

                return Boosted.read(folder)
            case "scikit-learn":
                from models.scikit import Scikit

                return Scikit.read(folder)
            case "linear":
                from models.linear import Linear

                return Linear.read(folder)
            case "discriminant":
                from models.discriminant import Discriminant

                return Discriminant.read(folder)
            case "view":
                from models.composite import View

                return View.read(folder)
            case "average":
                from models.composite import Average

                return Average.read(folder)
            case "gated":
                from models.gated import Gated

                return Gated.read(folder)
            case _:
                raise MalformedPredictor(f"{folder / FILE} names no kind of predictor")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as cause:
        raise MalformedPredictor(f"{folder} holds no predictor: {cause}") from cause


def describe(folder: Path, kind: Kind, **parameters: object) -> None:
    """Write `predictor.json`; for the predictors themselves."""
    text = json.dumps({"kind": kind, **parameters}, indent=1, sort_keys=True)
    (folder / FILE).write_bytes(text.encode())
