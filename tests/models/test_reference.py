"""The reference: quantiles and rates, and no profile."""

from pathlib import Path

import numpy as np
import pytest

from models import reference
from models.atlas import Atlas
from models.cohorts import Cohort
from models.reference import Reference
from models.training import Training
from tests.models.conftest import floats


@pytest.fixture
def kept(training: Training) -> Reference:
    return training.bundle.reference


def test_a_sample_has_the_cohorts_quantiles_and_missing_rates(kept: Reference) -> None:
    sample = kept.sample(20_000, seed=1)
    assert sample.shape == (20_000, 6)
    np.testing.assert_allclose(np.isnan(sample).mean(axis=0), kept.missing_rates, atol=0.01)
    np.testing.assert_allclose(
        np.nanquantile(sample, [0.1, 0.5, 0.9], axis=0).T,
        kept.quantiles[:, np.searchsorted(reference.LEVELS, [0.1, 0.5, 0.9])],
        atol=0.15,
    )
    np.testing.assert_array_equal(sample, kept.sample(20_000, seed=1))


def test_whole_numbers_stay_whole_and_what_was_never_measured_stays_missing() -> None:
    profiles = floats([[0, np.nan, 1.5], [1, np.nan, 2.5], [1, np.nan, 3.5]])
    kept = Reference(
        quantiles=reference.quantiles_of(profiles),
        missing_rates=floats([0, 1, 0]),
        whole=np.array([True, True, False]),
        priors=np.ones(1),
        answered=np.ones(1),
        importance=floats([0, 1, 2]),
        most_outside=0.5,
        profiles=3,
        atlas=Atlas.of(np.ones((3, 1)), np.zeros(3, dtype=np.intp), seed=0),
    )
    sample = kept.sample(50, seed=0)
    assert set(sample[:, 0].tolist()) <= {0.0, 1.0}
    assert np.isnan(sample[:, 1]).all()
    assert kept.important(2).tolist() == [2, 1]


def test_no_sample_of_the_reference_is_a_profile_of_the_cohort(
    kept: Reference, cohort: Cohort
) -> None:
    whole = cohort.profiles[~np.isnan(cohort.profiles).any(axis=1)]
    sample = kept.sample(1000, seed=3)
    assert not (sample[:, np.newaxis] == whole).all(axis=2).any()


def test_shares_outside_count_measured_features_alone(kept: Reference) -> None:
    profiles = np.full((3, 6), np.nan, dtype=np.float32)
    profiles[0, :2] = [1000, 5]
    profiles[1] = 5
    np.testing.assert_allclose(reference.outside_share(kept.quantiles, profiles), [0.5, 0, 0])


def test_few_profiles_of_the_cohort_itself_are_called_unlike_it(
    kept: Reference, cohort: Cohort
) -> None:
    assert (
        np.mean(reference.outside_share(kept.quantiles, cohort.profiles) > kept.most_outside) < 0.05
    )


def test_written_and_read_it_is_the_same_and_so_are_its_bytes(
    kept: Reference, tmp_path: Path
) -> None:
    kept.write(tmp_path / "a.npz")
    read = Reference.read(tmp_path / "a.npz")
    read.write(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    np.testing.assert_array_equal(read.quantiles, kept.quantiles)
    assert (read.most_outside, read.profiles) == (kept.most_outside, kept.profiles)
    np.testing.assert_array_equal(read.atlas.cases, kept.atlas.cases)
    np.testing.assert_array_equal(read.atlas.truth, kept.atlas.truth)
