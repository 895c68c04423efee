"""The log that a restore replaces, and what the restored one must know of it.

It may be damaged, or written by somebody else: a restore is what answers to that. So nothing of it
is believed but what a signed checkpoint proves, and nothing in it keeps a house from being
restored. A forged erasure, repeated, would destroy what the backup had saved.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from itertools import product
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Connection, LargeBinary, String, cast, func, select

from guarantee.backup import KEEP_DAYS
from guarantee.bodies import BackupTaken
from guarantee.checkpoint import Checkpoint, NoteError, VerifierKey, verify
from guarantee.home import Home
from guarantee.logged import tiles_of
from guarantee.merkle import (
    ProofError,
    inclusion_path,
    leaf_hash,
    verify_inclusion,
)
from guarantee.pen import KEPT_FILE
from guarantee.records import Header, MalformedRecord, RecordType
from guarantee.store import BODIES, HEAD, PEOPLE, RECORDS, SIGNED, Reader, Store, StoreUnavailable
from guarantee.tiles import TileReader

_LONGEST_DAYS: Final = 3650
"""As long as a backup may be kept, where the record that says how long does not stand."""

_REPEATED: Final = (
    RecordType.PATIENT_OBJECTED,
    RecordType.HOLD_PLACED,
    RecordType.PATIENT_ERASED,
    RecordType.MODEL_SUSPENDED,
    # Only to know which suspensions still stand.
    RecordType.MODEL_RESUMED,
)
"""What a restore must not undo, where the log that it replaces knows of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A record of the replaced log that a restore must not undo.

    Attributes:
        patient: The pseudonym of whom it concerns; none where it concerns a model.
        actor: The stored identity of who acted, sealed; none where it is missing.
    """

    header: Header
    stored: bytes
    patient: str | None
    actor: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A signed checkpoint, and the key that signed it."""

    checkpoint: Checkpoint
    key: VerifierKey


@dataclass(slots=True)
class Replaced:
    """What is known of the log in the home; nothing, where it cannot be read.

    Attributes:
        exists: Whether there is one.
        unreadable: Why it cannot be read, if it cannot.
        head: None where no signed checkpoint is of this log.
        shared: How many first records it has in common with the backup's log.
        lost: How many records of each type it has beyond those.
        acts: What must not be undone, in the log's order.
        doubted: How many of these, of each type, no checkpoint proves.
        backups_expire: The last days of the backups that it knows of.
    """

    exists: bool
    unreadable: str | None = None
    head: Head | None = None
    shared: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    acts: list[Act] = field(default_factory=list)
    doubted: Counter[str] = field(default_factory=Counter)
    backups_expire: list[date] = field(default_factory=list)

    def copies_expire(self, today: date) -> list[date]:
        """The last days of copies of it: what is kept aside, and backups."""
        aside = [today + timedelta(days=KEEP_DAYS)] if self.exists else []
        return aside + self.backups_expire


@contextmanager
def log_there(home: Home) -> Iterator[Reader | None]:
    """The database of the log in the home; none where it holds none.

    Raises:
        StoreUnavailable: There is a server, and it cannot be reached.
    """
    if home.lacks_log:
        yield None
        return
    if home.server is not None:
        # A server that cannot be reached cannot take the log either; its tables are made here.
        Store(home.server).close()
    reader = Reader.open(home.url)
    try:
        yield None if home.server is not None and _is_empty(reader) else reader
    finally:
        reader.close()


def _is_empty(reader: Reader) -> bool:
    with reader.reading() as connection:
        return not any(
            connection.scalar(select(func.count()).select_from(table))
            for table in (HEAD, SIGNED, RECORDS)
        )


def known_of(
    reader: Reader | None, home: Home, backup: Reader, *, keys: Sequence[VerifierKey], today: date
) -> Replaced:
    """Read all that a restore needs to know of the log that it replaces.

    1. What the two logs have in common, and what is lost.
    2. The head that is vouched for.
    3. Backups that hold copies, and acts that must not be undone.

    Args:
        keys: The log's, as the home has it and as the backup has it.
    """
    if reader is None:
        return Replaced(exists=False)
    try:
        with reader.reading() as old, backup.reading() as new:
            known = Replaced(exists=True)
            tiles = TileReader(tiles_of(old))
            # 1.
            sizes = [connection.scalar(_COUNT) or 0 for connection in (old, new)]
            known.shared = _shared(tiles, TileReader(tiles_of(new)), min(sizes))
            beyond = RECORDS.c.position >= known.shared
            types = old.scalars(select(cast(RECORDS.c.type, String)).where(beyond))
            known.lost = Counter(str(one) for one in types)
            # 2.
            known.head = _vouched_for(old, tiles, home, keys)
            # 3.
            _learn(old, tiles, known, today)
    except StoreUnavailable as error:
        return Replaced(exists=True, unreadable=str(error))
    return known


_COUNT: Final = select(func.count()).select_from(RECORDS)


def _shared(old: TileReader, new: TileReader, high: int) -> int:
    """How many first records two logs have in common, by their roots."""

    def same(size: int) -> bool:
        try:
            return old.root(size) == new.root(size)
        except IndexError:
            return False

    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if same(middle) else (low, middle - 1)
    return low


def _vouched_for(
    old: Connection, tiles: TileReader, home: Home, keys: Sequence[VerifierKey]
) -> Head | None:
    """The last signed checkpoint that is of this log.

    What stands behind it, nobody signed: the service was stopped in the second that it takes, or
    somebody else wrote it.
    """
    found: Head | None = None
    notes = [*old.scalars(select(cast(SIGNED.c.note, LargeBinary))), *_beside(home)]
    for note, key in product(notes, keys):
        with suppress(NoteError, IndexError):
            signed = verify(note or b"", key)
            later = found is None or signed.size > found.checkpoint.size
            if later and tiles.root(signed.size) == signed.root:
                found = Head(checkpoint=signed, key=key)
    return found


def _beside(home: Home) -> Sequence[bytes]:
    with suppress(OSError):
        return [(home.keys / KEPT_FILE).read_bytes()]
    return []


def _learn(old: Connection, tiles: TileReader, known: Replaced, today: date) -> None:
    kinds = (*_REPEATED, RecordType.BACKUP_TAKEN)
    rows = old.execute(
        select(
            RECORDS.c.position,
            cast(RECORDS.c.type, String).label("type"),
            cast(RECORDS.c.header, LargeBinary).label("header"),
            cast(BODIES.c.stored, LargeBinary).label("stored"),
            cast(BODIES.c.key_id, String).label("key_id"),
        )
        # An objection of a patient who was erased later has no body any more.
        .join_from(RECORDS, BODIES, RECORDS.c.position == BODIES.c.position)
        .where(
            RECORDS.c.position >= known.shared,
            RECORDS.c.type.in_([kind.value for kind in kinds]),
        )
        .order_by(RECORDS.c.position)
    )
    for row in rows:
        stored = row.stored or b""
        header = _proven(row.position, row.header or b"", stored, tiles, known.head)
        if row.type == RecordType.BACKUP_TAKEN:
            known.backups_expire.append(_expiry(header, stored, today))
        elif header is None:
            known.doubted[row.type] += 1
        else:
            known.acts.append(
                Act(
                    header=header,
                    stored=stored,
                    patient=header.subject or row.key_id,
                    actor=old.scalar(
                        select(cast(PEOPLE.c.stored, LargeBinary)).where(
                            PEOPLE.c.pseudonym == header.actor
                        )
                    ),
                )
            )


def _proven(
    place: int, encoded: bytes, stored: bytes, tiles: TileReader, head: Head | None
) -> Header | None:
    """A record's header, where the head proves it and it proves the body."""
    if head is None:
        return None
    size, root = head.checkpoint.size, head.checkpoint.root
    try:
        path = inclusion_path(place, size, tiles.node_at)
        verify_inclusion(leaf=leaf_hash(encoded), index=place, size=size, path=path, root=root)
        header = Header.decode(encoded)
    except (IndexError, ProofError, MalformedRecord):
        return None
    return header if sha256(stored).hexdigest() == header.vaulted_digest else None


def _expiry(header: Header | None, stored: bytes, today: date) -> date:
    with suppress(ValidationError):
        if header is not None:
            return BackupTaken.model_validate_json(stored).expires
    return today + timedelta(days=_LONGEST_DAYS)
