"""A log's tables from one database into another: a file for a backup, a server for a restore."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, LargeBinary, cast, delete, func, select
from sqlalchemy.engine import URL

from guarantee.errors import GuaranteeError
from guarantee.merkle import Hash
from guarantee.statements import Value, insert_all, stored_name
from guarantee.store import (
    HEAD,
    METADATA,
    RECORDS,
    SIGNED,
    Reader,
    Store,
    StoreUnavailable,
)

_ROWS: Final = 1000

Progress = Callable[[int, int | None], None]
"""Told how many records of how many were copied."""


class NoLog(GuaranteeError):
    """The database holds no log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a database says of its log; nothing is checked.

    Attributes:
        note: The last signed checkpoint; it may be over fewer records than `size`.
    """

    origin: str
    size: int
    root: Hash
    note: str | None


def standing(connection: Connection) -> Standing:
    """What the tables say of their log.

    Raises:
        NoLog: There is none.
    """
    rows = connection.execute(select(HEAD)).all()
    if len(rows) != 1:
        raise NoLog("the database does not hold one head")
    note: bytes | None = connection.scalar(select(cast(SIGNED.c.note, LargeBinary)))
    return Standing(
        origin=rows[0].origin,
        size=rows[0].size,
        root=rows[0].root,
        note=None if note is None else note.decode(errors="replace"),
    )


def copy_out(source: Reader, file: Path, progress: Progress) -> Standing:
    """Copy a log into a new SQLite file in one view, while writers go on.

    Raises:
        NoLog: There is none.
        StoreUnavailable: One of the two failed.
    """
    with closing(Store(file)) as copy, source.reading() as there, copy.writing() as here:
        found = standing(there)
        _copy(there, here, progress)
    settle_file(file)
    return found


def copy_aside(source: Reader, file: Path, progress: Progress) -> None:
    """As `copy_out`, whatever the log is.

    Raises:
        StoreUnavailable: One of the two failed.
    """
    with closing(Store(file)) as copy, source.reading() as there, copy.writing() as here:
        _copy(there, here, progress)
    settle_file(file)


def copy_in(file: Path, server: URL, progress: Progress = lambda _done, _all: None) -> None:
    """Put the log in a SQLite file in the place of the one on a server, in one transaction.

    A second time changes nothing.

    Raises:
        StoreUnavailable: One of the two failed.
    """
    source, store = Reader.open(file), Store(server)
    try:
        with source.reading() as there, store.writing() as here:
            origin = here.scalar(select(HEAD.c.origin))
            if origin == standing(there).origin:
                return
            for table in reversed(METADATA.sorted_tables):
                here.execute(delete(table))
            _copy(there, here, progress)
        store.forget()
    finally:
        source.close()
        store.close()


def settle_file(file: Path) -> None:
    """Leave a SQLite database that nobody has open in its one file, without a log beside it.

    Raises:
        StoreUnavailable: Somebody has it open, or it is damaged.
    """
    try:
        with closing(sqlite3.connect(file)) as connection:
            mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{file.name} cannot be closed: {error}") from error
    if mode != "delete":
        raise StoreUnavailable(f"{file.name} is in use")


def _copy(source: Connection, target: Connection, progress: Progress) -> None:
    total = source.scalar(select(func.count()).select_from(RECORDS)) or 0
    for table in METADATA.sorted_tables:
        done = 0
        rows = source.execute(select(table).execution_options(yield_per=_ROWS))
        for some in rows.partitions(_ROWS):
            insert_all(target, table, [tuple(map(_storable, row)) for row in some])
            if table is RECORDS:
                done += len(some)
                progress(done, total)


def _storable(value: Value) -> Value:
    """What was read, even where an edit made a text unreadable: the copy is verified, not this."""
    return stored_name(value) if isinstance(value, str) else value
