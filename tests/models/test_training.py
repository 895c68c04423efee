"""Training on any cohort, and that no patient is on both sides of a split."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import cohorts, recipes, training
from models.cohorts import Cohort
from models.evaluation import Estimate, Undefined
from models.training import Parameters, UntrainableCohort, split, train
from tests.models.conftest import card_of, cohort_of

QUICK = Parameters(rounds=3, threads=1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.05, 0.5), st.integers(1, 12))
def test_no_patient_is_both_held_out_and_trained_on(seed: int, share: float, each: int) -> None:
    cohort = cohort_of(("a", "b", "c"), each=each, seed=seed)
    parts = split(cohort, share=share, seed=seed)
    groups = cohort.groups()
    assert not set(groups[parts.train]) & set(groups[parts.held_out])
    assert sorted([*parts.train, *parts.held_out]) == list(range(len(cohort.ids)))
    labels = {cohort.labels[place] for place in parts.held_out}
    assert each < 6 or labels == {"a", "b", "c"}


def test_no_patient_is_tested_by_a_model_that_trained_on_them(cohort: Cohort) -> None:
    folds, _ = training.folds_of(cohort, cohort.groups(), QUICK)
    for patient in set(cohort.groups()):
        assert len(set(folds[cohort.groups() == patient])) == 1
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 2


def test_figures_carry_intervals_that_hold_them(cohort: Cohort) -> None:
    evaluation = train(cohort, card_of(("lung", "sein gauche", "[")), QUICK).bundle.evaluation
    for name in ("accuracy", "balanced_accuracy", "log_loss", "calibration_error", "coverage"):
        estimate = getattr(evaluation, name)
        assert estimate.low <= estimate.value <= estimate.high
    assert evaluation.accuracy.value > 0.5
    assert isinstance(evaluation.top_3, Undefined)
    assert evaluation.patients == 27
    assert evaluation.cases + evaluation.held_out_cases == 60


def test_two_labels_have_contributions_each() -> None:
    cohort = cohort_of(("present", "absent"))
    predictor = train(cohort, card_of(("present", "absent")), QUICK).bundle.predictor
    assert predictor.explain(cohort.profiles).contributions.shape == (40, 2, 6)


def test_a_label_with_fewer_patients_than_folds_is_trained_on_and_said() -> None:
    cohort = cohort_of(("a", "b", "c"), each=20)
    rare = np.flatnonzero(np.array(cohort.labels) != "c")
    few = cohort.take(np.concatenate([rare, [40]]))
    trained = train(few, card_of(("a", "b", "c")), QUICK)
    assert "fewer patients than folds, so the figures say little: c" in {
        note.en for note in trained.bundle.evaluation.notes
    }
    # Its only case is judged by a model that was never taught it: no figure counts it.
    assert trained.bundle.evaluation.unseen == 1
    assert "c" not in trained.bundle.evaluation.by_label


def test_folds_are_fewer_where_no_label_fills_them() -> None:
    cohort = cohort_of(("a", "b"), each=6)
    trained = train(cohort, card_of(("a", "b")), replace(QUICK, held_out_share=0))
    assert trained.bundle.evaluation.folds == 3
    lone = replace(cohort_of(("a", "b"), each=2), patients=None)
    assert train(lone, card_of(("a", "b")), QUICK).bundle.evaluation.folds == 2
    with pytest.raises(UntrainableCohort, match="two patients"):
        train(cohort_of(("a", "b"), each=2), card_of(("a", "b")), QUICK)


def test_unidentified_patients_are_said(cohort: Cohort) -> None:
    alone = replace(cohort, patients=None)
    notes = train(alone, card_of(("lung", "sein gauche", "[")), QUICK).bundle.evaluation.notes
    assert any("not identified" in note.en for note in notes)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [(("lung", "sein gauche"), r"card lacks: \["), (("lung", "sein gauche", "[", "foot"), "foot")],
)
def test_labels_that_are_not_the_cards_are_refused(
    cohort: Cohort, labels: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(UntrainableCohort, match=problem):
        train(cohort, card_of(labels), QUICK)


def test_progress_counts_every_round_once(cohort: Cohort) -> None:
    seen: list[tuple[int, int]] = []
    train(
        cohort,
        card_of(("lung", "sein gauche", "[")),
        replace(QUICK, threads=2),
        lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 18) for done in range(1, 19)]


def test_the_microarray_model_is_right_three_times_in_four(gcm: Cohort) -> None:
    recipe = recipes.recipe("tumour-origin-microarray")
    trained = train(gcm, recipe.card(), recipe.parameters)
    evaluation = trained.bundle.evaluation
    assert evaluation.accuracy.value > 0.72
    assert isinstance(evaluation.top_3, Estimate)
    assert evaluation.top_3.value > 0.85
    assert evaluation.calibration_error.value < 0.1
    held_out = [gcm.labels[gcm.ids.index(sample)] for sample in trained.held_out]
    assert set(held_out) == set(gcm.labels)


@pytest.mark.skipif("GARANT_COHORTS" not in os.environ, reason="needs GARANT_COHORTS")
def test_tcga_is_learned_with_patients_kept_whole() -> None:
    cohort = cohorts.tcga_mirna(Path(os.environ["GARANT_COHORTS"]))
    some = cohort.take(np.arange(0, len(cohort.ids), 10))
    parameters = Parameters(rounds=10, colsample_bynode=0.1, folds=2)
    trained = train(some, card_of(tuple(sorted(set(some.labels)))), parameters)
    assert trained.bundle.evaluation.accuracy.value > 0.6
