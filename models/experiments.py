"""Which way to learn is chosen, and why: candidates judged alike, each kept as an MLflow run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import Card
from guarantee.home import Home
from models import assessment, registry, training
from models.alterations import made_up_laboratories
from models.assessment import Alteration, Plan, Said
from models.candidates import CANDIDATES, CHOSEN, MICROARRAY_CANDIDATES, Fitting, Way
from models.cohorts import Cohort
from models.errors import ModelsError
from models.evaluation import Evaluation, Undefined
from models.origins import side_by_side
from models.predictor import Predictor
from models.training import Parameters, Progress, logged

WAYS: Final[Mapping[str, tuple[Way, ...]]] = {
    "tumour-origin": CANDIDATES,
    "tumour-origin-microarray": MICROARRAY_CANDIDATES,
}


class NothingToCompare(ModelsError):
    """The model has no candidates, or none that was asked for; the message names those it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A candidate and its figures.

    Attributes:
        chosen: Whether it is the recipe's own way.
        evaluation: Of hospitals left out, where they are known, else of folds by patient. Its
            intervals come from resampled patients, and nothing is held out beside.
    """

    name: str
    chosen: bool
    evaluation: Evaluation


def ways(name: str, only: Sequence[str] = ()) -> tuple[Way, ...]:
    """The candidates of a model, those alone of which a name begins with one of `only`.

    Raises:
        NothingToCompare: There is none.
    """
    of_model = WAYS.get(name, ())
    wanted = tuple(
        way
        for way in of_model
        if not only or any(one.startswith(start) for one in way.names for start in only)
    )
    if not wanted:
        known = "; ".join(one for way in of_model for one in way.names)
        raise NothingToCompare(
            f"{name} has no such candidate (it has: {known or 'none'}); "
            f"models with candidates: {', '.join(WAYS)}"
        )
    return wanted


def compare(
    name: str,
    cohort: Cohort,
    card: Card,
    parameters: Parameters,
    alterations: Mapping[str, Alteration],
    *,
    of: Sequence[Way],
    parts: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Compared]:
    """Fit and judge each candidate, on the same cases left out, unaltered and altered.

    No candidate declines for what a profile is unlike; like any model, it abstains where most
    labels stay possible.

    Args:
        cohort: Nothing missing.
        parts: How many of those that the hospitals, or patients, are dealt into; None for all.

    Raises:
        UntrainableCohort: As for `training.train`.
    """
    labels = [label.id for label in card.labels]
    truth = training.truth_of(cohort, labels)
    folds, notes = training.folds_of(cohort, cohort.groups(), parameters)
    planned = assessment.plan(
        cohort, folds, site_folds=parameters.site_folds, forward_parts=0, seed=parameters.seed
    )
    apart = planned.hardest[: max(2, parts or len(planned.hardest))]
    judged = Plan(by_patient=apart, by_site=_NOT_ASKED, forward=_NOT_ASKED)
    # As logarithms: ranks are the same, and no candidate is misled by the scale alone.
    altered = dict(alterations)
    if "made_up_laboratories" in altered:
        altered["made_up_laboratories"] = made_up_laboratories(logarithms=True)
    profiles = {
        key: [
            alteration.alter(cohort.profiles[part.test], parameters.seed + place)
            for place, part in enumerate(apart)
        ]
        for key, alteration in altered.items()
    }
    hosts = np.empty((0, 0), np.float32) if cohort.tissue is None else cohort.tissue
    for done, way in enumerate(of):

        def fitted(rows: NDArray[np.intp], way: Way = way) -> Mapping[str, Predictor]:
            return way.fit(
                Fitting(
                    profiles=cohort.profiles[rows], truth=truth[rows], classes=len(labels),
                    parameters=parameters, hosts=hosts,
                )
            )  # fmt: skip

        by_part = side_by_side(fitted, [part.train for part in apart], parameters)
        for one in way.names:
            predictors = [members[one] for members in by_part]
            yield Compared(
                name=one,
                chosen=one == CHOSEN[name],
                evaluation=assessment.assess(
                    judged, cohort, truth,
                    [
                        _said(predictor, cohort.profiles[part.test])
                        for predictor, part in zip(predictors, apart, strict=True)
                    ],
                    labels=labels, held_out_cases=0, seed=parameters.seed, notes=notes,
                    hardships={
                        key: (
                            altered[key].what,
                            [_said(*pair) for pair in zip(predictors, seen, strict=True)],
                        )
                        for key, seen in profiles.items()
                    },
                ),
            )  # fmt: skip
        if progress is not None:
            progress(done + 1, len(of))


_NOT_ASKED: Final = Undefined(reason="it was not asked for when the model was trained")


def _said(predictor: Predictor, profiles: NDArray[np.float32]) -> Said:
    nothing = np.zeros(len(profiles), dtype=np.bool_)
    return Said(margins=predictor.margins(profiles), flagged=nothing, declined=nothing)


def keep(home: Home, name: str, parameters: Parameters, compared: Compared) -> str:
    """Keep a candidate as a run of the experiment `NAME-candidates`; return the run's id.

    Raises:
        RegistryUnavailable: MLflow failed.
    """
    return registry.log_figures(
        home,
        f"{name}-candidates",
        compared.name,
        parameters={
            **logged(parameters),
            "candidate": compared.name,
            "chosen": str(compared.chosen).lower(),
            "parts": str(len(compared.evaluation.parts)),
        },
        figures=compared.evaluation.figures(),
    )
