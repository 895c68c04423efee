"""Erasure: a patient's key, identity and bodies, destroyed once the law lets go of them.

The headers stay, and name nobody; the record says which bodies are gone.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, delete, select

from guarantee.appending import Draft, Request
from guarantee.bodies import BackupTaken, ErasureGround, HoldPlaced, LogOpened, PatientErased
from guarantee.custody import Holding, holding, of_subject
from guarantee.errors import GuaranteeError
from guarantee.gathering import followed_by
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.owned import owned_by
from guarantee.pseudonyms import Actor, Pseudonyms
from guarantee.records import Header, RecordType
from guarantee.refusals import Erased, RecordsMoved, RetentionRuns
from guarantee.retention import LEAST_LOG, earliest_day, kept_until, latest_day
from guarantee.store import BODIES, OWNED, RECORDS

_ATTEMPTS: Final = 5


class ImplausibleDeath(GuaranteeError):
    """No patient of these records can have died on that day."""


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
        connection.execute(delete(BODIES).where(BODIES.c.position.in_(owned_by(pseudonym))))
        connection.execute(delete(OWNED).where(OWNED.c.key_id == pseudonym))
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


def _sealed_ids(connection: Connection, pseudonym: str) -> set[str]:
    statement = select(RECORDS.c.id).where(RECORDS.c.position.in_(owned_by(pseudonym)))
    return set(connection.scalars(statement))


def _backups_expire(ledger: Ledger) -> date | None:
    """The last day of the last backup; those of the past are counted, which does no harm."""
    taken = ledger.stretch((RecordType.BACKUP_TAKEN,))
    days = [ledger.open_as(one, BackupTaken).expires for one in taken]
    # A restored log does not know of every backup that its patients are in.
    opened = ledger.stretch((RecordType.LOG_OPENED,))
    days += [ledger.open_as(one, LogOpened).copies_expire for one in opened]
    return max(days, default=None)
