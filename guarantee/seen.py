"""What monitoring may see of inferences and of what followed them: nobody's name.

Read by pages, each in a view of its own: a long look keeps neither writers nor erasures waiting.
Bodies are opened in bulk, checked against their headers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, exists, select

from guarantee.bodies import (
    BODY_TYPES,
    Answer,
    Body,
    Context,
    Corrected,
    DecisionSigned,
    FirstRead,
    InferenceMade,
    OutcomeConfirmed,
)
from guarantee.card import Mode
from guarantee.ledger import Ledger
from guarantee.logged import BodyMissing, LedgerError, Recorded, decoded
from guarantee.records import RecordType, first_id
from guarantee.situations import Gate, Information
from guarantee.store import BODIES, RECORDS
from guarantee.vault import unseal

_PAGE: Final = 500
_FOLLOW_UPS: Final = (
    RecordType.FIRST_READ,
    RecordType.DECISION_SIGNED,
    RecordType.OUTCOME_CONFIRMED,
    RecordType.CORRECTED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which inferences: those that every given bound allows.

    Attributes:
        since, until: Milliseconds since 1970, UTC, as their records claim; `until` is excluded.
        first, end: Zero-based places in the log; `end` is excluded.
    """

    since: int | None = None
    until: int | None = None
    first: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One inference: what came in and what went out.

    Attributes:
        id: Of its record and dossier.
        index: Its place in the log.
        patient: Tells the patients of one reading apart, from 0; of another reading, or to the
            outside, it says nothing.
        at: Milliseconds since 1970, UTC.
        profile: Base64 float32, (n_features,); NaN where missing.
    """

    id: str
    index: int
    patient: int
    at: int
    mode: Mode
    profile: str
    answer: Answer
    context: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What followed one inference so far.

    Attributes:
        first_read: The label that the clinician named before they saw the answer.
        first_read_at: Milliseconds since 1970, UTC; as `decided_at`.
        decision: Signed by the clinician.
        truth: The label that was confirmed.
        truth_corrected: Whether a later word on the confirmation stands beside it.
    """

    first_read: str | None = None
    first_read_at: int | None = None
    decision: DecisionSigned | None = None
    decided_at: int | None = None
    truth: str | None = None
    truth_corrected: bool = False


def inferences(
    ledger: Ledger,
    *,
    model: str,
    version: str,
    span: Span = Span(),
    oldest_first: bool = False,
    once_a_patient: bool = False,
    passing_over: set[str] | None = None,
    followed_by: RecordType | None = None,
) -> Iterator[Seen]:
    """A version's inferences, the newest first; erased ones are passed over.

    Args:
        followed_by: Those alone whose dossier has such a record.
        once_a_patient: Of each patient the first that is met, alone.
        passing_over: Pseudonyms of patients who are passed over. Those given out are added, so
            that a second reading may pass over the patients of the first.

    Raises:
        VaultError: A stored body or key was altered.
        BodyMissing: A body is gone, and no erasure explains it.
    """
    numbers: dict[str, int] = {}
    given = set() if passing_over is None else passing_over
    refused = frozenset(given)
    place: int | None = None
    while True:
        with ledger.store.reading() as connection:
            rows = _page(
                connection, model, span, place, oldest_first=oldest_first, followed_by=followed_by
            )
            if not rows:
                return
            place = rows[-1].position
            wanted: list[tuple[Recorded, str | None, bytes]] = []
            met = set(given if once_a_patient else refused)
            for row in rows:
                recorded = decoded(row.position, row.header)
                if recorded.header.model_version == version and row.key_id not in met:
                    wanted.append((recorded, row.key_id, row.stored))
                    if once_a_patient and row.key_id is not None:
                        met.add(row.key_id)
            keys = ledger.people.keys(connection, {patient for _, patient, _ in wanted})
        for recorded, patient, stored in wanted:
            if patient in keys and patient is not None:
                given.add(patient)
                number = numbers.setdefault(patient, len(numbers))
                yield _seen(recorded, stored, keys[patient], number)
            else:
                _check_erased(ledger, recorded)


def _page(
    connection: Connection,
    model: str,
    span: Span,
    place: int | None,
    *,
    oldest_first: bool,
    followed_by: RecordType | None,
) -> Sequence[Row[Any, Any, Any, Any]]:
    position = RECORDS.c.position
    where = [RECORDS.c.type == RecordType.INFERENCE_MADE.value, RECORDS.c.model == model]
    if place is not None:
        where.append(position > place if oldest_first else position < place)
    if span.first is not None:
        where.append(position >= span.first)
    if span.end is not None:
        where.append(position < span.end)
    # A record's id begins with its header's time.
    if span.since is not None:
        where.append(RECORDS.c.id >= first_id(span.since))
    if span.until is not None:
        where.append(RECORDS.c.id < first_id(span.until))
    if followed_by is not None:
        later = RECORDS.alias()
        where.append(
            exists().where(later.c.dossier == RECORDS.c.id, later.c.type == followed_by.value)
        )
    statement = (
        select(position, RECORDS.c.header, BODIES.c.key_id, BODIES.c.stored)
        .outerjoin(BODIES, BODIES.c.position == RECORDS.c.position)
        .where(*where)
        .order_by(position if oldest_first else position.desc())
        .limit(_PAGE)
    )
    return connection.execute(statement).all()


def _seen(recorded: Recorded, stored: bytes, key: bytes, patient: int) -> Seen:
    body = _opened(recorded, stored, key)
    if not isinstance(body, InferenceMade):
        raise LedgerError(f"record {recorded.id} is no inference: verify the log")
    return Seen(
        id=recorded.id,
        index=recorded.index,
        patient=patient,
        at=recorded.header.time,
        mode=body.mode,
        profile=body.profile,
        answer=body.answer,
        context=body.context or Context(),
    )


def _opened(recorded: Recorded, stored: bytes, key: bytes) -> Body:
    commitment = recorded.header.commitment or ""
    encoded = unseal(key, recorded.id, stored, commitment)
    return BODY_TYPES[recorded.header.type].model_validate_json(encoded)


def _check_erased(ledger: Ledger, recorded: Recorded) -> None:
    """Raise where no erasure explains that a body, or its key, is missing."""
    for information in recorded.header.follows[:1]:
        situation = ledger.get(Information, information)
        if situation is not None and situation.step is Gate.ERASED:
            return
    raise BodyMissing(f"the vault does not hold the body of record {recorded.id}")


def followed(ledger: Ledger, ids: Sequence[str]) -> dict[str, Followed]:
    """What followed these inferences, by their ids; those erased meanwhile are left out.

    Raises:
        VaultError: A stored body or key was altered.
    """
    found: dict[str, Followed] = {}
    for start in range(0, len(ids), _PAGE):
        some = ids[start : start + _PAGE]
        with ledger.store.reading() as connection:
            statement = (
                select(RECORDS.c.position, RECORDS.c.header, BODIES.c.key_id, BODIES.c.stored)
                .outerjoin(BODIES, BODIES.c.position == RECORDS.c.position)
                .where(
                    RECORDS.c.dossier.in_(some),
                    RECORDS.c.type.in_([kind.value for kind in _FOLLOW_UPS]),
                )
                .order_by(RECORDS.c.position)
            )
            rows = connection.execute(statement).all()
            keys = ledger.people.keys(connection, {row.key_id for row in rows})
        records: dict[str, list[tuple[Recorded, Body]]] = {one: [] for one in some}
        erased = set()
        for row in rows:
            recorded = decoded(row.position, row.header)
            dossier = recorded.header.dossier or ""
            if row.key_id in keys:
                body = _opened(recorded, row.stored, keys[row.key_id])
                records[dossier].append((recorded, body))
            else:
                erased.add(dossier)
        found |= {one: _told(said) for one, said in records.items() if one not in erased}
    return found


def _told(records: list[tuple[Recorded, Body]]) -> Followed:
    read: FirstRead | None = None
    decision: DecisionSigned | None = None
    outcome: OutcomeConfirmed | None = None
    read_at = decided_at = None
    confirmation = ""
    corrected = False
    for recorded, body in records:
        match body:
            case FirstRead():
                read, read_at = body, recorded.header.time
            case DecisionSigned():
                decision, decided_at = body, recorded.header.time
            case OutcomeConfirmed():
                outcome, confirmation = body, recorded.id
            case Corrected():
                corrected = corrected or body.corrects == confirmation
    return Followed(
        first_read=read.label if read else None,
        first_read_at=read_at,
        decision=decision,
        decided_at=decided_at,
        truth=outcome.label if outcome else None,
        truth_corrected=corrected,
    )
