"""Where a verification reads a log from: a database here, an export elsewhere.

Nothing that a source gives is believed.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, LargeBinary, String, cast, select

from guarantee.findings import CouldNotCheck
from guarantee.logged import tiles_of
from guarantee.merkle import Hash
from guarantee.store import BODIES, CHECKPOINTS, HEAD, RECORDS, SIGNED


class Row(NamedTuple):
    """What a database's row repeats of its header, to find it by."""

    id: str
    type: str
    dossier: str | None
    model: str | None


class Entry(NamedTuple):
    """One record as it was found.

    Attributes:
        place: Its index, zero-based; one may be missing, none comes twice or out of order.
        stored: The body's bytes; none where it is missing.
        key_id: The patient whose key seals the body, where the source says it.
        row: None where the source has no rows.
    """

    place: int
    header: bytes
    stored: bytes | None
    key_id: str | None = None
    row: Row | None = None

    @property
    def id(self) -> str | None:
        """The id in the row, if there is one: to name the record by."""
        return None if self.row is None else self.row.id


class Kept(NamedTuple):
    """An earlier checkpoint, kept with what outsiders said of it.

    Attributes:
        note: The note's bytes, with cosignatures where witnesses gave them.
        timestamp: The answer of a timestamping authority, DER (RFC 3161).
    """

    note: bytes
    timestamp: bytes | None


class Source(Protocol):
    """A log, to verify."""

    @property
    def size(self) -> int:
        """Records in the log, as the source says."""

    @property
    def root(self) -> Hash | None:
        """The root, as the source says beside its checkpoint, if it does."""

    @property
    def note(self) -> bytes | None:
        """The last signed checkpoint."""

    def kept(self) -> Iterable[Kept]:
        """Earlier checkpoints."""

    def entries(
        self, start: int = 0, stop: int | None = None, *, rows: bool = True
    ) -> Iterator[Entry]:
        """The records from index `start` to `stop`, excluded, in the order of their index.

        Args:
            rows: Whether `key_id` and `row` are needed, which take as long to read as the rest.
        """

    def tile(self, level: int, index: int) -> bytes | None:
        """The hashes of one tile; none where the source carries no tiles of that level."""


# SQLite lets an edit turn bytes into text and text into bytes.
_BYTES = (
    select(
        RECORDS.c.position,
        cast(RECORDS.c.header, LargeBinary),
        cast(BODIES.c.stored, LargeBinary),
    )
    .join_from(RECORDS, BODIES, RECORDS.c.id == BODIES.c.record_id, isouter=True)
    .order_by(RECORDS.c.position)
    .execution_options(yield_per=1024)
)
_WHOLE_ROWS = _BYTES.add_columns(
    cast(BODIES.c.key_id, String),
    cast(RECORDS.c.id, String),
    cast(RECORDS.c.type, String),
    cast(RECORDS.c.dossier, String),
    cast(RECORDS.c.model, String),
)


class StoredLog:
    """The log in a database, in one consistent view."""

    def __init__(self, connection: Connection) -> None:
        """Read the head.

        Raises:
            CouldNotCheck: There is no head, or it is none.
        """
        self.connection = connection
        heads = connection.execute(
            select(HEAD.c.size, cast(HEAD.c.root, LargeBinary).label("root"))
        ).all()
        if len(heads) != 1 or type(heads[0].size) is not int or heads[0].root is None:
            raise CouldNotCheck("the database does not hold one head: restore it from a backup")
        self.size: int = heads[0].size
        self.root: Hash = heads[0].root
        notes = connection.scalars(select(cast(SIGNED.c.note, LargeBinary))).all()
        self.note: bytes | None = notes[0] if len(notes) == 1 else None
        self._tiles = tiles_of(connection)

    def kept(self) -> Iterable[Kept]:
        """Earlier checkpoints."""
        statement = select(
            cast(CHECKPOINTS.c.note, LargeBinary), cast(CHECKPOINTS.c.timestamp, LargeBinary)
        ).order_by(CHECKPOINTS.c.position)
        return [
            Kept(note or b"", timestamp) for note, timestamp in self.connection.execute(statement)
        ]

    def entries(
        self, start: int = 0, stop: int | None = None, *, rows: bool = True
    ) -> Iterator[Entry]:
        """The records from index `start` to `stop`, excluded, in the order of their index."""
        statement = (_WHOLE_ROWS if rows else _BYTES).where(RECORDS.c.position >= start)
        if stop is not None:
            statement = statement.where(RECORDS.c.position < stop)
        found = self.connection.execute(statement)
        if rows:
            for place, header, stored, key_id, *row in found:
                yield Entry(place, header or b"", stored, key_id, Row(*row))
        else:
            for place, header, stored in found:
                yield Entry(place, header or b"", stored)

    def tile(self, level: int, index: int) -> bytes | None:
        """The hashes of one tile."""
        return self._tiles(level, index)
