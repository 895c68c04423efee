"""Whatever is altered in a log, the verifier names it; untouched, it verifies."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from guarantee.home import Home
from guarantee.verify import CouldNotCheck, main, verify_home
from tests.guarantee.clinic import Clinic


@pytest.fixture
def home(tmp_path: Path) -> Home:
    clinic = Clinic.founded(tmp_path / "home")
    clinic.whole_dossier(1)
    clinic.whole_dossier(2)
    clinic.ledger.close()
    return clinic.home


def rows(home: Home) -> list[tuple[int, str, bytes, str | None, bytes]]:
    with closing(sqlite3.connect(home.database)) as connection:
        return connection.execute(
            "SELECT position, id, header, key_id, stored FROM records"
            " JOIN bodies ON record_id = id ORDER BY position"
        ).fetchall()


def alter(home: Home, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(home.database)) as connection, connection:
        assert connection.execute(statement, values).rowcount != 0


def restore(home: Home, database: bytes) -> None:
    for beside in home.path.glob("ledger.db-*"):
        beside.unlink()
    home.database.write_bytes(database)


def findings(home: Home) -> str:
    report = verify_home(home)
    return "\n".join(str(finding) for finding in report.findings)


def test_an_untouched_log_verifies(home: Home) -> None:
    report = verify_home(home)
    assert report.verified
    assert report.size == len(rows(home))
    assert main(["--home", str(home.path)]) == 0


def test_one_byte_changed_anywhere_in_any_header_names_the_record(home: Home) -> None:
    for position, record_id, header, _, _ in rows(home):
        for at in range(0, len(header), max(1, len(header) // 7)):
            changed = bytes([header[at] ^ 1]).join((header[:at], header[at + 1 :]))
            alter(home, "UPDATE records SET header = ? WHERE position = ?", changed, position)
            assert record_id in findings(home), (record_id, at)
        alter(home, "UPDATE records SET header = ? WHERE position = ?", header, position)
    assert verify_home(home).verified


def test_one_byte_changed_in_any_body_names_the_record(home: Home) -> None:
    for _, record_id, _, _, stored in rows(home):
        for at in (0, len(stored) // 2, len(stored) - 1):
            changed = bytes([stored[at] ^ 1]).join((stored[:at], stored[at + 1 :]))
            alter(home, "UPDATE bodies SET stored = ? WHERE record_id = ?", changed, record_id)
            assert record_id in findings(home)
        alter(home, "UPDATE bodies SET stored = ? WHERE record_id = ?", stored, record_id)
    assert verify_home(home).verified


def test_bytes_turned_into_text_or_null_by_an_edit_name_the_record(home: Home) -> None:
    _, record_id, *_ = rows(home)[-1]
    original = home.database.read_bytes()
    for table, column, key in (("records", "header", "id"), ("bodies", "stored", "record_id")):
        for value in (
            f"substr({column}, 1, 20) || x'00' || substr({column}, 22)",
            "'text'",
            "''",
            "7",
        ):
            edit = f"UPDATE {table} SET {column} = {value} WHERE {key} = ?"  # noqa: S608  # ours
            alter(home, edit, record_id)
            assert record_id in findings(home), value
            restore(home, original)


def test_any_row_deleted_names_the_record(home: Home) -> None:
    original = home.database.read_bytes()
    for _, record_id, *_ in rows(home):
        alter(home, "DELETE FROM records WHERE id = ?", record_id)
        assert record_id in findings(home)
        restore(home, original)
        alter(home, "DELETE FROM bodies WHERE record_id = ?", record_id)
        assert record_id in findings(home)
        restore(home, original)
    assert verify_home(home).verified


def test_a_record_deleted_with_its_body_leaves_its_place_in_the_log(home: Home) -> None:
    position, record_id, *_ = rows(home)[-3]
    alter(home, "DELETE FROM records WHERE id = ?", record_id)
    alter(home, "DELETE FROM bodies WHERE record_id = ?", record_id)
    assert f"index {position}" in findings(home)


def _swap(home: Home) -> None:
    (first, one, header, *_), (second, two, other, *_) = rows(home)[-2:]
    alter(home, "UPDATE records SET id = 'x' WHERE position = ?", first)
    alter(home, "UPDATE records SET id = ?, header = ? WHERE position = ?", one, header, second)
    alter(home, "UPDATE records SET id = ?, header = ? WHERE position = ?", two, other, first)


def _truncate(home: Home) -> None:
    alter(home, "DELETE FROM bodies WHERE record_id = ?", rows(home)[-1][1])
    alter(home, "DELETE FROM records WHERE position = (SELECT max(position) FROM records)")
    alter(home, "UPDATE head SET size = size - 1")


ATTACKS: dict[str, Callable[[Home], None]] = {
    "rows swapped": _swap,
    "a patient's key deleted": lambda home: alter(
        home, "DELETE FROM keys WHERE id = (SELECT key_id FROM bodies WHERE key_id NOT NULL)"
    ),
    "a wrapped key altered": lambda home: alter(
        home, "UPDATE keys SET wrapped = zeroblob(60) WHERE id <> 'actors'"
    ),
    "two patients' keys swapped": lambda home: alter(
        home,
        "UPDATE keys SET wrapped = (SELECT wrapped FROM keys AS other"
        " WHERE other.id <> 'actors' AND other.id <> keys.id) WHERE id <> 'actors'",
    ),
    "the key of another patient named": lambda home: alter(
        home, "UPDATE bodies SET key_id = 'actors' WHERE key_id NOT NULL"
    ),
    "the log truncated with its head": _truncate,
    "the head's root altered": lambda home: alter(home, "UPDATE head SET root = zeroblob(32)"),
    "the checkpoint removed": lambda home: alter(home, "DELETE FROM signed"),
    "the checkpoint rewritten": lambda home: alter(
        home, "UPDATE signed SET note = replace(note, 'garant', 'granat')"
    ),
    "a tile altered": lambda home: alter(home, "UPDATE tiles SET hashes = zeroblob(32)"),
    "a tile deleted": lambda home: alter(home, "DELETE FROM tiles"),
    "an actor's identity altered": lambda home: alter(
        home, "UPDATE people SET stored = zeroblob(80) WHERE key_id = 'actors'"
    ),
    "a dossier moved back": lambda home: alter(
        home, "UPDATE states SET step = 'answered' WHERE kind = 'Dossier'"
    ),
    "an objection undone": lambda home: alter(
        home,
        "UPDATE states SET facts = replace(facts, 'informed', 'objected')"
        " WHERE kind = 'Information'",
    ),
    "a step removed from the state": lambda home: alter(
        home, "DELETE FROM states WHERE kind = 'Dossier'"
    ),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_no_attack_goes_unseen(home: Home, attack: Callable[[Home], None]) -> None:
    attack(home)
    assert findings(home)
    assert main(["--home", str(home.path)]) == 1


def test_what_cannot_be_checked_is_not_called_verified(home: Home, tmp_path: Path) -> None:
    assert main(["--home", str(tmp_path / "nowhere")]) == 2
    (home.keys / "ledger.key").unlink()
    with pytest.raises(CouldNotCheck, match=r"ledger\.key"):
        verify_home(home)
    assert main(["--home", str(home.path)]) == 2


def test_a_file_that_is_no_database_is_not_called_verified(home: Home) -> None:
    home.database.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(CouldNotCheck, match="not a database"):
        verify_home(home)
    assert main(["--home", str(home.path)]) == 2


def test_without_the_master_key_digests_are_checked_and_it_says_so(home: Home) -> None:
    (home.keys / "master.key").unlink()
    report = verify_home(home)
    assert report.verified
    assert any("master key" in remark for remark in report.remarks)


def test_verifying_changes_nothing(home: Home) -> None:
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    command = [sys.executable, "-m", "guarantee.verify", "--home", str(home.path)]
    answered = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answered.returncode == 0, answered.stderr
    assert "verified" in answered.stdout
    after = {path: path.read_bytes() for path in before}
    assert before == after
