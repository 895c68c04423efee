"""The feature contract: what is refused, and that no refusal repeats a value."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import Bounds, Feature, FeatureContract, InvalidFeature, NoKnownFeature
from tests.models.conftest import floats

CONTRACT = FeatureContract(
    features=(
        Feature(
            name="creatinine",
            unit="µmol/L",
            possible=Bounds(low=0, high=5000),
            plausible=Bounds(low=30, high=200),
        ),
        Feature(name="age", unit="years", possible=Bounds(low=0)),
        Feature(name="probe/1", unit="1"),
    )
)


def test_features_left_out_are_missing_and_named() -> None:
    profile = CONTRACT.vector({"age": 61})
    assert profile.values.dtype == np.float32
    np.testing.assert_array_equal(profile.values, floats([np.nan, 61, np.nan]))
    assert profile.missing == ("creatinine", "probe/1")


def test_an_implausible_value_is_taken_and_flagged() -> None:
    assert CONTRACT.vector({"creatinine": 900}).implausible == ("creatinine",)
    assert CONTRACT.vector({"creatinine": 80}).implausible == ()


@pytest.mark.parametrize(
    "value",
    [
        True,
        "424242",
        [424242.0],
        {"value": 424242},
        None,
        math.nan,
        math.inf,
        -math.inf,
        4.24242e38,
        10**400,
        sys.float_info.max,
        424242.0,
        -424242,
        np.float64("nan"),
    ],
)
def test_what_is_no_possible_number_is_refused_without_repeating_it(value: object) -> None:
    with pytest.raises(InvalidFeature) as refusal:
        CONTRACT.vector({"age": 61, "creatinine": value})
    assert refusal.value.name == "creatinine"
    assert str(refusal.value).startswith("creatinine: ")
    assert "4242" not in str(refusal.value)
    assert "send" in str(refusal.value)


def test_the_largest_number_of_single_precision_is_taken_and_the_next_refused() -> None:
    largest = float(np.finfo(np.float32).max)
    assert CONTRACT.vector({"probe/1": largest}).values[2] == np.finfo(np.float32).max
    with pytest.raises(InvalidFeature):
        CONTRACT.vector({"probe/1": math.nextafter(largest, math.inf)})


def test_an_unknown_feature_is_refused_by_a_name_that_cannot_break_a_log() -> None:
    with pytest.raises(InvalidFeature) as refusal:
        CONTRACT.vector({"a\nb" * 100: 1.0})
    assert "\n" not in str(refusal.value)
    assert len(refusal.value.name) <= 81


def test_a_profile_without_any_feature_is_refused() -> None:
    with pytest.raises(NoKnownFeature):
        CONTRACT.vector({})
    with pytest.raises(NoKnownFeature):
        CONTRACT.profile(np.full(3, np.nan))


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        FeatureContract.of(["a", "a"], unit="1")


def test_json_gives_back_the_contract() -> None:
    assert FeatureContract.from_json(CONTRACT.to_json()) == CONTRACT


def test_a_shared_unit_is_written_once() -> None:
    contract = FeatureContract.of(
        [f"g{n}" for n in range(1363)], unit="log2", possible=Bounds(low=0)
    )
    assert contract.to_json().count("log2") == 1
    assert FeatureContract.from_json(contract.to_json()) == contract


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(CONTRACT.names),
        st.one_of(st.floats(), st.integers(), st.sampled_from([True, "5", None])),
    )
)
def test_a_vector_is_finite_or_missing_whatever_is_sent(features: dict[str, object]) -> None:
    try:
        profile = CONTRACT.vector(features)
    except (InvalidFeature, NoKnownFeature):
        return
    assert not np.isinf(profile.values).any()
    assert {CONTRACT.names[n] for n in np.flatnonzero(np.isnan(profile.values))} == set(
        profile.missing
    )
