"""Custody of patients' data: who read what and why, rectification, legal hold, erasure, keys.

A custody record names its patient by pseudonym (`subject`) and follows every information of
theirs, so that the protocol can refuse it where a hold stands or the patient was erased.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, delete, func, select

from guarantee.appending import Draft, Request
from guarantee.bodies import (
    AccessRecorded,
    BackupTaken,
    Body,
    BreakGlass,
    CareShared,
    ErasureGround,
    Glass,
    HoldPlaced,
    HoldReason,
    KeyRotated,
    LogOpened,
    PatientErased,
    PatientRectified,
    Purpose,
    Sharing,
)
from guarantee.custody_thread import GLASS_MS
from guarantee.errors import GuaranteeError
from guarantee.gathering import followed_by
from guarantee.identity import Caller, Patient, Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded, decoded
from guarantee.opened import check_cares
from guarantee.pseudonyms import Actor, Pseudonyms, UnknownPerson
from guarantee.records import Header, RecordType
from guarantee.refusals import (
    AlreadyDone,
    Erased,
    RecordsMoved,
    RetentionRuns,
    UnknownDossier,
)
from guarantee.retention import LEAST_LOG, earliest_day, kept_until, latest_day
from guarantee.situations import Dossier
from guarantee.store import BODIES, KEYS, RECORDS
from guarantee.vault import MasterKey

_ATTEMPTS: Final = 5
_DAY_MS: Final = timedelta(days=1) // timedelta(milliseconds=1)
_INFORMATIONS: Final = (RecordType.PATIENT_INFORMED, RecordType.INFORMATION_DEFERRED)
_CONTESTED: Final = (HoldReason.LITIGATION, HoldReason.COMPLAINT)
"""What suspends retention: CSP R. 1112-7 names "tout recours gracieux ou contentieux"."""


class ImplausibleDeath(GuaranteeError):
    """No patient of these records can have died on that day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What the vault holds on one patient, as headers tell it.

    Attributes:
        records: Every record sealed for the patient, in the log's order; one at least.
    """

    pseudonym: str
    records: tuple[Recorded, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The records' ids."""
        return tuple(recorded.id for recorded in self.records)

    @property
    def informations(self) -> tuple[str, ...]:
        """The ids of the patient's informations."""
        return tuple(one.id for one in self.records if one.header.type in _INFORMATIONS)

    @property
    def dossiers(self) -> tuple[str, ...]:
        """The ids of the patient's inferences."""
        return tuple(one.id for one in self.records if one.header.type is RecordType.INFERENCE_MADE)

    @property
    def last_visit(self) -> date:
        """The day of a clinician's last record: the last visit that the log knows of."""
        return latest_day(self._last_visit_ms)

    @property
    def _last_visit_ms(self) -> int:
        visits = (one.header for one in self.records if one.header.role is Role.CLINICIAN)
        return max(header.time for header in visits)

    def contested(self, holds: Iterable[tuple[Header, HoldPlaced]]) -> timedelta:
        """For how long, in whole days, the care was contested since the last visit.

        Args:
            holds: On these records, in the log's order.
        """
        total, since = timedelta(0), None
        for header, body in holds:
            if header.outcome == "placed":
                since = max(header.time, self._last_visit_ms) if body.reason in _CONTESTED else None
            elif since is not None:
                days = -(-max(0, header.time - since) // _DAY_MS)
                total, since = total + timedelta(days=days), None
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """An erasure, done and on record.

    Attributes:
        records: Ids of the records whose bodies are gone.
        backups_expire: The last day on which a backup may still hold them, where there is one.
    """

    recorded: Recorded
    records: tuple[str, ...]
    backups_expire: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A rotation of the master key, done and on record.

    Attributes:
        fingerprint: Of the master key that opens the vault from here on.
        keys: How many keys were wrapped anew.
    """

    recorded: Recorded
    fingerprint: str
    keys: int


def holding(ledger: Ledger, pseudonym: str) -> Holding:
    """What the vault holds on a patient.

    Raises:
        Erased: Nothing any more.
        UnknownPerson: Nothing, or no patient has that pseudonym.
    """
    with ledger.store.reading() as connection:
        records = sealed_for(connection, pseudonym)
        if not records and of_subject(connection, pseudonym, RecordType.PATIENT_ERASED):
            raise Erased("the patient's records were erased")
    if not records:
        raise UnknownPerson("the vault holds nothing on a patient of that pseudonym")
    return Holding(pseudonym=pseudonym, records=records)


def record_access(
    ledger: Ledger,
    actor: Actor,
    *,
    dossier: str,
    purpose: Purpose,
    request: Request | None = None,
) -> Recorded:
    """Record that one dossier, as it stands now, is about to be read, and why.

    Raises:
        UnknownDossier: No such inference.
        Erased: Its patient was erased.
        RoleRefused: The actor's role reads no dossier.
    """
    draft = _about_dossier(
        ledger,
        actor,
        dossier=dossier,
        kind=RecordType.ACCESS_RECORDED,
        outcome=purpose,
        body=AccessRecorded(purpose=purpose),
    )
    return ledger.record(draft, request)


def record_patient_access(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    purpose: Purpose,
    request: Request | None = None,
) -> Recorded:
    """Record that all that is held on a patient is about to be read, and why.

    Raises:
        UnknownPerson: Nothing is held on a patient of that pseudonym.
        Erased: Nothing is any more.
        RoleRefused: The actor's role reads no dossier.
    """
    draft = Draft(
        type=RecordType.ACCESS_RECORDED,
        actor=actor,
        outcome=purpose,
        body=AccessRecorded(purpose=purpose),
        follows=followed_by(ledger, actor, holding(ledger, pseudonym).informations),
        subject=pseudonym,
    )
    return ledger.record(draft, request)


def break_glass(
    ledger: Ledger, actor: Actor, *, dossier: str, ground: Glass, request: Request | None = None
) -> Recorded:
    """Record that a clinician to whom a dossier is not open opens it, because it cannot wait.

    For `custody_thread.GLASS_MS`, for them alone: to read it and to take its next step. Who
    decides meanwhile cares for the patient from there on. The college and the patient see it.

    Raises:
        UnknownDossier: No such inference.
        Erased: Its patient was erased.
        RoleRefused: The actor is no clinician.
    """
    draft = _about_dossier(
        ledger,
        actor,
        dossier=dossier,
        kind=RecordType.BREAK_GLASS,
        outcome="opened",
        body=BreakGlass(ground=ground),
    )
    return ledger.record(replace(draft, valid_until=ledger.now() + GLASS_MS), request)


def share_care(
    ledger: Ledger,
    actor: Actor,
    *,
    dossier: str,
    colleague: Caller,
    reason: Sharing,
    request: Request | None = None,
) -> Recorded:
    """Record that a carer made a colleague one, too: the next on call, the one who signs.

    Raises:
        UnknownDossier: No such inference.
        Erased: Its patient was erased.
        NotCaring: The actor is no carer here; under a broken glass nobody brings in anybody.
        AlreadyDone: The colleague is one.
        RoleRefused: The actor is no clinician.
    """
    # Before anybody is met for the first time.
    check_cares(ledger, actor, dossier)
    draft = _about_dossier(
        ledger,
        actor,
        dossier=dossier,
        kind=RecordType.CARE_SHARED,
        outcome=reason,
        body=CareShared(reason=reason),
    )
    subject = ledger.people.actor(colleague).pseudonym
    return ledger.record(replace(draft, subject=subject), request)


def rectify(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    identity: Patient,
    request: Request | None = None,
) -> Recorded:
    """Put a patient's identity right; from here on the rectified INS finds them.

    What earlier bodies say stays, as does what the identity was: both sealed.

    Args:
        identity: As it should be, whole.

    Raises:
        UnknownPerson: Nothing is held on a patient of that pseudonym.
        Erased: Nothing is any more.
        AlreadyDone: The identity says so already.
        IdentityTaken: The INS is another patient's.
        IdentityMoved: It is rectified by others all the time; look at it again.
    """
    if request is not None and (repeat := ledger.repeated(request)) is not None:
        return repeat
    held = holding(ledger, pseudonym)
    before = ledger.people.patient_named(pseudonym)
    if before == identity:
        raise AlreadyDone("the patient's identity says so already")

    def act(connection: Connection, _: Header) -> None:
        ledger.people.rewrite(connection, pseudonym, old=before, new=identity)

    draft = Draft(
        type=RecordType.PATIENT_RECTIFIED,
        actor=actor,
        outcome="rectified",
        body=PatientRectified(before=before, after=identity),
        sealed_for=pseudonym,
        follows=followed_by(ledger, actor, held.informations),
        subject=pseudonym,
        act=act,
    )
    return ledger.record(draft, request)


def hold(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    reason: HoldReason,
    request: Request | None = None,
) -> Recorded:
    """Keep a patient's records from being erased, whatever their age.

    Raises:
        UnknownPerson: Nothing is held on a patient of that pseudonym.
        Erased: Nothing is any more.
        AlreadyDone: The hold stands.
    """
    return _hold(
        ledger, actor, pseudonym=pseudonym, reason=reason, outcome="placed", request=request
    )


def lift(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    reason: HoldReason,
    request: Request | None = None,
) -> Recorded:
    """Let a patient's records be erased again, once their time has come.

    Raises:
        UnknownPerson: Nothing is held on a patient of that pseudonym.
        Erased: Nothing is any more.
        AlreadyDone: No hold stands.
    """
    return _hold(
        ledger, actor, pseudonym=pseudonym, reason=reason, outcome="lifted", request=request
    )


def _hold(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    reason: HoldReason,
    outcome: str,
    request: Request | None,
) -> Recorded:
    if request is not None and (repeat := ledger.repeated(request)) is not None:
        return repeat
    draft = Draft(
        type=RecordType.HOLD_PLACED,
        actor=actor,
        outcome=outcome,
        body=HoldPlaced(reason=reason),
        follows=followed_by(ledger, actor, holding(ledger, pseudonym).informations),
        subject=pseudonym,
    )
    return ledger.record(draft, request)


def erase(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    ground: ErasureGround,
    died: date | None = None,
    request: Request | None = None,
) -> Erasure:
    """Destroy a patient's key, identity and bodies; the headers, which name nobody, stay.

    1. The law lets go of them: see `kept_for`; and no hold stands.
    2. One transaction records which bodies go and deletes them, the key and the identity. What
       is under way for the patient then stands before it, and goes too, or is refused: keys are
       read in the transaction that records.
    3. The database's files are rid of what was deleted. Backups keep it until they expire.

    Args:
        died: The day of death, where it is known: it ends retention earlier.

    Raises:
        UnknownPerson: Nothing is held on a patient of that pseudonym.
        Erased: Nothing is any more; step 3 is done again.
        ImplausibleDeath: `died` is to come, or before the patient was first informed.
        RetentionRuns: The law has the records kept; says until when.
        OnHold: A legal hold stands.
        RecordsMoved: Records for this patient arrive all the time; ask again.
        StillReadable: All is done but step 3; ask again.
    """
    if request is not None and (repeat := ledger.repeated(request)) is not None:
        recorded = repeat
    else:
        try:
            recorded = _erase(
                ledger, actor, pseudonym=pseudonym, ground=ground, died=died, request=request
            )
        except Erased:
            # A stop between the second step and the third.
            ledger.store.forget()
            raise
    # 3.
    ledger.store.forget()
    body = ledger.open_as(recorded, PatientErased)
    return Erasure(recorded=recorded, records=body.records, backups_expire=body.backups_expire)


def erase_again(ledger: Ledger, actor: Actor, *, pseudonym: str, ground: ErasureGround) -> Recorded:
    """Repeat in a restored log an erasure that the log it replaces had recorded.

    What the law asks was checked then; the restore calls `Store.forget` when it is done.

    Raises:
        UnknownPerson: This log holds nothing on a patient of that pseudonym.
        Erased: Nothing any more.
        OnHold: A legal hold stands.
    """
    return _erase(
        ledger, actor, pseudonym=pseudonym, ground=ground, died=None, request=None, again=True
    )


def _erase(
    ledger: Ledger,
    actor: Actor,
    *,
    pseudonym: str,
    ground: ErasureGround,
    died: date | None,
    request: Request | None,
    again: bool = False,
) -> Recorded:
    for _ in range(_ATTEMPTS):
        held = holding(ledger, pseudonym)
        until = None
        if not again:
            _check_death(held, died, now=ledger.now())
            until = kept_for(
                held,
                ground=ground,
                birth=ledger.people.patient_named(pseudonym).birth_date,
                died=died,
                contested=held.contested(_holds(ledger, pseudonym)),
            )
        draft = Draft(
            type=RecordType.PATIENT_ERASED,
            actor=actor,
            outcome="erased",
            body=PatientErased(
                ground=ground, records=held.ids, backups_expire=_backups_expire(ledger)
            ),
            follows=followed_by(ledger, actor, held.informations),
            subject=pseudonym,
            act=_Destruction(held, until),
        )
        try:
            return ledger.record(draft, request)
        except RecordsMoved:
            # One more record for the patient was under way: it must be named, too.
            continue
    raise RecordsMoved("records for this patient arrive all the time: ask again")


@dataclass(frozen=True, slots=True)
class _Destruction:
    """What an erasure does in its own transaction; checks before it deletes."""

    held: Holding
    kept_until: date | None

    def __call__(self, connection: Connection, header: Header) -> None:
        pseudonym = self.held.pseudonym
        if _sealed_ids(connection, pseudonym) != set(self.held.ids):
            raise RecordsMoved("more was recorded for the patient in the meantime: ask again")
        # 1.
        if self.kept_until is not None and earliest_day(header.time) <= self.kept_until:
            raise RetentionRuns(
                f"these records are kept until {self.kept_until} at least "
                "(CSP R. 1112-7; of the log, six months)"
            )
        # 2.
        connection.execute(delete(BODIES).where(BODIES.c.key_id == pseudonym))
        Pseudonyms.forget(connection, pseudonym)


def kept_for(
    held: Holding,
    *,
    ground: ErasureGround,
    birth: date,
    died: date | None = None,
    contested: timedelta = timedelta(0),
) -> date | None:
    """The last day on which the records must be kept; none: not a day longer.

    A court's order is obeyed at once. What was processed unlawfully is no medical record to keep,
    but still a log (AI Act, articles 19 and 26: six months). All else is kept as CSP R. 1112-7
    asks.
    """
    match ground:
        case ErasureGround.COURT_ORDER:
            return None
        case ErasureGround.UNLAWFUL_PROCESSING:
            return held.last_visit + LEAST_LOG
        case ErasureGround.RETENTION_ENDED:
            return kept_until(
                last_visit=held.last_visit, birth=birth, death=died, suspended=contested
            )


def _check_death(held: Holding, died: date | None, *, now: int) -> None:
    """A slip in a day of death would have records erased decades early."""
    first = earliest_day(min(one.header.time for one in held.records))
    if died is not None and not first <= died <= latest_day(now):
        raise ImplausibleDeath(
            f"the day of death is after {first}, when the patient was informed, and not to come"
        )


def _holds(ledger: Ledger, pseudonym: str) -> list[tuple[Header, HoldPlaced]]:
    with ledger.store.reading() as connection:
        holds = of_subject(connection, pseudonym, RecordType.HOLD_PLACED)
    return [(one.header, ledger.open_as(one, HoldPlaced)) for one in holds]


def rotate_master_key(ledger: Ledger, actor: Actor) -> Rotation:
    """Wrap every key anew under another master key, and blind anew what people are found by.

    1. The new key is at hand durably, beside the old one.
    2. All that the old one wraps opens: a rotation hides no alteration.
    3. One transaction records the rotation and wraps. It is the moment that counts: whichever
       of the two keys opens the vault is the master key, after a stop at any moment.
    4. The new key takes the old one's place, which is overwritten.

    Other processes notice by themselves. Idempotency keys stay good: see
    `Pseudonyms.blind_request`. Bodies are not encrypted anew, so whoever held the old master key
    and a copy of the database keeps what that copy says.

    Raises:
        RoleRefused: The actor does not operate the house.
        KeyUnavailable: There is no other key, and none can be made here.
        CannotOpen: A key or an identity was altered; verify the log, restore it.
        MasterKeyMoved: Somebody else rotated it in the meantime.
        LedgerUnavailable: Outcome unknown; nothing is lost, the right key is found.
    """
    people = ledger.people
    for _ in range(_ATTEMPTS):
        # 1.
        old = people.master
        new = people.successor()
        # 2.
        keys = people.check_keys()

        def act(
            connection: Connection,
            _: Header,
            *,
            old: MasterKey = old,
            new: MasterKey = new,
            keys: int = keys,
        ) -> None:
            if connection.scalar(select(func.count()).select_from(KEYS)) != keys:
                raise RecordsMoved("somebody was met for the first time in the meantime")
            people.rotate(connection, old=old, new=new)

        draft = Draft(
            type=RecordType.KEY_ROTATED,
            actor=actor,
            outcome="rotated",
            body=KeyRotated(old=old.fingerprint, new=new.fingerprint, keys=keys),
            act=act,
        )
        # 3.
        try:
            recorded = ledger.record(draft)
        except RecordsMoved:
            continue
        # 4.
        people.settle()
        return Rotation(recorded=recorded, fingerprint=new.fingerprint, keys=keys)
    raise RecordsMoved("people are met for the first time all the time: ask again")


def sealed_for(connection: Connection, pseudonym: str) -> tuple[Recorded, ...]:
    """Every record sealed for a patient, in the log's order."""
    statement = (
        select(RECORDS.c.position, RECORDS.c.header)
        .join(BODIES, BODIES.c.position == RECORDS.c.position)
        .where(BODIES.c.key_id == pseudonym)
        .order_by(RECORDS.c.position)
    )
    return tuple(decoded(row.position, row.header) for row in connection.execute(statement))


def of_subject(connection: Connection, pseudonym: str, kind: RecordType) -> tuple[Recorded, ...]:
    """The records of one kind that concern a person as a whole, in the log's order."""
    statement = (
        select(RECORDS.c.position, RECORDS.c.header)
        .where(RECORDS.c.type == kind.value, RECORDS.c.dossier.is_(None))
        .order_by(RECORDS.c.position)
    )
    every = (decoded(row.position, row.header) for row in connection.execute(statement))
    return tuple(one for one in every if one.header.subject == pseudonym)


def _sealed_ids(connection: Connection, pseudonym: str) -> set[str]:
    statement = (
        select(RECORDS.c.id)
        .join(BODIES, BODIES.c.position == RECORDS.c.position)
        .where(BODIES.c.key_id == pseudonym)
    )
    return set(connection.scalars(statement))


def _backups_expire(ledger: Ledger) -> date | None:
    """The last day of the last backup; those of the past are counted, which does no harm."""
    taken = ledger.stretch((RecordType.BACKUP_TAKEN,))
    days = [ledger.open_as(one, BackupTaken).expires for one in taken]
    # A restored log does not know of every backup that its patients are in.
    opened = ledger.stretch((RecordType.LOG_OPENED,))
    days += [ledger.open_as(one, LogOpened).copies_expire for one in opened]
    return max(days, default=None)


def _about_dossier(
    ledger: Ledger, actor: Actor, *, dossier: str, kind: RecordType, outcome: str, body: Body
) -> Draft:
    situation = ledger.get(Dossier, dossier)
    if situation is None:
        raise UnknownDossier("the log holds no such inference")
    return Draft(
        type=kind,
        actor=actor,
        outcome=outcome,
        body=body,
        dossier=dossier,
        follows=(dossier,),
        model=situation.model,
        model_version=situation.model_version,
    )
