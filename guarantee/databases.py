"""What SQLite and PostgreSQL each do in their own way; the statements are the same on both.

SQLite's writers queue on a file lock beside the database, because its own busy handler sleeps up
to 100 ms between two tries. PostgreSQL's writers queue on one advisory lock of the database.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.pool import QueuePool

from guarantee.errors import GuaranteeError

if TYPE_CHECKING:
    from psycopg import Connection as PostgresqlConnection

PATIENCE_SECONDS = 30.0
"""How long anything waits for another writer before it gives up."""

_WRITERS_LOCK: Final = int.from_bytes(b"garant")
_POLL_SECONDS: Final = 0.0005


class StoreUnavailable(GuaranteeError):
    """The database cannot be read or written; nothing was acknowledged."""


class UnsupportedDatabase(StoreUnavailable):
    """A database URL that is no PostgreSQL's; never says the URL, which may hold a password."""


class StillReadable(StoreUnavailable):
    """What was deleted can still be read, because somebody reads an older state: try again."""


class Database(Protocol):
    """One kind of database, opened: all that `Store` leaves to it."""

    engine: Engine

    @property
    def failure(self) -> type[Exception]:
        """What its driver raises."""

    def begin_reading(self, connection: Connection) -> None:
        """Make the open transaction one consistent view."""

    def transaction(self, *, durable: bool) -> AbstractContextManager[Connection]:
        """A transaction that alone writes, and sees all that was written before."""

    def together(self, connection: Connection) -> AbstractContextManager[None]:
        """See `Store.together`."""

    def settle(self) -> None:
        """Make durable what is read now, though another process wrote it and was killed."""

    def forget(self, tables: Sequence[Table]) -> None:
        """See `Store.forget`."""

    def close(self) -> None:
        """Give everything back to the system."""


def parse_url(text: str) -> URL:
    """A PostgreSQL database's URL: `postgresql://user:password@host:5432/name`.

    Raises:
        UnsupportedDatabase: Not of that form. Says no part of it: it may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UnsupportedDatabase(
            "the database URL cannot be read: it looks like postgresql://user:password@host/name, "
            "with @ : / in the password percent-encoded"
        ) from None
    if url.drivername not in {"postgresql", "postgres", "postgresql+psycopg"} or not url.database:
        raise UnsupportedDatabase(
            "the database URL must name a PostgreSQL database: postgresql://user@host/name; "
            "without one, the log is the SQLite file in the home"
        )
    return url.set(drivername="postgresql+psycopg")


def file_url(path: Path) -> URL:
    """The URL of a SQLite file."""
    return URL.create("sqlite", database=str(path))


def open_database(url: URL, *, to_write: bool) -> Database:
    """Open what `url` names; a SQLite file to write is made where there is none.

    Raises:
        StoreUnavailable: It cannot be opened.
        UnsupportedDatabase: Neither SQLite nor PostgreSQL.
    """
    if url.drivername == "sqlite" and url.database:
        path = Path(url.database)
        return WrittenFile(path) if to_write else ReadFile(path)
    return Server(parse_url(url.render_as_string(hide_password=False)))


@contextmanager
def translated(database: Database) -> Iterator[None]:
    """Turn the driver's errors into `StoreUnavailable`.

    In the driver's own words alone: SQLAlchemy's hold the statement's parameters, and the later
    lines of PostgreSQL's hold rows.
    """
    try:
        yield
    except (DBAPIError, database.failure) as error:
        own = error.orig if isinstance(error, DBAPIError) else error
        words = str(own).strip().partition("\n")[0]
        raise StoreUnavailable(f"the database failed: {words}") from None
    except NoConnection as error:
        raise StoreUnavailable("the database's connections are all in use") from error


class _Kept:
    """A connection that goes from one writer to the next, while nothing fails; they queue."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    @contextmanager
    def transaction(self, begin: str) -> Iterator[Connection]:
        """A transaction that starts with this statement."""
        connection = self._begun(begin)
        try:
            yield connection
            connection.commit()
        except BaseException:
            # Whose server is gone has nothing to roll back.
            with suppress(DBAPIError):
                connection.rollback()
            connection.close()
            raise
        self._connection = connection

    def _begun(self, begin: str) -> Connection:
        kept, self._connection = self._connection, None
        if kept is not None:
            try:
                kept.exec_driver_sql(begin)
            except DBAPIError as error:
                kept.close()
                # Nothing was done yet: a server that was restarted refuses no clinician.
                if not error.connection_invalidated:
                    raise
            else:
                return kept
        connection = self._engine.connect()
        try:
            connection.exec_driver_sql(begin)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ReadFile:
    """A SQLite file that is only read: nothing is made or changed."""

    failure = sqlite3.Error

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = _sqlite(f"file:{quote(str(path.resolve()))}?mode=ro&uri=true")

    def begin_reading(self, connection: Connection) -> None:
        """Make the open transaction one consistent view."""
        connection.exec_driver_sql("BEGIN")

    def transaction(self, *, durable: bool) -> AbstractContextManager[Connection]:  # noqa: ARG002
        """Refuse."""
        raise StoreUnavailable("the database is open to be read")

    def together(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing to do: a file is near."""
        return nullcontext()

    def settle(self) -> None:
        """Nothing to do: who only reads signs nothing."""

    def forget(self, tables: Sequence[Table]) -> None:  # noqa: ARG002
        """Refuse."""
        raise StoreUnavailable("the database is open to be read")

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


class WrittenFile(ReadFile):
    """A SQLite file, and the lock that its writers queue on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = path.with_suffix(".lock")
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # SQLite gives the files beside the database the mode that it has itself.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"{path.parent} cannot be written: {error}") from error
        self._writers = threading.Lock()
        self.engine = _sqlite(
            str(path), "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"
        )
        # NORMAL leaves the fsync to the next durable commit, and without checkpoints of its own
        # this connection never moves unsynced frames into the database.
        self._notes = _sqlite(
            str(path), "journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"
        )
        self._durable, self._lazy = _Kept(self.engine), _Kept(self._notes)

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[Connection]:
        """A transaction that alone writes, and sees all that was written before."""
        kept = self._durable if durable else self._lazy
        with self._alone(), kept.transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        if not self._writers.acquire(timeout=PATIENCE_SECONDS):
            raise StoreUnavailable("another thread keeps the log from being written")
        try:
            while not self._locked():
                if time.monotonic() > deadline:
                    raise StoreUnavailable("another process keeps the log from being written")
                time.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        finally:
            self._writers.release()

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StoreUnavailable(f"the log's lock cannot be taken: {error}") from error
        return True

    def settle(self) -> None:
        """Move all that the write-ahead log holds into the database, and sync it.

        After a kill between write and fsync SQLite reads frames back that may be in the page
        cache alone: signing a head over them, then losing power, would fork the log.
        """
        with self._alone():
            # Where others keep it from being emptied, SQLite recovered nothing: they synced it.
            self._truncate()
        _sync(self.path.parent)

    def forget(self, tables: Sequence[Table]) -> None:  # noqa: ARG002
        """See `Store.forget`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with self._alone():
                if self._truncate():
                    return
            # The lock is free in between: writers need not wait for a slow reader.
            if time.monotonic() > deadline:
                raise StillReadable(
                    "what was erased can still be read in the write-ahead log, because a reader "
                    "uses an older state: end it, then erase again"
                )
            time.sleep(0.02)

    def _truncate(self) -> bool:
        with translated(self), self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            try:
                busy: int = connection.exec_driver_sql(
                    "PRAGMA wal_checkpoint(TRUNCATE)"
                ).scalar_one()
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={int(PATIENCE_SECONDS * 1000)}")
        # The cut itself is synced too, or power loss could bring back what was erased.
        _sync(self.path.with_name(f"{self.path.name}-wal"))
        return busy == 0

    def close(self) -> None:
        """Close the connections and the lock."""
        self._durable.close()
        self._lazy.close()
        super().close()
        self._notes.dispose()
        os.close(self._lock)


class Server:
    """A PostgreSQL database, by psycopg."""

    def __init__(self, url: URL) -> None:
        try:
            self.engine = create_engine(
                url,
                pool_size=8,
                max_overflow=16,
                pool_timeout=PATIENCE_SECONDS,
                # A server that was restarted costs a round trip, not a refused clinician.
                pool_pre_ping=True,
                hide_parameters=True,
                connect_args={
                    "connect_timeout": 10,
                    "keepalives_idle": 30,
                    "keepalives_interval": 10,
                    "keepalives_count": 3,
                    "application_name": "garant",
                },
            )
        except ModuleNotFoundError as error:
            raise StoreUnavailable(
                "PostgreSQL needs psycopg: install garant with its extra 'postgresql'"
            ) from error
        self._reading = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        # Under READ COMMITTED the statements after the lock see what its last holder committed.
        self._writing = _Kept(self.engine.execution_options(isolation_level="READ COMMITTED"))
        self._writers = threading.Lock()
        self.engine, self._pool = self._reading, self.engine
        self.failure = self.engine.dialect.loaded_dbapi.Error

    def begin_reading(self, connection: Connection) -> None:
        """Nothing to do: the isolation level makes it one view."""

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[Connection]:
        """A transaction that alone writes, and sees all that was written before."""
        # Whatever the server's or the role's defaults are: a stricter one stays.
        synchronous = (
            "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' "
            "ELSE current_setting('synchronous_commit') END"
            if durable
            else "'off'"
        )
        begin = (
            f"SELECT set_config('synchronous_commit', {synchronous}, true),"
            f" set_config('lock_timeout', '{PATIENCE_SECONDS}s', true),"
            # A writer whose machine is gone must not keep the lock.
            " set_config('idle_in_transaction_session_timeout', '60s', true),"
            f" pg_advisory_xact_lock({_WRITERS_LOCK})"
        )
        if not self._writers.acquire(timeout=PATIENCE_SECONDS):
            raise StoreUnavailable("another thread keeps the log from being written")
        try:
            with self._writing.transaction(begin) as connection:
                yield connection
        finally:
            self._writers.release()

    @contextmanager
    def together(self, connection: Connection) -> Iterator[None]:
        """See `Store.together`: psycopg's pipeline, one round trip for all."""
        driver = cast("PostgresqlConnection", connection.connection.driver_connection)
        with driver.pipeline():
            yield

    def settle(self) -> None:
        """Check that the server syncs: it shows a commit only after that.

        Raises:
            StoreUnavailable: It runs with fsync=off.
        """
        with translated(self), self._reading.connect() as connection:
            if connection.exec_driver_sql("SHOW fsync").scalar_one() != "on":
                raise StoreUnavailable(
                    "the PostgreSQL server runs with fsync=off: nothing would survive power loss"
                )

    def forget(self, tables: Sequence[Table]) -> None:
        """See `Store.forget`."""
        with (
            translated(self),
            self._pool.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
        ):
            connection.exec_driver_sql(f"SET lock_timeout = '{PATIENCE_SECONDS}s'")
            self._await_readers(connection)
            preparer = connection.dialect.identifier_preparer
            for table in tables:
                connection.exec_driver_sql(f"VACUUM FULL {preparer.format_table(table)}")
            connection.exec_driver_sql("RESET lock_timeout")

    @staticmethod
    def _await_readers(connection: Connection) -> None:
        """Wait for every transaction that could still see what was deleted before this call."""
        horizon = connection.exec_driver_sql("SELECT pg_current_xact_id()::xid").scalar_one()
        older = text(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
            " AND age(backend_xmin) > age(CAST(CAST(:horizon AS text) AS xid)))"
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while connection.scalar(older, {"horizon": str(horizon)}):
            if time.monotonic() > deadline:
                raise StillReadable(
                    "what was erased can still be read, because a transaction sees an older "
                    "state: end it, then erase again"
                )
            time.sleep(0.02)

    def close(self) -> None:
        """Close the connections."""
        self._writing.close()
        self._pool.dispose()


def _sync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error
    try:
        os.fsync(handle)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be synced: {error}") from error
    finally:
        os.close(handle)


def _sqlite(database: str, *durability: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{database}",
        poolclass=QueuePool,
        pool_size=16,
        max_overflow=64,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": PATIENCE_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: object) -> None:
        # The driver would begin transactions by itself, too late for a consistent view.
        connection.isolation_level = None
        # Text that an edit made unreadable is for the verifier to name, not to stumble over.
        connection.text_factory = lambda text: text.decode(errors="surrogateescape")
        for pragma in (
            *durability,
            "secure_delete=ON",
            "foreign_keys=ON",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine
