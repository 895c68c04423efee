"""Made-up laboratories: what stays and what changes of a profile."""

import numpy as np
from numpy.typing import NDArray

from models.laboratory import Laboratory, measured_elsewhere, mixed_with

USUAL = np.linspace(0, 14, 60, dtype=np.float32)
PROFILES = np.tile(USUAL, (40, 1))


def test_a_laboratory_reports_reads_per_million_of_what_it_reports() -> None:
    laboratory = Laboratory.drawn(USUAL, np.random.default_rng(0))
    reported = laboratory.measure(PROFILES, np.random.default_rng(1))
    np.testing.assert_array_equal(np.isnan(reported).any(axis=0), ~laboratory.reported)
    np.testing.assert_array_equal(np.isnan(reported).all(axis=0), ~laboratory.reported)
    np.testing.assert_allclose(np.nansum(reported, axis=1), 1e6, rtol=1e-4)
    assert 60 * 0.3 < laboratory.reported.sum() < 60 * 0.95


def test_its_gains_are_the_same_for_all_its_samples_and_not_another_laboratorys() -> None:
    def report(seed: int, sample: int) -> NDArray[np.float64]:
        laboratory = Laboratory.drawn(USUAL, np.random.default_rng(seed))
        reported = laboratory.measure(PROFILES, np.random.default_rng(sample))
        return np.log2(np.median(reported[:, -20:], axis=0) + 1)

    def difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        return float(np.nanstd(one - other))

    assert difference(report(3, 1), report(3, 2)) < 0.3
    assert difference(report(3, 1), report(4, 1)) > 0.6


def test_the_same_seed_makes_the_same_profiles() -> None:
    first = measured_elsewhere(PROFILES, laboratories=5, seed=1)
    np.testing.assert_array_equal(first, measured_elsewhere(PROFILES, laboratories=5, seed=1))
    assert not np.array_equal(
        first, measured_elsewhere(PROFILES, laboratories=5, seed=2), equal_nan=True
    )


def test_reads_of_a_host_take_the_place_of_the_tumours_own() -> None:
    host = np.zeros((1, len(USUAL)), dtype=np.float32)
    mixed = mixed_with(PROFILES, host, most=0.4, seed=0)
    kept = (np.exp2(mixed) - 1)[:, 1:] / (np.exp2(PROFILES) - 1)[:, 1:]
    assert 0.6 <= kept.min() < 0.7
    assert 0.95 < kept.max() <= 1
    # One share a sample, whatever the feature.
    np.testing.assert_allclose(kept, np.tile(kept[:, :1], (1, kept.shape[1])), rtol=2e-3)
    np.testing.assert_allclose(mixed_with(PROFILES, PROFILES[:1], most=1, seed=0), PROFILES)
