"""Training on any cohort: cross-validated, calibrated, explained, with patients kept whole."""

import ast
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from threading import Lock
from typing import Final, Protocol

import numpy as np
import xgboost
from numpy.typing import NDArray

from guarantee.card import Card, Text
from models import assessment, likeness, reference, uncertainty
from models.assessment import Alteration, Said
from models.atlas import Atlas
from models.boosted import Boosted
from models.bundle import Bundle
from models.cohorts import Cohort
from models.errors import ModelsError
from models.predictor import Predictor
from models.reference import Reference

# Steps of training done so far, and in all.
Progress = Callable[[int, int], None]

_IMPORTANCE_PROFILES: Final = 500
_TYPICAL_SHARE: Final = 0.99


class UntrainableCohort(ModelsError):
    """No model for this card can be learned from this cohort; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """XGBoost's parameters under its own names, and ours around them.

    Attributes:
        folds: Of cross-validation, at least 2.
        site_folds: Parts that hospitals are dealt into, each judged by a model of the others,
            where hospitals are known; 0 for none.
        forward_parts: Parts of the later cases, each judged by a model of all before it, where
            dates are known; 0 for none.
        held_out_share: Of each label's patients; at least one where a label has three or more.
        threads: Processor threads, over all folds; None for one a core.
    """

    rounds: int = 60
    learning_rate: float = 0.3
    max_depth: int = 3
    max_bin: int = 32
    min_child_weight: float = 1.0
    reg_lambda: float = 1.0
    subsample: float = 1.0
    colsample_bynode: float = 1.0
    seed: int = 0
    folds: int = 5
    site_folds: int = 3
    forward_parts: int = 3
    held_out_share: float = 0.1
    threads: int | None = None

    def of_trees(self) -> dict[str, object]:
        """What XGBoost is told of each tree, under its own names."""
        return {
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "max_bin": self.max_bin,
            "min_child_weight": self.min_child_weight,
            "reg_lambda": self.reg_lambda,
            "subsample": self.subsample,
            "colsample_bynode": self.colsample_bynode,
            "seed": self.seed,
        }


class Learn(Protocol):
    """How a recipe makes predictors of profiles and truths; `boost`, unless it says otherwise."""

    def __call__(
        self,
        profiles: NDArray[np.float32],
        truth: NDArray[np.intp],
        runs: Sequence[NDArray[np.intp]],
        *,
        classes: int,
        parameters: Parameters,
        progress: Progress | None,
    ) -> Sequence[Predictor]:
        """One predictor for each set of rows, in their order, the same for the same seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A version before it has a number.

    Attributes:
        held_out: Sample ids kept out of training and of cross-validation. They stay with the
            cohort: `split` finds them again from the seed, and no bundle holds them.
    """

    bundle: Bundle
    parameters: Parameters
    held_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Places in a cohort, ascending; no patient is on both sides."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]


def split(cohort: Cohort, *, share: float, seed: int) -> Split:
    """Hold out `share` of each label's patients, at least one of a label with three or more."""
    groups = cohort.groups()
    held_out: list[int] = []
    for members in _patients_by_label(cohort, groups, seed):
        wanted = max(1, round(share * len(members))) if share else 0
        # Two stay at least, so that every label can be both learned and tested.
        count = max(0, min(wanted, len(members) - 2))
        held_out += members[:count]
    apart = np.isin(groups, held_out)
    return Split(train=np.flatnonzero(~apart), held_out=np.flatnonzero(apart))


def train(
    cohort: Cohort,
    card: Card,
    parameters: Parameters = Parameters(),
    progress: Progress | None = None,
    *,
    learn: Learn | None = None,
    elsewhere: Cohort | None = None,
    parts: Split | None = None,
    alterations: Mapping[str, Alteration] = {},
) -> Training:
    """Train the model that `card` describes, and measure it.

    1. Hold out a part, by patient.  2. Train one model a fold, one for each part of hospitals and
    of time, and one on everything.  3. Calibrate on the folds' margins.  4. Measure.
    5. Keep what monitoring needs of the cohort.

    Args:
        progress: Called after each boosting round, from any thread, one call at a time.
        learn: What makes the predictors; XGBoost by default.
        elsewhere: Other hospitals, on which the finished model is judged and nothing is learned.
        parts: What is held out, where it was chosen before; `split` chooses by default.
        alterations: By name, what else cases left out are judged as.

    Raises:
        UntrainableCohort: The cohort's labels are not the card's, or there are too few patients.
    """
    labels = [label.id for label in card.labels]
    truth = truth_of(cohort, labels)
    # 1.
    parts = parts or split(cohort, share=parameters.held_out_share, seed=parameters.seed)
    kept, truth = cohort.take(parts.train), truth[parts.train]
    groups = kept.groups()
    folds, notes = folds_of(kept, groups, parameters)
    planned = assessment.plan(
        kept, folds, site_folds=parameters.site_folds, forward_parts=parameters.forward_parts,
        seed=parameters.seed,
    )  # fmt: skip
    # 2.
    *predictors, predictor = (learn or boost)(
        kept.profiles, truth, [*(part.train for part in planned.parts), np.arange(len(truth))],
        classes=len(labels), parameters=parameters, progress=progress,
    )  # fmt: skip
    usual = [reference.quantiles_of(kept.profiles[part.train]) for part in planned.parts]
    outside = [
        reference.outside_share(quantiles, kept.profiles[part.test])
        for part, quantiles in zip(planned.parts, usual, strict=True)
    ]
    shares = np.concatenate(outside[: len(planned.by_patient)])
    most_outside = float(np.quantile(shares, _TYPICAL_SHARE))
    least = cohort.contract.least(card.least_known_share)
    said = [
        _said(fitted, kept.profiles[part.test], quantiles, most_outside, least)
        for part, fitted, quantiles in zip(planned.parts, predictors, usual, strict=True)
    ]
    first = len(planned.by_patient) if isinstance(planned.by_site, tuple) else 0
    hardships = {}
    for name, alteration in alterations.items():
        altered = []
        for place, part in enumerate(planned.hardest, first):
            profiles = alteration.alter(kept.profiles[part.test], parameters.seed + place)
            altered.append(_said(predictors[place], profiles, usual[place], most_outside, least))
        hardships[name] = (alteration.what, altered)
    # 3.
    margins = np.empty((len(truth), len(labels)), dtype=np.float32)
    for part, of_fold in zip(planned.by_patient, said, strict=False):
        margins[part.test] = of_fold.margins
    known, answers = assessment.to_calibrate(planned, said, truth)
    calibration = uncertainty.fit(answers[known], truth[known])
    # 4.
    evaluation = assessment.assess(
        planned, kept, truth, said, labels=labels,
        held_out_cases=len(parts.held_out), seed=parameters.seed, notes=notes, hardships=hardships,
    )  # fmt: skip
    if elsewhere is not None:
        quantiles = reference.quantiles_of(kept.profiles)
        by_site = assessment.assess_elsewhere(
            elsewhere, truth_of(elsewhere, labels),
            _said(predictor, elsewhere.profiles, quantiles, most_outside, least),
            calibration, truth, labels=labels, seed=parameters.seed,
        )  # fmt: skip
        evaluation = evaluation.model_copy(update={"by_site": by_site})
    # 5.
    return Training(
        bundle=Bundle(
            card=card,
            contract=cohort.contract,
            predictor=predictor,
            calibration=calibration,
            reference=_reference(
                kept,
                truth,
                classes=len(labels),
                predictor=predictor,
                answers=calibration.probabilities(margins),
                most_outside=most_outside,
                seed=parameters.seed,
            ),
            evaluation=evaluation,
        ),
        parameters=parameters,
        held_out=tuple(cohort.ids[place] for place in parts.held_out),
    )


def _said(
    fitted: Predictor,
    profiles: NDArray[np.float32],
    quantiles: NDArray[np.float32],
    most_outside: float,
    least: int,
) -> Said:
    """What a model says of profiles, as `ServedModel.verdicts` will.

    Args:
        quantiles, most_outside: See `likeness.judge`.
        least: With fewer features than this, it gives no answer.
    """
    found = likeness.judge(fitted, profiles, quantiles=quantiles, most_outside=most_outside)
    few = (~np.isnan(profiles)).sum(axis=1) < least
    return Said(
        margins=fitted.margins(profiles), flagged=found.unlike, declined=few | found.hopeless
    )


def truth_of(cohort: Cohort, labels: Sequence[str]) -> NDArray[np.intp]:
    """The class index of each case, (n,).

    Raises:
        UntrainableCohort: The cohort's labels are not these.
    """
    unknown = sorted(set(cohort.labels) - set(labels))
    if unknown:
        raise UntrainableCohort(
            f"the cohort has labels that the card lacks: {', '.join(unknown)}; "
            "add them to the card, or leave those rows out"
        )
    absent = sorted(set(labels) - set(cohort.labels))
    if absent:
        raise UntrainableCohort(
            f"the card promises labels that the cohort lacks: {', '.join(absent)}; "
            "take them off the card, or add cases"
        )
    places = {label: place for place, label in enumerate(labels)}
    return np.array([places[label] for label in cohort.labels], dtype=np.intp)


def _patients_by_label(cohort: Cohort, groups: NDArray[np.intp], seed: int) -> list[list[int]]:
    """Patients of each label, labels in order, patients shuffled; each patient once.

    A patient with several labels counts under the first.
    """
    firsts = np.unique(groups, return_index=True)[1]
    shuffled = np.random.default_rng(seed).permutation(len(firsts))
    members: dict[str, list[int]] = {label: [] for label in sorted(set(cohort.labels))}
    for patient in shuffled:
        members[cohort.labels[firsts[patient]]].append(int(patient))
    return list(members.values())


def folds_of(
    cohort: Cohort, groups: NDArray[np.intp], parameters: Parameters
) -> tuple[NDArray[np.intp], tuple[Text, ...]]:
    """The fold in which each case is tested, (n,), and what to say about it.

    Patients are dealt label by label, as cards are: a label's patients are spread over as many
    folds as they can fill, and folds are as large as each other. A label with fewer patients
    than folds is kept: it is tested in some folds, and a label with a single patient is tested
    by a model that has never seen it.
    """
    by_label = _patients_by_label(cohort, groups, parameters.seed + 1)
    dealt = [patient for members in by_label for patient in members]
    count = min(parameters.folds, max(map(len, by_label)))
    if count < 2:
        raise UntrainableCohort("no label has two patients, so nothing can be tested; add cases")
    fold_of = np.empty(len(dealt), dtype=np.intp)
    fold_of[dealt] = np.arange(len(dealt)) % count
    notes = list[Text]()
    if count < parameters.folds:
        notes.append(
            Text(
                fr=f"{count} plis, faute d’une réponse qui ait {parameters.folds} patients",
                en=f"{count} folds, since no label has {parameters.folds} patients",
            )
        )
    names = sorted(set(cohort.labels))
    few = [name for name, members in zip(names, by_label, strict=True) if len(members) < count]
    if few:
        notes.append(
            Text(
                fr=f"moins de patients que de plis, les nombres en disent peu : {', '.join(few)}",
                en=f"fewer patients than folds, so the figures say little: {', '.join(few)}",
            )
        )
    if cohort.patients is None:
        notes.append(
            Text(
                fr="les patients ne sont pas identifiés : l’un d’eux peut être dans plusieurs plis",
                en="patients are not identified: one may be in several folds",
            )
        )
    return fold_of[groups], tuple(notes)


def boost(
    profiles: NDArray[np.float32],
    truth: NDArray[np.intp],
    runs: Sequence[NDArray[np.intp]],
    *,
    classes: int,
    parameters: Parameters,
    progress: Progress | None,
) -> list[Predictor]:
    """One booster for each set of rows; see `Learn`.

    Runs go side by side with few threads each: on small cohorts, threads of one run spend their
    time waiting for each other, and much more so on a busy machine.
    """
    threads = parameters.threads or os.cpu_count() or 1
    side_by_side = min(threads, len(runs))
    settings = {
        "objective": "multi:softprob",
        "num_class": classes,
        "tree_method": "hist",
        "nthread": max(1, threads // side_by_side),
        **parameters.of_trees(),
    }
    counter = Rounds(parameters.rounds * len(runs), progress)

    def one(rows: NDArray[np.intp]) -> Predictor:
        matrix = xgboost.QuantileDMatrix(
            profiles[rows],
            truth[rows],
            missing=np.nan,
            max_bin=parameters.max_bin,
            nthread=settings["nthread"],
        )
        return Boosted(
            booster=xgboost.train(settings, matrix, parameters.rounds, callbacks=[counter])
        )

    with ThreadPoolExecutor(side_by_side) as pool:
        return list(pool.map(one, runs))


class Rounds(xgboost.callback.TrainingCallback):
    """Counts boosting rounds over runs that go side by side."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done = 0
        self._total = total
        self._progress = progress
        self._lock = Lock()

    def after_iteration(self, model: object, epoch: int, evals_log: object) -> bool:
        """One more is done; XGBoost calls it."""
        del model, epoch, evals_log
        with self._lock:
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)
        return False


def _reference(
    cohort: Cohort,
    truth: NDArray[np.intp],
    *,
    classes: int,
    predictor: Predictor,
    answers: NDArray[np.float64],
    most_outside: float,
    seed: int,
) -> Reference:
    profiles = cohort.profiles
    some = np.random.default_rng(seed).permutation(len(profiles))[:_IMPORTANCE_PROFILES]
    importance = np.zeros(profiles.shape[1])
    # By the hundred: all contributions at once would be profiles x classes x features.
    for start in range(0, len(some), 100):
        batch = predictor.explain(profiles[some[start : start + 100]])
        importance += np.abs(batch.contributions).mean(axis=1).sum(axis=0)
    return Reference(
        quantiles=reference.quantiles_of(profiles),
        missing_rates=np.isnan(profiles).mean(axis=0).astype(np.float32),
        whole=np.asarray(
            (np.isnan(profiles) | (profiles == np.rint(profiles))).all(axis=0), dtype=np.bool_
        ),
        priors=np.bincount(truth, minlength=classes) / len(truth),
        answered=np.bincount(answers.argmax(axis=1), minlength=classes) / len(answers),
        importance=(importance / len(some)).astype(np.float32),
        most_outside=most_outside,
        profiles=len(profiles),
        atlas=Atlas.of(answers, truth, seed=seed),
    )


def parameters_of(logged: Mapping[str, str]) -> Parameters:
    """The parameters that `logged` wrote.

    Raises:
        KeyError, ValueError: They are not all there, or one is no number.
    """
    return Parameters(
        **{one.name: ast.literal_eval(logged[one.name]) for one in fields(Parameters)}
    )


def logged(parameters: Parameters) -> dict[str, str]:
    """The parameters by name, as an experiment tracker keeps them."""
    return {name: str(value) for name, value in asdict(parameters).items()}
