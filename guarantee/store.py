"""The tables, and transactions on them: SQLite now, the same statements elsewhere.

Nothing here knows what a record means. Writers queue on a file lock beside the database,
because SQLite's own busy handler sleeps up to 100 ms between two tries.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from guarantee.errors import GuaranteeError

METADATA = MetaData()

RECORDS = Table(
    "records",
    METADATA,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("type", String(32), nullable=False),
    Column("dossier", String(36)),
    Column("model", String(63)),
    Column("header", LargeBinary, nullable=False),
    Index("records_by_dossier", "dossier"),
    Index("records_by_type", "type", "model"),
)
"""The log. `type`, `dossier` and `model` repeat the header, to find it by."""

BODIES = Table(
    "bodies",
    METADATA,
    Column("record_id", String(36), primary_key=True),
    Column("key_id", String(36)),
    Column("stored", LargeBinary, nullable=False),
    Index("bodies_by_key", "key_id"),
)
"""The vault's bodies; `key_id` is the patient's pseudonym, none where the body is clear."""

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)
"""Keys under the master key, by the pseudonym that they belong to."""

PEOPLE = Table(
    "people",
    METADATA,
    Column("pseudonym", String(36), primary_key=True),
    Column("lookup", LargeBinary, nullable=False, unique=True),
    Column("key_id", String(36), nullable=False),
    Column("stored", LargeBinary, nullable=False),
)
"""Who a pseudonym is: found by a keyed hash, kept encrypted."""

TILES = Table(
    "tiles",
    METADATA,
    Column("level", Integer, primary_key=True),
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("hashes", LargeBinary, nullable=False),
)
"""Up to 256 hashes each, as c2sp.org/tlog-tiles lays them out."""

HEAD = Table(
    "head",
    METADATA,
    Column("origin", String(255), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
)
"""One row: so many records, under this root."""

SIGNED = Table(
    "signed",
    METADATA,
    Column("origin", String(255), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
)
"""One row: the last signed checkpoint, written after the head that it signs."""

STATES = Table(
    "states",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("step", String(32), nullable=False),
    Column("facts", String, nullable=False),
    Index("states_by_step", "kind", "step"),
)
"""Where the protocol stands; moved in the head's own transaction."""

REQUESTS = Table(
    "requests",
    METADATA,
    Column("key", LargeBinary, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("record_id", String(36), nullable=False),
)
"""Idempotency keys and what they recorded: keyed hashes alone."""


class StoreUnavailable(GuaranteeError):
    """The database cannot be read or written; nothing was acknowledged."""


class Reader:
    """A database to read, as the verifier does: nothing is made or changed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, database: Path) -> "Reader":
        """Open the SQLite file at `database` without writing to it."""
        return cls(_sqlite(f"file:{quote(str(database.resolve()))}?mode=ro&uri=true"))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view, that writers neither wait for nor change.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        with _translated(), self.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN")
            yield connection

    def close(self) -> None:
        """Give the connections back to the system."""
        self.engine.dispose()


class Store(Reader):
    """A database to write, and the lock that its writers queue on."""

    def __init__(self, database: Path) -> None:
        """Open or make the SQLite file at `database`.

        Raises:
            StoreUnavailable: The file cannot be opened, or is no database.
        """
        try:
            database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = database.with_suffix(".lock")
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{database.parent} cannot be written: {error}") from error
        self._writers = threading.Lock()
        super().__init__(_sqlite(str(database), "journal_mode=WAL", "synchronous=FULL"))
        # NORMAL leaves the fsync to the next durable commit, and without checkpoints of its own
        # this connection never moves unsynced frames into the database.
        self._notes = _sqlite(
            str(database), "journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"
        )
        with self.writing() as connection:
            METADATA.create_all(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One durable transaction; it alone writes, and sees all that was written before.

        Raises:
            StoreUnavailable: The outcome is unknown where the commit itself failed.
        """
        with self._writing(self.engine) as connection:
            yield connection

    @contextmanager
    def noting(self) -> Iterator[Connection]:
        """One transaction that may be lost with the power: for what can be made again.

        Raises:
            StoreUnavailable: The outcome is unknown where the commit itself failed.
        """
        with self._writing(self._notes) as connection:
            yield connection

    @contextmanager
    def _writing(self, engine: Engine) -> Iterator[Connection]:
        with self._writers:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                with _translated(), engine.connect() as connection, connection.begin():
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    yield connection
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the connections and the lock back to the system."""
        super().close()
        self._notes.dispose()
        os.close(self._lock)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        # The driver's own words alone: SQLAlchemy's hold the statement's parameters.
        raise StoreUnavailable(f"the database failed: {error.orig}") from None


def _sqlite(database: str, *durability: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{database}",
        poolclass=QueuePool,
        pool_size=16,
        max_overflow=64,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": 30},
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
