"""A suspension by policy: what it says, and how it is told from a person's.

It is an ordinary `ModelSuspended`. Its reason names the finding, and is made of what the finding's
record says: whoever reads the log can make it again. Nobody passes for the policy by words alone.
"""

import re
from typing import Final

from guarantee.bodies import DriftDetected, ModelSuspended
from guarantee.ledger import Ledger
from guarantee.logged import Recorded, UnknownRecord
from guarantee.records import RecordType

_MOST_NAMED: Final = 5
_LONGEST_NAME: Final = 80
_FINDING: Final = re.compile(r"DriftDetected ([0-9a-f-]{36})")


def reason(finding: str, body: DriftDetected) -> str:
    """Why the policy stops a model.

    Args:
        finding: Id of the record.
        body: What it says; columns alone, nobody's value.
    """
    named = [one.feature[:_LONGEST_NAME] for one in body.features[:_MOST_NAMED]]
    if more := len(body.features) - len(named):
        named.append(f"{more} more")
    return (
        f"by the card's policy: drift in {body.cases} cases, of {', '.join(named)} "
        f"(DriftDetected {finding})"
    )


def finding_of(ledger: Ledger, suspended: Recorded) -> Recorded | None:
    """The finding for which the policy suspended; None where a person did, for their own reason."""
    said = ledger.open_as(suspended, ModelSuspended).reason
    named = _FINDING.search(said)
    if named is None:
        return None
    try:
        found = ledger.find(named[1])
    except UnknownRecord:
        return None
    if (found.header.type, found.header.model) != (
        RecordType.DRIFT_DETECTED,
        suspended.header.model,
    ):
        return None
    return found if said == reason(found.id, ledger.open_as(found, DriftDetected)) else None
