"""Appending: drafts that wait share a transaction, heads are signed after.

Whoever sends a draft is answered once its group is durable. The head that a commit made is signed
when there is time: a signature can be made again, a commit cannot.
"""

import gc
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Table, bindparam, insert, select, update

from guarantee.bodies import Body
from guarantee.errors import GuaranteeError
from guarantee.idle import WhenIdle
from guarantee.logged import (
    Head,
    LedgerError,
    LedgerUnavailable,
    Recorded,
    read_head,
    tiles_of,
)
from guarantee.merkle import leaf_hash
from guarantee.owned import note_owners
from guarantee.pen import Pen
from guarantee.protocol import advance
from guarantee.pseudonyms import Actor, Pseudonyms
from guarantee.records import Header, Ids, RecordType
from guarantee.refusals import Erased, ProtocolError
from guarantee.repeats import Asked, Blinded, RequestConflict
from guarantee.state import StoredState, Trial, check_moved
from guarantee.statements import Statement, Value, insert_all, stored_name
from guarantee.store import (
    BODIES,
    HEAD,
    RECORDS,
    REQUESTS,
    SIGNED,
    TILES,
    Store,
    StoreUnavailable,
)
from guarantee.tiles import Edge, TileReader
from guarantee.turns import Turns, TurnsEnded
from guarantee.vault import KeyAltered, in_clear, seal

MOST_IN_A_GROUP = 256
MOST_AT_ONCE = 2000
"""Records of one `record_all` in one transaction: others wait for that long."""

IDLE_SECONDS = 0.02
"""After so long without a record the head is signed for whoever verifies this home; those who
ask for a checkpoint or a receipt get it signed at once."""

SIGNED_EVERY_SECONDS = 1.0
"""Where records never cease, the head is signed this often."""


class LedgerClosed(LedgerError):
    """The log was closed; nothing was recorded."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """A record about to be appended; the ledger gives it its id, time and digests.

    Like a header it is not frozen, and nobody changes it.

    Attributes:
        sealed_for: The patient whose key seals the body; none leaves it in clear.
        opens_dossier: Whether the record's own id names its dossier.
        key: As in the header, like `statement` and `signature`.
        act: See `Act`.
    """

    type: RecordType
    actor: Actor
    outcome: str
    body: Body
    sealed_for: str | None = None
    dossier: str | None = None
    opens_dossier: bool = False
    follows: tuple[str, ...] = ()
    model: str | None = None
    model_version: str | None = None
    models: tuple[str, ...] | None = None
    valid_until: int | None = None
    subject: str | None = None
    key: str | None = None
    statement: str | None = None
    signature: str | None = None
    act: "Act | None" = None


Act = Callable[[Connection, Header], None]
"""What else must be true, or must change, in the record's own transaction.

Runs once the protocol allows the record; raises a `ProtocolError` to refuse it alone, before it
writes anything.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An idempotency key, scoped to actor and route, and what was asked under it."""

    actor: str
    route: str
    key: str
    content: bytes


@dataclass(slots=True)
class _Pending:
    draft: Draft
    body: bytes
    request: Blinded | None = None
    outcome: "Recorded | Exception | None" = None

    def settled(self) -> "Recorded | ProtocolError":
        """What became of it.

        Raises:
            KeyAltered: The key of its patient was; nothing was recorded.
            LedgerUnavailable: Outcome unknown.
        """
        if isinstance(self.outcome, (Recorded, ProtocolError)):
            return self.outcome
        raise self.outcome or LedgerUnavailable("the log was interrupted: ask again")


@contextmanager
def _collected_later() -> Iterator[None]:
    """Have no garbage looked for among thousands of records: they make no circles, and die at once.

    It takes a fifth of an append in bulk, and what others leave is collected a moment later.
    """
    # One at a time has it off: who came second would find it off, and leave it so.
    if not _COLLECTED_LATER.acquire(blocking=False):
        yield
        return
    try:
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()
    finally:
        _COLLECTED_LATER.release()


_COLLECTED_LATER: Final = threading.Lock()


class Appender:
    """One process's end of the log: callers take turns at committing what all of them sent."""

    def __init__(
        self, store: Store, people: Pseudonyms, pen: Pen, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._people = people
        self._pen = pen
        self._clock = clock
        self._ids = Ids()
        self._edge: tuple[Head, Edge] | None = None
        self._doubted = False
        self._turns: Turns[_Pending] = Turns(self._settle, most=MOST_IN_A_GROUP)
        self._signing = WhenIdle(
            self._sign_unsigned, after_seconds=IDLE_SECONDS, every_seconds=SIGNED_EVERY_SECONDS
        )

    def close(self) -> bool:
        """Finish what was asked, then stop; False where it was closed before."""
        if not self._turns.end():
            return False
        self._signing.close()
        return True

    def record(self, draft: Draft, request: Request | None = None) -> Recorded:
        """See `Ledger.record`."""
        blinded = self._blinded(request) if request else None
        pending = _Pending(draft, draft.body.encode(), blinded)
        self._append([pending])
        outcome = pending.settled()
        if isinstance(outcome, ProtocolError):
            raise outcome
        return outcome

    def record_all(self, drafts: Iterable[Draft]) -> Iterator[Recorded | ProtocolError]:
        """Append many records, thousands a transaction, and give what became of each, in order.

        What was given survives power loss.

        Raises:
            KeyAltered: The key of one patient was; what others sent with it stands, and no more is
                taken.
            LedgerUnavailable: Outcome unknown of what was not given yet.
        """
        source = iter(drafts)
        while True:
            with _collected_later():
                some = islice(source, MOST_AT_ONCE)
                pendings = [_Pending(one, one.body.encode()) for one in some]
                if pendings:
                    self._append(pendings)
            if not pendings:
                return
            for pending in pendings:
                yield pending.settled()

    def _append(self, pendings: list[_Pending]) -> None:
        # In a forked process nobody would ever give a turn, or sign.
        self._store.check_process()
        try:
            self._turns.serve(pendings)
        except TurnsEnded:
            raise LedgerClosed("the log is closed") from None

    def repeated(self, request: Request) -> Recorded | None:
        """What an earlier request under this key recorded, if it did.

        Raises:
            RequestConflict: The key was used for another request.
        """
        blinded = self._blinded(request)
        with self._store.reading() as connection:
            return Asked(connection, [blinded], self._people.bind_request).repeat(blinded)

    def _blinded(self, request: Request) -> Blinded:
        scope = json.dumps([request.actor, request.route, request.key])
        digest = sha256(request.content).hexdigest()
        blind = self._people.blind_request
        return blind("request", scope), blind("content", digest)

    def _settle(self, group: list[_Pending]) -> None:
        """Commit a group, and say of each what became of it."""
        outcomes: Sequence[Recorded | Exception]
        try:
            outcomes = self._commit(group)
        except (GuaranteeError, IndexError, OSError) as error:
            # What the database holds is unknown now: read the head again before going on.
            self._doubted = True
            if isinstance(error, KeyAltered) and len(group) > 1:
                # Nothing was committed, and one patient's altered key keeps nobody else out.
                for pending in group:
                    self._settle([pending])
                return
            altered = isinstance(error, KeyAltered)
            outcomes = [error if altered else _unwritten(error) for _ in group]
        except Exception as defect:  # noqa: BLE001  # whatever it is, the log goes on
            # Those who met a defect are told; it must not silence the log for all the others.
            self._doubted = True
            outcomes = [defect for _ in group]
        else:
            self._signing.stir()
        for pending, outcome in zip(group, outcomes, strict=True):
            pending.outcome = outcome

    def _sign_unsigned(self) -> None:
        try:
            self.note()
        except (LedgerError, StoreUnavailable, OSError):
            # The next group, or the next opening, signs a head that covers this one, or refuses.
            self._doubted = True

    def _commit(self, group: list[_Pending]) -> "list[Recorded | GuaranteeError]":
        """Append what the protocol allows of `group`, in one transaction.

        1. Read the head; another worker may have moved it.
        2. Try each record on the state; refuse it alone where it may not stand.
        3. Write the rows, the state and the tiles.
        4. Move the head, unless somebody else did.
        """
        outcomes: list[Recorded | GuaranteeError] = []
        with self._store.writing() as connection:
            # 1.
            head = read_head(connection, self._pen.name)
            edge = self._edge_at(head, connection)
            state = StoredState(connection)
            rows = _Rows(connection)
            requests = [pending.request for pending in group if pending.request]
            asked = Asked(connection, requests, self._people.bind_request)
            # The keys are read where the records are written: none can be erased in between.
            patients = {pending.draft.sealed_for for pending in group}
            keys = {
                owner: AESGCM(key) for owner, key in self._people.keys(connection, patients).items()
            }
            # 2.
            for pending in group:
                trial = Trial(state)
                try:
                    if pending.request and (repeat := asked.repeat(pending.request)):
                        outcomes.append(repeat)
                        continue
                    header, stored = self._compose(pending, keys)
                    advance(header, trial)
                    if pending.draft.act is not None:
                        # An act reads the tables: what stands before it must be there.
                        rows.write()
                        check_moved(state.flush())
                        pending.draft.act(connection, header)
                except (ProtocolError, RequestConflict) as refusal:
                    outcomes.append(refusal)
                    continue
                trial.settle()
                if header.type is RecordType.PATIENT_ERASED:
                    # What stands behind it in this group may not be sealed any more.
                    keys.pop(header.subject, None)
                recorded = Recorded(header=header, index=edge.frontier.size)
                encoded = header.encode()
                edge.append(leaf_hash(encoded))
                rows.add(recorded, encoded, stored, pending.draft.sealed_for)
                if pending.request is not None:
                    rows.add_request(asked.bound(pending.request, recorded))
                outcomes.append(recorded)
            if edge.frontier.size == head.size:
                return outcomes
            with self._store.together(connection):
                # 3.
                rows.write()
                note_owners(connection, old_size=head.size, size=edge.frontier.size)
                moves = state.flush()
                write_tiles(connection, edge)
                # 4.
                moved = Head(edge.frontier.size, edge.frontier.root)
                # The WHERE clause is the fork guard: of two writers that read the same head, only
                # one UPDATE can match a row.
                move = _MOVE_HEAD.run(
                    connection,
                    read_size=head.size,
                    read_root=head.root,
                    size=moved.size,
                    root=moved.root,
                )
            check_moved([*moves, move])
        self._edge = moved, edge
        return outcomes

    def _edge_at(self, head: Head, connection: Connection) -> Edge:
        """An edge that leads to this head: the last group's, or from the tiles.

        Raises:
            LedgerUnavailable: The tiles do not lead there, or not from what was signed.
        """
        doubted, self._doubted = self._doubted, False
        if self._edge is not None and self._edge[0] == head and not doubted:
            return self._edge[1].copy()
        # Another worker appended, or somebody rewrote the log: only the first goes on.
        self._pen.check(head, TileReader(tiles_of(connection)))
        edge = Edge.load(head.size, tiles_of(connection))
        # Whatever was restored or altered meanwhile, nothing is built beside the head.
        if edge.frontier.root != head.root:
            raise LedgerUnavailable("the tiles do not lead to the head: verify the log")
        return edge

    def _compose(
        self, pending: _Pending, keys: Mapping[str | None, AESGCM]
    ) -> tuple[Header, bytes]:
        """The header of a draft, and its body as it will be stored."""
        draft, at = pending.draft, self._clock()
        record_id = self._ids.new(at)
        if draft.sealed_for is None:
            sealed = in_clear(pending.body)
        elif draft.sealed_for in keys:
            sealed = seal(keys[draft.sealed_for], record_id, pending.body)
        else:
            raise Erased("the patient's records were erased, and their key with them")
        header = Header(
            type=draft.type,
            id=record_id,
            time=at,
            dossier=record_id if draft.opens_dossier else draft.dossier,
            follows=draft.follows,
            model=draft.model,
            model_version=draft.model_version,
            actor=draft.actor.pseudonym,
            role=draft.actor.role,
            outcome=draft.outcome,
            vaulted_digest=sealed.digest,
            commitment=sealed.commitment,
            models=draft.models,
            valid_until=draft.valid_until,
            subject=draft.subject,
            key=draft.key,
            statement=draft.statement,
            signature=draft.signature,
        )
        return header, sealed.stored

    def note(self) -> None:
        """Sign the committed head, and keep the note for whoever verifies this home.

        Raises:
            StoreUnavailable: The note was not kept; the head stands all the same.
            Rewritten: The log is no longer what was signed: verify it.
        """
        with self._store.reading() as connection:
            head = read_head(connection, self._pen.name)
            note = self._pen.sign(head, TileReader(tiles_of(connection)))
            kept = connection.scalar(select(SIGNED.c.size)) == head.size
        if not kept:
            self.keep(head, note)
        self._pen.keep(note)

    def keep(self, head: Head, note: str) -> None:
        """Keep a signed note in the database, unless a later one is there.

        Raises:
            StoreUnavailable: The note was not kept; the head stands all the same.
        """
        with self._store.noting() as connection:
            connection.execute(
                update(SIGNED)
                .where(SIGNED.c.size < head.size)
                .values(size=head.size, note=note.encode())
            )


def write_tiles(connection: Connection, edge: Edge) -> None:
    """Write every tile that the edge changed since it was last asked."""
    for tile in edge.changed():
        (_GROW_TILE if tile.replaces else _ADD_TILE).run(
            connection, its_level=tile.level, its_position=tile.index, hashes=tile.hashes
        )


_MOVE_HEAD: Final = Statement(
    update(HEAD)
    .where(HEAD.c.size == bindparam("read_size"), HEAD.c.root == bindparam("read_root"))
    .values(size=bindparam("size"), root=bindparam("root"))
)
_GROW_TILE: Final = Statement(
    update(TILES)
    .where(TILES.c.level == bindparam("its_level"), TILES.c.position == bindparam("its_position"))
    .values(hashes=bindparam("hashes"))
)
_ADD_TILE: Final = Statement(
    insert(TILES).values(
        level=bindparam("its_level"), position=bindparam("its_position"), hashes=bindparam("hashes")
    )
)


def _unwritten(cause: Exception) -> LedgerUnavailable:
    failure = LedgerUnavailable(f"the log could not be written: {cause}")
    failure.__cause__ = cause
    return failure


class _Rows:
    """Rows of a group, written together."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._taken: dict[Table, list[tuple[Value, ...]]] = {RECORDS: [], BODIES: [], REQUESTS: []}

    def add(self, recorded: Recorded, encoded: bytes, stored: bytes, key_id: str | None) -> None:
        """Take one record and its body."""
        head, index = recorded.header, recorded.index
        # What callers may choose; all else is ASCII.
        dossier = head.dossier and stored_name(head.dossier)
        model = head.model and stored_name(head.model)
        self._taken[RECORDS].append((index, head.id, str(head.type), dossier, model, encoded))
        self._taken[BODIES].append((index, key_id and stored_name(key_id), stored))

    def add_request(self, row: tuple[bytes, bytes, str]) -> None:
        """Take one idempotency key."""
        self._taken[REQUESTS].append(row)

    def write(self) -> None:
        """Insert what was taken since the last time."""
        for table, rows in self._taken.items():
            if rows:
                insert_all(self._connection, table, rows)
                rows.clear()
