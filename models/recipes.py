"""How each model of ours is trained: its card, cohort, parameters and learner."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from guarantee.card import Card
from guarantee.home import Home
from models import cohorts, heart_disease, learning_cards, learning_origins, origins, tumour_origin
from models.alterations import microarray_alterations, mirna_alterations
from models.assessment import Alteration
from models.cohorts import Cohort
from models.errors import ModelsError
from models.measured import with_figures
from models.training import Learn, Parameters, Progress, Training, train


class UnknownRecipe(ModelsError):
    """No model of this name can be trained without a card of one's own; `--card` gives one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model of ours is trained: its card, cohort, parameters and learner.

    Attributes:
        learn: None for XGBoost.
        learner: What makes `learn` of the cohort, where that is not the same for all.
        trained_at: The one hospital to learn from, the others to judge by; None for all.
        alterations: What else it is judged on; the card's limits then begin with the figures.
        first: Of the cohort, what the first version of a model that learns is made of, and held
            out from; None for all. The others are left to arrive.
    """

    card: Callable[[], Card]
    source: str
    parameters: Parameters
    learn: Learn | None = None
    learner: Callable[[Cohort], Learn] | None = None
    trained_at: str | None = None
    alterations: Callable[[Cohort, Card], Mapping[str, Alteration]] | None = None
    first: Callable[[Cohort], Cohort] | None = None

    def train(self, cohort: Cohort, parameters: Parameters, progress: Progress | None) -> Training:
        """Train on a cohort of this kind; errors as for `training.train`."""
        here, elsewhere = self.learned_from(cohort), None
        if self.trained_at is not None and len(here.ids) < len(cohort.ids):
            elsewhere = cohort.take(np.flatnonzero(np.array(cohort.sites) != self.trained_at))
        card = self.card()
        trained = train(
            here, card, parameters, progress,
            learn=self.learn_from(here), elsewhere=elsewhere,
            alterations={} if self.alterations is None else self.alterations(here, card),
        )  # fmt: skip
        if self.alterations is None:
            return trained
        told = with_figures(card, trained.bundle.evaluation)
        return replace(trained, bundle=replace(trained.bundle, card=told))

    def learned_from(self, cohort: Cohort) -> Cohort:
        """What of the cohort a first version learns from, the held-out part included."""
        if self.first is not None:
            return self.first(cohort)
        if self.trained_at is None or cohort.sites is None:
            return cohort
        return cohort.take(np.flatnonzero(np.array(cohort.sites) == self.trained_at))

    def learn_from(self, cohort: Cohort) -> Learn | None:
        """How to learn from this cohort; None for XGBoost."""
        return self.learn if self.learner is None else self.learner(cohort)

    def cohort(self, home: Home, folder: Path | None = None) -> Cohort:
        """The recipe's cohort; arguments and errors as for `named_cohort`."""
        return named_cohort(self.source, home, folder)


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownRecipe: There is none.
    """
    found = RECIPES.get(name)
    if found is None:
        raise UnknownRecipe(
            f"{name} is none of {', '.join(RECIPES)}; to train a model of your own, "
            "give its card with --card and its data with --cohort"
        )
    return found


RECIPES: Final[Mapping[str, Recipe]] = {
    "tumour-origin-microarray": Recipe(
        card=tumour_origin.microarray_card,
        source="gcm",
        # Found by cross-validation over seeds on the same tumours, so slightly flattered.
        parameters=Parameters(rounds=100, max_depth=2, colsample_bynode=0.05, min_child_weight=0.3),
        alterations=microarray_alterations,
    ),
    "tumour-origin": Recipe(
        card=tumour_origin.mirna_card,
        source="tcga-mirna",
        parameters=origins.PARAMETERS,
        learner=origins.learner,
        alterations=mirna_alterations,
    ),
    # Beside the one that wins, to compare with.
    "tumour-origin-xgboost": Recipe(
        card=tumour_origin.mirna_boosted_card,
        source="tcga-mirna",
        parameters=origins.PARAMETERS,
        learn=origins.learn_boosted,
        alterations=mirna_alterations,
    ),
    # Those that learn from what is confirmed.
    "tumour-origin-learning": Recipe(
        card=learning_cards.mirna_learning_card,
        source="tcga-mirna",
        parameters=learning_origins.PARAMETERS,
        learn=partial(learning_origins.learn, likeness=True),
        first=learning_origins.first_tcga,
    ),
    "tumour-origin-microarray-learning": Recipe(
        card=learning_cards.microarray_learning_card,
        source="gcm",
        parameters=learning_origins.MICROARRAY_PARAMETERS,
        learn=partial(learning_origins.learn, likeness=False),
        first=learning_origins.first_gcm,
    ),
    "heart-disease-learning": Recipe(
        card=learning_cards.heart_disease_learning_card,
        source="heart-disease",
        parameters=replace(heart_disease.PARAMETERS, held_out_share=0.2),
        learn=heart_disease.learn,
        trained_at=heart_disease.TRAINED_AT,
    ),
    "heart-disease": Recipe(
        card=heart_disease.card,
        source="heart-disease",
        parameters=heart_disease.PARAMETERS,
        learn=heart_disease.learn,
        trained_at=heart_disease.TRAINED_AT,
    ),
}


def first_cohort(name: str, source: str | None, home: Home, folder: Path | None) -> Cohort:
    """What the first version of that model learned from; arguments and errors as `named_cohort`.

    Args:
        source: The recipe's by default.

    Raises:
        UnknownRecipe: There is none, and no source is given.
    """
    found = RECIPES.get(name)
    if found is None and source is not None:
        return named_cohort(source, home, folder)
    found = recipe(name)
    return found.learned_from(named_cohort(source or found.source, home, folder))


def named_cohort(name_or_path: str, home: Home, folder: Path | None = None) -> Cohort:
    """`gcm`, `heart-disease`, `tcga-mirna` (from `folder`), or a cohort file's path.

    Raises:
        CohortUnavailable: It cannot be fetched or found.
        MalformedCohort: The file is not a cohort.
    """
    if name_or_path == "gcm":
        return cohorts.gcm(home.cohorts)
    if name_or_path == "heart-disease":
        return heart_disease.cohort(home.cohorts)
    if name_or_path == "tcga-mirna":
        return cohorts.tcga_mirna(folder)
    return cohorts.read(Path(name_or_path))
