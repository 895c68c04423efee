"""Cohorts: GCM as published, TCGA as its traps demand, and anyone's file."""

import csv
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models import cohorts
from models.cohorts import Cohort, CohortUnavailable, MalformedCohort
from models.tables import MalformedTable
from tests.models.conftest import cohort_of, floats


def test_gcm_holds_190_tumours_of_14_origins_and_every_probe(gcm: Cohort) -> None:
    assert gcm.profiles.shape == (190, 1363)
    assert len(set(gcm.labels)) == 14
    assert gcm.labels.count("leukaemia") == 30
    assert gcm.labels.count("prostate") == 10
    assert gcm.patients is None
    assert len(np.unique(gcm.profiles, axis=0)) == 190


def test_gcm_is_in_logarithms_of_intensities_from_10_to_16000(
    gcm: Cohort, gcm_folder: Path
) -> None:
    assert gcm.profiles.min() == np.float32(np.log2(10))
    assert gcm.profiles.max() == np.float32(np.log2(16_000))
    with zipfile.ZipFile(gcm_folder / cohorts.GCM_WHEEL) as wheel:
        line = wheel.read(cohorts.GCM_MEMBER).decode().splitlines()[7].split("\t")
    np.testing.assert_allclose(
        gcm.profiles[:, 6], np.log2(np.array(line[1:], dtype=float)), rtol=1e-6
    )
    assert gcm.contract.names[6] == line[0]


def test_gcm_without_an_index_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(CohortUnavailable, match=f"put {cohorts.GCM_WHEEL}"):
        cohorts.gcm(tmp_path)


def test_a_wheel_that_is_not_the_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / cohorts.GCM_WHEEL).write_bytes(b"another")
    with pytest.raises(CohortUnavailable, match="SHA-256"):
        cohorts.gcm(tmp_path)


def test_tcga_without_its_folder_names_the_variable(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(CohortUnavailable, match="GARANT_COHORTS"):
            cohorts.tcga_mirna(folder)


@pytest.mark.skipif("GARANT_COHORTS" not in os.environ, reason="needs GARANT_COHORTS")
def test_tcga_has_31_origins_without_normals_and_the_hospital_na() -> None:
    cohort = cohorts.tcga_mirna(Path(os.environ["GARANT_COHORTS"]))
    assert len(set(cohort.labels)) == 31
    assert not {"COAD", "READ", "GBM"} & set(cohort.labels)
    assert "COADREAD" in cohort.labels
    assert cohort.sites is not None
    assert "NA" in cohort.sites
    assert cohort.patients is not None
    assert len(set(cohort.patients)) < len(cohort.ids)
    assert cohort.dates is not None
    assert cohort.dates.count("") == 206
    assert cohort.ages is not None
    assert all(age is None or 0 < age < 100 for age in cohort.ages)
    assert set(cohort.sample_types or ()) == {
        "primary",
        "recurrent",
        "blood-derived",
        "additional primary",
    }
    assert set(cohort.machines or ()) == {"Illumina Genome Analyzer", "Illumina HiSeq 2000"}
    some = cohort.take(np.array([8000, 3]))
    assert some.ages == (cohort.ages[8000], cohort.ages[3])
    assert some.countries == tuple((cohort.countries or ())[row] for row in (8000, 3))


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows(rows)
    return path


HEADER = ["sample", "label", "patient", "gene"]


def test_a_cohort_file_gives_labels_patients_and_missing_values(tmp_path: Path) -> None:
    rows = [HEADER, ["a", "NA", "p", "1.5"], ["b", "lung", "p", ""], ["c", "lung", "q", "-2"]]
    cohort = cohorts.read(write(tmp_path / "c.csv", rows))
    assert cohort.labels == ("NA", "lung", "lung")
    assert cohort.groups().tolist() == [0, 0, 1]
    assert (cohort.dates, cohort.sites) == (None, None)
    np.testing.assert_array_equal(cohort.profiles[:, 0], floats([1.5, np.nan, -2]))
    assert cohort.contract.names == ("gene",)


@pytest.mark.parametrize(
    ("row", "error", "where"),
    [
        (["b", "lung", "q", "x42"], MalformedTable, "row 2, column “gene”"),
        (["b", "lung", "q", "nan"], MalformedTable, "row 2, column “gene”"),
        (["b", "lung", "q", "1e42"], MalformedCohort, "row 2, column gene"),
        (["a", "lung", "q", "1"], MalformedTable, "row 2, column “sample”"),
        (["", "lung", "q", "1"], MalformedTable, "row 2, column “sample”"),
        (["b", "", "q", "1"], MalformedCohort, "row 2, column label"),
        (["b", "lung", " ", "1"], MalformedCohort, "row 2, column patient"),
        (["b", "lung", "q"], MalformedTable, "row 2: 3 cells under 4 columns"),
    ],
)
def test_a_mistake_is_named_by_row_and_column_without_its_value(
    tmp_path: Path, row: list[str], error: type[Exception], where: str
) -> None:
    path = write(tmp_path / "c.csv", [HEADER, ["a", "sein", "p", "1"], row])
    with pytest.raises(error) as refusal:
        cohorts.read(path)
    assert where in str(refusal.value)
    assert "42" not in str(refusal.value)


def test_what_is_known_of_a_sample_is_kept_and_is_no_feature(tmp_path: Path) -> None:
    header = [
        *("sample", "label", "date", "site", "machine", "patient_sex", "patient_age", "country"),
        *("sample_type", "age"),
    ]
    rows = [
        ["a", "x", "2026-11-24", "NA", "m", "F", "41.5", "france", "primary", "3"],
        ["b", "y", "", "", "", "", "", "", "", "4"],
    ]
    cohort = cohorts.read(write(tmp_path / "c.csv", [header, *rows]))
    assert cohort.contract.names == ("age",)
    assert (cohort.dates, cohort.sites) == (("2026-11-24", ""), ("NA", ""))
    assert (cohort.machines, cohort.sexes) == (("m", ""), ("F", ""))
    assert (cohort.ages, cohort.countries) == ((41.5, None), ("france", ""))
    assert cohort.sample_types == ("primary", "")
    for place, cell, column in ((2, "24/11/2026", "date"), (6, "1985", "patient_age")):
        wrong = [cell if at == place else text for at, text in enumerate(rows[1])]
        path = write(tmp_path / "c.csv", [header, rows[0], wrong])
        with pytest.raises(MalformedCohort, match=f"row 2, column {column}") as refusal:
            cohorts.read(path)
        assert cell not in str(refusal.value)


def test_a_file_without_labels_or_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedCohort, match="label"):
        cohorts.read(write(tmp_path / "a.csv", [["id", "gene"], ["a", "1"]]))
    with pytest.raises(MalformedCohort, match="feature"):
        cohorts.read(write(tmp_path / "b.csv", [["id", "label"], ["a", "x"]]))
    with pytest.raises(MalformedCohort, match="two labels"):
        cohorts.read(write(tmp_path / "c.csv", [["id", "label", "g"], ["a", "x", "1"]]))
    with pytest.raises(MalformedCohort, match="no row"):
        cohorts.read(write(tmp_path / "d.csv", [["id", "label", "g"]]))


def test_the_features_of_a_sample_are_those_measured() -> None:
    cohort = cohort_of(("a", "b"), each=5)
    sent = cohort.features_of("S1")
    assert all(isinstance(value, float) for value in sent.values())
    measured = ~np.isnan(cohort.profiles[1])
    assert list(sent) == [n for n, m in zip(cohort.contract.names, measured, strict=True) if m]
    with pytest.raises(KeyError):
        cohort.features_of("nobody")
