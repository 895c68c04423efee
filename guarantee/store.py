"""The tables, and transactions on them: the same statements on SQLite and PostgreSQL.

Nothing here knows what a record means. A change of a table needs a revision in
`guarantee/migrations`, which makes it.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    literal_column,
    text,
)
from sqlalchemy.engine import URL

from guarantee.databases import (
    Database,
    StillReadable,
    StoreUnavailable,
    UnsupportedDatabase,
    file_url,
    open_database,
    translated,
)
from guarantee.migrations import migrate
from guarantee.statements import stored_name

__all__ = [
    "BODIES",
    "HEAD",
    "KEYS",
    "METADATA",
    "OWNED",
    "PEOPLE",
    "RECORDS",
    "REQUESTS",
    "SIGNED",
    "STATES",
    "TILES",
    "Reader",
    "StillReadable",
    "Store",
    "StoreUnavailable",
    "UnsupportedDatabase",
]

METADATA = MetaData()


class Name(TypeDecorator[str]):
    """Text to find rows by, which callers may choose.

    What no database can hold (NUL, lone surrogates) is looked up as what no row holds, and is no
    error: a caller must not be able to fail the group of records that theirs is committed with.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Escape what cannot be stored."""
        return value if value is None else stored_name(value)


_POSITION: Final = BigInteger().with_variant(Integer, "sqlite")


_IN_A_DOSSIER: Final = text("dossier IS NOT NULL")
"""What is in none costs an append no page."""
RECORDS = Table(
    "records",
    METADATA,
    Column("position", _POSITION, primary_key=True, autoincrement=False),
    Column("id", Name(36), nullable=False, unique=True),
    Column("type", Name(32), nullable=False),
    Column("dossier", Name(36)),
    Column("model", Name(63)),
    Column("header", LargeBinary, nullable=False),
    Index(
        "records_by_dossier",
        "dossier",
        sqlite_where=_IN_A_DOSSIER,
        postgresql_where=_IN_A_DOSSIER,
    ),
    Index("records_by_type", "type", "model"),
)
"""The log. `type`, `dossier` and `model` repeat the header, to find it by."""

BODIES = Table(
    "bodies",
    METADATA,
    Column("position", _POSITION, primary_key=True, autoincrement=False),
    Column("key_id", Name(36)),
    Column("stored", LargeBinary, nullable=False),
)
"""The vault's bodies, each at its record's place in the log; `key_id` is the patient's pseudonym,
none where the body is clear.
"""

OWNED = Table(
    "owned",
    METADATA,
    Column("key_id", Name(36), primary_key=True),
    Column("position", _POSITION, primary_key=True),
    sqlite_with_rowid=False,
)
"""Places of bodies by the patient whose they are: see `guarantee.owned`."""

KEYS = Table(
    "keys",
    METADATA,
    Column("id", Name(36), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)
"""Keys under the master key, by the pseudonym that they belong to."""

PEOPLE = Table(
    "people",
    METADATA,
    Column("pseudonym", Name(36), primary_key=True),
    Column("lookup", LargeBinary, nullable=False, unique=True),
    Column("key_id", Name(36), nullable=False),
    Column("stored", LargeBinary, nullable=False),
)
"""Who a pseudonym is: found by a keyed hash, kept encrypted."""

TILES = Table(
    "tiles",
    METADATA,
    Column("level", Integer, primary_key=True),
    Column("position", _POSITION, primary_key=True),
    Column("hashes", LargeBinary, nullable=False),
)
"""Up to 256 hashes each, as c2sp.org/tlog-tiles lays them out."""

HEAD = Table(
    "head",
    METADATA,
    Column("origin", Name(255), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
)
"""One row: so many records, under this root."""

SIGNED = Table(
    "signed",
    METADATA,
    Column("origin", Name(255), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
)
"""One row: the last signed checkpoint, written after the head that it signs."""

CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("position", _POSITION, primary_key=True, autoincrement=True),
    Column("size", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("timestamp", LargeBinary),
)
"""Checkpoints that outsiders vouch for: with cosignatures, or a timestamp (RFC 3161, DER).

The log does not name them: a row, or a timestamp, that was deleted is missed by nobody who has not
kept it. What it vouched for is then vouched for by one outsider less.
"""

STATES = Table(
    "states",
    METADATA,
    Column("kind", Name(16), primary_key=True),
    Column("key", Name(128), primary_key=True),
    Column("step", Name(32), nullable=False),
    Column("facts", String, nullable=False),
)
"""Where the protocol stands; moved in the head's own transaction."""

BEYOND_INFORMED: Final = STATES.c.step != literal_column("'informed'")
"""What is found by its step: nobody asks who is informed, and nearly every patient is."""

Index(
    "states_by_step",
    STATES.c.kind,
    STATES.c.step,
    sqlite_where=BEYOND_INFORMED,
    postgresql_where=BEYOND_INFORMED,
)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("key", LargeBinary, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("record_id", Name(36), nullable=False),
)
"""Idempotency keys and what they recorded: keyed hashes alone, which bind each row together.

The log does not name idempotency keys: a row that was altered or made up is found by whoever holds
the master key, a row that was deleted by nobody. What was recorded stands all the same; the same
request, sent again, would be judged anew, as one without a key is.
"""


class Reader:
    """A database to read, as the verifier does: nothing is made or changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = os.getpid()

    @classmethod
    def open(cls, where: URL | Path) -> "Reader":
        """Open a database, or the SQLite file at a path, without writing to it.

        Raises:
            StoreUnavailable: It cannot be opened.
            UnsupportedDatabase: Neither SQLite nor PostgreSQL.
        """
        return cls(open_database(_url(where), to_write=False))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view, that writers neither wait for nor change.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        self.check_process()
        database = self._database
        with translated(database), database.engine.connect() as connection, connection.begin():
            database.begin_reading(connection)
            yield connection

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process opened the database: a fork shares its connections and locks."""
        return os.getpid() == self._process

    def check_process(self) -> None:
        """Check that this process opened the database.

        Raises:
            StoreUnavailable: It was forked since.
        """
        if not self.is_of_this_process:
            raise StoreUnavailable(
                "this process was forked from the one that opened the log: open it here, too"
            )

    def close(self) -> None:
        """Give the connections back to the system."""
        self._database.close()


class Store(Reader):
    """A database to write; its writers queue."""

    def __init__(self, where: URL | Path) -> None:
        """Open a database, or the SQLite file at a path, and bring its tables up to date.

        What is read from it afterwards is durable, whoever wrote it.

        Raises:
            StoreUnavailable: It cannot be opened, is no database, or a later Garant's.
            UnsupportedDatabase: Neither SQLite nor PostgreSQL.
        """
        super().__init__(open_database(_url(where), to_write=True))
        try:
            with self.writing() as connection:
                migrate(connection)
            self._database.settle()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One durable transaction; it alone writes, and sees all that was written before.

        Raises:
            StoreUnavailable: The outcome is unknown where the commit itself failed.
        """
        self.check_process()
        with (
            translated(self._database),
            self._database.transaction(durable=True) as connection,
        ):
            yield connection

    @contextmanager
    def noting(self) -> Iterator[Connection]:
        """One transaction that may be lost with the power: for what can be made again.

        Raises:
            StoreUnavailable: The outcome is unknown where the commit itself failed.
        """
        self.check_process()
        with (
            translated(self._database),
            self._database.transaction(durable=False) as connection,
        ):
            yield connection

    def together(self, connection: Connection) -> AbstractContextManager[None]:
        """Send the `Statement`s run in it at once, where the database is far: not SQLAlchemy's."""
        return self._database.together(connection)

    def forget(self) -> None:
        """Remove from the database's files what committed transactions deleted from the vault.

        Call it after the transaction that deleted or replaced rows of `bodies`, `owned`, `keys`
        or `people`, and outside of any. Once it returns:

        - SQLite: the pages were overwritten with zeros (secure_delete) and the write-ahead log
          is empty: a search of the home's files finds none of the bytes. It waits for readers
          of an older state, up to `PATIENCE_SECONDS`; writers go on meanwhile.
        - PostgreSQL: the four tables and their indexes were written anew (VACUUM FULL) without
          the rows, after every transaction ended that could see them. The tables cannot be read
          or written meanwhile. Copies in the server's write-ahead log stay until the server
          recycles it, and in replicas, archives and backups until their dates.

        Not covered: what the file system or the disk keeps of freed blocks. The deletion itself
        is durable already; repeating this call does no harm, and opening a SQLite store empties
        its write-ahead log too.

        Raises:
            StillReadable: A reader still uses an older state; end it and call again.
            StoreUnavailable: The database failed; call again.
        """
        self._database.forget((BODIES, OWNED, KEYS, PEOPLE))


def _url(where: URL | Path) -> URL:
    return file_url(where) if isinstance(where, Path) else where
