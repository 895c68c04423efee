"""Figures against their published or plain values."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation import SMALL, Estimate, Judged, Undefined, wilson
from models.judging import Answers, judge

ONES = (("1", np.arange(31)),)


def answers(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.intp],
    *,
    abstained: NDArray[np.bool_] | None = None,
    **traits: list[str],
) -> Answers:
    return Answers(
        probabilities=probabilities,
        truth=truth,
        in_set=probabilities >= 0.3,
        groups=np.arange(len(truth)),
        part=np.zeros(len(truth), dtype=np.intp),
        parts=ONES,
        patients=None,
        abstained=abstained,
        traits=traits,
    )


def judged(said: Answers) -> Judged:
    labels = [f"label {place}" for place in range(said.probabilities.shape[1])]
    figures = judge(said, labels=labels, seed=0)
    assert isinstance(figures, Judged)
    return figures


def test_wilsons_interval_is_that_of_the_literature() -> None:
    # Newcombe, Statistics in Medicine 1998;17:857, table I: 81 of 263, and 0 of 20.
    share = wilson(81, 263)
    assert (round(share.low, 4), round(share.high, 4)) == (0.2553, 0.3662)
    none = wilson(0, 20)
    assert (none.low, round(none.high, 4)) == (0, 0.1611)


def test_a_perfect_model_has_perfect_figures() -> None:
    truth = np.arange(40) % 4
    figures = judged(answers(np.eye(4)[truth], truth))
    one = Estimate(value=1, low=1, high=1)
    assert (figures.accuracy.value, figures.top_3, figures.balanced_accuracy) == (1, one, one)
    assert (figures.log_loss.value, figures.calibration_error.value) == (0, 0)
    assert figures.set_size == one
    assert isinstance(figures.risk_area, Estimate)
    assert figures.risk_area.value == 0
    assert figures.confusion == tuple(tuple(row) for row in (10 * np.eye(4, dtype=int)).tolist())


def test_balanced_accuracy_weighs_classes_alike() -> None:
    truth = np.array([0] * 90 + [1] * 10)
    figures = judged(answers(np.tile([0.9, 0.1], (100, 1)), truth))
    assert figures.accuracy.value == pytest.approx(0.9)
    assert figures.balanced_accuracy.value == pytest.approx(0.5)
    # Bins of ten cases of like confidence, cut in the order of the cases: one holds all errors.
    assert figures.calibration_error.value == pytest.approx(0.18)
    assert isinstance(figures.top_3, Undefined)
    recalls = {label: found.recall.value for label, found in figures.by_label.items()}
    assert recalls == {"label 0": 1.0, "label 1": 0.0}
    assert isinstance(figures.by_label["label 1"].precision, Undefined)
    assert figures.confusion == ((90, 0), (10, 0))


def test_a_class_without_cases_is_in_no_figure() -> None:
    figures = judged(answers(np.tile([0.5, 0.3, 0.2], (6, 1)), np.array([0, 0, 0, 1, 1, 1])))
    assert set(figures.by_label) == {"label 0", "label 1"}
    assert figures.balanced_accuracy.value == 0.5


def test_risk_falls_where_only_the_surest_are_answered() -> None:
    # Ten sure and right, ten unsure and wrong.
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    figures = judged(answers(probabilities, np.array([0] * 10 + [1] * 10)))
    by_coverage = {point.coverage: point.risk.value for point in figures.risk}
    assert by_coverage[0.5] == 0
    assert by_coverage[1.0] == 0.5
    assert by_coverage[0.75] == pytest.approx(1 / 3)
    # The mean over all coverages of how many of those answered are wrong.
    expected = np.mean([max(0, count - 10) / count for count in range(1, 21)])
    assert isinstance(figures.risk_area, Estimate)
    assert figures.risk_area.value == pytest.approx(expected)


def test_abstentions_are_errors_but_in_the_risk_against_coverage() -> None:
    truth = np.array([0] * 20)
    abstained = np.array([True] * 5 + [False] * 15)
    figures = judged(answers(np.tile([0.8, 0.2], (20, 1)), truth, abstained=abstained))
    assert figures.accuracy.value == 0.75
    assert figures.abstained.value == 0.25
    assert figures.risk[-1].coverage == 0.75
    assert figures.risk[-1].risk.value == 0
    everything = judged(answers(np.tile([0.8, 0.2], (20, 1)), truth, abstained=np.full(20, True)))
    assert everything.risk == ()
    assert isinstance(everything.risk_area, Undefined)


def test_cases_of_a_label_that_was_not_taught_are_counted_apart() -> None:
    said = answers(np.array([[0.7, 0.2, 0.1]] * 4), np.array([0, 0, 1, 2]))
    taught = Answers(
        probabilities=said.probabilities, truth=said.truth, in_set=said.in_set,
        groups=said.groups, part=np.array([0, 0, 1, 1]), patients=said.groups,
        parts=[("early", np.array([0, 1])), ("late", np.array([0, 0, 1]))],
    )  # fmt: skip
    figures = judged(taught)
    assert (figures.cases, figures.unseen, figures.patients) == (3, 1, 3)
    assert figures.accuracy.value == pytest.approx(2 / 3)
    assert figures.unseen_confidence == Estimate(value=0.7, low=0.7, high=0.7)
    early, late = figures.parts
    assert (early.name, early.trained, early.cases, early.unseen) == ("early", 2, 2, 0)
    assert (late.trained, late.cases, late.unseen) == (3, 2, 1)
    nothing = Answers(
        probabilities=said.probabilities, truth=np.full(4, 2), in_set=said.in_set,
        groups=said.groups, part=np.zeros(4, dtype=np.intp), patients=None,
        parts=[("early", np.array([0, 1]))],
    )  # fmt: skip
    assert isinstance(judge(nothing, labels=["a", "b", "c"], seed=0), Undefined)


def test_a_small_group_says_so_and_what_its_labels_would_lead_to_expect() -> None:
    truth = np.array([0] * 60 + [1] * 20)
    probabilities = np.tile([0.8, 0.2], (80, 1))
    sites = ["NA"] * 60 + ["B"] * 19 + [""]
    figures = judged(answers(probabilities, truth, site=sites))
    groups = {group.value: group for group in figures.subgroups}
    assert set(groups) == {"", "B", "NA"}
    assert (groups["NA"].cases, groups["NA"].small) == (60, False)
    assert (groups["B"].cases, groups["B"].small) == (19, True)
    assert (groups["NA"].accuracy.value, groups["B"].accuracy.value) == (1, 0)
    assert (groups["NA"].expected, groups["B"].expected) == (1, 0)
    assert groups["B"].confidence.value == pytest.approx(0.8)


def test_a_groups_mean_confidence_has_an_interval_of_its_own_cases() -> None:
    confidences = np.r_[np.linspace(0.55, 0.95, 40), np.full(40, 0.9)]
    probabilities = np.column_stack([confidences, 1 - confidences])
    figures = judged(
        answers(probabilities, np.zeros(80, dtype=np.intp), site=["A"] * 40 + ["B"] * 40)
    )
    varied, steady = (group.confidence for group in figures.subgroups)
    assert varied.value == pytest.approx(0.75)
    # 1.96 standard errors: the values are spread evenly.
    assert (varied.high - varied.low) / 2 == pytest.approx(
        1.96 * confidences[:40].std() / np.sqrt(40), rel=0.15
    )
    assert steady.high - steady.low == pytest.approx(0, abs=1e-9)


def test_many_small_groups_are_pooled_and_what_is_not_known_is_not_among_them() -> None:
    sites = [f"S{place % 20}" for place in range(100)] + ["large"] * SMALL + [""] * 3
    truth = np.zeros(len(sites), dtype=np.intp)
    figures = judged(answers(np.tile([0.8, 0.2], (len(sites), 1)), truth, site=sites))
    shown = [(group.value, group.pooled, group.cases) for group in figures.subgroups]
    assert shown == [("", 1, 3), ("large", 1, SMALL), ("", 20, 100)]


def test_patients_are_resampled_whole() -> None:
    # The same cases, each counted twice under one patient, say no more than once.
    draw = np.random.default_rng(0)
    truth = np.zeros(60, dtype=np.intp)
    probabilities = np.array([[share, 1 - share] for share in draw.uniform(0.2, 0.9, 60)])
    once = answers(probabilities, truth)
    twice = Answers(
        probabilities=np.repeat(probabilities, 2, axis=0), truth=np.repeat(truth, 2),
        in_set=np.repeat(once.in_set, 2, axis=0), groups=np.repeat(once.groups, 2),
        part=np.zeros(120, dtype=np.intp), parts=ONES, patients=np.repeat(once.groups, 2),
    )  # fmt: skip
    assert judged(twice).log_loss.low == pytest.approx(judged(once).log_loss.low)
    assert judged(twice).log_loss.high == pytest.approx(judged(once).log_loss.high)
    assert (judged(twice).cases, judged(twice).patients) == (120, 60)
