"""What the log stands on: the same on SQLite and PostgreSQL."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, delete, insert, inspect, select, text

from guarantee import databases, migrations
from guarantee.databases import parse_url
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import LedgerUnavailable, UnknownRecord
from guarantee.refusals import UnknownDossier
from guarantee.situations import Dossier
from guarantee.store import (
    KEYS,
    METADATA,
    Reader,
    StillReadable,
    Store,
    StoreUnavailable,
    UnsupportedDatabase,
)
from guarantee.transfer import copy_aside
from guarantee.verify import verify_home
from tests.guarantee.clinic import Clinic
from tests.postgresql import Postgresql

SECRET = b"what-was-erased-must-not-be-found"


@pytest.fixture
def store(empty_home: Home) -> Iterator[Store]:
    with closing(Store(empty_home.url)) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "PATIENCE_SECONDS", 0.3)


def keep(store: Store, *names: str) -> None:
    with store.writing() as connection:
        connection.execute(
            insert(KEYS), [{"id": name, "wrapped": SECRET + name.encode()} for name in names]
        )


def kept(store: Reader) -> list[str]:
    with store.reading() as connection:
        return list(connection.scalars(select(KEYS.c.id).order_by(KEYS.c.id)))


def test_the_revisions_make_the_tables_that_the_statements_use(store: Store) -> None:
    with store.writing() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_the_latest_revision_is_the_one_that_opening_looks_for() -> None:
    folder = Path(migrations.__file__).parent
    assert ScriptDirectory(folder).get_current_head() == migrations.LATEST


def test_tables_of_a_later_garant_are_refused(empty_home: Home) -> None:
    with closing(Store(empty_home.url)) as store, store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="revision 9999"):
        Store(empty_home.url)


def test_tables_that_are_there_without_a_revision_are_given_one(empty_home: Home) -> None:
    empty_home.path.mkdir()
    engine = create_engine(empty_home.url)
    METADATA.create_all(engine)
    engine.dispose()
    with closing(Store(empty_home.url)) as store, store.reading() as connection:
        assert inspect(connection).has_table("alembic_version")


def test_a_log_that_was_made_once_opens_without_alembic(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    Ledger.open(home).close()
    program = (
        "import sys; from pathlib import Path; from guarantee.home import Home;"
        "from guarantee.ledger import Ledger; Ledger.open(Home(Path(sys.argv[1]))).close();"
        "print('alembic' in sys.modules)"
    )
    opened = subprocess.run(
        [sys.executable, "-c", program, str(home.path)],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert opened.stdout == "False\n"


def test_a_log_opens_in_under_two_seconds(clinic: Clinic) -> None:
    clinic.whole_dossier()
    began = time.perf_counter()
    Ledger.open(clinic.home).close()
    assert time.perf_counter() - began < 2


def test_a_reader_sees_one_state_whatever_writers_commit_meanwhile(store: Store) -> None:
    keep(store, "a")
    with store.reading() as connection:
        assert connection.scalar(select(KEYS.c.id)) == "a"
        keep(store, "b")
        assert list(connection.scalars(select(KEYS.c.id))) == ["a"]
    assert kept(store) == ["a", "b"]


def test_a_writer_sees_what_the_last_one_committed_while_it_waited(store: Store) -> None:
    keep(store, "a")
    seen: list[str] = []

    def read_and_add() -> None:
        with store.writing() as connection:
            seen.extend(connection.scalars(select(KEYS.c.id).order_by(KEYS.c.id)))

    waiting = threading.Thread(target=read_and_add)
    with store.writing() as connection:
        waiting.start()
        time.sleep(0.1)
        connection.execute(insert(KEYS).values(id="b", wrapped=b""))
    waiting.join()
    assert seen == ["a", "b"]


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    keep(store, "a")
    with pytest.raises(StoreUnavailable) as refused:
        keep(store, "b", "a")
    assert kept(store) == ["a"]
    # A database's words may quote the row.
    assert SECRET.decode() not in str(refused.value)
    assert refused.value.__suppress_context__


def test_what_is_only_noted_is_there_too(store: Store) -> None:
    with store.noting() as connection:
        connection.execute(insert(KEYS).values(id="a", wrapped=b""))
    assert kept(store) == ["a"]


def test_a_reader_changes_nothing(empty_home: Home, store: Store) -> None:
    keep(store, "a")
    with closing(Reader.open(empty_home.url)) as reader:
        assert kept(reader) == ["a"]
        with pytest.raises(StoreUnavailable), reader.reading() as connection:
            connection.execute(delete(KEYS))
    assert kept(store) == ["a"]


# Another process holds the lock


def test_a_log_that_a_stopped_process_keeps_locked_answers_unavailable_then_goes_on(
    empty_home: Home, impatient: None
) -> None:
    clinic = Clinic.founded(empty_home)
    information = clinic.inform()
    other = Store(empty_home.url)
    with other.writing():
        with pytest.raises(LedgerUnavailable):
            clinic.infer(information)
        # Reading goes on.
        assert clinic.ledger.head().size == clinic.ledger.find(information).index + 1
    other.close()
    clinic.infer(information)
    clinic.ledger.close()
    assert verify_home(empty_home).verified


def test_a_database_that_a_stranger_keeps_locked_answers_unavailable_then_goes_on(
    tmp_path: Path, impatient: None
) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    information = clinic.inform()
    with closing(sqlite3.connect(clinic.home.database)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            clinic.infer(information)
        stranger.rollback()
    clinic.infer(information)
    clinic.ledger.close()
    assert verify_home(clinic.home).verified


# Erasing


def files_holding(folder: Path, secret: bytes) -> list[str]:
    return [
        path.name for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()
    ]


def test_what_was_erased_is_in_no_file_of_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with closing(Store(home.url)) as store:
        keep(store, *map(str, range(50)))
        assert files_holding(home.path, SECRET)
        with store.writing() as connection:
            connection.execute(delete(KEYS))
        assert files_holding(home.path, SECRET) == ["ledger.db-wal"]
        store.forget()
        assert files_holding(home.path, SECRET) == []


@pytest.mark.slow
def test_what_was_erased_is_in_no_table_file_of_the_server(
    postgresql: Postgresql, postgresql_home: Home
) -> None:
    tables = Path(postgresql.server.pgdata) / "base"
    with closing(Store(postgresql_home.url)) as store:
        keep(store, *map(str, range(50)))
        postgresql.checkpoint(postgresql_home.url)
        assert files_holding(tables, SECRET)
        with store.writing() as connection:
            connection.execute(delete(KEYS))
        store.forget()
        # The old file goes at the next checkpoint of the server.
        postgresql.checkpoint(postgresql_home.url)
        assert files_holding(tables, SECRET) == []


def test_erasing_says_when_a_reader_of_an_older_state_keeps_it_readable(
    store: Store, impatient: None
) -> None:
    keep(store, "a")
    with store.reading() as connection:
        assert connection.scalar(select(KEYS.c.id)) == "a"
        with store.writing() as writing:
            writing.execute(delete(KEYS))
        with pytest.raises(StillReadable):
            store.forget()
    store.forget()


# What callers may ask for


@pytest.mark.parametrize(
    "strange", ["no\x00such", "x" * 5000, "é" * 64, "\ud800", "'; DROP TABLE head; --"]
)
def test_a_strange_id_is_unknown_and_harms_nothing(clinic: Clinic, strange: str) -> None:
    with pytest.raises(UnknownRecord):
        clinic.ledger.find(strange)
    with pytest.raises(UnknownRecord):
        clinic.ledger.receipt(strange)
    with pytest.raises(UnknownDossier):
        clinic.decide(strange)
    assert clinic.ledger.get(Dossier, strange) is None
    assert clinic.ledger.thread(strange) == []


@pytest.mark.slow
def test_every_command_and_the_verifier_open_the_database_that_the_environment_names(
    postgresql_home: Home, tmp_path: Path
) -> None:
    clinic = Clinic.founded(postgresql_home)
    inference = clinic.whole_dossier()
    clinic.ledger.close()
    url = postgresql_home.url.render_as_string(hide_password=False)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", *arguments, "--home", str(postgresql_home.path)],
            check=False,
            capture_output=True,
            text=True,
            env={
                "GARANT_DATABASE_URL": url,
                "HOME": str(tmp_path),
                "PYTHONPATH": ":".join(sys.path),
            },
        )

    assert "InferenceMade" in run("garant", "ledger", "stats").stdout
    assert inference in run("garant", "ledger", "proof", inference).stderr
    for command in (("garant", "ledger", "verify"), ("guarantee.verify",)):
        verified = run(*command)
        assert verified.returncode == 0, verified.stdout + verified.stderr
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE records SET header = header || '!' WHERE id = :id"), {"id": inference}
        )
    engine.dispose()
    for command in (("garant", "ledger", "verify"), ("guarantee.verify",)):
        tampered = run(*command)
        assert tampered.returncode == 1
        assert inference in tampered.stdout
    assert not postgresql_home.database.exists()


# Database URLs


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://doctor:hunter2@localhost:5432/garant",
        "postgres://doctor:hunter2@localhost/garant",
        "postgresql+psycopg://doctor:hunter2@localhost/garant",
    ],
)
def test_a_postgresql_url_is_taken_and_its_password_never_shown(url: str) -> None:
    parsed = parse_url(url)
    assert parsed.drivername == "postgresql+psycopg"
    assert "hunter2" not in f"{parsed} {parsed!r} {Home(Path(), parsed)!r}"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://doctor:hunter2@localhost/garant",
        "sqlite:////var/hunter2.db",
        "postgresql://doctor:hunter2@localhost",
        "postgresql://doctor:hunter2@localhost:hunter2/garant",
        "postgresql+psycopg2://doctor:hunter2@localhost/garant",
        "hunter2",
        "",
    ],
)
def test_another_url_is_refused_and_never_echoed(url: str) -> None:
    with pytest.raises(UnsupportedDatabase, match="postgresql://") as refused:
        parse_url(url)
    assert "hunter2" not in str(refused.value)


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    with pytest.raises(StoreUnavailable) as refused:
        Store(parse_url("postgresql://doctor:hunter2@127.0.0.1:1/garant"))
    assert "hunter2" not in str(refused.value)


@pytest.mark.slow
def test_a_server_that_does_not_sync_is_refused(
    postgresql: Postgresql, postgresql_home: Home
) -> None:
    with postgresql.configured(fsync="off"), pytest.raises(StoreUnavailable, match="fsync"):
        Store(postgresql_home.url)
    Store(postgresql_home.url).close()


@pytest.mark.slow
def test_an_asynchronous_server_still_commits_durably(
    postgresql: Postgresql, postgresql_home: Home
) -> None:
    shown = text("SHOW synchronous_commit")
    with postgresql.configured(synchronous_commit="off"), ExitStack() as opened:
        store = opened.enter_context(closing(Store(postgresql_home.url)))
        with store.writing() as connection:
            assert connection.scalar(shown) == "on"
        with store.noting() as connection:
            assert connection.scalar(shown) == "off"


def test_a_log_with_an_altered_text_is_copied_as_far_as_texts_can_be(
    file_clinic: Clinic, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    copy_aside(file_clinic.ledger.store, first, lambda _done, _all: None)
    with closing(sqlite3.connect(first)) as connection, connection:
        connection.execute("UPDATE records SET model = CAST(x'6dff' AS TEXT) WHERE position = 0")
    with closing(Reader.open(first)) as altered:
        copy_aside(altered, second, lambda _done, _all: None)
    with closing(sqlite3.connect(second)) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM records")
    assert count == file_clinic.ledger.head().size
