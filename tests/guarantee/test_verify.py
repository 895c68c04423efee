"""Whatever is altered in a log, the verifier names it; untouched, it verifies."""

import base64
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from guarantee import verify
from guarantee.home import Home
from guarantee.keyring import VARIABLE
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
            " JOIN bodies USING (position) ORDER BY position"
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
    for place, record_id, _, _, stored in rows(home):
        for at in (0, len(stored) // 2, len(stored) - 1):
            changed = bytes([stored[at] ^ 1]).join((stored[:at], stored[at + 1 :]))
            alter(home, "UPDATE bodies SET stored = ? WHERE position = ?", changed, place)
            assert record_id in findings(home)
        alter(home, "UPDATE bodies SET stored = ? WHERE position = ?", stored, place)
    assert verify_home(home).verified


def test_bytes_turned_into_text_or_null_by_an_edit_name_the_record(home: Home) -> None:
    place, record_id, *_ = rows(home)[-1]
    original = home.database.read_bytes()
    for table, column in (("records", "header"), ("bodies", "stored")):
        for value in (
            f"substr({column}, 1, 20) || x'00' || substr({column}, 22)",
            "'text'",
            "''",
            "7",
        ):
            edit = f"UPDATE {table} SET {column} = {value} WHERE position = ?"  # noqa: S608  # ours
            alter(home, edit, place)
            assert record_id in findings(home), value
            restore(home, original)


def test_any_row_deleted_names_the_record(home: Home) -> None:
    original = home.database.read_bytes()
    for place, record_id, *_ in rows(home):
        alter(home, "DELETE FROM records WHERE position = ?", place)
        assert f"index {place}: the record is missing" in findings(home)
        restore(home, original)
        alter(home, "DELETE FROM bodies WHERE position = ?", place)
        assert record_id in findings(home)
        restore(home, original)
    assert verify_home(home).verified


def test_a_record_deleted_with_its_body_leaves_its_place_in_the_log(home: Home) -> None:
    position, *_ = rows(home)[-3]
    alter(home, "DELETE FROM records WHERE position = ?", position)
    alter(home, "DELETE FROM bodies WHERE position = ?", position)
    assert f"index {position}" in findings(home)


def _swap(home: Home) -> None:
    (first, one, header, *_), (second, two, other, *_) = rows(home)[-2:]
    alter(home, "UPDATE records SET id = 'x' WHERE position = ?", first)
    alter(home, "UPDATE records SET id = ?, header = ? WHERE position = ?", one, header, second)
    alter(home, "UPDATE records SET id = ?, header = ? WHERE position = ?", two, other, first)


def _truncate(home: Home) -> None:
    alter(home, "DELETE FROM bodies WHERE position = ?", rows(home)[-1][0])
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


def _truncated(home: Home, of: float) -> None:
    content = home.database.read_bytes()
    home.database.write_bytes(content[: int(len(content) * of)])


def _in_place_of(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"short")


UNREADABLE: dict[str, Callable[[Home], None]] = {
    "a database cut in the middle": lambda home: _truncated(home, 0.5),
    "a database cut in its first page": lambda home: _truncated(home, 0.01),
    "an empty database": lambda home: _truncated(home, 0),
    **{
        f"a {kind} in the place of {name}": (
            lambda home, kind=kind, name=name: _in_place_of(home.path / name, kind)  # type: ignore[misc]
        )
        for kind in ("folder", "dangling link", "loop")
        for name in ("ledger.db", "keys/ledger.key", "keys/master.key", "keys/ledger.signed")
        # Links that lead nowhere are as if nothing was there: said elsewhere.
        if kind == "folder" or name in {"ledger.db", "keys/ledger.key"}
    },
    "a short ledger.key": lambda home: _in_place_of(home.keys / "ledger.key", "file"),
    "a short master.key": lambda home: _in_place_of(home.keys / "master.key", "file"),
}


@pytest.mark.parametrize("slip", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_neither_verified_nor_called_tampering(
    home: Home, slip: Callable[[Home], None], capsys: pytest.CaptureFixture[str]
) -> None:
    slip(home)
    assert main(["--home", str(home.path)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("could not check: ")
    assert not told.out
    assert len(told.err.splitlines()) == 1


def test_a_home_or_database_behind_a_link_is_verified_like_any(home: Home, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home.path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/keys").symlink_to(home.keys)
    (tmp_path / "linked/ledger.db").symlink_to(home.database)
    assert main(["--home", str(tmp_path / "link")]) == 0
    assert main(["--home", str(tmp_path / "linked")]) == 0
    alter(home, "UPDATE head SET root = zeroblob(32)")
    assert main(["--home", str(tmp_path / "linked")]) == 1


@pytest.mark.parametrize(
    "url",
    ["nonsense", "mysql://here/log", "postgresql://127.0.0.1:1/none", "sqlite:////tmp/log.db"],
)
def test_a_database_that_cannot_be_reached_is_not_checked(
    home: Home, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GARANT_DATABASE_URL", url)
    assert main(["--home", str(home.path)]) == 2
    assert capsys.readouterr().err.startswith("could not check: ")


def test_another_vault_s_master_key_is_a_slip_unless_something_else_is_wrong(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, base64.b64encode(b"m" * 32).decode())
    assert main(["--home", str(home.path)]) == 2
    told = capsys.readouterr()
    assert VARIABLE in told.err
    assert not told.out
    right = base64.b64encode((home.keys / "master.key").read_bytes()).decode()
    monkeypatch.setenv(VARIABLE, right)
    assert main(["--home", str(home.path)]) == 0
    monkeypatch.setenv(VARIABLE, base64.b64encode(b"m" * 32).decode())
    alter(home, "DELETE FROM bodies WHERE position = ?", rows(home)[-1][0])
    assert main(["--home", str(home.path)]) == 1


def test_a_file_without_end_is_no_checkpoint(home: Home) -> None:
    assert main(["--home", str(home.path), "--since", "/dev/zero"]) == 2


def test_a_defect_of_the_verifier_is_not_called_tampering(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise AssertionError("a defect")

    monkeypatch.setattr(verify, "replay", stumble)
    assert main(["--home", str(home.path)]) == 2
    assert "a defect" in capsys.readouterr().err


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
