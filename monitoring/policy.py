"""What the card's policy makes of a finding on record: nothing more, an alert, a suspension."""

from collections.abc import Iterable
from typing import Final

from guarantee.appending import Request
from guarantee.bodies import FeatureDrift, IncidentReported
from guarantee.card import Family, MonitoringPolicy, Response, Rule
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import AlreadyDone
from guarantee.versions import suspend
from models.served import ServedModel
from monitoring.drift import ABSTAINED, CONFIDENCE, LABEL, MISSING, UNLIKE
from monitoring.sample import Expected
from monitoring.standing import Begun
from monitoring.suspension import reason

_BY_NAME: Final = {
    LABEL: Family.ANSWERS,
    CONFIDENCE: Family.ANSWERS,
    UNLIKE: Family.LIKENESS,
    ABSTAINED: Family.LIKENESS,
    MISSING: Family.LIKENESS,
}
_STERNNESS: Final = tuple(Response)


class Judge:
    """Reads what one version's card says."""

    def __init__(self, served: ServedModel) -> None:
        expected = Expected.of_version(served)
        self._policy: MonitoringPolicy = served.card.monitoring
        self._names = frozenset(expected.names)
        self._watched = frozenset(expected.names[place] for place in expected.watched)

    def response(self, body: Begun) -> Response:
        """What follows the finding."""
        if isinstance(body, IncidentReported):
            missed = {(one.measure, one.least, one.most) for one in body.missed}
            held = [
                bound.then
                for bound in self._policy.bounds
                if (bound.measure, bound.least, bound.most) in missed
            ]
        else:
            held = [rule.then for rule in self._policy.rules if self._holds(rule, body.features)]
        return max(held, key=_STERNNESS.index, default=Response.RECORD)

    def _holds(self, rule: Rule, features: Iterable[FeatureDrift]) -> bool:
        moved = [
            one
            for one in features
            if self.family(one.feature) is rule.family
            and (rule.least_shift == 0 or abs(one.shift or 0) >= rule.least_shift)
        ]
        return len(moved) >= rule.least_columns

    def family(self, column: str) -> Family:
        """Of a column, by its name in a record."""
        if column in self._watched:
            return Family.WATCHED
        if column in self._names or column.removeprefix("missing: ") in self._names:
            return Family.SCREENED
        return _BY_NAME.get(column, Family.SUBGROUPS)


def stop(
    ledger: Ledger, actor: Actor, *, name: str, found: Recorded, body: Begun
) -> Recorded | None:
    """Suspend the model for a finding, once; None where it stands, or stood and was answered.

    A stop between the finding's record and this is made up for by the next look. If the college
    has resumed the model since the finding, it knew of it: the same finding stops nothing again.

    Raises:
        RoleRefused: The actor may not suspend.
        LedgerUnavailable: Outcome unknown; look again, a repeat is recorded once.
    """
    resumed = ledger.latest(RecordType.MODEL_RESUMED, model=name, count=1)
    if resumed and resumed[-1].index > found.index:
        return None
    request = Request(
        actor="monitoring",
        route="monitor run: suspension",
        key=found.id,
        content=found.id.encode(),
    )
    if ledger.repeated(request) is not None:
        return None
    try:
        return suspend(ledger, actor, name=name, reason=reason(found.id, body), request=request)
    except AlreadyDone:
        return None
