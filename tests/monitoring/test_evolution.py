"""Version against version on the same cases."""

from dataclasses import replace

import numpy as np
import pytest

from models.bundle import Bundle
from models.training import Parameters, train
from monitoring.evolution import Cases, compare, told
from tests.monitoring.test_learning import cases, cohort, learning_card

_LABELS = ("breast", "lung", "ovary")
_QUICK = Parameters(rounds=10, threads=1, folds=2, site_folds=0, forward_parts=0)


@pytest.fixture(scope="module")
def before() -> Bundle:
    return train(cohort(), learning_card(), _QUICK).bundle


@pytest.fixture(scope="module")
def astray() -> Bundle:
    """Taught that every lung is an ovary, and the reverse."""
    given = cohort()
    wrong = {"breast": "breast", "lung": "ovary", "ovary": "lung"}
    mistaken = replace(given, labels=tuple(wrong[label] for label in given.labels))
    return train(mistaken, learning_card(), _QUICK).bundle


def _window(groups: tuple[str, ...]) -> Cases:
    labels = _LABELS * 10
    return Cases(profiles=cases(labels, 5), labels=labels, groups={"hospital": groups})


def test_a_version_against_itself_gains_loses_flips_and_moves_nothing(before: Bundle) -> None:
    found = compare(before, before, _window(("A",) * 30))
    assert (found.gained, found.lost, found.difference.flipped) == (0, 0, 0)
    assert (found.moved, found.flips, found.weights) == (0, (), ())
    assert found.difference.right_before == found.difference.right_after > 25


def test_losses_and_flips_are_counted_case_by_case(before: Bundle, astray: Bundle) -> None:
    found = compare(before, astray, _window(("A",) * 30))
    difference = found.difference
    assert found.lost >= 16
    assert difference.flipped >= found.lost + found.gained
    assert difference.right_after - difference.right_before == found.gained - found.lost
    assert sum(flip.cases for flip in found.flips) == difference.flipped
    assert sum(flip.lost for flip in found.flips) == found.lost
    swapped = {(flip.before, flip.after) for flip in found.flips[:2]}
    assert swapped == {("lung", "ovary"), ("ovary", "lung")}
    assert any("from lung to ovary" in line for line in told(found))
    assert found.before is not None
    assert found.after is not None
    assert found.after.high < found.before.low
    back = compare(astray, before, _window(("A",) * 30))
    assert (back.gained, back.lost) == (found.lost, found.gained)


def test_a_small_group_is_not_told_for_it_may_be_one_patient(before: Bundle) -> None:
    found = compare(before, before, _window(("A",) * 20 + ("B",) * 9 + ("",)))
    (only,) = found.groups
    assert (only.name, only.cases) == ("A", 20)
    assert not any("hospital B" in line for line in told(found))


def test_where_there_is_no_case_nothing_is_claimed(before: Bundle) -> None:
    none = Cases(profiles=np.empty((0, 12), dtype=np.float32), labels=(), groups={})
    found = compare(before, before, none)
    assert (found.before, found.after, found.moved) == (None, None, None)
    assert told(found) == ("no case",)


def test_explanations_that_rest_on_another_feature_have_moved(before: Bundle) -> None:
    given = cohort()
    turned = given.profiles[:, ::-1].copy()
    other = train(replace(given, profiles=turned), learning_card(), _QUICK).bundle
    found = compare(before, other, _window(("A",) * 30))
    assert found.moved is not None
    assert found.moved > 0.5
    # One gene says which origin it is; of the turned model, the one at the other end.
    genes = {weight.feature: weight.after - weight.before for weight in found.weights}
    assert max(genes[f"gene {place}"] for place in (0, 1, 2)) < 0
    assert min(genes[f"gene {place}"] for place in (9, 10, 11)) > 0
