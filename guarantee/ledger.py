"""The log: appended to in groups, durable before it is acknowledged, signed after the commit."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import Final, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    cast,
    func,
    insert,
    select,
)

from guarantee.appending import Appender, Draft, Request
from guarantee.bodies import BODY_TYPES, Body
from guarantee.checkpoint import InclusionProof, Signer, VerifierKey
from guarantee.home import Home
from guarantee.keyring import Keyring, keyring_of
from guarantee.logged import (
    BodyMissing,
    Head,
    LedgerError,
    Recorded,
    UnknownRecord,
    decoded,
    read_head,
    recorded_in,
    tiles_of,
    withheld_of,
)
from guarantee.merkle import EMPTY_ROOT, Hash, consistency_path, inclusion_path
from guarantee.owned import owned_by
from guarantee.pen import KEPT_FILE, Behind, Pen
from guarantee.pseudonyms import Pseudonyms
from guarantee.records import RecordType
from guarantee.refusals import ProtocolError
from guarantee.situations import S
from guarantee.state import StoredState
from guarantee.store import (
    BODIES,
    HEAD,
    RECORDS,
    SIGNED,
    Store,
)
from guarantee.succession import Tenancy, enter
from guarantee.tiles import TileReader
from guarantee.vault import (
    signing_key,
    unseal,
)

B = TypeVar("B", bound=Body)
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A header and the proof that it stands in the log: what a patient or a court can keep.

    Attributes:
        header: The canonical bytes, as text.
        proof: A C2SP tlog-proof with a signed checkpoint.
    """

    header: str
    proof: str


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class Ledger:
    """A log and its vault. Safe to share between threads; several processes may write."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        pen: Pen,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.store = store
        self.people = Pseudonyms(store, keyring)
        self.verifier_key: VerifierKey = pen.verifier_key
        self._pen = pen
        self._clock = clock
        self._tenancy: Tenancy | None = None
        with store.writing() as connection:
            if connection.scalar(select(HEAD.c.size)) is None:
                head = Head(0, EMPTY_ROOT)
                # A database that vanished is no new log: this key has signed records.
                note = pen.sign(head, TileReader(tiles_of(connection))).encode()
                row = {"origin": pen.name, "size": head.size, "root": head.root}
                connection.execute(insert(HEAD).values(**row))
                connection.execute(insert(SIGNED).values(origin=pen.name, size=0, note=note))
            else:
                read_head(connection, pen.name)
                signed = connection.scalar(select(cast(SIGNED.c.note, LargeBinary)))
                pen.recall(signed or b"")
        self._appender = Appender(store, self.people, pen, clock)
        try:
            # A stop between commit and signature leaves a head that nobody signed yet.
            self._appender.note()
        except BaseException:
            self._appender.close()
            raise

    @classmethod
    def open(cls, home: Home, clock: Callable[[], int] = now_ms) -> Self:
        """Open the log under `home`, or make it with its keys.

        Raises:
            Rewritten: The database no longer holds what this house signed: verify it.
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
            signer = signer_in(home)
            keyring = keyring_of(home.keys, os.environ)
            ledger = cls(store, keyring, Pen(signer, home.keys / KEPT_FILE), clock)
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
        """Finish what was asked, then stop; a forked process leaves that to who opened the log."""
        if not self.store.is_of_this_process or not self._appender.close():
            return
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
            KeyAltered: The key of the patient was altered; nothing was recorded.
            LedgerUnavailable: Outcome unknown; retry, a repeat is recorded once.
        """
        return self._appender.record(draft, request)

    def record_all(self, drafts: Iterable[Draft]) -> Iterator[Recorded | ProtocolError]:
        """Append many records, thousands a transaction: see `Appender.record_all`."""
        return self._appender.record_all(drafts)

    def repeated(self, request: Request) -> Recorded | None:
        """What an earlier request under this key recorded, if it did.

        Raises:
            RequestConflict: The key was used for another request.
        """
        return self._appender.repeated(request)

    def settle(self) -> None:
        """Keep the signed note over the committed head in the database, for whoever reads it alone.

        Raises:
            StoreUnavailable: The note was not kept; the head stands all the same.
            Rewritten: The log is no longer what was signed: verify it.
        """
        with self._signed() as (_, head, _, note):
            pass
        self._appender.keep(head, note)

    def now(self) -> int:
        """The log's clock: milliseconds since 1970, UTC."""
        return self._clock()

    # Reading

    def head(self) -> Head:
        """The committed head."""
        with self.store.reading() as connection:
            return read_head(connection, self._pen.name)

    @contextmanager
    def _signed(self) -> Iterator[tuple[Connection, Head, TileReader, str]]:
        """One view of the log, and its head signed."""
        for last_try in (False, True):
            with self.store.reading() as connection:
                head = read_head(connection, self._pen.name)
                reader = TileReader(tiles_of(connection))
                try:
                    note = self._pen.sign(head, reader)
                except Behind:
                    if last_try:
                        raise
                    continue
                yield connection, head, reader, note
                return

    def checkpoint(self) -> str:
        """The signed note over the committed head.

        Raises:
            Rewritten: The log is no longer what was signed: verify it.
        """
        with self._signed() as (_, _, _, note):
            self._pen.keep(note)
            return note

    def receipt(self, record_id: str) -> Receipt:
        """The record's header with its proof under the present head.

        Raises:
            UnknownRecord: The log holds no such record.
            Rewritten: The log is no longer what was signed: verify it.
        """
        with self._signed() as (connection, head, reader, note):
            recorded = recorded_in(connection, record_id)
            path = inclusion_path(recorded.index, head.size, reader.node_at)
        proof = InclusionProof(index=recorded.index, path=tuple(path), checkpoint=note)
        return Receipt(header=recorded.header.encode().decode(), proof=proof.text)

    def consistency(self, old_size: int) -> tuple[Sequence[Hash], str]:
        """The path from the log of `old_size` entries to the present checkpoint, and that note.

        Raises:
            UnknownRecord: The log has not that many records.
            Rewritten: The log is no longer what was signed: verify it.
        """
        with self._signed() as (_, head, reader, note):
            if not 0 <= old_size <= head.size:
                raise UnknownRecord(f"the log has {head.size} records")
            return consistency_path(old_size, head.size, reader.node_at), note

    def find(self, record_id: str) -> Recorded:
        """The record of that id.

        Raises:
            UnknownRecord: The log holds no such record.
        """
        with self.store.reading() as connection:
            return recorded_in(connection, record_id)

    def open_body(self, recorded: Recorded) -> Body:
        """What a record says, checked against its header.

        Raises:
            BodyMissing: The vault no longer holds it.
            UnknownPerson: The patient's key is gone.
            VaultError: The stored bytes, or the key, were altered.
        """
        with self.store.reading() as connection:
            row = connection.execute(
                select(BODIES.c.key_id, BODIES.c.stored).where(BODIES.c.position == recorded.index)
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
                select(BODIES.c.key_id)
                .join(RECORDS, RECORDS.c.position == BODIES.c.position)
                .where(RECORDS.c.id == record_id)
            ).one_or_none()
        if row is None:
            raise UnknownRecord("the log holds no such record")
        key_id: str | None = row.key_id
        return key_id

    def thread(self, dossier: str) -> list[Recorded]:
        """The records of one dossier, in their order."""
        return self._select(RECORDS.c.dossier == dossier)

    def withheld_of(self, pseudonym: str, model: str, *, up_to: int | None = None) -> bool:
        """Whether an answer of that model on that patient is withheld, up to a place in the log."""
        with self.store.reading() as connection:
            return withheld_of(connection, pseudonym, model, up_to=up_to)

    def of_patient(self, pseudonym: str, kind: RecordType) -> list[Recorded]:
        """The records of one kind sealed for one patient, in their order."""
        return self._select(RECORDS.c.position.in_(owned_by(pseudonym)), RECORDS.c.type == kind)

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
        return [decoded(row.position, row.header) for row in reversed(rows)]

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
            if not 0 <= size <= read_head(connection, self._pen.name).size:
                raise UnknownRecord("the log has not that many records")
            return TileReader(tiles_of(connection)).root(size)

    def stretch(
        self,
        kinds: Iterable[RecordType],
        *,
        start: int = 0,
        end: int | None = None,
        model: str | None = None,
    ) -> Iterator[Recorded]:
        """Every record of these kinds from index `start` to `end`, excluded, in their order.

        Args:
            end: By default the log's, as it is when the last is read.
        """
        where: list[ColumnElement[bool]] = [RECORDS.c.type.in_([kind.value for kind in kinds])]
        if end is not None:
            where.append(RECORDS.c.position < end)
        if model is not None:
            where.append(RECORDS.c.model == model)
        statement = (
            select(RECORDS.c.position, RECORDS.c.header)
            .where(*where)
            .order_by(RECORDS.c.position)
            .limit(_PAGE)
        )
        while True:
            # No connection is held while the caller reads what the records say.
            with self.store.reading() as connection:
                rows = connection.execute(statement.where(RECORDS.c.position >= start)).all()
            for row in rows:
                yield decoded(row.position, row.header)
            if len(rows) < _PAGE:
                return
            start = rows[-1].position + 1

    def page(self, start: int, count: int) -> list[Recorded]:
        """Records from index `start` on, at most `count`."""
        return self._select(RECORDS.c.position >= start, RECORDS.c.position < start + count)

    def _select(self, *where: ColumnElement[bool]) -> list[Recorded]:
        statement = select(RECORDS).where(*where).order_by(RECORDS.c.position)
        with self.store.reading() as connection:
            return [decoded(row.position, row.header) for row in connection.execute(statement)]

    def get(self, kind: type[S], key: str) -> S | None:
        """Where the protocol stands with that thing."""
        with self.store.reading() as connection:
            return StoredState(connection).get(kind, key)

    def situations(self, kind: type[S], steps: Iterable[str]) -> list[tuple[str, S]]:
        """Keys and situations of that kind at any of these steps."""
        with self.store.reading() as connection:
            return StoredState(connection).at(kind, steps)


def signer_in(home: Home) -> Signer:
    """The log's key, made on first use.

    Raises:
        KeyUnavailable: Its file is damaged.
    """
    private = signing_key(home.keys / "ledger.key")
    return Signer(name=origin_of(private), private=private)


def origin_of(private: Ed25519PrivateKey) -> str:
    """The name of the log that this key signs, unique because the key is."""
    return origin_under(private.public_key().public_bytes_raw())


def origin_under(public: bytes) -> str:
    """The name of the log that the private half of this Ed25519 key signs."""
    return f"garant.local/{sha256(public).hexdigest()[:16]}"
