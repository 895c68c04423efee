"""Files of profiles, read part by part: CSV and Parquet, each mistake named by row and column."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, time
from itertools import chain
from math import isfinite
from operator import itemgetter
from pathlib import Path
from typing import Final, Protocol, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.errors import ModelsError

PART_ROWS: Final = 256
# What files of each format begin with, whatever they are named.
_PARQUET: Final = b"PAR1"
_GZIP: Final = b"\x1f\x8b"
_SEPARATORS: Final = (",", ";", "\t")


class UnreadableTable(ModelsError):
    """A file cannot be opened, or is not CSV in UTF-8 or Parquet; the message says which."""


class MalformedTable(ModelsError):
    """A cell, row or header cannot be used; the message names row and column, never the value.

    Rows are counted from 1, the first under the header.
    """


class _Cells(Protocol):
    def texts(self, place: int) -> list[str]: ...

    def numbers(self, places: Sequence[int]) -> NDArray[np.float64]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a table.

    Attributes:
        columns: Names, in order.
        first_row: The number of its first row, from 1.
    """

    columns: tuple[str, ...]
    first_row: int
    _cells: _Cells

    def __len__(self) -> int:
        return len(self._cells)

    def texts(self, column: str) -> tuple[str, ...]:
        """A column as text, without outer spaces; empty where a cell is.

        Raises:
            KeyError: There is no such column.
        """
        if column not in self.columns:
            raise KeyError(column)
        return tuple(text.strip() for text in self._cells.texts(self.columns.index(column)))

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Columns as numbers, (n_rows, n_columns); NaN in empty cells and for absent columns.

        Raises:
            MalformedTable: A cell is neither empty nor a finite number.
        """
        places = {name: place for place, name in enumerate(self.columns)}
        known = [place for place, name in enumerate(columns) if name in places]
        matrix = np.full((len(self), len(columns)), np.nan)
        matrix[:, known] = self._cells.numbers([places[columns[place]] for place in known])
        return matrix


@dataclass(frozen=True, slots=True)
class Table:
    """An open file.

    Attributes:
        columns: Names, in order; the first is that of the sample ids.
        rows: How many there are, where the format tells in advance.
    """

    path: Path
    columns: tuple[str, ...]
    rows: int | None
    _parts: Iterator[Part]

    def parts(self) -> Iterator[Part]:
        """The rows, once, some at a time.

        Raises:
            MalformedTable: A row has too many or too few cells, or an id is empty or repeated.
            UnreadableTable: The file breaks off.
        """
        seen: set[str] = set()
        with _reading(self.path):
            for part in self._parts:
                for row, sample_id in enumerate(part.texts(self.columns[0]), part.first_row):
                    where = f"row {row}, column {shown(self.columns[0])}"
                    if not sample_id:
                        raise MalformedTable(f"{where}: the sample id is empty")
                    if sample_id in seen:
                        raise MalformedTable(f"{where}: an earlier row has the same sample id")
                    seen.add(sample_id)
                yield part


@contextmanager
def opened(path: Path) -> Iterator[Table]:
    """Open a CSV, plain or gzipped, or a Parquet file; its first column is the sample id.

    A CSV's separator is the comma, the semicolon or the tab, whichever its first line has most.
    Numbers have a decimal point in any case: a comma might as well separate thousands.

    Raises:
        UnreadableTable: It cannot be read.
        MalformedTable: Its header is empty or names a column twice, or its first column holds
            fractions.
    """
    with ExitStack() as stack:
        with _reading(path):
            if not path.is_file():
                # A pipe could be read only once, and its digest is taken after.
                reason = "is no plain file" if path.exists() else "there is no such file"
                raise UnreadableTable(f"{path}: {reason}")
            with path.open("rb") as stream:
                begins = stream.read(4)
            if begins == _PARQUET:
                file = stack.enter_context(pq.ParquetFile(path))
                columns = _checked(file.schema_arrow.names)
                if pa.types.is_floating(file.schema_arrow.types[0]):
                    # pandas writes its index, where the ids may be, last.
                    raise MalformedTable(
                        f"column {shown(columns[0])}: the first column holds fractions, not "
                        "sample ids; write the ids as a column of their own, before all others"
                    )
                table = Table(path, columns, file.metadata.num_rows, _parquet_parts(file, columns))
            else:
                lines = stack.enter_context(_text(path, gzipped=begins.startswith(_GZIP)))
                rows = _csv_rows(lines)
                columns = _checked(next(rows, []))
                table = Table(path, columns, None, _csv_parts(rows, columns))
        yield table


def _text(path: Path, *, gzipped: bool) -> TextIO:
    if gzipped:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _csv_rows(lines: TextIO) -> Iterator[list[str]]:
    first = lines.readline()
    # The first line may be the start of a quoted name, but its separators are told by then.
    separator = max(_SEPARATORS, key=first.count)
    return csv.reader(chain((first,), lines), strict=True, delimiter=separator)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Translates what reading the file raises; what its reader does in between is not in here."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as cause:
        raise UnreadableTable(f"{path} is not gzip, or is damaged") from cause
    except OSError as cause:
        raise UnreadableTable(f"{path}: {cause.strerror or 'cannot be read'}") from cause
    except UnicodeDecodeError as cause:
        raise UnreadableTable(f"{path} is not text in UTF-8; save it as CSV UTF-8") from cause
    except csv.Error as cause:
        raise UnreadableTable(f"{path} is not CSV: {cause}") from cause
    except pa.ArrowException as cause:
        raise UnreadableTable(f"{path} is not Parquet, or is damaged") from cause


def _checked(names: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(name.strip() for name in names)
    if not columns or not any(columns):
        raise MalformedTable("the file has no header; its first line names the columns")
    for place, name in enumerate(columns, 1):
        # R writes its row names, which are ids, under no name.
        if not name and place > 1:
            raise MalformedTable(f"column {place} has no name; name it or leave it out")
        if name in columns[: place - 1]:
            raise MalformedTable(f"column {place}: a second column named {shown(name)}")
    return columns


def _csv_parts(rows: Iterator[list[str]], columns: tuple[str, ...]) -> Iterator[Part]:
    chunk, first_row = list[list[str]](), 1
    for row, line in enumerate(rows, 1):
        # A blank line is no row, but counts as one, so that rows are numbered as editors do.
        cells = line if len(line) > 1 or "".join(line).strip() else []
        if cells and len(cells) != len(columns):
            raise MalformedTable(f"row {row}: {len(cells)} cells under {len(columns)} columns")
        if cells:
            chunk.append(cells)
        if chunk and (not cells or len(chunk) == PART_ROWS):
            yield Part(columns, first_row, _CsvCells(chunk, columns, first_row))
            chunk = []
        if not chunk:
            first_row = row + 1
    if chunk:
        yield Part(columns, first_row, _CsvCells(chunk, columns, first_row))


def _parquet_parts(file: pq.ParquetFile, columns: tuple[str, ...]) -> Iterator[Part]:
    first_row = 1
    for batch in file.iter_batches(batch_size=PART_ROWS):
        yield Part(columns, first_row, _ParquetCells(batch, columns, first_row))
        first_row += batch.num_rows


class _CsvCells:
    def __init__(self, rows: list[list[str]], columns: tuple[str, ...], first_row: int) -> None:
        self._rows = rows
        self._columns = columns
        self._first_row = first_row

    def __len__(self) -> int:
        return len(self._rows)

    def texts(self, place: int) -> list[str]:
        return [cells[place] for cells in self._rows]

    def numbers(self, places: Sequence[int]) -> NDArray[np.float64]:
        matrix = np.empty((len(self._rows), len(places)))
        if not places:
            return matrix
        chosen = itemgetter(*places) if len(places) > 1 else lambda cells: (cells[places[0]],)
        for row, cells in enumerate(self._rows):
            matrix[row] = _numbers(chosen(cells)) or [
                _number(cells[place], self._columns[place], self._first_row + row)
                for place in places
            ]
        return matrix


class _ParquetCells:
    def __init__(self, batch: pa.RecordBatch, columns: tuple[str, ...], first_row: int) -> None:
        self._batch = batch
        self._columns = columns
        self._first_row = first_row

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def texts(self, place: int) -> list[str]:
        return [_as_text(cell) for cell in self._batch.column(place).to_pylist()]

    def numbers(self, places: Sequence[int]) -> NDArray[np.float64]:
        if places and all(_is_plain(self._batch.schema.field(place).type) for place in places):
            tensor = self._batch.select(list(places)).to_tensor(null_to_nan=True)
            matrix = np.asarray(tensor.to_numpy(), dtype=np.float64)
            if not np.isinf(matrix).any():
                return matrix
        matrix = np.empty((len(self), len(places)))
        for slot, place in enumerate(places):
            matrix[:, slot] = self._column(place)
        return matrix

    def _column(self, place: int) -> NDArray[np.float64]:
        column, name = self._batch.column(place), self._columns[place]
        kind = column.type
        if not (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        ):
            # What is not stored as numbers is read as text, so that the row at fault is named.
            return np.array(
                [
                    _number(text, name, row)
                    for row, text in enumerate(self.texts(place), self._first_row)
                ]
            )
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(np.isinf(values)):
            raise _not_a_number(name, self._first_row + int(row))
        return np.asarray(values, dtype=np.float64)


def _is_plain(kind: pa.DataType) -> bool:
    return bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _as_text(cell: object) -> str:
    if isinstance(cell, bytes):
        # Some writers mark no column as text.
        return cell.decode(errors="backslashreplace")
    if isinstance(cell, datetime) and cell.time() == time():
        # What pandas keeps for a day.
        return cell.date().isoformat()
    return "" if cell is None else str(cell)


def _numbers(texts: Sequence[str]) -> list[float] | None:
    """A row of plain numbers and empty cells; None where any cell needs a closer look."""
    joined = "".join(texts)
    if "_" in joined or not joined.isascii():
        return None
    try:
        values = [float(text) if text else np.nan for text in texts]
    except ValueError:
        return None
    # A sum is infinite or NaN where one of its numbers is.
    known = values if "" not in texts else [float(text) for text in texts if text]
    return values if isfinite(sum(known)) else None


def _number(text: str, column: str, row: int) -> float:
    if not text or text.isspace():
        return np.nan
    try:
        value = float(text)
    except ValueError:
        # The cause holds the cell, which may be about a patient.
        raise _not_a_number(column, row) from None
    # Python takes "nan", "inf", "1_000" and other scripts' digits for numbers; a laboratory
    # does not mean the first three, and who reads the file may not read the last.
    if not np.isfinite(value) or "_" in text or not text.isascii():
        raise _not_a_number(column, row)
    return value


def _not_a_number(column: str, row: int) -> MalformedTable:
    return MalformedTable(
        f"row {row}, column {shown(column)}: not a finite number; "
        "write it with a decimal point, or leave the cell empty"
    )


def shown(name: str) -> str:
    """A column's name as an error or a terminal may show it: short, and without commands."""
    return f"“{name[:80]}”" if name.isprintable() else repr(name[:80])
