import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import fisher_exact, ks_2samp

from guarantee.card import MonitoringPolicy
from models.reference import LEVELS
from monitoring import variation
from monitoring.drift import CONFIDENCE, Plan, decide, plan
from monitoring.findings import Drifted, Undecided
from monitoring.sample import Expected, Sample
from monitoring.screen import screen
from tests.monitoring.test_drift import expected, sampled

POLICY = MonitoringPolicy()


def _of(features: NDArray[np.floating]) -> Sample:
    """Cases of which only the features say anything."""
    count = len(features)
    return Sample(
        names=tuple(f"gene {place}" for place in range(features.shape[1])),
        features=features.astype(np.float32),
        labels=("lung",) * count,
        confidence=np.full(count, 0.9, dtype=np.float32),
        unlike=np.zeros(count, dtype=np.bool_),
        abstained=np.zeros(count, dtype=np.bool_),
    )


def test_the_screen_is_the_two_sample_test_on_what_the_quantiles_tell() -> None:
    reference, window = expected(400), sampled(200, 1)
    found = screen(reference, window, 50)
    for place in range(40):
        met = window.known(place)
        plain = ks_2samp(reference.values(place, met), met)
        # Reading at the quantiles alone can miss a part of the distance, never add one.
        assert found.values[place] >= plain.pvalue * 0.8
        assert found.values[place] == pytest.approx(plain.pvalue, rel=0.9, abs=0.15)


def test_reference_values_have_the_reference_quantiles_whatever_the_window() -> None:
    reference = expected(400)
    for shift in (-3.0, 0.0, 3.0):
        values = reference.values(0, sampled(300, 1).known(0) + shift)
        assert len(values) == 400
        told = np.quantile(values, LEVELS[1:-1])
        stored = reference.quantiles[0, 1:-1]
        # Between two quantiles they may be anywhere.
        assert (told >= reference.quantiles[0, :-2] - 1e-6).all()
        assert (told <= reference.quantiles[0, 2:] + 1e-6).all()
        assert np.abs(told - stored).max() < 2


def test_a_value_that_many_cases_share_is_no_change() -> None:
    """A floor at 44 % of the cases ends between two stored quantiles."""
    draw = np.random.default_rng(0)

    def at_the_floor(cases: int) -> Sample:
        return _of(np.maximum(draw.normal(0.15, 1, (cases, 60)), 0))

    reference = Expected.of_cases(at_the_floor(4000), tuple(range(10)))
    found = screen(reference, at_the_floor(4000), 50)
    assert (found.values > 0.05 / 60).all()
    met = at_the_floor(4000)
    finding = decide(reference, met, POLICY)
    assert not isinstance(finding, Drifted)


def test_how_often_a_feature_is_missing_is_fishers_test() -> None:
    features = sampled(400, 0).features.copy()
    features[:40, 0] = np.nan
    reference = Expected.of_cases(_of(features), ())
    window = sampled(200, 1).features.copy()
    window[:35, 0] = np.nan
    window[:5, 1] = np.nan
    found = screen(reference, _of(window), 50)
    for place, table in enumerate([[[40, 360], [35, 165]], [[0, 400], [5, 195]]]):
        # Two-sided tests may count the far side differently; the near side is the same.
        exact = fisher_exact(table)[1]
        assert found.missing[place] == pytest.approx(exact, rel=0.5)
    assert (found.missing[2:] == 1).all()


def test_chance_beyond_two_words_is_shuffled_rows() -> None:
    draw = np.random.default_rng(0)
    expected_words, met = draw.choice(5, 300), draw.choice(5, 120, p=[0.3, 0.2, 0.2, 0.2, 0.1])
    counts = variation.counts(tuple(map(str, expected_words)), tuple(map(str, met)))
    observed = np.abs(counts[0] / 300 - counts[1] / 120).sum()
    both = np.concatenate([expected_words, met])
    shuffled = []
    for _ in range(2000):
        draw.shuffle(both)
        first, second = (np.bincount(part, minlength=5) for part in (both[:300], both[300:]))
        shuffled.append(np.abs(first / 300 - second / 120).sum() >= observed - 1e-12)
    assert variation.p_value(*counts) == pytest.approx(np.mean(shuffled), abs=0.04)


def test_two_samples_of_one_word_do_not_differ() -> None:
    assert variation.p_value(*variation.counts(("no",) * 50, ("no",) * 60)) == 1


COHORTS = os.environ.get("GARANT_COHORTS")


@pytest.fixture(scope="module")
def cohort() -> Sample:
    """One case a patient: TCGA's where they are, else made-up ones with as many features.

    The made-up ones depend on each other as real ones do, by forty hidden causes, and have a floor.
    """
    draw = np.random.default_rng(7)
    if COHORTS is None:
        hidden = draw.normal(size=(6000, 40)) @ draw.normal(size=(40, 680)) / 40**0.5
        profiles = np.maximum(hidden + 0.5 * draw.normal(size=hidden.shape) + 0.7, 0)
        labels = np.array([f"origin {place}" for place in hidden[:, :20].argmax(axis=1)])
    else:
        import pandas as pd

        folder = Path(COHORTS)
        with np.load(folder / "tcga_mirna.npz") as stored:
            profiles = stored["profiles"].astype(np.float32)
        table = pd.read_csv(folder / "tcga_mirna_samples.csv.gz", keep_default_na=False)
        firsts = ~table["patient"].duplicated().to_numpy()
        profiles, labels = profiles[firsts], table["study"].to_numpy()[firsts]
    count = len(profiles)
    return replace(
        _of(profiles),
        labels=tuple(map(str, labels)),
        confidence=draw.beta(9, 1, count).astype(np.float32),
        unlike=draw.random(count) < 0.01,
        abstained=draw.random(count) < 0.05,
        groups={"sex": tuple(draw.choice(["F", "M"], count))},
    )


def _halves(cohort: Sample, seed: int) -> tuple[Expected, Sample, Sample]:
    """A reference from one half of the patients, its earlier cases and the rest of the other."""
    order = np.random.default_rng(seed).permutation(len(cohort))
    half = len(cohort) // 2
    watched = tuple(map(int, np.argsort(-cohort.features[:500].var(axis=0))[:10]))
    reference = Expected.of_cases(cohort.take(order[:half]), watched)
    return reference, cohort.take(order[half : half + 500]), cohort.take(order[half + 500 :])


@pytest.mark.slow
def test_of_200_windows_without_drift_at_most_17_alarm(cohort: Sample) -> None:
    """At 5 % a run, chance makes more of them once in a hundred.

    Evidently decides on one window in twenty; the others' p-values are those that it finds.
    """
    alarms = 0
    for seed in range(2):
        reference, earlier, rest = _halves(cohort, seed)
        draw = np.random.default_rng(100 + seed)
        for place in range(100):
            window = rest.take(draw.choice(len(rest), 300, replace=False))
            asked = plan(reference, window, POLICY, earlier)
            assert isinstance(asked, Plan)
            chances = {one.name: one.chance() for one in asked.comparisons}
            alarm = any(chances[one.name] <= one.threshold for one in asked.comparisons)
            alarms += alarm
            if place % 20 == 0:
                finding = decide(reference, window, POLICY, earlier)
                assert not isinstance(finding, Undecided)
                assert isinstance(finding, Drifted) == alarm
                assert {one.name: one.p_value for one in finding.columns} == pytest.approx(chances)
    assert alarms <= 17


@pytest.mark.slow
def test_half_a_deviation_in_10_of_680_features_is_found_in_95_of_100(cohort: Sample) -> None:
    reference, _, rest = _halves(cohort, 0)
    # The screen and Evidently have one threshold, and the watched ones a milder one.
    threshold = POLICY.share / (2 * 680 - 10)
    spread = cohort.features[:1000].std(axis=0)
    draw = np.random.default_rng(1)
    found = 0
    for trial in range(100):
        cases = draw.choice(len(rest), 500, replace=False)
        planted = draw.choice(680, 10, replace=False)
        shift = (0.5 * spread[planted]).astype(np.float32)
        if trial < 5:
            features = rest.features[cases]
            features[:, planted] += shift
            shifted = replace(rest.take(cases), features=features)
            finding = decide(reference, shifted, POLICY)
            assert isinstance(finding, Drifted)
            names = {column.name for column in finding.drifted}
            found += bool(names & {cohort.names[place] for place in planted})
        else:
            # The screen takes each column alone: the others need not be there.
            of_planted = replace(
                reference,
                names=tuple(reference.names[place] for place in planted),
                watched=(),
                quantiles=reference.quantiles[planted],
                missing_rates=reference.missing_rates[planted],
            )
            shifted = _of(rest.features[cases][:, planted] + shift)
            found += bool((screen(of_planted, shifted, 50).values <= threshold).any())
    assert found >= 95


def test_confidence_alone_can_drift() -> None:
    window = sampled(500, 1)
    lower = replace(window, confidence=window.confidence - np.float32(0.05))
    finding = decide(expected(), lower, POLICY, sampled(500, 2))
    assert isinstance(finding, Drifted)
    assert [column.name for column in finding.drifted] == [CONFIDENCE]
