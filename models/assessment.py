"""A training judged: by patient, in hospitals it has not seen, and forward in time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import Text
from models import splits, uncertainty
from models.cohorts import Cohort
from models.errors import ModelsError
from models.evaluation import Evaluation, Hardship, Judged, Undefined
from models.judging import Answers, judge
from models.splits import Apart
from models.uncertainty import KNOWS_NOTHING, Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one model says of the cases of its part.

    Attributes:
        margins: (n_test, n_classes).
        flagged: (n_test,), whether it finds the case unlike those that it learned from.
        declined: (n_test,), whether it gives no answer for that, or for want of features.
    """

    margins: NDArray[np.floating]
    flagged: NDArray[np.bool_]
    declined: NDArray[np.bool_]

    def of(self, rows: NDArray[np.intp]) -> "Said":
        """What it says of some of these cases."""
        return Said(
            margins=self.margins[rows], flagged=self.flagged[rows], declined=self.declined[rows]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """What is done to cases that were left out, so that they are what no cohort at hand has.

    Attributes:
        what: How they are altered, as a caption.
        alter: Of profiles, (n, n_features), and a seed, profiles of the same shape.
    """

    what: Text
    alter: Callable[[NDArray[np.float32], int], NDArray[np.float32]]


class Unjudgeable(ModelsError):
    """No fold can be judged; the message says why. Add cases of its labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The models to fit so that a training can be judged.

    Attributes:
        by_patient: Every case in one part.
    """

    by_patient: tuple[Apart, ...]
    by_site: tuple[Apart, ...] | Undefined
    forward: tuple[Apart, ...] | Undefined

    @property
    def hardest(self) -> tuple[Apart, ...]:
        """The parts whose cases are altered: hospitals left out, where they are known."""
        return self.by_site if isinstance(self.by_site, tuple) else self.by_patient

    @property
    def parts(self) -> tuple[Apart, ...]:
        """All of them, in the order in which `assess` takes their margins."""
        harder = [parts for parts in (self.by_site, self.forward) if isinstance(parts, tuple)]
        return sum(harder, self.by_patient)


def plan(
    cohort: Cohort, folds: NDArray[np.intp], *, site_folds: int, forward_parts: int, seed: int
) -> Plan:
    """What to fit.

    Args:
        folds: (n,), the fold in which each case is tested, from 0; a patient's is the same.
        site_folds: Into how many parts hospitals are dealt; 0 for none.
        forward_parts: Into how many parts the later cases are cut; 0 for none.
    """
    not_asked = Undefined(reason="it was not asked for when the model was trained")
    return Plan(
        by_patient=tuple(
            Apart(
                name=f"{fold + 1}",
                train=np.flatnonzero(folds != fold),
                test=np.flatnonzero(folds == fold),
            )
            for fold in range(int(folds.max()) + 1)
        ),
        by_site=splits.sites_left_out(cohort, folds=site_folds, seed=seed)
        if site_folds
        else not_asked,
        forward=splits.forward(cohort, parts=forward_parts) if forward_parts else not_asked,
    )


def to_calibrate(
    planned: Plan, said: Sequence[Said], truth: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """What to calibrate on: what was said of cases by models that had not seen their hospital.

    As it will be for the next hospital's; by the folds' models, where a hospital is not known. A
    case whose label its model was not trained on says nothing of how sure the model may be.

    Returns:
        The places of the cases, ascending, and margins, (n, n_classes), NaN for all others.
    """
    by_site = planned.by_site if isinstance(planned.by_site, tuple) else ()
    margins = np.full((len(truth), said[0].margins.shape[1]), np.nan)
    # Hospitals come after the folds, and before what is later: theirs is the word that stays.
    for part, one in zip((*planned.by_patient, *by_site), said, strict=False):
        seen = np.isin(truth[part.test], truth[part.train])
        margins[part.test] = np.where(seen[:, np.newaxis], one.margins, np.nan)
    return np.flatnonzero(~np.isnan(margins[:, 0])), margins


def assess(
    planned: Plan,
    cohort: Cohort,
    truth: NDArray[np.intp],
    said: Sequence[Said],
    *,
    labels: Sequence[str],
    held_out_cases: int,
    seed: int,
    notes: tuple[Text, ...],
    hardships: Mapping[str, tuple[Text, Sequence[Said]]] = {},
) -> Evaluation:
    """Figures of the models fitted as planned.

    Each part is calibrated as the version is, but only on cases that its model was fitted on: its
    own cases would flatter it.

    Args:
        truth: (n,), class indices.
        said: For each of `planned.parts`, by the model fitted on its `train`.
        hardships: By name, how cases were altered, and what was then said for each of
            `planned.hardest`.

    Raises:
        Unjudgeable: No case has a label that its fold's model was trained on.
    """
    of_part = dict(zip(map(id, planned.parts), said, strict=True))
    known, answers = to_calibrate(planned, said, truth)

    def judged(
        parts: tuple[Apart, ...],
        groups: NDArray[np.intp],
        altered: Sequence[Said] | None = None,
    ) -> Judged | Undefined:
        calibrations = []
        for part in parts:
            rows = np.intersect1d(part.train, known)
            calibrations.append(uncertainty.fit(answers[rows], truth[rows]))
        found = _answers(
            cohort, parts, altered or [of_part[id(part)] for part in parts], calibrations,
            truth=truth, groups=groups,
        )  # fmt: skip
        # Groups are those of the cases as they came.
        return judge(
            found if altered is None else replace(found, traits={}), labels=labels, seed=seed
        )

    patients = cohort.groups()
    by_patient = judged(planned.by_patient, patients)
    if isinstance(by_patient, Undefined):
        raise Unjudgeable(by_patient.reason)
    sites = np.unique(np.array(cohort.sites or cohort.ids), return_inverse=True)[1]
    return Evaluation(
        **dict(by_patient),
        folds=len(planned.by_patient),
        seed=seed,
        held_out_cases=held_out_cases,
        by_site=judged(planned.by_site, sites)
        if isinstance(planned.by_site, tuple)
        else planned.by_site,
        forward=judged(planned.forward, patients)
        if isinstance(planned.forward, tuple)
        else planned.forward,
        hardships={
            name: Hardship(
                what=what,
                judged=judged(
                    planned.hardest,
                    sites if isinstance(planned.by_site, tuple) else patients,
                    altered,
                ),
            )
            for name, (what, altered) in hardships.items()
        },
        notes=(*notes, *_left_out(planned, cohort), _AIMED_AT),
    )


_AIMED_AT: Final = Text(
    fr=f"les ensembles visent une couverture de {uncertainty.COVERAGE:.0%}".replace("%", " %")
    + " sur l’ensemble des cas",
    en=f"prediction sets aim at {uncertainty.COVERAGE:.0%} coverage over all cases",
)


def _left_out(planned: Plan, cohort: Cohort) -> list[Text]:
    """What a reader must know of cases that a design could not place."""
    notes = []
    undated, unplaced = (cohort.dates or ()).count(""), (cohort.sites or ()).count("")
    if isinstance(planned.by_site, tuple) and unplaced:
        notes.append(
            Text(
                fr=f"{unplaced} cas sans hôpital connu ne sont pas jugés par hôpital",
                en=f"{unplaced} cases of no known hospital are not judged by hospital",
            )
        )
    if isinstance(planned.forward, tuple) and undated:
        notes.append(
            Text(
                fr=f"{undated} cas sans date ne sont pas jugés vers l’avant dans le temps",
                en=f"{undated} cases without a date are not judged forward in time",
            )
        )
    return notes


def assess_elsewhere(
    cohort: Cohort,
    truth: NDArray[np.intp],
    said: Said,
    calibration: Calibration,
    taught: NDArray[np.intp],
    *,
    labels: Sequence[str],
    seed: int,
) -> Judged | Undefined:
    """Figures of a finished model on hospitals that it has not seen, one part a hospital.

    Args:
        cohort: None of its cases was trained on.
        truth: (n,), class indices.
        said: By the model, of every case.
        calibration: The model's own.
        taught: The class index of each case that the model was trained on.
    """
    names, places = np.unique(np.array(cohort.sites or [""] * len(truth)), return_inverse=True)
    # What was trained on is no part of this cohort: `taught` says it in place of `train`.
    parts = tuple(
        Apart(name=str(name), train=np.arange(0), test=np.flatnonzero(places == place))
        for place, name in enumerate(names)
    )
    answers = _answers(
        cohort, parts, [said.of(part.test) for part in parts], [calibration] * len(parts),
        truth=truth, groups=places,
    )  # fmt: skip
    return judge(
        replace(answers, parts=[(part.name, taught) for part in parts]), labels=labels, seed=seed
    )


def _answers(
    cohort: Cohort,
    parts: Sequence[Apart],
    said: Sequence[Said],
    calibrations: Sequence[Calibration],
    *,
    truth: NDArray[np.intp],
    groups: NDArray[np.intp],
) -> Answers:
    rows = np.concatenate([part.test for part in parts])
    places = np.repeat(np.arange(len(parts)), [len(part.test) for part in parts])
    margins = np.concatenate([one.margins for one in said])
    lacking = np.isnan(cohort.profiles[rows][:, cohort.contract.required]).any(axis=1)
    declined = np.concatenate([one.declined for one in said]) | lacking
    probabilities = np.empty(margins.shape, dtype=np.float64)
    in_set = np.zeros(margins.shape, dtype=np.bool_)
    for row, place in enumerate(places):
        # As `ServedModel.verdicts` does.
        calibration = KNOWS_NOTHING if declined[row] else calibrations[int(place)]
        probabilities[row] = calibration.probabilities(margins[row])
        in_set[row, calibration.prediction_set(probabilities[row])] = True
    return Answers(
        probabilities=probabilities,
        truth=truth[rows],
        in_set=in_set,
        groups=groups[rows],
        part=places,
        parts=[(part.name, truth[part.train]) for part in parts],
        patients=None if cohort.patients is None else cohort.groups()[rows],
        flagged=np.concatenate([one.flagged for one in said]),
        abstained=declined | uncertainty.undecided(in_set.sum(axis=1), classes=margins.shape[-1]),
        traits={
            name: [words[row] for row in rows] for name, words in splits.traits_of(cohort).items()
        },
    )
