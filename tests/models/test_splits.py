"""Hospitals left out whole, and the future kept from the past."""

from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.cohorts import Cohort
from models.evaluation import Undefined
from models.splits import Apart, forward, sites_left_out, traits_of
from tests.models.conftest import cohort_of


def cohort_with(sites: list[str], days: list[str], seed: int = 0) -> Cohort:
    cohort = cohort_of(("a", "b", "c"), each=20, seed=seed)
    draw = np.random.default_rng(seed)
    return replace(
        cohort,
        sites=tuple(draw.choice(sites, 60)),
        dates=tuple(draw.choice(days, 60)),
    )


def check_apart(cohort: Cohort, parts: tuple[Apart, ...]) -> None:
    groups = cohort.groups()
    for part in parts:
        assert not set(groups[part.train]) & set(groups[part.test])
    tested = np.concatenate([part.test for part in parts])
    assert len(set(tested)) == len(tested)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 9), st.integers(2, 6))
def test_a_hospital_is_judged_by_models_that_have_not_seen_it(
    seed: int, hospitals: int, folds: int
) -> None:
    cohort = cohort_with(["", "NA", *map(str, range(hospitals))], ["2020-01-01"], seed)
    parts = sites_left_out(cohort, folds=folds, seed=seed)
    assert isinstance(parts, tuple)
    check_apart(cohort, parts)
    sites = np.array(cohort.sites)
    for part in parts:
        assert not set(sites[part.train]) & set(sites[part.test])
    tested = np.concatenate([part.test for part in parts])
    assert set(sites[tested]) == set(sites) - {""}
    assert not (sites[np.concatenate([part.train for part in parts])] == "").any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_the_future_is_judged_by_models_of_the_past(seed: int, count: int) -> None:
    days = ["", "2019-12-31", "2020-01-01", "2020-02-29", "2021-05-05", "2021-05-06", "2022-01-01"]
    cohort = cohort_with(["x"], days, seed)
    parts = forward(cohort, parts=count)
    # Patients of both times are judged, not learned from: few may be left.
    assume(isinstance(parts, tuple))
    assert isinstance(parts, tuple)
    check_apart(cohort, parts)
    dates = np.array(cohort.dates)
    assert 1 <= len(parts) <= count
    for part in parts:
        assert max(dates[part.train]) < min(dates[part.test])
        assert "" not in {*dates[part.train], *dates[part.test]}
        first, last = part.name.split(" – ")
        assert first == min(dates[part.test])
        assert last >= max(dates[part.test])
    assert max(dates) in dates[parts[-1].test]


def test_what_cannot_be_told_apart_is_undefined_with_its_reason() -> None:
    cohort = cohort_of(("a", "b"))
    for found in sites_left_out(cohort, folds=3, seed=0), forward(cohort, parts=3):
        assert isinstance(found, Undefined)
        assert found.reason
    alike = replace(cohort, sites=("x",) * 40, dates=("2020-01-01",) * 40)
    assert isinstance(sites_left_out(alike, folds=3, seed=0), Undefined)
    assert isinstance(forward(alike, parts=3), Undefined)
    # Each hospital has one label of its own, so that without it there is one label left.
    split = replace(cohort, sites=tuple(cohort.labels))
    assert isinstance(sites_left_out(split, folds=2, seed=0), Undefined)


def test_traits_are_those_that_the_cohort_knows() -> None:
    cohort = cohort_of(("a", "b"), each=3)
    assert traits_of(cohort) == {}
    known = replace(
        cohort,
        ages=(0, 17.9, 18, None, 74, 75),
        dates=("2020-01-02", "", "2021-01-01", "", "", ""),
        sites=("NA", "", "x", "x", "x", "x"),
    )
    assert dict(traits_of(known)) == {
        "site": known.sites,
        "age": ["0–17", "0–17", "18–39", "", "60–74", "75–"],
        "year": ["2020", "", "2021", "", "", ""],
    }
