"""Scoring a file of profiles: evaluation, not care; streamed, and whole or not at all."""

import csv
import gzip
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
from numpy.typing import NDArray

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
        abstained: Rows whose label is no answer.
        missing: How many rows lack each of the features that some row lacks.
        passed_over: Columns that are neither features of the model nor a cohort's own.
    """

    cases: int
    abstained: int
    input_sha256: str
    output_sha256: str
    missing: dict[str, int]
    passed_over: tuple[str, ...]


@contextmanager
def score(
    model: ServedModel, source: Path, target: Path, progress: Progress | None = None
) -> Iterator[Scored]:
    """Score `source` beside `target`, and move it there when the block ends without an error.

    In the block the caller records the evaluation: nothing leaves unrecorded, and on any error
    `target` stays as it was. The first column is the sample id; columns that are no feature of
    the model are passed over, and told: another laboratory measures other things, too. Ids come
    out as they came in, even where a spreadsheet would take one for a formula: open a stranger's
    CSV as text.

    Raises:
        UnwritableOutput: `target` is `source`, or a folder, or its folder is not there.
        UnreadableTable: The file cannot be read.
        MalformedTable: A cell, row or column cannot be used; names it.
        NoKnownFeature: No column is a feature of the model.
        OSError: `target` cannot be written.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise UnwritableOutput(f"{target} is the input itself: name another file for the output")
    if target.is_dir():
        raise UnwritableOutput(f"{target} is a folder: name a file in it for the output")
    if not target.parent.is_dir():
        raise UnwritableOutput(f"{target} cannot be written: there is no folder {target.parent}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        draft = Path(scratch) / target.name
        missing = np.zeros(len(model.contract.features), dtype=np.intp)
        cases = abstained = 0
        with tables.opened(source) as table, _writer(draft) as write:
            passed_over = _passed_over(model, table.columns)
            for part in table.parts():
                values = part.numbers(model.contract.names)
                rows = _rows(model, part, values)
                write(rows)
                abstained += sum(row.abstained for row in rows)
                missing += np.isnan(values).sum(axis=0)
                cases += len(part)
                if progress is not None:
                    progress(cases, table.rows)
        if not cases:
            raise MalformedTable("the file has no row")
        yield Scored(
            cases=cases,
            abstained=abstained,
            input_sha256=_sha256(source),
            output_sha256=_sha256(draft),
            missing={
                model.contract.names[place]: int(missing[place])
                for place in np.flatnonzero(missing)
            },
            passed_over=passed_over,
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
    abstained: bool


def _passed_over(model: ServedModel, columns: tuple[str, ...]) -> tuple[str, ...]:
    known = set(model.contract.names)
    if columns[0] in known:
        raise MalformedTable(
            f"column {tables.shown(columns[0])}: the first column is a feature of {model.name}; "
            "the sample id comes before all features"
        )
    if not known & set(columns):
        raise NoKnownFeature(
            f"no column is a feature of {model.name}; "
            f"its first is named “{model.contract.names[0]}”"
        )
    return tuple(name for name in columns[1:] if name not in known and name not in COLUMNS)


def _rows(model: ServedModel, part: Part, values: NDArray[np.float64]) -> list[_Row]:
    profiles = list(_profiles(model, part, values))
    matrix = np.stack([profile.values for profile in profiles])
    labels = model.labels
    rows = []
    for sample_id, verdict in zip(
        part.texts(part.columns[0]), model.verdicts(profiles, model.margins(matrix)), strict=True
    ):
        ranked, probabilities = verdict.ranked, verdict.probabilities
        rows.append(
            _Row(
                id=sample_id,
                label=labels[ranked[0]],
                probability=float(probabilities[ranked[0]]),
                ranking=_json({labels[place]: float(probabilities[place]) for place in ranked}),
                prediction_set=_json([labels[place] for place in verdict.kept]),
                flags=_json([*verdict.flags, Flag.NOT_FOR_CARE]),
                abstained=verdict.abstention is not None,
            )
        )
    return rows


def _profiles(model: ServedModel, part: Part, values: NDArray[np.float64]) -> Iterator[Profile]:
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
        opener = gzip.open if path.suffix.lower() == ".gz" else open
        with opener(path, "wt", encoding="utf-8", newline="") as lines:
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
