"""A database edited outside the records: every row, every cell, the schema, the very pages."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, LargeBinary

from guarantee.appending import Request
from guarantee.home import Home
from guarantee.kept import keep_checkpoint
from guarantee.ledger import Ledger
from guarantee.repeats import RequestConflict
from guarantee.store import METADATA, OWNED
from guarantee.verify import COULD_NOT_CHECK, CouldNotCheck, main, verify_home
from tests.guarantee.clinic import Clinic

REQUEST = Request(actor="a", route="r", key="k", content=b"c")

NASTY = (
    None,
    "",
    "[" * 20_000,
    "{" * 20_000,
    '{"a":' * 20_000,
    "9" * 5_000,
    "1e999",
    "null",
    "true",
    '"text"',
    "\x00",
    "\x1b[2J",
    "é" * 100,
    b"",
    b"\xff\xfe",
    b"{" + b'"a":[' * 20_000,
    b'{"time":' + b"9" * 5_000 + b"}",
    -1,
    0,
    7,
    2**62,
    -(2**63),
    1.5,
    float("inf"),
)

LOSSES = {"requests", "checkpoints"}
"""What the log does not name, so that a row that is gone is not missed: see `guarantee.store`."""

UNTOLD = {("checkpoints", "position"), ("checkpoints", "timestamp")}
"""Their order says nothing, and whether there was a timestamp the log does not say."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Home:
    clinic = Clinic.founded(tmp_path_factory.mktemp("pristine") / "home")
    inference = clinic.infer(clinic.inform(), request=REQUEST).id
    clinic.decide(inference)
    clinic.tell(inference)
    keep_checkpoint(clinic.ledger, clinic.ledger.checkpoint())
    clinic.ledger.close()
    return clinic.home


@pytest.fixture
def home(pristine: Home, tmp_path: Path) -> Home:
    shutil.copytree(pristine.path, tmp_path / "home")
    return Home(tmp_path / "home")


TABLES = [table for table in METADATA.sorted_tables if table is not OWNED]
"""Those that hold something in so short a log; of `owned`, see `test_owned`."""


class Cells:
    """One connection that edits, and puts the database back."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._original = home.database.read_bytes()

    def edit(self, statement: str, *values: object) -> bool:
        """Whether the database took it, and something changed."""
        with closing(sqlite3.connect(self.home.database)) as connection:
            try:
                with connection:
                    return connection.execute(statement, values).rowcount > 0
            except (sqlite3.IntegrityError, OverflowError):
                return False

    def restore(self) -> None:
        for beside in self.home.path.glob("ledger.db-*"):
            beside.unlink()
        self.home.database.write_bytes(self._original)

    def rows(self, table: str) -> list[int]:
        with closing(sqlite3.connect(self.home.database)) as connection:
            return [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]  # noqa: S608


def problems(home: Home) -> list[str]:
    """What the verifier says is wrong; that it could not check is no word of praise either."""
    try:
        report = verify_home(home)
    except CouldNotCheck as error:
        return [str(error)]
    words = [str(finding) for finding in report.findings]
    assert all(line.isprintable() for line in words)
    return words


def test_what_is_untouched_verifies(home: Home) -> None:
    assert problems(home) == []


@pytest.mark.parametrize("table", [table.description for table in TABLES])
def test_any_row_deleted_is_found(home: Home, table: str) -> None:
    cells = Cells(home)
    rows = cells.rows(table)
    assert rows
    for row in rows:
        assert cells.edit(f"DELETE FROM {table} WHERE rowid = ?", row)  # noqa: S608  # ours
        assert (main(["--home", str(home.path)]) == 0) == (table in LOSSES), (table, row)
        cells.restore()


@pytest.mark.slow
@pytest.mark.parametrize(
    "column",
    [column for table in TABLES for column in table.columns],
    ids=str,
)
def test_no_cell_is_altered_unseen_and_none_makes_the_verifier_stumble(
    home: Home, column: Column[object]
) -> None:
    table = column.table.description
    cells = Cells(home)
    # The first and the last row: of a log both the clear and the sealed records.
    rows = cells.rows(table)
    for row in {rows[0], rows[-1]}:
        values = [value.encode() for value in NASTY if isinstance(value, str)]
        for value in (*NASTY, *(values if isinstance(column.type, LargeBinary) else ())):
            where = f"{column.name} IS NOT ? AND rowid = ?"
            edit = f"UPDATE {table} SET {column.name} = ? WHERE {where}"  # noqa: S608  # ours
            if cells.edit(edit, value, value, row):
                found = problems(home)
                unseen = (table, column.name) in UNTOLD and type(value) in {int, type(None)}
                assert found or unseen, (row, repr(value)[:40])
                cells.restore()


@pytest.mark.parametrize("nasty", ["[" * 20_000, '{"step":' * 20_000, "9" * 5_000, " {}", "null"])
def test_a_state_that_cannot_be_read_is_a_finding(home: Home, nasty: str) -> None:
    assert Cells(home).edit("UPDATE states SET facts = ?", nasty)
    assert main(["--home", str(home.path)]) == 1


def test_a_state_written_in_another_way_is_not_the_one_that_moves_on(home: Home) -> None:
    assert Cells(home).edit("UPDATE states SET facts = facts || ' ' WHERE kind = 'Dossier'")
    assert any("the stored dossier" in problem for problem in problems(home))


EDITS = {
    "an actor forgotten": (
        "DELETE FROM people WHERE rowid = (SELECT max(rowid) FROM people WHERE key_id = 'actors')",
        "whom it names, is missing",
    ),
    "a patient forgotten": (
        "DELETE FROM people WHERE key_id <> 'actors'",
        "is missing, and nothing on record says why",
    ),
    "found by another hash": ("UPDATE people SET lookup = randomblob(32)", "is found by what is"),
    "a request moved to another record": (
        "UPDATE requests SET record_id = (SELECT id FROM records WHERE position = 0)",
        "the idempotency key that recorded",
    ),
    "a request of no record": ("UPDATE requests SET record_id = 'none'", "which is no record"),
    "another thing asked": (
        "UPDATE requests SET digest = randomblob(64)",
        "the idempotency key that recorded",
    ),
    "the key of requests deleted": (
        "DELETE FROM keys WHERE id = 'requests'",
        "the key that idempotency keys are under is missing",
    ),
    "the head's origin": ("UPDATE head SET origin = 'garant.local/0'", "the row of head names log"),
    "the checkpoint's origin": (
        "UPDATE signed SET origin = 'garant.local/0'",
        "the row of signed names log",
    ),
    "the checkpoint's size": ("UPDATE signed SET size = 1", "names another size"),
    "a kept checkpoint's size": ("UPDATE checkpoints SET size = 1", "names another size"),
    "the head deleted": ("DELETE FROM head", "holds 0 heads"),
    "a head of far more": ("UPDATE head SET size = 9000000000", "the head says 9000000000 records"),
    "a tile beyond": ("INSERT INTO tiles VALUES (0, 7, x'00')", "tile 0/7 is not of the tree"),
    "a tile above": ("INSERT INTO tiles VALUES (1, 0, x'00')", "tile 1/0 is not of the tree"),
    "a header turned into text": (
        "UPDATE records SET header = CAST(header AS TEXT) WHERE position = 0",
        "the row 0 of records: header holds text",
    ),
    "a body turned into text": (
        "UPDATE bodies SET stored = CAST(stored AS TEXT)",
        "of bodies: stored holds text",
    ),
    "a table added": ("CREATE TABLE more (a)", "holds a table more, which Garant never made"),
    "a trigger added": (
        "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM bodies; END",
        "holds a trigger t, which Garant never made",
    ),
    "a view added": ("CREATE VIEW v AS SELECT 1", "holds a view v"),
    "an index dropped": ("DROP INDEX records_by_type", "the index records_by_type is missing"),
    "a column added": ("ALTER TABLE head ADD COLUMN more", "the table head is not the one"),
    "a table dropped": ("DROP TABLE people", "the table people is missing"),
    "the revision deleted": ("DELETE FROM alembic_version", "names 0 revisions"),
}


@pytest.mark.parametrize(("edit", "said"), EDITS.values(), ids=EDITS.keys())
def test_an_edit_beside_the_records_is_named(home: Home, edit: str, said: str) -> None:
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute(edit)
    assert said in "\n".join(problems(home))
    assert main(["--home", str(home.path)]) == 1


def test_a_request_that_was_altered_is_not_taken_at_its_word(home: Home) -> None:
    assert Cells(home).edit(
        "UPDATE requests SET record_id = (SELECT id FROM records WHERE position = 0)"
    )
    with Ledger.open(home) as ledger, pytest.raises(RequestConflict):
        ledger.repeated(REQUEST)


@pytest.mark.parametrize("index", ["records_by_type", "sqlite_autoindex_records_1"])
def test_an_index_that_misses_rows_is_found(home: Home, index: str) -> None:
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page_size = connection.execute("PRAGMA page_size").fetchone()[0]
        page = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)
        ).fetchone()[0]
    database = bytearray(home.database.read_bytes())
    # The page of a B-tree counts its cells in two bytes: the last of them is dropped.
    at = (page - 1) * page_size + 3
    cells = int.from_bytes(database[at : at + 2])
    database[at : at + 2] = (cells - 1).to_bytes(2)
    home.database.write_bytes(database)
    assert any("the database file is damaged" in problem for problem in problems(home))
    assert main(["--home", str(home.path)]) == 1


def test_a_home_that_was_never_used_cannot_be_checked(tmp_path: Path) -> None:
    for make in (Path.mkdir, _touch, _opened):
        where = tmp_path / make.__name__
        make(where)
        assert main(["--home", str(where)]) == COULD_NOT_CHECK


def _touch(where: Path) -> None:
    where.mkdir()
    (where / "ledger.db").touch()
    (where / "keys").mkdir()
    (where / "keys/ledger.key").write_bytes(bytes(32))


def _opened(where: Path) -> None:
    Ledger.open(Home(where)).close()


PROGRAMS = {
    "trigger": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER more BEFORE INSERT ON bodies FOR EACH ROW EXECUTE FUNCTION f()",
    ),
    "rule": ("CREATE RULE more AS ON DELETE TO records DO INSTEAD NOTHING",),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
def test_what_a_server_would_run_by_itself_is_named(postgresql_home: Home, kind: str) -> None:
    clinic = Clinic.founded(postgresql_home)
    assert problems(postgresql_home) == []
    with clinic.ledger.store.writing() as connection:
        for statement in PROGRAMS[kind]:
            connection.exec_driver_sql(statement)
    clinic.ledger.close()
    table = "bodies" if kind == "trigger" else "records"
    said = f"the table {table} has a {kind} more, which Garant never made"
    assert problems(postgresql_home) == [said]


@pytest.mark.slow
def test_an_edit_beside_the_records_is_named_on_a_server(postgresql_home: Home) -> None:
    clinic = Clinic.founded(postgresql_home)
    clinic.infer(clinic.inform(), request=REQUEST)
    with clinic.ledger.store.writing() as connection:
        connection.exec_driver_sql("UPDATE requests SET digest = 'x'")
        connection.exec_driver_sql("UPDATE people SET lookup = 'x' WHERE key_id <> 'actors'")
        connection.exec_driver_sql("INSERT INTO tiles VALUES (0, 7, 'x')")
    clinic.ledger.close()
    found = "\n".join(problems(postgresql_home))
    for said in ("idempotency key that recorded", "is found by what", "tile 0/7 is not of"):
        assert said in found
