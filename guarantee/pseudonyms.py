"""Random pseudonyms for patients and actors, and the way back for those entitled.

A hash of an INS or an RPPS number can be enumerated; a random pseudonym cannot. People are
found again by a hash keyed with the master key, which never leaves the house.
"""

import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from guarantee.errors import GuaranteeError
from guarantee.identity import Caller, Patient, Role
from guarantee.keyring import Keyring, opening
from guarantee.refusals import ProtocolError
from guarantee.statements import Lookup
from guarantee.store import KEYS, PEOPLE, Store
from guarantee.vault import CannotOpen, KeyAltered, MasterKey, decrypt, encrypt, new_key

ACTORS_KEY: Final = "actors"
"""The id of the key that actors' identities are under."""
REQUESTS_KEY: Final = "requests"
"""The id of the key that idempotency keys are blinded with. It also witnesses rotations: it is
wrapped anew by each, and never gone."""
_BATCH: Final = 1000
_WRAPPED_KEYS: Final = Lookup(KEYS.c.id, KEYS.c.wrapped)


class IdentityMismatch(GuaranteeError):
    """The INS is known under other traits; names them, never their values."""


class UnknownPerson(GuaranteeError):
    """Nobody has that pseudonym, or the person was erased."""


class IdentityTaken(ProtocolError):
    """The rectified INS is another patient's."""


class IdentityMoved(ProtocolError):
    """The identity was rectified in the meantime; rectify again."""


class MasterKeyMoved(ProtocolError):
    """The master key was rotated in the meantime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, as the log knows them."""

    pseudonym: str
    role: Role


class KnownActor(BaseModel):
    """An actor's identity, as the vault keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    subject: str
    name: str | None


class Pseudonyms:
    """Gives each person one pseudonym, and finds it again."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        """Find the master key that the vault is under.

        Raises:
            KeyUnavailable: None of the keys at hand opens the vault.
        """
        self._store = store
        self._keyring = keyring
        with store.writing() as connection:
            # One transaction: of two processes that open a new home, one makes the key.
            master = opening(keyring, connection)
            blinding = self._wrapped(connection, REQUESTS_KEY)
            if blinding is None:
                blinding = master.wrap(new_key(), owner=REQUESTS_KEY)
                connection.execute(insert(KEYS).values(id=REQUESTS_KEY, wrapped=blinding))
        # A stop between a rotation's commit and the last step on its files.
        keyring.settle(master)
        self._under: tuple[MasterKey, bytes | None] = (master, blinding)
        self._blinding = MasterKey(master.unwrap(blinding, owner=REQUESTS_KEY))

    def actor(self, caller: Caller) -> Actor:
        """The caller's pseudonym, drawn at the first meeting."""
        identity = KnownActor(issuer=caller.issuer, subject=caller.subject, name=caller.name)
        known = self._find(identity) or self._enrol(identity)
        return Actor(pseudonym=known, role=caller.role)

    def patient(self, patient: Patient) -> str:
        """The patient's pseudonym, drawn with a key of their own at the first meeting.

        Raises:
            IdentityMismatch: That INS is known under other traits.
        """
        known = self._find(patient) or self._enrol(patient)
        self._check_traits(patient, self.patient_named(known))
        return known

    def patient_by_ins(self, *, oid: str, matricule: str) -> str:
        """The pseudonym of the patient whose INS that is, or was rectified to be.

        Raises:
            UnknownPerson: Nobody known here.
        """
        known = self._find((oid, matricule))
        if known is None:
            raise UnknownPerson("no patient of that INS is known here")
        return known

    def patient_named(self, pseudonym: str) -> Patient:
        """Who that patient is.

        Raises:
            UnknownPerson: Nobody, or nobody any more.
            CannotOpen: The stored identity was altered.
        """
        return Patient.model_validate_json(self._identity(pseudonym, of_a_patient=True))

    def actor_named(self, pseudonym: str) -> KnownActor:
        """Who that actor is.

        Raises:
            UnknownPerson: Nobody.
            CannotOpen: The stored identity was altered.
        """
        return KnownActor.model_validate_json(self._identity(pseudonym, of_a_patient=False))

    def key(self, key_id: str) -> bytes:
        """The 32-byte key of that owner.

        Raises:
            UnknownPerson: No such key, or no more.
            KeyAltered: The wrapped key was.
        """
        with self._store.reading() as connection:
            return self.key_in(connection, key_id)

    def blind_request(self, purpose: str, text: str) -> bytes:
        """32 bytes to find a request again without storing it.

        Under a key of their own, which a rotation wraps anew and does not change: a retry across
        a rotation still records once. The keys that callers send are random, so there is nothing
        to enumerate; a person's number is another matter, see `rotate`.
        """
        return self._blinding.blind(purpose, text)

    def bind_request(self, key: bytes, content: bytes, record_id: str) -> bytes:
        """What a row of `requests` keeps as its digest: see `bound_request`."""
        return bound_request(self._blinding, key, content, record_id)

    # What only happens in a record's own transaction

    def rewrite(
        self, connection: Connection, pseudonym: str, *, old: Patient, new: Patient
    ) -> None:
        """Write a patient's rectified identity, found by its INS from here on.

        Raises:
            IdentityTaken: The INS is another patient's.
            IdentityMoved: The identity is not `old` any more.
            UnknownPerson: Nobody by that pseudonym.
        """
        stored = self._identity_in(connection, pseudonym, of_a_patient=True)
        if Patient.model_validate_json(stored) != old:
            raise IdentityMoved("the identity was rectified in the meantime")
        lookup = self._current(connection).blind(*found_by(new))
        holder = connection.scalar(select(PEOPLE.c.pseudonym).where(PEOPLE.c.lookup == lookup))
        if holder not in (None, pseudonym):
            raise IdentityTaken("this INS is another patient's here: two cannot be made one")
        connection.execute(
            update(PEOPLE)
            .where(PEOPLE.c.pseudonym == pseudonym)
            .values(
                lookup=lookup,
                stored=encrypt(
                    self.key_in(connection, pseudonym),
                    new.model_dump_json().encode(),
                    about=f"identity {pseudonym}",
                ),
            )
        )

    @staticmethod
    def forget(connection: Connection, pseudonym: str) -> None:
        """Delete a patient's key and identity: nothing sealed for them opens any more."""
        connection.execute(delete(KEYS).where(KEYS.c.id == pseudonym))
        connection.execute(delete(PEOPLE).where(PEOPLE.c.pseudonym == pseudonym))

    # Rotation of the master key

    @property
    def master(self) -> MasterKey:
        """The master key that the vault is under.

        Raises:
            KeyUnavailable: It was rotated, and the new one is not at hand.
        """
        with self._store.reading() as connection:
            return self._current(connection)

    def successor(self) -> MasterKey:
        """The master key to rotate to, kept durably.

        Raises:
            KeyUnavailable: There is no other key, and none can be made here.
        """
        return self._keyring.successor(self.master)

    def settle(self) -> None:
        """A rotation is committed: the key before it may go."""
        self._keyring.settle(self.master)

    def check_keys(self) -> int:
        """How many keys the master key wraps, each of which opens, as does each identity.

        Raises:
            CannotOpen: One does not: it was altered, and a rotation would hide that.
        """
        with self._store.reading() as connection:
            master = self._current(connection)
            for _ in _reblinded(connection, master, master):
                pass
            return sum(len(batch) for batch in _rewrapped(connection, master, master))

    def rotate(self, connection: Connection, *, old: MasterKey, new: MasterKey) -> int:
        """Wrap every key under `new` and blind anew what people are found by.

        Blinded anew, because whoever holds the old master key could try every INS there is.
        Takes about 0.1 ms a person, during which nothing else is recorded.

        Returns:
            How many keys were wrapped.

        Raises:
            MasterKeyMoved: The vault is not under `old` any more.
            CannotOpen: A key or an identity was altered.
        """
        if self._current(connection) != old:
            raise MasterKeyMoved("the master key was rotated in the meantime: nothing to do")
        for batch in _reblinded(connection, old, new):
            connection.execute(
                update(PEOPLE)
                .where(PEOPLE.c.pseudonym == bindparam("whose"))
                .values(lookup=bindparam("blinded")),
                batch,
            )
        wrapped = 0
        for batch in _rewrapped(connection, old, new):
            connection.execute(
                update(KEYS)
                .where(KEYS.c.id == bindparam("whose"))
                .values(wrapped=bindparam("anew")),
                batch,
            )
            wrapped += len(batch)
        return wrapped

    def _current(self, connection: Connection) -> MasterKey:
        """The master key that this connection's view of the vault is under.

        Another process may have rotated it since this one started.
        """
        master, witness = self._under
        wrapped = self._wrapped(connection, REQUESTS_KEY)
        if wrapped != witness:
            master = opening(self._keyring, connection)
            self._under = (master, wrapped)
        return master

    @staticmethod
    def _wrapped(connection: Connection, key_id: str) -> bytes | None:
        return connection.scalar(select(KEYS.c.wrapped).where(KEYS.c.id == key_id))

    def keys(
        self, connection: Connection, key_ids: Collection[str | None]
    ) -> dict[str | None, bytes]:
        """The 32-byte keys of these owners, inside a transaction; those that are gone are not in.

        Raises:
            KeyAltered: A wrapped key was.
        """
        wanted = [key_id for key_id in key_ids if key_id is not None]
        rows = _WRAPPED_KEYS.rows(connection, wanted)
        return {key_id: self._opened(connection, key_id, wrapped) for key_id, wrapped in rows}

    def key_in(self, connection: Connection, key_id: str) -> bytes:
        """Like `key`, as this connection sees it: a key erased in its transaction is gone."""
        wrapped = self._wrapped(connection, key_id)
        if wrapped is None:
            raise UnknownPerson("the vault holds no such key")
        return self._opened(connection, key_id, wrapped)

    def _opened(self, connection: Connection, key_id: str, wrapped: bytes) -> bytes:
        try:
            return self._under[0].unwrap(wrapped, owner=key_id)
        except CannotOpen:
            pass
        try:
            return self._current(connection).unwrap(wrapped, owner=key_id)
        except CannotOpen as error:
            raise KeyAltered(
                "the stored key of that person was altered, and opens nothing any more: verify "
                "the log, and restore it from a backup"
            ) from error

    def _find(self, who: "Patient | KnownActor | tuple[str, str]") -> str | None:
        with self._store.reading() as connection:
            # Found under a key that is no longer current: nobody. So whoever is found, is.
            known = _holder(connection, self._under[0], who)
            return known or _holder(connection, self._current(connection), who)

    def _enrol(self, identity: Patient | KnownActor) -> str:
        pseudonym = secrets.token_hex(16)
        key_id = pseudonym if isinstance(identity, Patient) else ACTORS_KEY
        with self._store.writing() as connection:
            master = self._current(connection)
            # Another worker may have met the same person a moment ago.
            known = _holder(connection, master, identity)
            if known is not None:
                return known
            if self._wrapped(connection, key_id) is None:
                wrapped = master.wrap(new_key(), owner=key_id)
                connection.execute(insert(KEYS).values(id=key_id, wrapped=wrapped))
            stored = encrypt(
                self.key_in(connection, key_id),
                identity.model_dump_json().encode(),
                about=f"identity {pseudonym}",
            )
            connection.execute(
                insert(PEOPLE).values(
                    pseudonym=pseudonym,
                    lookup=master.blind(*found_by(identity)),
                    key_id=key_id,
                    stored=stored,
                )
            )
        return pseudonym

    def _identity(self, pseudonym: str, *, of_a_patient: bool) -> bytes:
        with self._store.reading() as connection:
            return self._identity_in(connection, pseudonym, of_a_patient=of_a_patient)

    def _identity_in(self, connection: Connection, pseudonym: str, *, of_a_patient: bool) -> bytes:
        row = connection.execute(
            select(PEOPLE.c.key_id, PEOPLE.c.stored).where(PEOPLE.c.pseudonym == pseudonym)
        ).one_or_none()
        if row is None or (row.key_id == pseudonym) != of_a_patient:
            raise UnknownPerson("the vault knows nobody by that pseudonym")
        key = self.key_in(connection, row.key_id)
        return decrypt(key, row.stored, about=f"identity {pseudonym}")

    @staticmethod
    def _check_traits(given: Patient, known: Patient) -> None:
        differing = [
            trait
            for trait in ("birth_name", "given_names", "birth_date", "sex", "birth_place")
            if str(getattr(given, trait)).casefold() != str(getattr(known, trait)).casefold()
        ]
        if differing:
            raise IdentityMismatch(
                "this INS is known under another "
                + ", ".join(differing)
                + ": check the patient's identity, or have it rectified"
            )


def bound_request(blinding: MasterKey, key: bytes, content: bytes, record_id: str) -> bytes:
    """32 bytes of what was asked, and 32 that bind them to the idempotency key and its record.

    Args:
        blinding: The vault's key `REQUESTS_KEY`.
        key: The blinded idempotency key.
        content: The blinded content; 32 bytes.
    """
    return content + blinding.blind("row", f"{key.hex()} {content.hex()} {record_id}")


def found_by(who: "Patient | KnownActor | tuple[str, str]") -> tuple[str, str]:
    """What a person is found by: the purpose of the hash, and the words under it."""
    match who:
        case Patient():
            return "patient", f"{who.oid}\n{who.matricule}"
        case KnownActor():
            return "actor", f"{who.issuer}\n{who.subject}"
        case (oid, matricule):
            return "patient", f"{oid}\n{matricule}"


def _holder(
    connection: Connection, master: MasterKey, who: "Patient | KnownActor | tuple[str, str]"
) -> str | None:
    lookup = master.blind(*found_by(who))
    return connection.scalar(select(PEOPLE.c.pseudonym).where(PEOPLE.c.lookup == lookup))


def _rewrapped(
    connection: Connection, old: MasterKey, new: MasterKey
) -> Iterator[list[dict[str, object]]]:
    """Every key under `new`, in batches."""
    after = ""
    while True:
        rows = connection.execute(
            select(KEYS).where(KEYS.c.id > after).order_by(KEYS.c.id).limit(_BATCH)
        ).all()
        if not rows:
            return
        after = rows[-1].id
        yield [
            {
                "whose": row.id,
                "anew": new.wrap(old.unwrap(row.wrapped, owner=row.id), owner=row.id),
            }
            for row in rows
        ]


def _reblinded(
    connection: Connection, old: MasterKey, new: MasterKey
) -> Iterator[list[dict[str, object]]]:
    """What every person is found by under `new`, in batches; keys are still under `old`."""
    after = ""
    statement = (
        select(PEOPLE.c.pseudonym, PEOPLE.c.key_id, PEOPLE.c.stored, KEYS.c.wrapped)
        .join(KEYS, KEYS.c.id == PEOPLE.c.key_id)
        .order_by(PEOPLE.c.pseudonym)
        .limit(_BATCH)
    )
    while True:
        rows = connection.execute(statement.where(PEOPLE.c.pseudonym > after)).all()
        if not rows:
            return
        after = rows[-1].pseudonym
        batch: list[dict[str, object]] = []
        for row in rows:
            key = old.unwrap(row.wrapped, owner=row.key_id)
            identity = decrypt(key, row.stored, about=f"identity {row.pseudonym}")
            kind = KnownActor if row.key_id == ACTORS_KEY else Patient
            blinded = new.blind(*found_by(kind.model_validate_json(identity)))
            batch.append({"whose": row.pseudonym, "blinded": blinded})
        yield batch
