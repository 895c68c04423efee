"""Custody of patients' data: who read what and why, rectification, legal hold.

A custody record names its patient by pseudonym (`subject`) and follows every information of
theirs, so that the protocol can refuse it where a hold stands or the patient was erased.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, select

from guarantee.appending import Draft, Request
from guarantee.bodies import (
    AccessRecorded,
    Body,
    BreakGlass,
    CareShared,
    Glass,
    HoldPlaced,
    HoldReason,
    PatientRectified,
    Purpose,
    Sharing,
)
from guarantee.custody_thread import GLASS_MS
from guarantee.gathering import followed_by
from guarantee.identity import Caller, Patient, Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded, decoded
from guarantee.opened import check_cares
from guarantee.owned import owned_by
from guarantee.pseudonyms import Actor, UnknownPerson
from guarantee.records import Header, RecordType
from guarantee.refusals import (
    AlreadyDone,
    Erased,
    UnknownDossier,
)
from guarantee.retention import latest_day
from guarantee.situations import Dossier
from guarantee.store import RECORDS

_DAY_MS: Final = timedelta(days=1) // timedelta(milliseconds=1)
_INFORMATIONS: Final = (RecordType.PATIENT_INFORMED, RecordType.INFORMATION_DEFERRED)
_CONTESTED: Final = (HoldReason.LITIGATION, HoldReason.COMPLAINT)
"""What suspends retention: CSP R. 1112-7 names "tout recours gracieux ou contentieux"."""


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


def sealed_for(connection: Connection, pseudonym: str) -> tuple[Recorded, ...]:
    """Every record sealed for a patient, in the log's order."""
    statement = (
        select(RECORDS.c.position, RECORDS.c.header)
        .where(RECORDS.c.position.in_(owned_by(pseudonym)))
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
