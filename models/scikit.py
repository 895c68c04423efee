"""scikit-learn's boosted trees, explained by shap, and its logistic regression, in closed form."""

import io
import json
import re
import zipfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from models import predictor
from models.errors import ModelsError
from models.explanation import Explanation
from models.linear import Linear, both_sides
from models.predictor import MalformedPredictor

if TYPE_CHECKING:
    from shap import TreeExplainer
    from sklearn.base import ClassifierMixin
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import ThreadpoolController

_FILE: Final = "model.skops"
# Beyond the types that skops trusts itself, which are data and scikit-learn's own classes.
TRUSTED: Final = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)


class UnexplainableEstimator(ModelsError):
    """No exact contributions in log-odds are known for this estimator; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scikit:
    """A fitted scikit-learn classifier whose classes are 0, 1, …, in the card's order.

    Attributes:
        estimator: `HistGradientBoostingClassifier`, which takes missing values as they are, or
            `LogisticRegression`. Forests vote in probabilities: no sum of parts is their
            log-odds, so they are refused.
        usual: (n_features,), what a logistic regression takes for a missing feature, see
            `Linear`; None for trees.

    Raises:
        UnexplainableEstimator: The estimator is another, or splits trees on sets of codes.
    """

    estimator: "ClassifierMixin"
    usual: NDArray[np.float32] | None = None
    _explained: "Linear | _Trees" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression

        if type(self.estimator) not in {HistGradientBoostingClassifier, LogisticRegression}:
            raise UnexplainableEstimator(
                f"{type(self.estimator).__name__} has no exact contributions in log-odds here; "
                "use HistGradientBoostingClassifier or LogisticRegression"
            )
        if list(self.estimator.classes_) != list(range(len(self.estimator.classes_))):
            raise UnexplainableEstimator("classes are the places of the card's labels: 0, 1, …")
        object.__setattr__(
            self,
            "_explained",
            _linear(self.estimator, self.usual)
            if isinstance(self.estimator, LogisticRegression)
            else _Trees.of(self.estimator),
        )

    @property
    def features(self) -> int:
        """How many columns a profile has."""
        return self._explained.features

    @property
    def classes(self) -> int:
        """How many margins a profile gets."""
        return self._explained.classes

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features), NaN where missing."""
        return self._explained.margins(profiles)

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        """The same margins with the contributions of every feature; errors as for `Predictor`."""
        return self._explained.explain(profiles)

    def write(self, folder: Path) -> None:
        """Write the estimator as skops does, but the same bytes for the same estimator."""
        from skops import io as skops

        usual = None if self.usual is None else [float(value) for value in self.usual]
        predictor.describe(folder, "scikit-learn", usual=usual)
        (folder / _FILE).write_bytes(_settled(skops.dumps(self.estimator)))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote.

        Raises:
            MalformedPredictor: The file holds a type that is not trusted, or no estimator.
        """
        from skops import io as skops
        from skops.io.exceptions import UntrustedTypesFoundException

        try:
            estimator = skops.load(folder / _FILE, trusted=list(TRUSTED))
        except (UntrustedTypesFoundException, zipfile.BadZipFile) as cause:
            raise MalformedPredictor(f"{folder / _FILE}: {cause}") from cause
        usual = json.loads((folder / predictor.FILE).read_bytes())["usual"]
        try:
            return cls(
                estimator=estimator,
                usual=None if usual is None else np.array(usual, dtype=np.float32),
            )
        except UnexplainableEstimator as cause:
            raise MalformedPredictor(f"{folder / _FILE}: {cause}") from cause


def _linear(estimator: "LogisticRegression", usual: NDArray[np.float32] | None) -> Linear:
    if usual is None:
        raise UnexplainableEstimator("a linear model says what is usual, for what is missing")
    weights, intercepts = estimator.coef_, estimator.intercept_
    if len(weights) == 1:
        weights, intercepts = both_sides(weights), both_sides(intercepts)
    return Linear.of(weights, intercepts, usual)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trees:
    """Path-dependent TreeSHAP of `HistGradientBoostingClassifier`, built once."""

    estimator: "HistGradientBoostingClassifier"
    explainer: "TreeExplainer"

    @classmethod
    def of(cls, estimator: "HistGradientBoostingClassifier") -> Self:
        if estimator.is_categorical_ is not None:
            # shap reads such a split as a threshold.
            raise UnexplainableEstimator("trees split on sets of codes; give codes as numbers")
        # shap takes a second or two to import: only where trees of scikit-learn are served.
        from shap import TreeExplainer

        return cls(
            estimator=estimator,
            explainer=TreeExplainer(estimator, feature_perturbation="tree_path_dependent"),
        )

    @property
    def features(self) -> int:
        return int(self.estimator.n_features_in_)

    @property
    def classes(self) -> int:
        return len(self.estimator.classes_)

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        with one_thread():
            raw = self.estimator.decision_function(profiles)
        if raw.ndim == 1:
            raw = np.stack([-raw / 2, raw / 2], axis=1)
        return np.asarray(raw, dtype=np.float32)

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        # Its own check would repeat ours.
        values = self.explainer.shap_values(profiles, check_additivity=False)
        bases = np.atleast_1d(np.asarray(self.explainer.expected_value))
        if values.ndim == 2:
            values = np.stack([-values / 2, values / 2], axis=1)
            bases = np.concatenate([-bases / 2, bases / 2])
        else:
            values = values.transpose(0, 2, 1)
        return Explanation(
            margins=self.margins(profiles),
            bases=np.broadcast_to(bases.astype(np.float32), values.shape[:2]),
            contributions=np.ascontiguousarray(values, dtype=np.float32),
        )


def one_thread() -> AbstractContextManager[object]:
    """Within it, scikit-learn's trees use the calling thread alone.

    On a busy machine, threads of one small task wait for each other for seconds.
    """
    limited: AbstractContextManager[object] = _pools().limit(limits=1, user_api="openmp")
    return limited


@cache
def _pools() -> "ThreadpoolController":
    # Looks through all libraries that are loaded: once, and after scikit-learn's trees are.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_IDENTITY: Final = re.compile(r'(?<="__id__": )\d+|(?<=")\d+(?=\.npy")')


def _settled(dumped: bytes) -> bytes:
    """A skops archive without the addresses of objects and the time, which differ each run."""
    numbers: dict[str, str] = {}
    fresh = count(1)

    def numbered(found: re.Match[str]) -> str:
        return numbers.setdefault(found.group(), str(next(fresh)))

    with zipfile.ZipFile(io.BytesIO(dumped)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    schema = _IDENTITY.sub(numbered, members.pop("schema.json").decode())
    arrays = {f"{numbers[name.removesuffix('.npy')]}.npy": part for name, part in members.items()}
    settled = io.BytesIO()
    with zipfile.ZipFile(settled, "w", zipfile.ZIP_DEFLATED) as target:
        for name, part in sorted({**arrays, "schema.json": schema.encode()}.items()):
            # A ZipInfo made by hand is of 1980-01-01.
            target.writestr(zipfile.ZipInfo(name), part, zipfile.ZIP_DEFLATED)
    return settled.getvalue()
