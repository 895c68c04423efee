"""What is on record of one version and not over: drift, and incidents."""

from dataclasses import dataclass
from typing import Final

from guarantee.bodies import DriftDetected, IncidentReported
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.records import RecordType
from models.served import ServedModel

Begun = DriftDetected | IncidentReported
Found = tuple[tuple[Recorded, Begun], ...]
"""Findings, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of finding: the record that begins it, and the one that ends all that stand."""

    begins: RecordType
    ends: RecordType
    body: type[DriftDetected] | type[IncidentReported]


DRIFT: Final = Kind(
    begins=RecordType.DRIFT_DETECTED, ends=RecordType.DRIFT_CLEARED, body=DriftDetected
)
INCIDENT: Final = Kind(
    begins=RecordType.INCIDENT_REPORTED, ends=RecordType.INCIDENT_ENDED, body=IncidentReported
)
KINDS: Final = (DRIFT, INCIDENT)


def standing(ledger: Ledger, served: ServedModel, kind: Kind) -> Found:
    """What was found of this version since the last end."""
    ended = ledger.latest(kind.ends, model=served.name, count=1)
    since = ended[-1].index if ended else -1
    return _between(ledger, served, kind, since, ledger.head().size)


def ended(ledger: Ledger, served: ServedModel, kind: Kind) -> tuple[Recorded, Found] | None:
    """The last end, with what it ended; none where more stands, or it was another version's."""
    ends = ledger.latest(kind.ends, model=served.name, count=2)
    if not ends or standing(ledger, served, kind):
        return None
    since = ends[0].index if len(ends) > 1 else -1
    found = _between(ledger, served, kind, since, ends[-1].index)
    return (ends[-1], found) if found else None


def last(ledger: Ledger, name: str, kind: Kind) -> int:
    """The place of the last record of that kind, zero-based in the log; -1 where there is none."""
    records = [
        *ledger.latest(kind.begins, model=name, count=1),
        *ledger.latest(kind.ends, model=name, count=1),
    ]
    return max((one.index for one in records), default=-1)


def _between(ledger: Ledger, served: ServedModel, kind: Kind, after: int, before: int) -> Found:
    return tuple(
        (recorded, ledger.open_as(recorded, kind.body))
        for recorded in ledger.latest(kind.begins, model=served.name)
        if after < recorded.index < before and recorded.header.model_version == served.version
    )
