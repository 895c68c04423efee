"""What computes, of every kind: it adds up, it is written and read back, and threads share it."""

import json
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import xgboost
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from models import predictor
from models.boosted import Boosted
from models.centroids import Centroids
from models.composite import Always, Average, ByMissing, View
from models.discriminant import Discriminant
from models.gated import Gated, Likeness, likeness_of
from models.linear import Linear
from models.predictor import MalformedPredictor, Predictor
from models.representation import Centred, Filled, Matched, Ranks
from models.scikit import Scikit, UnexplainableEstimator
from tests.models.conftest import floats

FEATURES, CLASSES = 5, 3


def cases(classes: int, missing: float = 0.15) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    draw = np.random.default_rng(7)
    profiles = draw.normal(size=(120, FEATURES)).astype(np.float32)
    truth = (profiles[:, 0] + profiles[:, 1] * profiles[:, 2] > 0).astype(np.intp)
    truth[profiles[:, 3] > 0.8] = classes - 1
    profiles[draw.random(profiles.shape) < missing] = np.nan
    return profiles, truth


def boosted(classes: int = CLASSES) -> Boosted:
    profiles, truth = cases(classes)
    settings = {"objective": "multi:softprob", "num_class": classes, "max_depth": 3, "nthread": 1}
    return Boosted(booster=xgboost.train(settings, xgboost.DMatrix(profiles, truth), 4))


def linear() -> Linear:
    draw = np.random.default_rng(2)
    return Linear.of(draw.normal(size=(CLASSES, FEATURES)), draw.normal(size=CLASSES), np.ones(5))


def trees(classes: int = CLASSES) -> Scikit:
    learner = HistGradientBoostingClassifier(max_iter=4, max_depth=3, random_state=0)
    return Scikit(estimator=learner.fit(*cases(classes)))


def logistic(classes: int = CLASSES) -> Scikit:
    profiles, truth = cases(classes, missing=0)
    usual = profiles.mean(axis=0)
    return Scikit(estimator=LogisticRegression().fit(profiles, truth), usual=usual)


def average() -> Average:
    return Average(
        members=(
            boosted(),
            View(representation=Ranks(), seen_by=linear()),
            Average(members=(linear(), trees()), gate=Always(each=(0.25, 0.75))),
        ),
        gate=ByMissing(whole=(0.5, 0.2, 0.3), sparse=(0, 1, 0), low=0.1, high=0.7),
    )


def centroids(classes: int = CLASSES) -> Centroids:
    profiles, truth = cases(classes, missing=0)
    return Centroids.of(profiles, truth, classes=classes, factors=2)


def discriminant() -> Discriminant:
    return Discriminant(centroids=centroids(), spread=0.5, scale=0.25)


def gated() -> Gated:
    return Gated(
        here=boosted(),
        elsewhere=discriminant(),
        likeness=Likeness(
            centroids=centroids(), spread=0.3, most_distant=1.0, hopeless=9.0,
            most_missing=0.3,
        ),
        temperature=1.5,
    )  # fmt: skip


def ranked() -> Gated:
    profiles, truth = cases(CLASSES, missing=0)
    made = Centroids.of(Ranks().columns(profiles), truth, classes=CLASSES, factors=1)
    typical = float(np.median(made.distances(Ranks().columns(profiles), spread=0.3)))
    return replace(
        gated(), likeness=replace(gated().likeness, centroids=made, most_distant=typical)
    )


RANKED = ranked()
MATCHED = Matched.of(cases(CLASSES, missing=0)[0], levels=4, digits=2)

MADE = {
    "xgboost": boosted(),
    "linear": linear(),
    "scikit-learn's trees": trees(),
    "scikit-learn's trees of two classes": trees(2),
    "scikit-learn's logistic regression": logistic(),
    "of two classes": logistic(2),
    "ranks": View(representation=Ranks(), seen_by=boosted()),
    "centred": View(representation=Centred(log_offset=9), seen_by=linear()),
    "average": average(),
    "filled": View(representation=Filled(value=-9), seen_by=boosted()),
    "discriminant": discriminant(),
    "gated": gated(),
    "gated, on the reference's scale": View(representation=MATCHED, seen_by=gated()),
}
every_kind = pytest.mark.parametrize("made", MADE.values(), ids=MADE.keys())


@every_kind
def test_contributions_add_up_to_the_margins_of_every_class(made: Predictor) -> None:
    profiles, _ = cases(CLASSES)
    explained = made.explain(profiles)
    assert made.features == FEATURES
    assert explained.contributions.shape == (len(profiles), made.classes, FEATURES)
    totals = explained.contributions.sum(axis=2, dtype=np.float64) + explained.bases
    np.testing.assert_allclose(totals, made.margins(profiles), atol=1e-5)
    np.testing.assert_allclose(explained.margins, made.margins(profiles), atol=1e-6)
    for part in (explained.contributions, explained.margins, explained.bases):
        assert part.dtype == np.float32


@every_kind
def test_what_is_read_back_computes_the_same_from_the_same_bytes(
    made: Predictor, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, written in ((first, made), (second, None)):
        folder.mkdir()
        (written or predictor.read(first)).write(folder)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert Path(predictor.FILE) in files
    assert {path.suffix for path in files} <= {".json", ".npz", ".ubj", ".skops"}
    assert files == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)
    profiles, _ = cases(CLASSES)
    again, explained = predictor.read(first).explain(profiles), made.explain(profiles)
    np.testing.assert_array_equal(again.margins, explained.margins)
    np.testing.assert_array_equal(again.contributions, explained.contributions)


@every_kind
def test_threads_that_share_a_predictor_get_what_they_would_get_alone(made: Predictor) -> None:
    profiles = cases(CLASSES)[0][:16]
    alone = [made.explain(profiles[row : row + 1]) for row in range(len(profiles))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(made.explain, [part[np.newaxis] for part in profiles] * 3))
    for number, explained in enumerate(together):
        expected = alone[number % len(profiles)]
        np.testing.assert_array_equal(explained.contributions, expected.contributions)
        np.testing.assert_array_equal(explained.margins, expected.margins)


def test_margins_of_two_classes_are_halves_of_the_estimators_log_odds() -> None:
    profiles, truth = cases(2, missing=0)
    for made in (logistic(2), trees(2)):
        margins = made.margins(profiles)
        log_odds = made.estimator.decision_function(profiles)
        np.testing.assert_allclose(margins[:, 1] - margins[:, 0], log_odds, atol=1e-5)
        np.testing.assert_array_equal(margins[:, 0], -margins[:, 1])
        explained = made.explain(profiles)
        np.testing.assert_allclose(
            explained.contributions[:, 0], -explained.contributions[:, 1], atol=1e-7
        )
        shares = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(shares, made.estimator.predict_proba(profiles), atol=1e-5)
    assert set(truth) == {0, 1}


def test_margins_of_several_classes_are_the_estimators() -> None:
    profiles, _ = cases(CLASSES, missing=0)
    for made in (logistic(), trees()):
        expected = made.estimator.decision_function(profiles)
        np.testing.assert_allclose(made.margins(profiles), expected, atol=1e-5)


# The margin when only the features in these places are known.
Value = Callable[[set[int]], float]
# A tree of scikit-learn's: one structured entry a node.
Nodes = Any
Row = NDArray[np.float32]


def shapley(value: Value) -> NDArray[np.float64]:
    """Shapley values from their definition."""
    values = np.zeros(FEATURES)
    for place in range(FEATURES):
        others = [other for other in range(FEATURES) if other != place]
        for size in range(FEATURES):
            for known in combinations(others, size):
                gain = value({*known, place}) - value(set(known))
                values[place] += gain / (FEATURES * comb(FEATURES - 1, size))
    return values


@pytest.mark.parametrize("made", [linear(), logistic()], ids=["linear", "logistic"])
def test_a_linear_models_contributions_are_its_shapley_values_over_usual_profiles(
    made: Linear | Scikit,
) -> None:
    usual = made.usual
    assert usual is not None
    profile = cases(CLASSES, missing=0)[0][0]
    for label in range(CLASSES):

        def value(known: set[int], label: int = label) -> float:
            mixed = np.where(np.isin(np.arange(FEATURES), list(known)), profile, usual)
            return float(made.margins(mixed[np.newaxis].astype(np.float32))[0, label])

        contributions = made.explain(profile[np.newaxis]).contributions[0, label]
        np.testing.assert_allclose(contributions, shapley(value), atol=1e-5)


def test_a_missing_feature_contributes_nothing_to_a_linear_model() -> None:
    profile = floats([[1.5, np.nan, 2, np.nan, 0]])
    explained = linear().explain(profile)
    assert not explained.contributions[0, :, [1, 3]].any()
    filled = np.where(np.isnan(profile), 1, profile).astype(np.float32)
    np.testing.assert_array_equal(explained.margins, linear().margins(filled))


@pytest.mark.parametrize("classes", [2, 3])
def test_contributions_of_scikit_learns_trees_are_path_dependent_shapley_values(
    classes: int,
) -> None:
    made = trees(classes)
    estimator = made.estimator
    profiles = np.random.default_rng(1).normal(size=(3, FEATURES)).astype(np.float32)
    profiles[0, 1] = profiles[1, 0] = profiles[1, 3] = np.nan

    def expectation(nodes: Nodes, at: int, profile: NDArray[np.float32], known: set[int]) -> float:
        node = nodes[at]
        if node["is_leaf"]:
            return float(node["value"])
        children = (int(node["left"]), int(node["right"]))
        if (place := int(node["feature_idx"])) in known:
            left = (
                bool(node["missing_go_to_left"])
                if np.isnan(profile[place])
                else float(profile[place]) <= node["num_threshold"]
            )
            return expectation(nodes, children[0 if left else 1], profile, known)
        return float(
            np.average(
                [expectation(nodes, child, profile, known) for child in children],
                weights=[nodes[child]["count"] for child in children],
            )
        )

    for row, profile in enumerate(profiles):
        contributions = made.explain(profiles).contributions[row]
        for output in range(len(estimator._predictors[0])):

            def value(known: set[int], output: int = output, profile: Row = profile) -> float:
                rounds = [step[output].nodes for step in estimator._predictors]
                return sum(expectation(nodes, 0, profile, known) for nodes in rounds)

            ours = contributions[output] if classes > 2 else contributions[1] - contributions[0]
            np.testing.assert_allclose(ours, shapley(value), atol=1e-6)


def test_ranks_depend_on_order_alone_and_leave_what_is_missing() -> None:
    profile = floats([[3, np.nan, 1, 1, 10], [np.nan, np.nan, 4, np.nan, np.nan]])
    ranks = Ranks().columns(profile)
    np.testing.assert_allclose(ranks[0], floats([2 / 3, np.nan, 0.5 / 3, 0.5 / 3, 1]), atol=1e-7)
    np.testing.assert_array_equal(ranks[1], [np.nan, np.nan, 0.5, np.nan, np.nan])
    np.testing.assert_array_equal(Ranks().columns(np.exp2(profile) - 1), ranks)


def test_a_matched_profile_is_on_the_references_scale_whatever_its_own() -> None:
    profiles, _ = cases(CLASSES, missing=0)
    matched, pool = MATCHED.columns(profiles), np.array(MATCHED.quantiles)
    assert pool.min() <= matched.min() < matched.max() <= pool.max()
    np.testing.assert_array_equal(np.argsort(matched, axis=1), np.argsort(profiles, axis=1))
    half = np.where(np.arange(FEATURES) < 3, profiles, np.nan).astype(np.float32)
    for seen in (profiles, half):
        counts = np.exp2(seen).astype(np.float32) * 1e4
        np.testing.assert_array_equal(MATCHED.columns(counts), MATCHED.columns(seen))
    assert np.isnan(MATCHED.columns(half)).any(axis=0).tolist() == [False] * 3 + [True] * 2


def test_what_is_equal_in_a_profile_stays_equal_when_matched() -> None:
    row = MATCHED.columns(floats([[0, 0, 0, 5, 7]]))[0]
    assert len(set(row[:3].tolist())) == 1
    assert row[0] < row[3] < row[4]
    assert np.isnan(MATCHED.columns(np.full((1, FEATURES), np.nan, dtype=np.float32))).all()


def test_discriminants_are_those_of_the_densities_of_what_was_measured() -> None:
    profiles, _ = cases(CLASSES)
    made = discriminant()
    covariance = made.centroids.loadings @ made.centroids.loadings.T
    covariance = covariance + np.diag(made.centroids.own + made.spread**2)
    for profile, margins in zip(profiles[:20], made.margins(profiles[:20]), strict=True):
        seen = np.flatnonzero(~np.isnan(profile))
        gaps = profile[seen] - made.centroids.means[:, seen]
        densities = -0.5 * np.sum(gaps @ np.linalg.inv(covariance[np.ix_(seen, seen)]) * gaps, 1)
        contrast = (densities - densities[0]) * made.scale
        np.testing.assert_allclose(margins - margins[0], contrast, rtol=1e-4, atol=1e-4)


def test_a_class_that_no_training_case_had_is_never_the_answer() -> None:
    profiles, truth = cases(CLASSES, missing=0)
    unseen = Centroids.of(profiles, truth, classes=CLASSES + 1, factors=2)
    made = Discriminant(centroids=unseen, spread=0.5, scale=1)
    assert not np.any(made.explain(profiles).margins.argmax(axis=1) == CLASSES)
    assert np.isfinite(unseen.distances(profiles, spread=0.5)).all()


def test_what_is_unlike_the_cohort_or_lacks_much_is_answered_by_the_other_predictor() -> None:
    made = View(representation=Ranks(), seen_by=RANKED)
    assert likeness_of(boosted()) is None
    found = likeness_of(made)
    assert found is not None
    likeness, distances = found
    profiles, _ = cases(CLASSES, missing=0)
    profiles[0, :3] = np.nan
    columns = Ranks().columns(profiles)
    np.testing.assert_array_equal(
        distances(profiles), likeness.centroids.distances(columns, spread=0.3)
    )
    away = likeness.elsewhere(columns)
    assert away[0]
    assert 0 < away.mean() < 1
    margins = made.margins(profiles)
    np.testing.assert_array_equal(margins[~away], RANKED.here.margins(columns[~away]))
    np.testing.assert_allclose(
        margins[away], RANKED.elsewhere.margins(columns[away]) / RANKED.temperature
    )


def test_a_centred_profile_forgets_its_scale() -> None:
    profile = floats([[3, np.nan, 1, 8, 0]])
    logs = Centred(log_offset=1).columns(profile)
    assert np.nanmean(logs) == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(np.isnan(logs), np.isnan(profile))
    again = Centred().columns(np.log2(profile + 1) + 5)
    np.testing.assert_allclose(again, logs, atol=1e-6)
    assert np.isnan(Centred(log_offset=0).columns(profile)[0, 4])


def test_an_averages_contributions_are_the_average_of_its_members() -> None:
    profiles, _ = cases(CLASSES)
    one, other = boosted(), linear()
    mean = Average(members=(one, other), gate=Always(each=(0.3, 0.7))).explain(profiles)
    np.testing.assert_allclose(
        mean.contributions,
        0.3 * one.explain(profiles).contributions + 0.7 * other.explain(profiles).contributions,
        atol=1e-6,
    )


def test_a_gate_weighs_members_by_what_each_profile_lacks() -> None:
    gate = ByMissing(whole=(1, 0), sparse=(0.2, 0.8), low=0.2, high=0.6)
    profiles = floats(
        [[1, 2, 3, 4, np.nan], [1, 2, 3, np.nan, np.nan], [1, np.nan, np.nan, np.nan, np.nan]]
    )
    expected = floats([[1.0, 0.0], [0.6, 0.4], [0.2, 0.8]])
    np.testing.assert_allclose(gate.weights(profiles), expected, atol=1e-6)
    made = Average(members=(boosted(), linear()), gate=gate)
    np.testing.assert_allclose(
        made.margins(profiles[:1]), boosted().margins(profiles[:1]), atol=1e-6
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"each": (0.5, 0.6)},
        {"each": ()},
        {"each": (1.5, -0.5)},
    ],
)
def test_weights_that_are_no_shares_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Always(**wrong)


def test_members_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="a weight each"):
        Average(members=(boosted(2), linear()), gate=Always(each=(0.5, 0.5)))
    with pytest.raises(ValueError, match="a weight each"):
        Average(members=(linear(),), gate=Always(each=(0.5, 0.5)))


def test_an_estimator_without_exact_contributions_in_log_odds_is_refused() -> None:
    profiles, truth = cases(CLASSES, missing=0)
    with pytest.raises(UnexplainableEstimator, match="RandomForestClassifier"):
        Scikit(estimator=RandomForestClassifier(n_estimators=2).fit(profiles, truth))
    with pytest.raises(UnexplainableEstimator, match="usual"):
        Scikit(estimator=LogisticRegression().fit(profiles, truth))
    with pytest.raises(UnexplainableEstimator, match="places"):
        Scikit(estimator=LogisticRegression().fit(profiles, truth + 1), usual=profiles[0])
    coded = np.abs(profiles.round())
    split = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(coded, truth)
    with pytest.raises(UnexplainableEstimator, match="sets of codes"):
        Scikit(estimator=split)


def test_a_file_that_would_load_a_type_of_its_own_is_refused(tmp_path: Path) -> None:
    trees().write(tmp_path)
    skops.io.dump(Path, tmp_path / "model.skops")
    with pytest.raises(MalformedPredictor, match=r"model\.skops"):
        predictor.read(tmp_path)
    skops.io.dump({"not": "an estimator"}, tmp_path / "model.skops")
    with pytest.raises(MalformedPredictor, match="dict"):
        predictor.read(tmp_path)


def test_a_pickle_inside_an_array_is_refused(tmp_path: Path) -> None:
    linear().write(tmp_path)
    np.savez(tmp_path / "linear.npz", weights=np.array([{}]), bases=1, usual=1)
    with pytest.raises(MalformedPredictor):
        predictor.read(tmp_path)


@pytest.mark.parametrize(
    "description",
    [
        b"",
        b"[]",
        b'{"kind": "pickle"}',
        b'{"kind": "view"}',
        b'{"kind": "average", "gate": {"kind": "always", "each": [1]}}',
        b'{"kind": "view", "representation": {"kind": "horoscope"}}',
        b'{"kind": "xgboost"}',
        b'{"kind": "scikit-learn"}',
    ],
)
def test_a_folder_that_holds_no_predictor_is_refused(tmp_path: Path, description: bytes) -> None:
    (tmp_path / predictor.FILE).write_bytes(description)
    with pytest.raises(MalformedPredictor):
        predictor.read(tmp_path)


def test_a_skops_file_holds_no_address_and_no_time(tmp_path: Path) -> None:
    trees().write(tmp_path)
    with zipfile.ZipFile(tmp_path / "model.skops") as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
        schema = json.loads(archive.read("schema.json"))
    assert schema["__id__"] < 10_000


def test_a_booster_of_another_objective_is_refused(tmp_path: Path) -> None:
    profiles, truth = cases(2)
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(profiles, truth), 2)
    Boosted(booster=booster).write(tmp_path)
    with pytest.raises(MalformedPredictor, match="binary:logistic"):
        predictor.read(tmp_path)


def test_many_profiles_by_all_threads_are_explained_as_each_alone() -> None:
    made, profiles = boosted(), cases(CLASSES)[0]
    together = made.explain(profiles)
    for row in range(0, len(profiles), 7):
        alone = made.explain(profiles[row : row + 1])
        np.testing.assert_array_equal(alone.contributions[0], together.contributions[row])
        np.testing.assert_array_equal(alone.margins[0], together.margins[row])
