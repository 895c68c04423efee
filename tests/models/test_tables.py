"""Tables: the same file as CSV and as Parquet reads alike, and what cannot be read says so."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models import tables
from models.tables import MalformedTable, UnreadableTable


def numbers(path: Path, columns: list[str]) -> list[list[float]]:
    with tables.opened(path) as table:
        return [row for part in table.parts() for row in part.numbers(columns).tolist()]


def test_csv_and_parquet_read_alike(tmp_path: Path) -> None:
    rows = tables.PART_ROWS + 3
    values = [None if row % 7 == 0 else row / 2 for row in range(rows)]
    written = pa.table({"id": [f"s{row}" for row in range(rows)], "g": values, "n": range(rows)})
    pq.write_table(written, tmp_path / "t.parquet")
    lines = ["id,g,n", *(f"s{r},{'' if v is None else v},{r}" for r, v in enumerate(values))]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    columns = ["n", "absent", "g"]
    assert np.array_equal(
        numbers(tmp_path / "t.csv", columns),
        numbers(tmp_path / "t.parquet", columns),
        equal_nan=True,
    )


def test_a_part_counts_its_rows_from_the_start_of_the_file(tmp_path: Path) -> None:
    lines = ["id,g", *(f"s{row},{row}" for row in range(tables.PART_ROWS)), "last,text"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(MalformedTable, match=f"row {tables.PART_ROWS + 1}, column “g”"):
        numbers(tmp_path / "t.csv", ["g"])


def test_an_id_repeated_in_a_later_part_is_refused(tmp_path: Path) -> None:
    lines = ["id,g", *(f"s{row},{row}" for row in range(tables.PART_ROWS)), "s0,1"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(MalformedTable, match=f"row {tables.PART_ROWS + 1}, column “id”"):
        numbers(tmp_path / "t.csv", ["g"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.csv", None),
        ("latin1.csv", "id,g\né,1".encode("latin1")),
        ("quotes.csv", b'id,g\n"a,1'),
        ("damaged.parquet", b"PAR1 and no more"),
        ("absent.parquet", None),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableTable, match=name):
        numbers(tmp_path / name, ["g"])


@pytest.mark.parametrize("content", ["", "\n", "id,g,g\na,1,2", "id,g,\na,1,"])
def test_a_header_that_is_empty_or_repeats_a_name_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(MalformedTable):
        numbers(tmp_path / "t.csv", ["g"])


@pytest.mark.parametrize(
    "column", [pa.array([1.0, float("inf")]), pa.array([True, False]), pa.array(["1", "one"])]
)
def test_a_parquet_cell_that_is_no_finite_number_is_refused(
    tmp_path: Path, column: pa.Array
) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "g": column}), tmp_path / "t.parquet")
    with pytest.raises(MalformedTable, match="column “g”"):
        numbers(tmp_path / "t.parquet", ["g"])


def test_ids_in_parquet_are_text_or_whole_numbers_and_come_first(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for ids, read in (([12, 7], ("12", "7")), ([b"a", b"b"], ("a", "b"))):
        pq.write_table(pa.table({"id": ids, "g": [1.0, None]}), path)
        with tables.opened(path) as table:
            (part,) = table.parts()
            assert part.texts("id") == read
    days = pa.array(["2026-11-24T00:00:00", "2026-11-24T09:00:00"]).cast(pa.timestamp("ns"))
    pq.write_table(pa.table({"id": ["a", "b"], "date": days}), path)
    with tables.opened(path) as table:
        (part,) = table.parts()
        assert part.texts("date") == ("2026-11-24", "2026-11-24 09:00:00")
    pq.write_table(pa.table({"id": ["a", None], "g": [1.0, 2.0]}), path)
    with pytest.raises(MalformedTable, match="row 2, column “id”"):
        numbers(path, ["g"])
    # As pandas writes a table whose ids are its index.
    pq.write_table(pa.table({"g": [1.5, 2.5], "id": ["a", "b"]}), path)
    with pytest.raises(MalformedTable, match="column “g”: the first column holds fractions"):
        numbers(path, ["g"])


@pytest.mark.parametrize(
    "kind", [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint64(), pa.decimal128(9, 2)]
)
def test_numbers_of_every_kind_are_read_from_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    values = pa.array([1, None, 3], pa.int64()).cast(pa.float64()).cast(kind)
    pq.write_table(pa.table({"id": ["a", "b", "c"], "g": values}), tmp_path / "t.parquet")
    found = np.array(numbers(tmp_path / "t.parquet", ["g", "absent"]))
    np.testing.assert_array_equal(found[:, 0], [1, np.nan, 3])
    assert np.isnan(found[:, 1]).all()
