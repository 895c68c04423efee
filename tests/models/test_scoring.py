"""Scoring files: the columns of the contract, and nothing half written."""

import csv
import gzip
import hashlib
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from models.cohorts import Cohort
from models.contract import NoKnownFeature
from models.errors import ModelsError
from models.scoring import Scored, UnwritableOutput, score
from models.served import ServedModel
from models.tables import MalformedTable, UnreadableTable

HEADER = "sample,gene 0,gene 1,gene 2,gene 3,gene 4,gene 5"


def scored(served: ServedModel, source: Path, target: Path) -> Scored:
    with score(served, source, target) as result:
        assert not target.exists()
    return result


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_file_is_scored_as_each_profile_is_answered(
    served: ServedModel, cohort: Cohort, tmp_path: Path
) -> None:
    rows = []
    for sample_id in cohort.ids:
        sent = cohort.features_of(sample_id)
        cells = [repr(sent[name]) if name in sent else "" for name in cohort.contract.names]
        rows.append(",".join([sample_id, *cells]))
    source = write(tmp_path / "in.csv", HEADER, *rows)
    target = tmp_path / "out.csv"
    result = scored(served, source, target)
    assert result.cases == len(cohort.ids)
    assert result.output_sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    with target.open(newline="", encoding="utf-8") as lines:
        answers = list(csv.DictReader(lines))
    assert list(answers[0]) == ["id", "label", "probability", "ranking", "prediction_set", "flags"]
    assert [answer["id"] for answer in answers] == list(cohort.ids)
    for line in answers:
        answer = served.answer(served.contract.vector(cohort.features_of(line["id"])))
        assert line["label"] == answer.label
        assert float(line["probability"]) == pytest.approx(answer.probability)
        assert list(json.loads(line["ranking"])) == [label for label, _ in answer.ranking]
        assert json.loads(line["prediction_set"]) == list(answer.prediction_set)
        assert json.loads(line["flags"]) == [*answer.flags, "not_for_care"]


def test_parquet_in_and_out_scores_alike(served: ServedModel, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, "a,8,5,5,5,5,5", "b,5,8,,5,5,5")
    pq.write_table(pacsv.read_csv(source), tmp_path / "in.parquet")
    scored(served, source, tmp_path / "out.csv")
    scored(served, tmp_path / "in.parquet", tmp_path / "out.parquet")
    with (tmp_path / "out.csv").open(newline="") as lines:
        from_csv = [
            {**row, "probability": float(row["probability"])} for row in csv.DictReader(lines)
        ]
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == from_csv


def test_missing_features_are_allowed_counted_and_flagged(
    served: ServedModel, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.csv", "sample,label,gene 0,gene 1", "a,lung,8,5", "b,[,5,")
    result = scored(served, source, tmp_path / "out.csv")
    assert result.missing == {"gene 1": 1, "gene 2": 2, "gene 3": 2, "gene 4": 2, "gene 5": 2}
    assert (tmp_path / "out.csv").read_text().count("missing_features") == 2


def test_where_the_model_abstains_a_label_stands_there_all_the_same(
    served: ServedModel, tmp_path: Path
) -> None:
    card = served.card.model_copy(update={"least_known_share": 0.5})
    asking = replace(served, card=card)
    source = write(tmp_path / "in.csv", HEADER, "a,8,5,5,,,", "b,8,5,,,,", "c,30,-9,30,-9,30,-9")
    assert scored(asking, source, tmp_path / "out.csv").abstained == 2
    with (tmp_path / "out.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        ranking, kept = json.loads(row["ranking"]), json.loads(row["prediction_set"])
        assert row["label"] == kept[0] == next(iter(ranking))
        assert float(row["probability"]) == ranking[row["label"]] == max(ranking.values())
        assert sum(ranking.values()) == pytest.approx(1)
        abstained = "abstained" in json.loads(row["flags"])
        assert abstained == (row["id"] != "a")
        if abstained:
            assert set(kept) == set(served.labels)
            assert float(row["probability"]) < 0.4


def test_what_the_model_does_not_read_is_passed_over_and_told(
    served: ServedModel, tmp_path: Path
) -> None:
    plain = write(tmp_path / "plain.csv", "sample,gene 0", "a,8", "b,5")
    source = write(
        tmp_path / "in.csv", "sample,study,gene 0,site,hsa-mir-7", "a,x,8,NA,", "b,y,5,,7"
    )
    assert scored(served, plain, tmp_path / "out1.csv").passed_over == ()
    assert scored(served, source, tmp_path / "out2.csv").passed_over == ("study", "hsa-mir-7")
    assert (tmp_path / "out1.csv").read_bytes() == (tmp_path / "out2.csv").read_bytes()


@pytest.mark.parametrize(
    ("lines", "error", "where"),
    [
        ([HEADER, "a,1,2,3,4,5,6", "b,1,2,x42,4,5,6"], MalformedTable, "row 2, column “gene 2”"),
        ([HEADER, "a,1,2,3,4,5,6", "b,1,2,٧,4,5,6"], MalformedTable, "row 2, column “gene 2”"),
        ([HEADER, "a,1,2,3,4,5,6", "b,1,2,42,4,5,6"], MalformedTable, "row 2, column “gene 2”"),
        ([HEADER, "a,1,2,3,4,5,6", "a,1,2,3,4,5,6"], MalformedTable, "row 2, column “sample”"),
        ([HEADER, "a,1,2,3,4,5,6", "b,,,,,,"], MalformedTable, "row 2: every feature is missing"),
        (["sample,age", "a,42"], NoKnownFeature, "no column is a feature"),
        (["gene 0,gene 1", "5,42"], MalformedTable, "column “gene 0”: the first column"),
        ([HEADER, "", "a,1,2,3,4,5,6", "", "b,1,2,3;42,4,5,6"], MalformedTable, "row 4, column"),
        ([HEADER], MalformedTable, "no row"),
        ([""], MalformedTable, "no header"),
    ],
)
def test_a_mistake_is_named_without_its_value_and_leaves_nothing(
    served: ServedModel, tmp_path: Path, lines: list[str], error: type[ModelsError], where: str
) -> None:
    source = write(tmp_path / "in.csv", *lines)
    with pytest.raises(error, match=where) as refusal:
        scored(served, source, tmp_path / "out.csv")
    assert "42" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_an_unreadable_file_and_a_failed_record_leave_an_older_output_alone(
    served: ServedModel, tmp_path: Path
) -> None:
    target = write(tmp_path / "out.csv", "older")
    with (
        pytest.raises(UnreadableTable, match=r"absent\.csv"),
        score(served, tmp_path / "absent.csv", target),
    ):
        pass
    source = write(tmp_path / "in.csv", HEADER, "a,1,2,3,4,5,6")
    with pytest.raises(ConnectionError), score(served, source, target):
        raise ConnectionError
    assert target.read_text() == "older"


def test_ids_come_out_as_they_came_in(served: ServedModel, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", HEADER, "=1+1,5,5,5,5,5,5", "@x,5,5,5,5,5,5")
    scored(served, source, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as lines:
        assert [row["id"] for row in csv.DictReader(lines)] == ["=1+1", "@x"]


def test_ids_of_any_script_and_of_several_lines_are_kept(
    served: ServedModel, tmp_path: Path
) -> None:
    ids = ["été", "日本", "a\nb", "c\r\nd", "e,f", 'g"h', "1e3", "0012"]
    with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(HEADER.split(","))
        writer.writerows([one, *[5] * 6] for one in ids)
    scored(served, tmp_path / "in.csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as lines:
        assert [row["id"] for row in csv.DictReader(lines)] == ids


@pytest.mark.parametrize(
    "column",
    [
        pa.array([8, None], pa.int8()),
        pa.array([8, None], pa.uint64()),
        pa.array(np.array([8, np.nan], dtype=np.float16)),
        pa.array([Decimal("8.00"), None]),
        pa.array(["8", ""]),
        pa.array([8.0, None]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_a_number_is_the_same_however_parquet_stores_it(
    served: ServedModel, tmp_path: Path, column: pa.Array
) -> None:
    source = write(tmp_path / "in.csv", "id,gene 0,gene 1", "1,8,5", "2,,5")
    scored(served, source, tmp_path / "plain.csv")
    table = pa.table({"id": [1, 2], "gene 0": column, "gene 1": [5.0, 5.0]})
    pq.write_table(table, tmp_path / "in.parquet")
    scored(served, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "plain.csv").read_bytes()


def test_the_input_is_not_written_over_by_whatever_name(
    served: ServedModel, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.csv", HEADER, "a,1,2,3,4,5,6")
    (tmp_path / "link.csv").symlink_to(source)
    for target in source, tmp_path / "link.csv":
        with pytest.raises(UnwritableOutput, match="input"), score(served, source, target):
            pass
    with pytest.raises(UnwritableOutput, match="folder"), score(served, source, tmp_path):
        pass


def test_the_ways_in_which_a_spreadsheet_saves_one_table_are_one(
    served: ServedModel, tmp_path: Path
) -> None:
    lines = ["id;gene 0;gene 1", "0012;8;", '"007";5;4.5', "1e3;5;4"]
    text = "\n".join(lines) + "\n"
    wide = text.replace("\n", "\r\n").replace(";", ",")
    ways = {
        "semicolons.csv": text.encode(),
        "tabs.tsv": text.replace(";", "\t").encode(),
        "mark.csv": wide.encode("utf-8-sig"),
        "old-mac.csv": wide.replace("\r\n", "\r").encode(),
        "blank.csv": ("\n\n" + wide).replace("\r\n", "\n\n \n").encode().lstrip(),
        "packed.csv.gz": gzip.compress(text.encode()),
        "packed.csv": gzip.compress(text.encode()),
    }
    answers = set()
    for name, content in ways.items():
        (tmp_path / name).write_bytes(content)
        scored(served, tmp_path / name, tmp_path / "out.csv")
        answers.add((tmp_path / "out.csv").read_text())
        (tmp_path / "out.csv").unlink()
    (answered,) = answers
    with io.StringIO(answered) as lines_out:
        assert [row["id"] for row in csv.DictReader(lines_out)] == ["0012", "007", "1e3"]
    scored(served, tmp_path / "mark.csv", tmp_path / "out.csv.gz")
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).decode() == answered


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("id,gene 0\na,5".encode("utf-16"), "not text in UTF-8"),
        (gzip.compress(b"id,gene 0\na,5")[:-9], "not gzip, or is damaged"),
        (b"id,gene 0\na,5\x00", "row 1, column “gene 0”"),
        ("id,gene 0\na,5".encode("utf-16-le"), "no column is a feature"),
        (b"PK\x03\x04\xff\xfe spreadsheet", "not text in UTF-8"),
        (b"PAR1 and no more", "not Parquet, or is damaged"),
    ],
)
def test_a_file_that_is_neither_csv_nor_parquet_is_named(
    served: ServedModel, tmp_path: Path, content: bytes, where: str
) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    with pytest.raises(ModelsError, match=where):
        scored(served, tmp_path / "in.csv", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
