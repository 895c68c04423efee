"""Scoring a file of profiles: evaluation, not care; streamed, and whole or not at all."""

import csv
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models import tables
from models.cohorts import COLUMNS
from models.contract import InvalidFeature, NoKnownFeature, Profile
from models.errors import ModelsError
from models.served import Flag, ServedModel
from models.tables import MalformedTable, Part

# Rows scored so far, and in all where the file tells.
Progress = Callable[[int, int | None], None]

_OUTPUT: Final = ("id", "label", "probability", "ranking", "prediction_set", "flags")


class UnwritableOutput(ModelsError):
    """The output cannot be written there; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What was scored, for the record that says so.

    Attributes:
        missing: How many rows lack each of the features that some row lacks.
    """

    cases: int
    input_sha256: str
    output_sha256: str
    missing: dict[str, int]


@contextmanager
def score(
    model: ServedModel, source: Path, target: Path, progress: Progress | None = None
) -> Iterator[Scored]:
    """Score `source` beside `target`, and move it there when the block ends without an error.

    In the block the caller records the evaluation: nothing leaves unrecorded, and on any error
    `target` stays as it was. Columns named label, patient, date and site are passed over, as in
    a cohort file; every other column after the first is a feature. Ids come out as they came in,
    even where a spreadsheet would take one for a formula: open a stranger's CSV as text.

    Raises:
        UnwritableOutput: `target` is `source`, or its folder is not there.
        UnreadableTable: The file cannot be read.
        MalformedTable: A cell, row or column cannot be used; names it.
        NoKnownFeature: No column is a feature of the model.
        OSError: `target` cannot be written.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise UnwritableOutput(f"{target} is the input itself: name another file for the output")
    if not target.parent.is_dir():
        raise UnwritableOutput(f"{target} cannot be written: there is no folder {target.parent}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        draft = Path(scratch) / target.name
        missing: dict[str, int] = {}
        cases = 0
        with tables.opened(source) as table, _writer(draft) as write:
            _check_columns(model, table.columns)
            for part in table.parts():
                write(_rows(model, part, missing))
                cases += len(part)
                if progress is not None:
                    progress(cases, table.rows)
        if not cases:
            raise MalformedTable("the file has no row")
        yield Scored(
            cases=cases,
            input_sha256=_sha256(source),
            output_sha256=_sha256(draft),
            missing=missing,
        )
        draft.replace(target)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    id: str
    label: str
    probability: float
    ranking: str
    prediction_set: str
    flags: str


def _check_columns(model: ServedModel, columns: tuple[str, ...]) -> None:
    features = [name for name in columns[1:] if name not in COLUMNS]
    known = set(model.contract.names)
    if not known & set(features):
        raise NoKnownFeature(
            f"no column is a feature of {model.name}; "
            f"its first is named “{model.contract.names[0]}”"
        )
    for name in features:
        if name not in known:
            raise MalformedTable(f"column “{name[:80]}”: not a feature of {model.name}")


def _rows(model: ServedModel, part: Part, missing: dict[str, int]) -> list[_Row]:
    profiles = list(_profiles(model, part))
    for profile in profiles:
        for name in profile.missing:
            missing[name] = missing.get(name, 0) + 1
    matrix = np.stack([profile.values for profile in profiles])
    probabilities = model.calibration.probabilities(model.margins(matrix))
    labels = model.labels
    rows = []
    for sample_id, profile, row in zip(
        part.texts(part.columns[0]), profiles, probabilities, strict=True
    ):
        order = np.argsort(-row, kind="stable")
        kept = [labels[place] for place in model.calibration.prediction_set(row)]
        rows.append(
            _Row(
                id=sample_id,
                label=labels[order[0]],
                probability=float(row[order[0]]),
                ranking=_json({labels[place]: float(row[place]) for place in order}),
                prediction_set=_json(kept),
                flags=_json([*model.flags(profile), Flag.NOT_FOR_CARE]),
            )
        )
    return rows


def _profiles(model: ServedModel, part: Part) -> Iterator[Profile]:
    values = part.numbers(model.contract.names)
    for row, features in enumerate(values, part.first_row):
        try:
            yield model.contract.profile(features)
        except InvalidFeature as cause:
            raise MalformedTable(f"row {row}, column “{cause.name}”: {cause.problem}") from cause
        except NoKnownFeature as cause:
            raise MalformedTable(f"row {row}: every feature is missing") from cause


class _Write(Protocol):
    def __call__(self, rows: list[_Row], /) -> None: ...


@contextmanager
def _writer(path: Path) -> Iterator[_Write]:
    if path.suffix.lower() in {".parquet", ".pq"}:
        schema = pa.schema(
            [(name, pa.float64() if name == "probability" else pa.string()) for name in _OUTPUT]
        )
        with pq.ParquetWriter(path, schema) as parquet:
            yield lambda rows: parquet.write_table(
                pa.table(
                    {name: [getattr(row, name) for row in rows] for name in _OUTPUT}, schema=schema
                )
            )
    else:
        with path.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(_OUTPUT)
            yield lambda rows: writer.writerows(
                [getattr(row, name) for name in _OUTPUT] for row in rows
            )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
