"""What the log counts: answers and decisions, what waits for a decision, how far it is signed.

For figures that are read every few seconds: the log is read once, and then only what was added.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import JSON, Connection, Text, and_, case, cast, func, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from guarantee.ledger import Ledger
from guarantee.logged import decoded
from guarantee.records import RecordType, first_id
from guarantee.situations import Dossier, Gate, Information, Step
from guarantee.store import BEYOND_INFORMED, CHECKPOINTS, RECORDS, SIGNED, STATES

_COUNTED: Final = (RecordType.INFERENCE_MADE.value, RecordType.DECISION_SIGNED.value)


@dataclass(frozen=True, slots=True)
class Counted:
    """What is counted together: facts of headers alone."""

    type: RecordType
    model: str
    version: str
    outcome: str


Counts = Mapping[Counted, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A model's answers that nobody has decided on, of patients who were not erased.

    Attributes:
        overdue: Of these, older than the card's time for review.
    """

    answers: int
    overdue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """How far the log is vouched for.

    Attributes:
        size: How many records a checkpoint covers.
        at: When the last of them was made, in milliseconds since 1970; None of an empty log.
    """

    size: int
    at: int | None


class Tally:
    """Counts of one log, kept up with it. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = 0
        self._counts: Counter[Counted] = Counter()

    def counts(self, ledger: Ledger) -> Counts:
        """Inferences and decisions on record, by model, version and outcome.

        Raises:
            StoreUnavailable: The log cannot be read.
        """
        with self._lock:
            size = ledger.head().size
            if size < self._size:  # Another log by now.
                self._size, self._counts = 0, Counter()
            if size > self._size:
                with ledger.store.reading() as connection:
                    self._counts += _counted(connection, self._size, size)
                self._size = size
            return dict(self._counts)


def _counted(connection: Connection, start: int, end: int) -> Counter[Counted]:
    header: ColumnElement[str] = cast(RECORDS.c.header, Text)
    if connection.dialect.name == "postgresql":
        header = func.convert_from(RECORDS.c.header, "UTF8")
    version, outcome = (_fact(connection, header, name) for name in ("model_version", "outcome"))
    keys = [RECORDS.c.type, RECORDS.c.model, version.label("version"), outcome.label("outcome")]
    rows = connection.execute(
        select(*keys, func.count().label("records"))
        .where(RECORDS.c.type.in_(_COUNTED), RECORDS.c.position >= start, RECORDS.c.position < end)
        .group_by(RECORDS.c.type, RECORDS.c.model, version, outcome)
    )
    counts: Counter[Counted] = Counter()
    for row in rows:
        counts[Counted(RecordType(row.type), row.model, row.version, row.outcome)] = row.records
    return counts


def waiting(ledger: Ledger, lapses: Mapping[str, int], *, at: int) -> dict[str, Waiting]:
    """What waits for a decision, by model; models for whose answers nothing waits are left out.

    Args:
        lapses: Model to its time for review, in milliseconds.
        at: Milliseconds since 1970, UTC.

    Raises:
        StoreUnavailable: The log cannot be read.
    """
    information = STATES.alias()
    # A dossier's key is its inference's id, which begins with its time.
    bounds = {model: first_id(at - lapse) for model, lapse in lapses.items()}
    with ledger.store.reading() as connection:
        model = _fact(connection, STATES.c.facts, "model")
        informed = _fact(connection, STATES.c.facts, "information")
        overdue: ColumnElement[Any] = (
            case((STATES.c.key < case(bounds, value=model, else_=""), 1), else_=0)
            if bounds
            else cast(0, RECORDS.c.position.type)
        )
        rows = connection.execute(
            select(model, func.count(), func.sum(overdue))
            .join_from(
                STATES,
                information,
                and_(information.c.kind == Information.__name__, information.c.key == informed),
            )
            .where(
                STATES.c.kind == Dossier.__name__,
                STATES.c.step.in_([Step.WITHHELD.value, Step.ANSWERED.value]),
                BEYOND_INFORMED,
                information.c.step != Gate.ERASED.value,
            )
            .group_by(model)
        )
        return {name: Waiting(answers=count, overdue=int(late)) for name, count, late in rows}


def signed(ledger: Ledger) -> tuple[Signed, Signed]:
    """How far the log's own checkpoint goes, and the last one that an outsider vouched for.

    Raises:
        StoreUnavailable: The log cannot be read.
    """
    with ledger.store.reading() as connection:
        own = connection.scalar(select(func.max(SIGNED.c.size))) or 0
        kept = connection.scalar(select(func.max(CHECKPOINTS.c.size))) or 0
        return _signed(connection, own), _signed(connection, kept)


def _signed(connection: Connection, size: int) -> Signed:
    header = connection.scalar(select(RECORDS.c.header).where(RECORDS.c.position == size - 1))
    at = None if header is None else decoded(size - 1, header).header.time
    return Signed(size=size, at=at)


def _fact(connection: Connection, text: ColumnElement[Any], name: str) -> ColumnElement[str]:
    """One word of a JSON object that a cell holds as text."""
    # SQLite has no such type; a cast to it would make a number of the text.
    of_sqlite = connection.dialect.name == "sqlite"
    facts: ColumnElement[Any] = type_coerce(text, JSON) if of_sqlite else cast(text, JSON)
    word: ColumnElement[str] = facts[name].as_string()
    return word
