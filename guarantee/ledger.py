"""The log: appended to in groups, durable before it is acknowledged, signed after the commit."""

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from types import TracebackType
from typing import Final, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    bindparam,
    cast,
    func,
    insert,
    select,
    update,
)

from guarantee.bodies import BODY_TYPES, Body
from guarantee.checkpoint import InclusionProof, Signer, VerifierKey
from guarantee.errors import GuaranteeError
from guarantee.home import Home
from guarantee.keyring import Keyring, keyring_of
from guarantee.merkle import EMPTY_ROOT, Hash, consistency_path, inclusion_path, leaf_hash
from guarantee.protocol import advance
from guarantee.pseudonyms import Actor, Pseudonyms
from guarantee.records import Header, MalformedRecord, RecordType, new_id
from guarantee.refusals import Erased, ProtocolError
from guarantee.situations import Dossier, S, Step
from guarantee.state import StoredState, Trial
from guarantee.store import (
    BODIES,
    HEAD,
    RECORDS,
    REQUESTS,
    SIGNED,
    STATES,
    TILES,
    Store,
    StoreUnavailable,
    Value,
    insert_all,
)
from guarantee.succession import Tenancy, enter
from guarantee.tiles import Edge, TileReader
from guarantee.vault import (
    in_clear,
    seal,
    signing_key,
    unseal,
)

MOST_IN_A_GROUP = 256
MOST_AT_ONCE = 2000
"""Records of one `record_all` in one transaction: others wait for that long."""

IDLE_SECONDS = 0.02
"""After so long without a record the head is signed for whoever verifies this home; those who
ask for a checkpoint or a receipt get it signed at once."""

B = TypeVar("B", bound=Body)


class LedgerError(GuaranteeError):
    """The log refuses or cannot do something that is no step of the protocol."""


class LedgerUnavailable(LedgerError):
    """Outcome unknown; retry with the same idempotency key, a repeat is recorded once."""


class LedgerClosed(LedgerError):
    """The log was closed; nothing was recorded."""


class ForeignLog(LedgerUnavailable):
    """The database holds another log than the one that this key signs; nothing was recorded."""


class UnknownRecord(LedgerError):
    """The log holds no such record."""


class RequestConflict(LedgerError):
    """The idempotency key was used for another request."""


class BodyMissing(LedgerError):
    """The vault no longer holds the record's body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A record about to be appended; the ledger gives it its id, time and digests.

    Attributes:
        sealed_for: The patient whose key seals the body; none leaves it in clear.
        opens_dossier: Whether the record's own id names its dossier.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A header and the proof that it stands in the log: what a patient or a court can keep.

    Attributes:
        header: The canonical bytes, as text.
        proof: A C2SP tlog-proof with a signed checkpoint.
    """

    header: str
    proof: str


@dataclass(frozen=True, slots=True)
class Head:
    """So many records, under this root."""

    size: int
    root: Hash


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


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class Ledger:
    """A log and its vault. Safe to share between threads; several processes may write."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        signer: Signer,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.store = store
        self.people = Pseudonyms(store, keyring)
        self.verifier_key: VerifierKey = signer.verifier_key
        self._signer = signer
        self._clock = clock
        self._edge: Edge | None = None
        self._unsigned: Head | None = None
        self._expected = 1
        self._commit_seconds = 0.0
        self._queue: queue.SimpleQueue[list[_Pending] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._tenancy: Tenancy | None = None
        with store.writing() as connection:
            if connection.scalar(select(HEAD.c.size)) is None:
                empty = {"origin": signer.name, "size": 0, "root": EMPTY_ROOT}
                connection.execute(insert(HEAD).values(**empty))
                note = signer.sign(size=0, root=EMPTY_ROOT).encode()
                connection.execute(insert(SIGNED).values(origin=signer.name, size=0, note=note))
        # A stop between commit and signature leaves a head that nobody signed yet.
        self._note(self.head())
        self._committer = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._committer.start()

    @classmethod
    def open(cls, home: Home, clock: Callable[[], int] = now_ms) -> Self:
        """Open the log under `home`, or make it with its keys.

        Raises:
            StoreUnavailable: The database cannot be opened.
            KeyUnavailable: A key file is damaged, or no master key at hand opens the vault.
            HomeUnavailable: The home cannot be written.
            ForeignLog: The log is another key's.
        """
        with ExitStack() as undone:
            tenancy = enter(home)
            undone.callback(tenancy.leave)
            store = Store(home.url)
            undone.callback(store.close)
            private = signing_key(home.keys / "ledger.key")
            keyring = keyring_of(home.keys, os.environ)
            ledger = cls(store, keyring, Signer(name=origin_of(private), private=private), clock)
            ledger._tenancy = tenancy
            undone.pop_all()
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what was asked, then stop."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._committer.join()
        self.store.close()
        if self._tenancy is not None:
            self._tenancy.leave()

    # Appending

    def record(self, draft: Draft, request: Request | None = None) -> Recorded:
        """Append one record; once this returns, it survives power loss.

        Args:
            draft: What happened.
            request: The idempotency key that it was asked under, if any.

        Raises:
            ProtocolError: The record may not stand here; nothing was recorded.
            RequestConflict: The key was used for another request.
            LedgerUnavailable: Outcome unknown; retry, a repeat is recorded once.
        """
        return self.submit(draft, request).result()

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
        with self.store.reading() as connection:
            record_id = _requested(connection, key, digest)
            return _recorded(connection, record_id, repeated=True) if record_id else None

    def _blinded(self, request: Request) -> tuple[bytes, bytes]:
        scope = json.dumps([request.actor, request.route, request.key])
        digest = sha256(request.content).hexdigest()
        blind = self.people.blind_request
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
                if self._unsigned is not None and (closing or self._queue.empty()):
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
        wait = None if self._unsigned is None else IDLE_SECONDS
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
            head, outcomes = self._commit(group)
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
        self._unsigned = head
        for pending, outcome in zip(group, outcomes, strict=True):
            pending.settle(outcome)

    def _sign_unsigned(self) -> None:
        head, self._unsigned = self._unsigned, None
        try:
            if head is not None:
                self._note(head)
        except StoreUnavailable:
            # The next group, or the next opening, signs a head that covers this one.
            self._edge = None

    def _commit(self, group: list[_Pending]) -> "tuple[Head, list[Recorded | GuaranteeError]]":
        """Append what the protocol allows of `group`, in one transaction.

        1. Read the head; another worker may have moved it.
        2. Try each record on the state; refuse it alone where it may not stand.
        3. Write the rows, the state and the tiles.
        4. Move the head, unless somebody else did.
        """
        outcomes: list[Recorded | GuaranteeError] = []
        with self.store.writing() as connection:
            # 1.
            head = read_head(connection, self._signer.name)
            if self._edge is None or self._edge.frontier.size != head.size:
                self._edge = Edge.load(head.size, tiles_of(connection))
            # Whatever was restored or altered meanwhile, nothing is built beside the head.
            if self._edge.frontier.root != head.root:
                raise LedgerUnavailable("the tiles do not lead to the head: verify the log")
            edge = self._edge.copy()
            state = StoredState(connection)
            rows = _Rows(connection)
            # The keys are read where the records are written: none can be erased in between.
            keys = self.people.keys(connection, {pending.draft.sealed_for for pending in group})
            # 2.
            for pending in group:
                repeat = _repeat(connection, rows.requested, pending.request)
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
                return head, outcomes
            # 3.
            rows.write()
            state.flush()
            _write_tiles(connection, edge)
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
        return moved, outcomes

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
        )
        return header, sealed.stored

    def _note(self, head: Head) -> None:
        """Sign a head that is committed, and keep the note for whoever verifies this home."""
        with self.store.reading() as connection:
            if connection.scalar(select(SIGNED.c.size)) == head.size:
                return
        note = self._signer.sign(size=head.size, root=head.root)
        with self.store.noting() as connection:
            connection.execute(
                update(SIGNED)
                .where(SIGNED.c.size < head.size)
                .values(size=head.size, note=note.encode())
            )

    # Reading

    def head(self) -> Head:
        """The committed head."""
        with self.store.reading() as connection:
            return read_head(connection, self._signer.name)

    def checkpoint(self) -> str:
        """The signed note over the committed head."""
        head = self.head()
        return self._signer.sign(size=head.size, root=head.root)

    def receipt(self, record_id: str) -> Receipt:
        """The record's header with its proof under the present head.

        Raises:
            UnknownRecord: The log holds no such record.
        """
        with self.store.reading() as connection:
            recorded = _recorded(connection, record_id)
            head = read_head(connection, self._signer.name)
            reader = TileReader(tiles_of(connection))
            path = inclusion_path(recorded.index, head.size, reader.node_at)
        proof = InclusionProof(
            index=recorded.index,
            path=tuple(path),
            checkpoint=self._signer.sign(size=head.size, root=head.root),
        )
        return Receipt(header=recorded.header.encode().decode(), proof=proof.text)

    def consistency(self, old_size: int) -> tuple[Sequence[Hash], str]:
        """The path from the log of `old_size` entries to the present checkpoint, and that note.

        Raises:
            UnknownRecord: The log has not that many records.
        """
        with self.store.reading() as connection:
            head = read_head(connection, self._signer.name)
            if not 0 <= old_size <= head.size:
                raise UnknownRecord(f"the log has {head.size} records")
            reader = TileReader(tiles_of(connection))
            path = consistency_path(old_size, head.size, reader.node_at)
        return path, self._signer.sign(size=head.size, root=head.root)

    def find(self, record_id: str) -> Recorded:
        """The record of that id.

        Raises:
            UnknownRecord: The log holds no such record.
        """
        with self.store.reading() as connection:
            return _recorded(connection, record_id)

    def open_body(self, recorded: Recorded) -> Body:
        """What a record says, checked against its header.

        Raises:
            BodyMissing: The vault no longer holds it.
            UnknownPerson: The patient's key is gone.
            VaultError: The stored bytes, or the key, were altered.
        """
        with self.store.reading() as connection:
            row = connection.execute(
                select(BODIES.c.key_id, BODIES.c.stored).where(BODIES.c.record_id == recorded.id)
            ).one_or_none()
        if row is None:
            raise BodyMissing(f"the vault does not hold the body of record {recorded.id}")
        if row.key_id is None or recorded.header.commitment is None:
            encoded = row.stored
        else:
            encoded = unseal(
                self.people.key(row.key_id), recorded.id, row.stored, recorded.header.commitment
            )
        return BODY_TYPES[recorded.header.type].model_validate_json(encoded)

    def open_as(self, recorded: Recorded, kind: type[B]) -> B:
        """Like `open_body`, for a record that is known to be of one kind.

        Raises:
            LedgerError: It is of another kind: the log was altered.
        """
        body = self.open_body(recorded)
        if not isinstance(body, kind):
            raise LedgerError(f"record {recorded.id} is no {kind.__name__}: verify the log")
        return body

    def sealed_for(self, record_id: str) -> str | None:
        """The pseudonym of the patient whose key seals that record's body.

        Raises:
            UnknownRecord: The vault holds no such body.
        """
        with self.store.reading() as connection:
            row = connection.execute(
                select(BODIES.c.key_id).where(BODIES.c.record_id == record_id)
            ).one_or_none()
        if row is None:
            raise UnknownRecord("the log holds no such record")
        key_id: str | None = row.key_id
        return key_id

    def thread(self, dossier: str) -> list[Recorded]:
        """The records of one dossier, in their order."""
        return self._select(RECORDS.c.dossier == dossier)

    def withheld_of(self, pseudonym: str, model: str) -> bool:
        """Whether an answer of that model on that patient is withheld."""
        with self.store.reading() as connection:
            return withheld_of(connection, pseudonym, model)

    def of_patient(self, pseudonym: str, kind: RecordType) -> list[Recorded]:
        """The records of one kind sealed for one patient, in their order."""
        sealed = select(BODIES.c.record_id).where(BODIES.c.key_id == pseudonym)
        return self._select(RECORDS.c.id.in_(sealed), RECORDS.c.type == kind)

    def latest(
        self, kind: RecordType, *, model: str | None = None, count: int = 100
    ) -> list[Recorded]:
        """The last `count` records of one kind, oldest first."""
        where = [RECORDS.c.type == kind]
        if model is not None:
            where.append(RECORDS.c.model == model)
        statement = select(RECORDS).where(*where).order_by(RECORDS.c.position.desc()).limit(count)
        with self.store.reading() as connection:
            rows = connection.execute(statement).all()
        return [_decoded(row.position, row.header) for row in reversed(rows)]

    def counts(self) -> dict[RecordType, int]:
        """How many records of each type the log holds; types without any are left out."""
        statement = (
            select(RECORDS.c.type, func.count()).group_by(RECORDS.c.type).order_by(RECORDS.c.type)
        )
        with self.store.reading() as connection:
            return {RecordType(kind): count for kind, count in connection.execute(statement)}

    def root(self, size: int) -> Hash:
        """The root of the first `size` records.

        Raises:
            UnknownRecord: The log has not that many records.
        """
        with self.store.reading() as connection:
            if not 0 <= size <= read_head(connection, self._signer.name).size:
                raise UnknownRecord("the log has not that many records")
            return TileReader(tiles_of(connection)).root(size)

    def stretch(
        self, kinds: Iterable[RecordType], *, start: int, end: int, model: str | None = None
    ) -> Iterator[Recorded]:
        """Records of these kinds from index `start` to `end`, excluded, in their order."""
        where = [
            RECORDS.c.type.in_([kind.value for kind in kinds]),
            RECORDS.c.position >= start,
            RECORDS.c.position < end,
        ]
        if model is not None:
            where.append(RECORDS.c.model == model)
        statement = (
            select(RECORDS.c.position, RECORDS.c.header)
            .where(*where)
            .order_by(RECORDS.c.position)
            .execution_options(yield_per=1000)
        )
        with self.store.reading() as connection:
            for row in connection.execute(statement):
                yield _decoded(row.position, row.header)

    def page(self, start: int, count: int) -> list[Recorded]:
        """Records from index `start` on, at most `count`."""
        return self._select(RECORDS.c.position >= start, RECORDS.c.position < start + count)

    def _select(self, *where: ColumnElement[bool]) -> list[Recorded]:
        statement = select(RECORDS).where(*where).order_by(RECORDS.c.position)
        with self.store.reading() as connection:
            return [_decoded(row.position, row.header) for row in connection.execute(statement)]

    def get(self, kind: type[S], key: str) -> S | None:
        """Where the protocol stands with that thing."""
        with self.store.reading() as connection:
            return StoredState(connection).get(kind, key)

    def situations(self, kind: type[S], steps: Iterable[str]) -> list[tuple[str, S]]:
        """Keys and situations of that kind at any of these steps."""
        with self.store.reading() as connection:
            return StoredState(connection).at(kind, steps)


def origin_of(private: Ed25519PrivateKey) -> str:
    """The name of the log that this key signs, unique because the key is."""
    return origin_under(private.public_key().public_bytes_raw())


def origin_under(public: bytes) -> str:
    """The name of the log that the private half of this Ed25519 key signs."""
    return f"garant.local/{sha256(public).hexdigest()[:16]}"


def read_head(connection: Connection, origin: str) -> Head:
    """The head's row, of the log of that name.

    Raises:
        LedgerUnavailable: There is none, or more than one.
        ForeignLog: It is another log's.
    """
    rows = connection.execute(select(HEAD)).all()
    if len(rows) != 1:
        raise LedgerUnavailable("the database does not hold one head: verify it, or restore it")
    if rows[0].origin != origin:
        # After a restore a process that still has the old key must sign nothing with it.
        raise ForeignLog(
            f"the database holds log {rows[0].origin}, the key at hand is that of {origin}: "
            "after a restore, start again what serves; or put the log's key back"
        )
    return Head(rows[0].size, rows[0].root)


def tiles_of(connection: Connection) -> Callable[[int, int], bytes]:
    """A reader of the stored tiles; a missing one is empty."""

    def read(level: int, index: int) -> bytes:
        statement = select(cast(TILES.c.hashes, LargeBinary)).where(
            TILES.c.level == level, TILES.c.position == index
        )
        return connection.scalar(statement) or b""

    return read


def withheld_of(connection: Connection, pseudonym: str, model: str) -> bool:
    """Whether an answer of that model on that patient is withheld."""
    statement = (
        select(RECORDS.c.id)
        .join(BODIES, BODIES.c.record_id == RECORDS.c.id)
        .join(STATES, (STATES.c.kind == Dossier.__name__) & (STATES.c.key == RECORDS.c.id))
        .where(
            BODIES.c.key_id == pseudonym,
            RECORDS.c.model == model,
            STATES.c.step == Step.WITHHELD.value,
        )
        .limit(1)
    )
    return connection.scalar(statement) is not None


def _write_tiles(connection: Connection, edge: Edge) -> None:
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


class _Rows:
    """Rows of a group, written together."""

    def __init__(self, connection: Connection) -> None:
        self.requested: dict[bytes, tuple[bytes, Recorded]] = {}
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
            self._requests.append((key, digest, head.id))

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
    group: dict[bytes, tuple[bytes, Recorded]],
    request: tuple[bytes, bytes] | None,
) -> Recorded | RequestConflict | None:
    """What the same idempotency key recorded, in this group or before."""
    if request is None:
        return None
    key, digest = request
    try:
        if key in group:
            _check_same(group[key][0], digest)
            first = group[key][1]
            return Recorded(header=first.header, index=first.index, repeated=True)
        record_id = _requested(connection, key, digest)
    except RequestConflict as conflict:
        return conflict
    return _recorded(connection, record_id, repeated=True) if record_id else None


def _requested(connection: Connection, key: bytes, digest: bytes) -> str | None:
    row = connection.execute(select(REQUESTS).where(REQUESTS.c.key == key)).one_or_none()
    if row is None:
        return None
    _check_same(row.digest, digest)
    record_id: str = row.record_id
    return record_id


def _check_same(first: bytes, second: bytes) -> None:
    if first != second:
        raise RequestConflict("the idempotency key was used for another request: take a new one")


def _recorded(connection: Connection, record_id: str, *, repeated: bool = False) -> Recorded:
    row = connection.execute(
        select(RECORDS.c.position, RECORDS.c.header).where(RECORDS.c.id == record_id)
    ).one_or_none()
    if row is None:
        raise UnknownRecord("the log holds no such record")
    found = _decoded(row.position, row.header)
    return Recorded(header=found.header, index=found.index, repeated=repeated)


def _decoded(index: int, header: bytes) -> Recorded:
    try:
        return Recorded(header=Header.decode(header), index=index)
    except MalformedRecord as error:
        raise LedgerError(f"record {index} was altered: verify the log") from error
