"""A suspension by policy: what it says, and how it is told from a person's.

It is an ordinary `ModelSuspended`. Its reason names the finding, and is made of what the finding's
record says: whoever reads the log can make it again. Nobody passes for the policy by words alone.
"""

import re
from collections.abc import Sequence
from typing import Final

from guarantee.bodies import BoundMissed, DriftDetected, ModelSuspended
from guarantee.ledger import Ledger
from guarantee.logged import Recorded, UnknownRecord
from guarantee.records import RecordType
from monitoring.standing import KINDS, Begun

_MOST_NAMED: Final = 5
_LONGEST_NAME: Final = 120
_BODIES: Final = {kind.begins: kind.body for kind in KINDS}
_FINDING: Final = re.compile(r"(DriftDetected|IncidentReported) ([0-9a-f-]{36})")


def reason(finding: str, body: Begun) -> str:
    """Why the policy stops a model.

    Args:
        finding: Id of the record.
        body: What it says; columns and shares alone, nobody's value.
    """
    return f"by the card's policy: {said(body)} ({type(body).__name__} {finding})"


def said(body: Begun) -> str:
    """A finding in a line."""
    if isinstance(body, DriftDetected):
        return f"drift in {body.cases} cases, of {_named([one.feature for one in body.features])}"
    return _named([_missed(one) for one in body.missed])


def _named(found: Sequence[str]) -> str:
    named = [one[:_LONGEST_NAME] for one in found[:_MOST_NAMED]]
    if more := len(found) - len(named):
        named.append(f"{more} more")
    return ", ".join(named)


def _missed(one: BoundMissed) -> str:
    below = one.least is not None and one.high < one.least
    bound = one.least if below else one.most
    of = "" if one.group is None else f" in {one.group}"
    side = "below" if below else "above"
    what = one.measure.value.replace("_", " ")
    return f"{what} {one.value:.1%} of {one.cases}{of}, {side} {bound:.1%}"


def finding_of(ledger: Ledger, suspended: Recorded) -> Recorded | None:
    """The finding for which the policy suspended; None where a person did, for their own reason."""
    reason_given = ledger.open_as(suspended, ModelSuspended).reason
    named = _FINDING.search(reason_given)
    if named is None:
        return None
    kind = RecordType(named[1])
    try:
        found = ledger.find(named[2])
    except UnknownRecord:
        return None
    if (found.header.type, found.header.model) != (kind, suspended.header.model):
        return None
    body = ledger.open_as(found, _BODIES[kind])
    return found if reason_given == reason(found.id, body) else None
