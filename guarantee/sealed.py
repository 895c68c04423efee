"""Sealed bodies, opened: commitments and forms. And what people signed, sealed or in clear."""

from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, LargeBinary, Select, String, cast, select

from guarantee.abstention import ABSTAINED
from guarantee.bodies import (
    BODY_TYPES,
    Body,
    DecisionSigned,
    InferenceMade,
    PatientInformed,
    PatientObjected,
    ReviewLapsed,
    VoteCast,
    WhatIfMade,
)
from guarantee.card import Mode
from guarantee.clinical_thread import REUSE_REFUSED
from guarantee.findings import Progress, Report
from guarantee.identity import Patient
from guarantee.owned import misnoted
from guarantee.pseudonyms import (
    ACTORS_KEY,
    REQUESTS_KEY,
    KnownActor,
    bound_request,
    found_by,
)
from guarantee.rebuilt import Rebuilt
from guarantee.records import Header, MalformedRecord, RecordType
from guarantee.replay import Replayed
from guarantee.signature import PublicKey, SignatureRefused
from guarantee.signed_decisions import check_decision, check_signed_decision
from guarantee.signing_keys import check_act, check_vote
from guarantee.situations import Step, version_key
from guarantee.source import Entry, Source
from guarantee.store import BODIES, KEYS, PEOPLE, RECORDS, REQUESTS
from guarantee.vault import CannotOpen, MasterKey, VaultError, decrypt, unseal

_MOST_KEPT: Final = 4096
_CONTENT_BYTES: Final = 32


class Custody:
    """The vault's keys and people, as whoever holds a master key reads them."""

    def __init__(self, connection: Connection, masters: tuple[MasterKey, ...]) -> None:
        self._connection = connection
        self._masters = masters
        self._keys: dict[str, bytes | None] = {}
        self._actors: dict[str, KnownActor | None] = {}

    def key(self, key_id: str) -> bytes | None:
        """That owner's key; none where it is missing, or no master key opens it."""
        if key_id not in self._keys:
            if len(self._keys) == _MOST_KEPT:
                self._keys.clear()
            self._keys[key_id] = self._unwrapped(key_id)
        return self._keys[key_id]

    def _unwrapped(self, key_id: str) -> bytes | None:
        wrapped = self._connection.scalar(
            select(cast(KEYS.c.wrapped, LargeBinary)).where(KEYS.c.id == key_id)
        )
        if wrapped is None:
            return None
        for master in self._masters:
            try:
                return master.unwrap(wrapped, owner=key_id)
            except CannotOpen:
                continue
        return None

    def actor(self, pseudonym: str) -> KnownActor | None:
        """Who that actor is; none where nobody, or nobody readable."""
        if pseudonym not in self._actors:
            self._actors[pseudonym] = self._identity(pseudonym)
        return self._actors[pseudonym]

    def _identity(self, pseudonym: str) -> KnownActor | None:
        row = self._connection.execute(
            select(
                cast(PEOPLE.c.key_id, String).label("key_id"),
                cast(PEOPLE.c.stored, LargeBinary).label("stored"),
            ).where(PEOPLE.c.pseudonym == pseudonym)
        ).first()
        key = None if row is None else self.key(row.key_id)
        if row is None or key is None:
            return None
        try:
            opened = decrypt(key, row.stored or b"", about=f"identity {pseudonym}")
            return KnownActor.model_validate_json(opened)
        except (CannotOpen, ValueError):
            return None

    def header(self, record_id: str) -> Header | None:
        """The header of that record."""
        encoded = self._connection.scalar(
            select(cast(RECORDS.c.header, LargeBinary)).where(RECORDS.c.id == record_id)
        )
        try:
            return Header.decode(encoded or b"")
        except MalformedRecord:
            return None

    def check(self, replayed: Replayed, report: Report, *, size: int) -> None:
        """Check what stands beside the records against them.

        1. Every body has its record; whose it is, is noted, and nothing else.
        2. Everybody whom a record names is known, but for the erased, of whom nothing is left.
        3. Every person has their key, and every key a person; the house's own keys are there.
        4. Every idempotency key has its record.
        5. With a master key: all of that opens, people are found by what they are found by, and
           idempotency keys recorded what their rows say.
        """
        # 1.
        owned = select(RECORDS.c.id).where(RECORDS.c.position == BODIES.c.position).exists()
        for index in self._connection.scalars(select(BODIES.c.position).where(~owned)):
            report.found("a body without a record", index=index)
        for index in misnoted(self._connection, size=size):
            report.found("what is noted is not whose its body is", index=index)
        # 2.
        self._check_known(replayed, report)
        # 3.
        self._check_keys(report)
        # 4.
        named = select(RECORDS.c.id).where(RECORDS.c.id == REQUESTS.c.record_id).exists()
        for record in self._names(select(REQUESTS.c.record_id).where(~named)):
            report.found(f"an idempotency key recorded {record}, which is no record")
        # 5.
        if self._masters:
            self._check_identities(report)
            self._check_requests(report)

    def _names(self, statement: Select[tuple[str]]) -> list[str]:
        """The texts that a statement selects, whatever kind of value an edit made of them."""
        (column,) = statement.selected_columns
        return [
            str(name)
            for name in self._connection.scalars(
                statement.with_only_columns(cast(column, String), maintain_column_froms=True)
            )
        ]

    def _check_known(self, replayed: Replayed, report: Report) -> None:
        erased = {erasure.subject: erasure.id for erasure in replayed.erasures}
        for column, what in ((KEYS.c.id, "key"), (PEOPLE.c.pseudonym, "identity")):
            for subject, erasure in erased.items():
                if self._connection.scalar(select(column).where(column == subject)) is not None:
                    report.found(f"the erased patient's {what} is still there", record=erasure)
        for person, record in replayed.people.items():
            known = select(PEOPLE.c.pseudonym).where(PEOPLE.c.pseudonym == person)
            if person not in erased and self._connection.scalar(known) is None:
                report.found(f"the identity of {person}, whom it names, is missing", record=record)

    def _check_keys(self, report: Report) -> None:
        known = select(PEOPLE.c.pseudonym).where(PEOPLE.c.pseudonym == BODIES.c.key_id).exists()
        sealed = select(BODIES.c.key_id).where(BODIES.c.key_id.is_not(None), ~known).distinct()
        for person in self._names(sealed):
            report.found(f"the identity of {person} is missing, and nothing on record says why")
        whose = select(PEOPLE.c.pseudonym).where(PEOPLE.c.key_id == KEYS.c.id).exists()
        stray = select(KEYS.c.id).where(~whose, KEYS.c.id.not_in((ACTORS_KEY, REQUESTS_KEY)))
        for key_id in self._names(stray):
            report.found(f"the key of {key_id} is there, and the person is not")
        there = select(KEYS.c.id).where(KEYS.c.id == PEOPLE.c.key_id).exists()
        for person in self._names(select(PEOPLE.c.pseudonym).where(~there)):
            report.found(f"the key of {person} is missing, and the person is there")
        house = select(KEYS.c.id).where(KEYS.c.id == REQUESTS_KEY)
        if self._connection.scalar(house) is None:
            report.found("the key that idempotency keys are under is missing")

    def _check_identities(self, report: Report) -> None:
        master = self._current()
        people = select(
            cast(PEOPLE.c.pseudonym, String).label("pseudonym"),
            cast(PEOPLE.c.key_id, String).label("key_id"),
            cast(PEOPLE.c.lookup, LargeBinary).label("lookup"),
            cast(PEOPLE.c.stored, LargeBinary).label("stored"),
        ).execution_options(yield_per=1024)
        for row in self._connection.execute(people):
            try:
                stored = row.stored or b""
                opened = decrypt(
                    self.key(row.key_id) or b"", stored, about=f"identity {row.pseudonym}"
                )
                kind = KnownActor if row.key_id == ACTORS_KEY else Patient
                person = kind.model_validate_json(opened)
            except (CannotOpen, ValueError):
                report.found(f"the identity of {row.pseudonym} was altered, or its key is gone")
                continue
            if master is not None and row.lookup != master.blind(*found_by(person)):
                report.found(f"{row.pseudonym} is found by what is not theirs")

    def _check_requests(self, report: Report) -> None:
        blinding = self.key(REQUESTS_KEY)
        if blinding is None:
            report.found("the key that idempotency keys are under is missing or altered")
            return
        requests = select(
            cast(REQUESTS.c.key, LargeBinary).label("key"),
            cast(REQUESTS.c.digest, LargeBinary).label("digest"),
            cast(REQUESTS.c.record_id, String).label("record_id"),
        ).execution_options(yield_per=1024)
        under = MasterKey(blinding)
        for row in self._connection.execute(requests):
            key, digest = row.key or b"", row.digest or b""
            record = str(row.record_id).encode(errors="backslashreplace").decode()
            if digest != bound_request(under, key, digest[:_CONTENT_BYTES], record):
                report.found(f"the idempotency key that recorded {record} was altered")

    def _current(self) -> MasterKey | None:
        """The master key that the vault is under, if it is at hand."""
        wrapped = self._connection.scalar(
            select(cast(KEYS.c.wrapped, LargeBinary)).where(KEYS.c.id == REQUESTS_KEY)
        )
        for master in self._masters:
            try:
                master.unwrap(wrapped or b"", owner=REQUESTS_KEY)
            except CannotOpen:
                continue
            return master
        return None


def check_sealed(
    source: Source,
    tree: Rebuilt,
    replayed: Replayed,
    *,
    custody: Custody | None,
    report: Report,
    progress: Progress,
) -> None:
    """Open what custody's keys open; check commitments, forms and signatures.

    Args:
        custody: None where no key is at hand: then signatures alone are checked, for which
            headers and bodies in clear are enough.
    """
    # Digests of inferences' headers until they are decided: a signed decision names its own.
    asked: dict[str, str] = {}
    for entry in source.entries(0, tree.size):
        if entry.place % 1024 == 0:
            progress(entry.place, tree.size)
        if entry.place in tree.altered:
            continue
        if custody is None and not any(part in entry.header for part in _SIGNED):
            continue
        try:
            header = Header.decode(entry.header)
        except MalformedRecord:
            continue
        stored = None if entry.place in tree.spoilt else entry.stored
        problem = _signature_problem(header, entry.header, stored, replayed, asked)
        if problem is None and stored is not None:
            problem = _problem(header, entry, stored, replayed, custody)
        if problem is not None:
            report.found(problem, record=header.id, index=entry.place)


_SIGNED: Final = (b'"signature":', f'"type":"{RecordType.INFERENCE_MADE}"'.encode())


def _signature_problem(
    header: Header,
    encoded: bytes,
    stored: bytes | None,
    replayed: Replayed,
    asked: dict[str, str],
) -> str | None:
    """What is wrong with a signature; the protocol has checked whose key had to sign."""
    if header.type is RecordType.INFERENCE_MADE:
        # A log whose people have no keys is not remembered for them.
        if replayed.keys:
            asked[header.id] = sha256(encoded).hexdigest()
        return None
    inference = None
    if header.type is RecordType.DECISION_SIGNED:
        inference = asked.pop(header.dossier or "", None)
    if header.key is None or header.type is RecordType.KEY_REGISTERED:
        return None
    key = replayed.keys.get(header.key)
    try:
        if header.type is RecordType.DECISION_SIGNED:
            if inference is not None:  # A missing inference is a finding of its own.
                check_signed_decision(header, header_sha256=inference, key=key)
        elif stored is not None and header.commitment is None:
            body = BODY_TYPES[header.type].model_validate_json(stored)
            _check_act(header, body, replayed, key)
    except SignatureRefused as error:
        return f"the signature: {error}"
    except ValueError:
        return None  # Its form is a finding already.
    return None


def _check_act(header: Header, body: Body, replayed: Replayed, key: PublicKey | None) -> None:
    if not isinstance(body, VoteCast):
        check_act(header, body, key=key)
        return
    version = version_key(header.model or "", header.model_version or "")
    registration = replayed.registrations.get(version)
    if registration is not None:  # The protocol names what is missing.
        check_vote(header, body, registration=registration, key=key)


def _problem(
    header: Header, entry: Entry, stored: bytes, replayed: Replayed, custody: Custody | None
) -> str | None:
    if header.commitment is None:
        if custody is not None and entry.key_id is not None:
            return "the row names a key for a clear body"
        return None
    if custody is None:
        return None
    if entry.key_id is None:
        return "the row names no key for a sealed body"
    key = custody.key(entry.key_id)
    if key is None:
        return "the key of its patient is missing or altered"
    try:
        body = BODY_TYPES[header.type].model_validate_json(
            unseal(key, header.id, stored, header.commitment)
        )
    except VaultError as error:
        return str(error)
    except ValueError:
        return f"the body is not that of a {header.type}"
    return contradiction(header, body, replayed) or (
        _decision_problem(header, body, custody) if isinstance(body, DecisionSigned) else None
    )


def contradiction(header: Header, body: Body, replayed: Replayed) -> str | None:
    """What an opened body says against its header or earlier records, if it does."""
    match body:
        case InferenceMade():
            version = version_key(header.model or "", header.model_version or "")
            if (body.information_id,) != header.follows:
                return "the body names another information than its header"
            if (body.mode is Mode.WITHHELD) != (header.outcome == Step.WITHHELD):
                return "the body says otherwise than its header whether the answer was withheld"
            abstained = header.outcome == ABSTAINED
            if body.mode is Mode.SHOWN and abstained != (body.answer.abstention is not None):
                return "the body says otherwise than its header whether the model abstained"
            if body.version_digest != replayed.digests.get(version):
                return "the digest of what answered is not the one that was registered"
        case WhatIfMade():
            version = version_key(header.model or "", header.model_version or "")
            if body.version_digest != replayed.digests.get(version):
                return "the digest of what was simulated is not the one that was registered"
        case PatientInformed() if set(body.leaflet_sha256) != set(header.models or ()):
            return "the body names other models than its header"
        case PatientObjected() if body.reuse_only != (header.outcome == REUSE_REFUSED):
            return "the body objects to something else than its header"
        case DecisionSigned() if body.decision != header.outcome:
            return "the body decides otherwise than its header"
        case ReviewLapsed():
            card = replayed.card(header)
            if card is not None and body.lapse_hours != card.lapse_hours:
                return "the body names another time for review than the card"
    return None


def _decision_problem(header: Header, body: DecisionSigned, custody: Custody) -> str | None:
    inference = custody.header(header.dossier or "")
    identity = custody.actor(header.actor)
    if inference is None:
        return None  # The missing inference is a finding of its own.
    if identity is None:
        return "nobody knows who decided: the actor's identity is missing or altered"
    try:
        check_decision(header, body, inference=inference, identity=identity)
    except SignatureRefused as error:
        return f"the decision's signature: {error}"
    return None
