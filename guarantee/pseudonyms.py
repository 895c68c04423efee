"""Random pseudonyms for patients and actors, and the way back for those entitled.

A hash of an INS or an RPPS number can be enumerated; a random pseudonym cannot. People are
found again by a hash keyed with the master key, which never leaves the house.
"""

import secrets
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, insert, select

from guarantee.errors import GuaranteeError
from guarantee.identity import Caller, Patient, Role
from guarantee.store import KEYS, PEOPLE, Store
from guarantee.vault import MasterKey, decrypt, encrypt, new_key

ACTORS_KEY = "actors"


class IdentityMismatch(GuaranteeError):
    """The INS is known under other traits; names them, never their values."""


class UnknownPerson(GuaranteeError):
    """Nobody has that pseudonym, or the person was erased."""


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

    def __init__(self, store: Store, master: MasterKey) -> None:
        self._store = store
        self._master = master

    def actor(self, caller: Caller) -> Actor:
        """The caller's pseudonym, drawn at the first meeting."""
        lookup = self._master.blind("actor", f"{caller.issuer}\n{caller.subject}")
        known = self._find(lookup)
        if known is None:
            identity = KnownActor(issuer=caller.issuer, subject=caller.subject, name=caller.name)
            known = self._enrol(lookup, identity.model_dump_json(), ACTORS_KEY)
        return Actor(pseudonym=known, role=caller.role)

    def patient(self, patient: Patient) -> str:
        """The patient's pseudonym, drawn with a key of their own at the first meeting.

        Raises:
            IdentityMismatch: That INS is known under other traits.
        """
        lookup = self._master.blind("patient", f"{patient.oid}\n{patient.matricule}")
        known = self._find(lookup)
        if known is None:
            known = self._enrol(lookup, patient.model_dump_json(), None)
        self._check_traits(patient, self.patient_named(known))
        return known

    def patient_named(self, pseudonym: str) -> Patient:
        """Who that patient is.

        Raises:
            UnknownPerson: Nobody, or nobody any more.
            CannotOpen: The stored identity was altered.
        """
        return Patient.model_validate_json(self._identity(pseudonym))

    def actor_named(self, pseudonym: str) -> KnownActor:
        """Who that actor is.

        Raises:
            UnknownPerson: Nobody.
            CannotOpen: The stored identity was altered.
        """
        return KnownActor.model_validate_json(self._identity(pseudonym))

    def key(self, key_id: str) -> bytes:
        """The 32-byte key of that owner.

        Raises:
            UnknownPerson: No such key, or no more.
            CannotOpen: The wrapped key was altered.
        """
        with self._store.reading() as connection:
            return self._key(connection, key_id)

    def _key(self, connection: Connection, key_id: str) -> bytes:
        wrapped = connection.scalar(select(KEYS.c.wrapped).where(KEYS.c.id == key_id))
        if wrapped is None:
            raise UnknownPerson("the vault holds no such key")
        return self._master.unwrap(wrapped, owner=key_id)

    def _find(self, lookup: bytes) -> str | None:
        with self._store.reading() as connection:
            return connection.scalar(select(PEOPLE.c.pseudonym).where(PEOPLE.c.lookup == lookup))

    def _enrol(self, lookup: bytes, identity: str, key_id: str | None) -> str:
        pseudonym = secrets.token_hex(16)
        key_id = key_id or pseudonym
        with self._store.writing() as connection:
            # Another worker may have met the same person a moment ago.
            known: str | None = connection.scalar(
                select(PEOPLE.c.pseudonym).where(PEOPLE.c.lookup == lookup)
            )
            if known is not None:
                return known
            if connection.scalar(select(KEYS.c.id).where(KEYS.c.id == key_id)) is None:
                wrapped = self._master.wrap(new_key(), owner=key_id)
                connection.execute(insert(KEYS).values(id=key_id, wrapped=wrapped))
            stored = encrypt(
                self._key(connection, key_id), identity.encode(), about=f"identity {pseudonym}"
            )
            connection.execute(
                insert(PEOPLE).values(
                    pseudonym=pseudonym, lookup=lookup, key_id=key_id, stored=stored
                )
            )
        return pseudonym

    def _identity(self, pseudonym: str) -> bytes:
        with self._store.reading() as connection:
            row = connection.execute(
                select(PEOPLE.c.key_id, PEOPLE.c.stored).where(PEOPLE.c.pseudonym == pseudonym)
            ).one_or_none()
            if row is None:
                raise UnknownPerson("the vault knows nobody by that pseudonym")
            key = self._key(connection, row.key_id)
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
