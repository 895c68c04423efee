"""XGBoost's trees, explained by XGBoost's own TreeSHAP."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np
import xgboost
from numpy.typing import NDArray

from models import predictor
from models.explanation import Explanation
from models.predictor import MalformedPredictor

_FILE: Final = "model.ubj"
# From so many rows on, all threads are worth their while.
_MANY: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """A booster trained with `multi:softprob`, and never further.

    Its contributions are path-dependent: what is not known of a profile follows the training
    cases through each split.

    Source: Lundberg et al., From local explanations to global understanding with explainable AI
    for trees, Nature Machine Intelligence 2020.
    """

    booster: xgboost.Booster
    _for_many: xgboost.Booster | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def features(self) -> int:
        """How many columns a profile has."""
        return self.booster.num_features()

    @property
    def classes(self) -> int:
        """How many margins a profile gets; at least two."""
        learner = json.loads(self.booster.save_config())["learner"]
        return int(learner["learner_model_param"]["num_class"])

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features), NaN where missing."""
        margins = self.booster.inplace_predict(
            profiles, predict_type="margin", missing=np.nan, strict_shape=True
        )
        return np.asarray(margins, dtype=np.float32)

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        """The same margins with the contributions of every feature; errors as for `Predictor`."""
        many = len(profiles) >= _MANY
        booster = self._of_all_threads() if many else self.booster
        # One thread: at one row a request, threads cost more than they bring and contend.
        matrix = xgboost.DMatrix(profiles, missing=np.nan, nthread=None if many else 1)
        parts, margins = (
            # The contract has named the features already, and a matrix has no names.
            booster.predict(matrix, strict_shape=True, validate_features=False, **wanted)
            for wanted in ({"pred_contribs": True}, {"output_margin": True})
        )
        return Explanation(margins=margins, bases=parts[..., -1], contributions=parts[..., :-1])

    def _of_all_threads(self) -> xgboost.Booster:
        """The same trees for many rows at once; a copy, since threads share the other as it is."""
        if self._for_many is None:
            copy = xgboost.Booster({"nthread": 0}, model_file=self.booster.save_raw("ubj"))
            # Two threads may both come here: one copy is kept, and either does.
            object.__setattr__(self, "_for_many", copy)
            return copy
        return self._for_many

    def write(self, folder: Path) -> None:
        """Write XGBoost's own file."""
        predictor.describe(folder, "xgboost")
        self.booster.save_model(folder / _FILE)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote.

        Raises:
            MalformedPredictor: It is no booster, or one of another objective.
        """
        # One thread: requests run beside each other, and threads of one request would contend.
        booster = xgboost.Booster({"nthread": 1})
        try:
            booster.load_model(folder / _FILE)
        except xgboost.core.XGBoostError as cause:
            raise MalformedPredictor(f"{folder / _FILE} is no booster") from cause
        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
        if objective != "multi:softprob":
            raise MalformedPredictor(f"{folder / _FILE} was trained with {objective}")
        return cls(booster=booster)
