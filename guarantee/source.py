"""Where a verification reads a log from: a database here, an export elsewhere.

Nothing that a source gives is believed.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from sqlalchemy import Connection, LargeBinary, String, cast, func, select

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
    .join_from(RECORDS, BODIES, RECORDS.c.position == BODIES.c.position, isouter=True)
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


def _held(place: int) -> int:
    """A place as a database can compare it: a record may name any number."""
    return max(-1, min(place, (1 << 63) - 1))


_MOST_MISSING: Final = 1 << 16
"""Records that are named one by one where they are missing; a head that says more is wrong."""


class StoredLog:
    """The log in a database, in one consistent view.

    Attributes:
        problem: What is wrong with the head; then `size` is how many records there are.
    """

    def __init__(self, connection: Connection, *, doubting: bool = False) -> None:
        """Read the head.

        Args:
            doubting: Count the records, and go on without a head that cannot be: see `problem`.

        Raises:
            CouldNotCheck: There is no head to go by; where doubting, no log was ever made here.
        """
        self.connection = connection
        heads = connection.execute(
            select(HEAD.c.size, cast(HEAD.c.root, LargeBinary).label("root"))
        ).all()
        notes = connection.scalars(select(cast(SIGNED.c.note, LargeBinary))).all()
        self.note: bytes | None = notes[0] if len(notes) == 1 else None
        self.problem: str | None = None
        self.size: int
        self.root: Hash | None
        if len(heads) == 1 and type(heads[0].size) is int:
            self.size, self.root = heads[0].size, heads[0].root or b""
        elif not doubting:
            raise CouldNotCheck("the database does not hold one head: verify it, or restore it")
        else:
            self.problem = f"the database holds {len(heads)} heads that can be read, not one"
            self.size, self.root = 0, None
        if doubting:
            self._doubt(fresh=not heads and not notes)
        self._tiles = tiles_of(connection)

    def _doubt(self, *, fresh: bool) -> None:
        count = self.connection.scalar(select(func.count()).select_from(RECORDS)) or 0
        if fresh and not count:
            raise CouldNotCheck("the database holds no log")
        if self.problem is None and not 0 <= self.size <= count + _MOST_MISSING:
            self.problem = f"the head says {self.size} records, the database holds {count}"
        if self.problem is not None:
            self.size, self.root = count, None

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
        statement = (_WHOLE_ROWS if rows else _BYTES).where(RECORDS.c.position >= _held(start))
        if stop is not None:
            statement = statement.where(RECORDS.c.position < _held(stop))
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
