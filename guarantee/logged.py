"""What the log holds, as its tables give it to whoever reads or appends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, LargeBinary, bindparam, cast, func, select, true

from guarantee.errors import GuaranteeError
from guarantee.merkle import Hash
from guarantee.owned import owned_by
from guarantee.records import Header, MalformedRecord, RecordType
from guarantee.situations import Dossier, Step
from guarantee.statements import Statement
from guarantee.store import HEAD, RECORDS, STATES, TILES


class LedgerError(GuaranteeError):
    """The log refuses or cannot do something that is no step of the protocol."""


class LedgerUnavailable(LedgerError):
    """Outcome unknown; retry with the same idempotency key, a repeat is recorded once."""


class ForeignLog(LedgerUnavailable):
    """The database holds another log than the one that this key signs; nothing was recorded."""


class UnknownRecord(LedgerError):
    """The log holds no such record."""


class BodyMissing(LedgerError):
    """The vault no longer holds the record's body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A record that survives power loss.

    Attributes:
        index: Its zero-based place in the log.
        repeated: Whether an earlier request under the same idempotency key recorded it.
    """

    header: Header
    index: int
    repeated: bool = False

    @property
    def id(self) -> str:
        """The record's id."""
        return self.header.id


@dataclass(frozen=True, slots=True)
class Head:
    """So many records, under this root."""

    size: int
    root: Hash


def read_head(connection: Connection, origin: str) -> Head:
    """The head's row, of the log of that name.

    Raises:
        LedgerUnavailable: There is none, or more than one.
        ForeignLog: It is another log's.
    """
    rows = _READ_HEAD.rows(connection)
    if len(rows) != 1:
        raise LedgerUnavailable("the database does not hold one head: verify it, or restore it")
    ((named, size, root),) = rows
    if named != origin:
        # After a restore a process that still has the old key must sign nothing with it.
        raise ForeignLog(
            f"the database holds log {named}, the key at hand is that of {origin}: "
            "after a restore, start again what serves; or put the log's key back"
        )
    return Head(size, root)


def tiles_of(connection: Connection) -> Callable[[int, int], bytes]:
    """A reader of the stored tiles; a missing one is empty."""

    def read(level: int, index: int) -> bytes:
        rows = _READ_TILE.rows(connection, its_level=level, its_position=index)
        return rows[0][0] or b"" if rows else b""

    return read


def withheld_of(
    connection: Connection, pseudonym: str, model: str, *, up_to: int | None = None
) -> bool:
    """Whether an answer of that model on that patient is withheld, up to a place in the log."""
    # Theirs first: joined, SQLite would go through everybody's dossiers.
    theirs = select(RECORDS.c.id).where(
        RECORDS.c.position.in_(owned_by(pseudonym)),
        RECORDS.c.model == model,
        true() if up_to is None else RECORDS.c.position <= up_to,
    )
    statement = (
        select(STATES.c.key)
        .where(
            STATES.c.kind == Dossier.__name__,
            STATES.c.key.in_(theirs),
            STATES.c.step == Step.WITHHELD.value,
        )
        .limit(1)
    )
    return connection.scalar(statement) is not None


def informations_in(connection: Connection, pseudonym: str) -> int:
    """How many informations of that patient the log holds."""
    kinds = (RecordType.PATIENT_INFORMED.value, RecordType.INFORMATION_DEFERRED.value)
    statement = select(func.count()).where(
        RECORDS.c.position.in_(owned_by(pseudonym)), RECORDS.c.type.in_(kinds)
    )
    return int(connection.scalar(statement) or 0)


def recorded_in(connection: Connection, record_id: str, *, repeated: bool = False) -> Recorded:
    """The record of that id.

    Raises:
        UnknownRecord: The log holds no such record.
    """
    rows = _READ_RECORD.rows(connection, its_id=record_id)
    if not rows:
        raise UnknownRecord("the log holds no such record")
    found = decoded(*rows[0])
    return Recorded(header=found.header, index=found.index, repeated=repeated)


def decoded(index: int, header: bytes) -> Recorded:
    """A row of the log as a record.

    Raises:
        LedgerError: The row was altered.
    """
    try:
        return Recorded(header=Header.decode(header), index=index)
    except MalformedRecord as error:
        raise LedgerError(f"record {index} was altered: verify the log") from error


_READ_HEAD: Final = Statement(select(HEAD))
_READ_TILE: Final = Statement(
    select(cast(TILES.c.hashes, LargeBinary)).where(
        TILES.c.level == bindparam("its_level"), TILES.c.position == bindparam("its_position")
    )
)
_READ_RECORD: Final = Statement(
    select(RECORDS.c.position, RECORDS.c.header).where(RECORDS.c.id == bindparam("its_id"))
)
