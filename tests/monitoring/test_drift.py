import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from guarantee.card import MonitoringPolicy
from monitoring.drift import (
    CONFIDENCE,
    LABEL,
    Drifted,
    Examined,
    Sample,
    Stable,
    Undecided,
    decide,
    examine,
)

POLICY = MonitoringPolicy()
NAMES = tuple(f"gene {number}" for number in range(POLICY.watched_features))
LABELS = np.array([f"origin {number}" for number in range(14)])


@pytest.fixture(autouse=True)
def _nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise AssertionError(f"a connection to {address} was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


def _sample(cases: int, seed: int) -> Sample:
    draw = np.random.default_rng(seed)
    return Sample(
        names=NAMES,
        features=draw.normal(7, 2, (cases, len(NAMES))).astype(np.float32),
        labels=tuple(map(str, draw.choice(LABELS, cases))),
        confidence=draw.beta(8, 2, cases).astype(np.float32),
    )


def _numbers(cases: int, seed: int) -> Sample:
    """Without labels, whose test by permutation takes seconds."""
    return replace(_sample(cases, seed), labels=None)


def _moved(sample: Sample, by: NDArray[np.float32]) -> Sample:
    return replace(sample, features=sample.features + by)


def test_too_few_cases_are_undecided_and_never_stable() -> None:
    finding = decide(_sample(400, 0), _sample(12, 1), POLICY)
    assert finding == Undecided(cases=12, needed=50)
    assert str(finding) == "undecided: 12 cases, 50 needed"


def test_a_window_like_the_reference_is_stable() -> None:
    finding = decide(_sample(400, 0), _sample(200, 1), POLICY)
    assert isinstance(finding, Stable)
    assert {column.name for column in finding.columns} == {*NAMES, LABEL, CONFIDENCE}
    assert all(column.threshold == pytest.approx(0.05 / 12) for column in finding.columns)


def test_the_tests_are_those_that_the_policy_names_whatever_the_samples_size() -> None:
    for cases in (60, 1001):  # its default changes above 1,000
        finding = decide(_sample(cases, 0), _sample(60, 1), POLICY)
        assert isinstance(finding, Stable)
        assert {column.name: column.test for column in finding.columns} == {
            **dict.fromkeys((*NAMES, CONFIDENCE), "ks"),
            LABEL: "TVD",
        }


def test_a_shift_up_or_down_names_the_features_that_moved() -> None:
    by = np.zeros(len(NAMES), dtype=np.float32)
    by[2], by[5] = 2, -2
    finding = decide(_numbers(400, 0), _moved(_numbers(200, 1), by), POLICY)
    assert isinstance(finding, Drifted)
    assert {column.name for column in finding.drifted} == {NAMES[2], NAMES[5]}
    shifts = {column.name: column.shift for column in finding.drifted}
    assert shifts[NAMES[2]] == pytest.approx(1, abs=0.2)
    assert shifts[NAMES[5]] == pytest.approx(-1, abs=0.2)


def test_more_of_one_label_and_less_confidence_are_drift() -> None:
    window = _sample(200, 1)
    assert window.labels is not None
    assert window.confidence is not None
    changed = replace(
        window,
        labels=("origin 3",) * 60 + window.labels[60:],
        confidence=window.confidence * np.float32(0.8),
    )
    finding = decide(_sample(400, 0), changed, POLICY)
    assert isinstance(finding, Drifted)
    assert {column.name for column in finding.drifted} == {LABEL, CONFIDENCE}


def test_a_p_value_is_that_of_the_untouched_values() -> None:
    by = np.linspace(-9, 9, len(NAMES), dtype=np.float32)  # well outside the reference's range
    reference, window = _numbers(400, 0), _moved(_numbers(200, 1), by)
    finding = decide(reference, window, POLICY)
    assert isinstance(finding, Drifted)
    found = {column.name: column.p_value for column in finding.columns}
    for place, name in enumerate(NAMES):
        expected = ks_2samp(reference.features[:, place], window.features[:, place]).pvalue
        assert found[name] == pytest.approx(expected)


def test_a_reference_that_never_varied_still_sees_a_change() -> None:
    reference = _numbers(400, 0)
    features = reference.features.copy()
    features[:, 0] = 0
    finding = decide(replace(reference, features=features), _numbers(200, 1), POLICY)
    assert isinstance(finding, Drifted)
    assert [(column.name, column.shift) for column in finding.drifted] == [(NAMES[0], None)]


def test_a_feature_that_few_cases_know_is_skipped_by_name() -> None:
    window = _numbers(200, 1)
    features = window.features.copy()
    features[20:, 4] = np.nan
    finding = decide(_numbers(400, 0), replace(window, features=features), POLICY)
    assert isinstance(finding, Stable)
    assert finding.skipped == (NAMES[4],)
    assert NAMES[4] not in {column.name for column in finding.columns}


def test_a_window_that_knows_no_watched_feature_is_undecided() -> None:
    window = _sample(200, 1)
    unknown = np.full_like(window.features, np.nan)
    unknown[:30, 0] = 7
    finding = decide(
        replace(_sample(400, 0), labels=None, confidence=None),
        replace(window, features=unknown),
        POLICY,
    )
    assert finding == Undecided(cases=30, needed=50)


@pytest.mark.parametrize("cases", [50, 100])
def test_the_report_holds_no_value_of_any_case_and_loads_nothing(cases: int) -> None:
    window = _moved(_sample(cases, 1), np.full(len(NAMES), 3, dtype=np.float32))
    assert window.confidence is not None
    examined = examine(_sample(190, 0), window, POLICY)
    assert isinstance(examined, Examined)
    html = examined.html
    assert all(name in html for name in (*NAMES, LABEL, CONFIDENCE))
    values = np.concatenate([window.features.ravel(), window.confidence])
    numbers = np.unique([float(number) for number in re.findall(r"\d+\.\d{4,}", html)])
    # Six significant digits: a value would be found in single or in double precision.
    apart = np.abs(numbers[:, None] - values.astype(np.float64)).min(axis=0)
    assert (apart > 1e-6 * values).all()
    assert not re.search(r'(src|href)="(https?:)?//(?!plotly\.com/")', html)


def test_evidently_alone_would_have_written_every_value_into_its_report() -> None:
    """The invariant above is ours to keep: should this ever fail, less is needed for it."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from pandas import DataFrame

    window = DataFrame({"gene": _sample(60, 1).features[:, 0].astype(float)})
    columns = DataDefinition(numerical_columns=["gene"])
    html = (
        Report([ValueDrift(column="gene", method="ks")])
        .run(
            Dataset.from_pandas(window, data_definition=columns),
            Dataset.from_pandas(window, data_definition=columns),
        )
        .get_html_str(as_iframe=False)
    )
    assert all(repr(value) in html for value in window["gene"])


def test_no_connection_is_tried_from_evidentlys_import_to_its_report() -> None:
    # An audit hook sees what a thread or a C library tries, too.
    script = """
import os, sys
sys.addaudithook(lambda event, _: os._exit(3) if event == "socket.connect" else None)
import numpy as np
from guarantee.card import MonitoringPolicy
from monitoring.drift import Sample, examine
values = np.arange(60, dtype="f4")[:, None]
cases = Sample(names=("gene",), features=values, labels=None, confidence=None)
assert "gene" in examine(cases, cases, MonitoringPolicy()).html
"""
    environment = {name: word for name, word in os.environ.items() if "TRACK" not in name}
    ended = subprocess.run([sys.executable, "-c", script], check=False, env=environment)
    assert ended.returncode == 0


def test_samples_that_watch_different_features_are_refused() -> None:
    with pytest.raises(ValueError, match="different features"):
        decide(_sample(400, 0), replace(_sample(60, 1), names=NAMES[::-1]), POLICY)


def test_a_policy_whose_threshold_no_permutation_reaches_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        MonitoringPolicy(false_alarm_rate=0.01, watched_features=40)


COHORTS = os.environ.get("GARANT_COHORTS")


@pytest.mark.skipif(COHORTS is None, reason="GARANT_COHORTS names no folder of cohorts")
def test_real_halves_are_stable_and_a_real_half_shifted_is_drift() -> None:
    with np.load(Path(str(COHORTS)) / "tcga_mirna.npz") as stored:
        profiles = stored["profiles"].astype(np.float32)
        names = stored["features"].astype(str)
    draw = np.random.default_rng(20)
    places = np.argsort(-profiles.var(axis=0))[: POLICY.watched_features]
    order = draw.permutation(len(profiles))
    half, other = profiles[order[::2]][:, places], profiles[order[1::2]][:, places]
    watched = tuple(map(str, names[places]))
    reference = Sample(names=watched, features=half, labels=None, confidence=None)
    window = Sample(names=watched, features=other[:100], labels=None, confidence=None)
    assert isinstance(decide(reference, window, POLICY), Stable)

    by = np.zeros(len(watched), dtype=np.float32)
    by[3] = half[:, 3].std()
    finding = decide(reference, _moved(window, by), POLICY)
    assert isinstance(finding, Drifted)
    assert [column.name for column in finding.drifted] == [watched[3]]
