"""Appending: drafts wait in a queue, groups of them share a transaction, heads are signed after.

Whoever sends a draft is answered once its group is durable. The head that a commit made is signed
when there is time: a signature can be made again, a commit cannot.
"""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select, update

from guarantee.bodies import Body
from guarantee.errors import GuaranteeError
from guarantee.logged import (
    Head,
    LedgerError,
    LedgerUnavailable,
    Recorded,
    read_head,
    recorded_in,
    tiles_of,
)
from guarantee.merkle import leaf_hash
from guarantee.pen import Pen
from guarantee.protocol import advance
from guarantee.pseudonyms import Actor, Pseudonyms
from guarantee.records import Header, RecordType, new_id
from guarantee.refusals import Erased, ProtocolError
from guarantee.state import StoredState, Trial
from guarantee.store import (
    BODIES,
    HEAD,
    RECORDS,
    REQUESTS,
    SIGNED,
    TILES,
    Store,
    StoreUnavailable,
    Value,
    insert_all,
)
from guarantee.tiles import Edge, TileReader
from guarantee.vault import in_clear, seal

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


class RequestConflict(LedgerError):
    """The idempotency key was used for another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A record about to be appended; the ledger gives it its id, time and digests.

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
    request: tuple[bytes, bytes] | None
    done: "Future[Recorded] | None"
    outcome: "Recorded | Exception | None" = None

    def settle(self, outcome: "Recorded | Exception") -> None:
        """Say what became of it, once."""
        self.outcome = outcome
        if self.done is None:
            return
        if isinstance(outcome, Recorded):
            self.done.set_result(outcome)
        else:
            self.done.set_exception(outcome)


class Appender:
    """One process's end of the log: a queue, and the thread that commits from it."""

    def __init__(
        self, store: Store, people: Pseudonyms, pen: Pen, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._people = people
        self._pen = pen
        self._clock = clock
        self._edge: Edge | None = None
        self._unsigned = False
        self._signed_at = 0.0
        self._expected = 1
        self._commit_seconds = 0.0
        self._queue: queue.SimpleQueue[list[_Pending] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._committer = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._committer.start()

    def close(self) -> bool:
        """Finish what was asked, then stop; False where it was closed before."""
        with self._closing:
            if self._closed:
                return False
            self._closed = True
            self._queue.put(None)
        self._committer.join()
        return True

    def submit(self, draft: Draft, request: Request | None = None) -> "Future[Recorded]":
        """Like `record`, without waiting: the future holds what it would return or raise."""
        done: Future[Recorded] = Future()
        blinded = self._blinded(request) if request else None
        self._put([_Pending(draft, draft.body.encode(), blinded, done)])
        return done

    def record_all(self, drafts: Iterable[Draft]) -> Iterator[Recorded | ProtocolError]:
        """Append many records, thousands a transaction, and give what became of each, in order.

        What was given survives power loss.

        Raises:
            LedgerUnavailable: Outcome unknown of what was not given yet.
        """
        source = iter(drafts)
        while drawn := list(islice(source, MOST_AT_ONCE)):
            pendings = [_Pending(draft, draft.body.encode(), None, None) for draft in drawn]
            last: Future[Recorded] = Future()
            pendings[-1].done = last
            self._put(pendings)
            last.exception()
            for pending in pendings:
                if isinstance(pending.outcome, (Recorded, ProtocolError)):
                    yield pending.outcome
                else:
                    raise pending.outcome or LedgerUnavailable("the log stopped: open it again")

    def _put(self, pendings: list[_Pending]) -> None:
        with self._closing:
            if self._closed:
                raise LedgerClosed("the log is closed")
            self._queue.put(pendings)

    def repeated(self, request: Request) -> Recorded | None:
        """What an earlier request under this key recorded, if it did.

        Raises:
            RequestConflict: The key was used for another request.
        """
        key, digest = self._blinded(request)
        with self._store.reading() as connection:
            record_id = _requested(connection, key, digest, self._people.bind_request)
            return recorded_in(connection, record_id, repeated=True) if record_id else None

    def _blinded(self, request: Request) -> tuple[bytes, bytes]:
        scope = json.dumps([request.actor, request.route, request.key])
        digest = sha256(request.content).hexdigest()
        blind = self._people.blind_request
        return blind("request", scope), blind("content", digest)

    def _run(self) -> None:
        """Commit group after group; sign the head for this home whenever there is time."""
        group: list[_Pending] = []
        try:
            closing = False
            while not closing:
                group, closing = self._next_group()
                if group:
                    self._settle(group)
                idle = not group
                late = time.perf_counter() - self._signed_at > SIGNED_EVERY_SECONDS
                if self._unsigned and (closing or idle or late):
                    self._sign_unsigned()
        finally:
            # Only a defect ends the loop before it was asked to: nobody must wait for it.
            self._closed = True
            for pending in (*group, *self._drained()):
                if pending.outcome is None:
                    pending.settle(LedgerUnavailable("the log stopped: open it again"))

    def _next_group(self) -> tuple[list[_Pending], bool]:
        """What waits, at most a group, and whether the log is being closed.

        Those who were just served come back soon: waiting for as many as there are, for half
        the time that a commit takes, halves the number of commits. One who comes alone never
        waits.
        """
        group: list[_Pending] = []
        wait = IDLE_SECONDS if self._unsigned else None
        until = 0.0
        try:
            while len(group) < MOST_IN_A_GROUP:
                pendings = self._queue.get(timeout=wait)
                if pendings is None:
                    return group, True
                group += pendings
                now = time.perf_counter()
                until = until or now + self._commit_seconds / 2
                enough = len(group) >= self._expected or now >= until
                wait = 0 if enough else until - now
        except queue.Empty:
            pass
        return group, False

    def _drained(self) -> Iterator[_Pending]:
        while True:
            try:
                pendings = self._queue.get_nowait()
            except queue.Empty:
                return
            yield from pendings or ()

    def _settle(self, group: list[_Pending]) -> None:
        began = time.perf_counter()
        try:
            outcomes = self._commit(group)
        except (GuaranteeError, IndexError, OSError) as error:
            # What the database holds is unknown now: read the head again before going on.
            self._edge = None
            for pending in group:
                failure = LedgerUnavailable(f"the log could not be written: {error}")
                failure.__cause__ = error
                pending.settle(failure)
            return
        except Exception as defect:  # noqa: BLE001  # whatever it is, the log goes on
            # Those who met a defect are told; it must not silence the log for all the others.
            self._edge = None
            for pending in group:
                pending.settle(defect)
            return
        self._commit_seconds = time.perf_counter() - began
        self._expected = len(group) + self._queue.qsize()
        self._unsigned = True
        for pending, outcome in zip(group, outcomes, strict=True):
            pending.settle(outcome)

    def _sign_unsigned(self) -> None:
        self._unsigned = False
        self._signed_at = time.perf_counter()
        try:
            self.note()
        except (LedgerError, StoreUnavailable, OSError):
            # The next group, or the next opening, signs a head that covers this one, or refuses.
            self._edge = None

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
            if self._edge is None or self._edge.frontier.size != head.size:
                # Another worker appended, or somebody rewrote the log: only the first goes on.
                self._pen.check(head, TileReader(tiles_of(connection)))
                self._edge = Edge.load(head.size, tiles_of(connection))
            # Whatever was restored or altered meanwhile, nothing is built beside the head.
            if self._edge.frontier.root != head.root:
                raise LedgerUnavailable("the tiles do not lead to the head: verify the log")
            edge = self._edge.copy()
            state = StoredState(connection)
            rows = _Rows(connection, self._people.bind_request)
            # The keys are read where the records are written: none can be erased in between.
            keys = self._people.keys(connection, {pending.draft.sealed_for for pending in group})
            # 2.
            for pending in group:
                repeat = _repeat(connection, rows, pending.request)
                if repeat is not None:
                    outcomes.append(repeat)
                    continue
                trial = Trial(state)
                try:
                    header, stored = self._compose(pending, keys)
                    advance(header, trial)
                    if pending.draft.act is not None:
                        # An act reads the tables: what stands before it must be there.
                        rows.write()
                        state.flush()
                        pending.draft.act(connection, header)
                except ProtocolError as refusal:
                    outcomes.append(refusal)
                    continue
                trial.settle()
                if header.type is RecordType.PATIENT_ERASED:
                    # What stands behind it in this group may not be sealed any more.
                    keys.pop(header.subject, None)
                recorded = Recorded(header=header, index=edge.frontier.size)
                encoded = header.encode()
                edge.append(leaf_hash(encoded))
                rows.add(recorded, encoded, stored, pending)
                outcomes.append(recorded)
            if edge.frontier.size == head.size:
                return outcomes
            # 3.
            rows.write()
            state.flush()
            write_tiles(connection, edge)
            # 4.
            moved = Head(edge.frontier.size, edge.frontier.root)
            # The WHERE clause is the fork guard: of two writers that read the same head, only
            # one UPDATE can match a row.
            updated = connection.execute(
                _MOVE_HEAD,
                {
                    "read_size": head.size,
                    "read_root": head.root,
                    "size": moved.size,
                    "root": moved.root,
                },
            )
            if updated.rowcount != 1:
                raise LedgerUnavailable("another writer moved the head")
        self._edge = edge
        return outcomes

    def _compose(self, pending: _Pending, keys: Mapping[str | None, bytes]) -> tuple[Header, bytes]:
        """The header of a draft, and its body as it will be stored."""
        draft, at = pending.draft, self._clock()
        record_id = new_id(at)
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
        place = {"its_level": tile.level, "its_position": tile.index, "hashes": tile.hashes}
        connection.execute(_GROW_TILE if tile.replaces else _ADD_TILE, place)


# Built once: SQLAlchemy takes longer to make a statement than SQLite to run it.
_MOVE_HEAD: Final = (
    update(HEAD)
    .where(HEAD.c.size == bindparam("read_size"), HEAD.c.root == bindparam("read_root"))
    .values(size=bindparam("size"), root=bindparam("root"))
)
_GROW_TILE: Final = (
    update(TILES)
    .where(TILES.c.level == bindparam("its_level"), TILES.c.position == bindparam("its_position"))
    .values(hashes=bindparam("hashes"))
)
_ADD_TILE: Final = insert(TILES).values(
    level=bindparam("its_level"), position=bindparam("its_position"), hashes=bindparam("hashes")
)


_Bind = Callable[[bytes, bytes, str], bytes]


class _Rows:
    """Rows of a group, written together."""

    def __init__(self, connection: Connection, bind: "_Bind") -> None:
        self.requested: dict[bytes, tuple[bytes, Recorded]] = {}
        self.bind = bind
        self._connection = connection
        self._records: list[tuple[Value, ...]] = []
        self._bodies: list[tuple[Value, ...]] = []
        self._requests: list[tuple[Value, ...]] = []

    def add(self, recorded: Recorded, encoded: bytes, stored: bytes, pending: _Pending) -> None:
        """Take one record, its body and its idempotency key."""
        head = recorded.header
        self._records.append(
            (recorded.index, head.id, head.type.value, head.dossier, head.model, encoded)
        )
        self._bodies.append((head.id, pending.draft.sealed_for, stored))
        if pending.request is not None:
            key, digest = pending.request
            self.requested[key] = (digest, recorded)
            self._requests.append((key, self.bind(key, digest, head.id), head.id))

    def write(self) -> None:
        """Insert what was taken since the last time."""
        for table, rows in (
            (RECORDS, self._records),
            (BODIES, self._bodies),
            (REQUESTS, self._requests),
        ):
            if rows:
                insert_all(self._connection, table, rows)
                rows.clear()


def _repeat(
    connection: Connection,
    rows: _Rows,
    request: tuple[bytes, bytes] | None,
) -> Recorded | RequestConflict | None:
    """What the same idempotency key recorded, in this group or before."""
    if request is None:
        return None
    key, digest = request
    try:
        if key in rows.requested:
            _check_same(rows.requested[key][0], digest)
            first = rows.requested[key][1]
            return Recorded(header=first.header, index=first.index, repeated=True)
        record_id = _requested(connection, key, digest, rows.bind)
    except RequestConflict as conflict:
        return conflict
    return recorded_in(connection, record_id, repeated=True) if record_id else None


def _requested(connection: Connection, key: bytes, digest: bytes, bind: _Bind) -> str | None:
    row = connection.execute(select(REQUESTS).where(REQUESTS.c.key == key)).one_or_none()
    if row is None:
        return None
    record_id: str = row.record_id
    # A row that was altered is no word of ours: it is refused like another request's.
    _check_same(row.digest, bind(key, digest, record_id))
    return record_id


def _check_same(first: bytes, second: bytes) -> None:
    if first != second:
        raise RequestConflict("the idempotency key was used for another request: take a new one")
