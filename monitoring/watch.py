"""One look at one model: the latest window against the reference, and what the log is told."""

from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

from guarantee import versions
from guarantee.appending import Draft, Request
from guarantee.bodies import (
    BoundMissed,
    DriftCleared,
    DriftDetected,
    IncidentEnded,
    IncidentReported,
)
from guarantee.card import Measure, Response
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from models import shelf
from models.served import ServedModel
from monitoring import runs, standing, window, workspace
from monitoring.alerts import Alert, begun, over
from monitoring.bounds import Judged, judge
from monitoring.drift import Examined, examine
from monitoring.errors import MonitoringError
from monitoring.findings import Drifted, Finding, Stable, Undecided
from monitoring.performance import Performance, measure
from monitoring.policy import Judge, stop
from monitoring.sample import Expected
from monitoring.standing import DRIFT, INCIDENT, Found
from monitoring.summary import told
from monitoring.window import AS_THE_CARD_SAYS, Bounds, Window


class NothingToWatch(MonitoringError):
    """No version of the model was ever promoted; there is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one model.

    Attributes:
        recorded: What it told the log of drift; None where there was nothing new.
        incident: The same of performance and use.
        suspended: By the card's policy, for what stands; None where that is not new.
        alerts: What the card's policy wants told.
        report: Evidently's page, where one was written.
        judged: The card's bounds; none are judged in a window that ended.
    """

    name: str
    version: str
    finding: Finding
    recorded: Recorded | None = None
    incident: Recorded | None = None
    suspended: Recorded | None = None
    alerts: tuple[Alert, ...] = ()
    report: Path | None = None
    performance: Performance | None = None
    judged: tuple[Judged, ...] = ()


def look(
    ledger: Ledger, home: Home, actor: Actor, name: str, bounds: Bounds = AS_THE_CARD_SAYS
) -> Look:
    """Look at one window of the promoted version, the latest by default, and record what is new.

    Drift is new when a column drifts that has not since the last `DriftCleared`; stability is
    new when drift stands, and the window reaches the present. So a second look at the same window
    records nothing. An incident is new when a bound is missed that was not since the last
    `IncidentEnded`, and over when all that were missed are known to be kept.

    Then, if the window reaches the present, the card's policy is followed for all that stands:
    what a look that was cut short left undone, the next one does.

    Raises:
        UnknownModel: No such model.
        NothingToWatch: No version was ever promoted.
        NotOnTheShelf, DigestMismatch, MalformedBundle: The version's files are not there, or
            are not those registered.
        RoleRefused: The actor may not append such records.
        LedgerUnavailable: Outcome unknown; look again, a repeat is recorded once.
    """
    served = _promoted(ledger, home, name)
    latest = window.read(ledger, served, bounds)
    examined = _examined(served, latest)
    finding = examined if isinstance(examined, Undecided) else examined.finding
    recorded = None
    report = None
    if isinstance(examined, Examined):
        # Read before what stands: of two looks at once, neither takes the other's word for new.
        last: int | None = standing.last(ledger, name, DRIFT)
        body = _news(examined, latest, standing.standing(ledger, served, DRIFT))
        if bounds.until is not None:
            last = None
            if isinstance(body, DriftCleared):
                body = None  # What was so once clears nothing that is so now.
        if isinstance(body, DriftDetected):
            report = _keep(home, examined.html)
        if body is not None and (recorded := _record(ledger, actor, served, body, last)):
            _show(home, served, examined)
    suspended = incident = None
    alerts: tuple[Alert, ...] = ()
    judged: tuple[Judged, ...] = ()
    if bounds.until is None:
        performance = measure(ledger, served, bounds)
        judged = judge(performance, served.card.monitoring)
        last = standing.last(ledger, name, INCIDENT)
        news = _incident(performance, judged, standing.standing(ledger, served, INCIDENT))
        if news is not None:
            incident = _record(ledger, actor, served, news, last)
        suspended, alerts = _follow_policy(ledger, actor, served)
        runs.note(home, ledger, served, finding, judged)
    return Look(
        name=name,
        version=served.version,
        finding=finding,
        recorded=recorded,
        incident=incident,
        suspended=suspended,
        alerts=alerts,
        report=report,
        judged=judged,
    )


def report(ledger: Ledger, home: Home, name: str, bounds: Bounds = AS_THE_CARD_SAYS) -> Look:
    """Like `look`, with performance, a page where drift was decided, and nothing for the log.

    Raises:
        UnknownModel, NothingToWatch, NotOnTheShelf, DigestMismatch, MalformedBundle: As `look`.
    """
    served = _promoted(ledger, home, name)
    latest = window.read(ledger, served, bounds)
    examined = _examined(served, latest)
    performance = measure(ledger, served, bounds)
    judged = judge(performance, served.card.monitoring)
    if isinstance(examined, Undecided):
        return Look(
            name=name,
            version=served.version,
            finding=examined,
            performance=performance,
            judged=judged,
        )
    words = "\n".join(
        [
            f"{name} {served.version}",
            str(examined.finding),
            *told(performance),
            "the card's bounds, and 95 % intervals:",
            *(f"  {one}" for one in judged),
        ]
    )
    # Ahead of Evidently's charts, in words.
    opening, body, rest = examined.html.partition("<body>")
    kept = _keep(home, f"{opening}{body}<pre>{escape(words)}</pre>{rest}")
    _show(home, served, examined)
    return Look(
        name=name,
        version=served.version,
        finding=examined.finding,
        report=kept,
        performance=performance,
        judged=judged,
    )


def _examined(served: ServedModel, latest: Window) -> Examined | Undecided:
    return examine(
        Expected.of_version(served), latest.sample, served.card.monitoring, latest.earlier
    )


def _promoted(ledger: Ledger, home: Home, name: str) -> ServedModel:
    serving = versions.standing(ledger, name).serving
    if serving is None:
        raise NothingToWatch(f"no version of {name} is promoted: there is nothing to watch")
    return shelf.load(home, name=name, version=serving.version, digest=serving.digest)


def _follow_policy(
    ledger: Ledger, actor: Actor, served: ServedModel
) -> tuple[Recorded | None, tuple[Alert, ...]]:
    """Stop the model where its card says so; what was newly recorded, and what is to be told."""
    policy = Judge(served)
    suspended = None
    told: list[Alert] = []
    for kind in standing.KINDS:
        for found, body in standing.standing(ledger, served, kind):
            response = policy.response(body)
            if response is Response.SUSPEND:
                stopped = stop(ledger, actor, name=served.name, found=found, body=body)
                suspended = stopped or suspended
            if response is not Response.RECORD:
                told.append(begun(ledger, found, body, response))
        if (ended := standing.ended(ledger, served, kind)) is not None:
            end, of = ended
            told.append(over(ledger, end, tuple(found.id for found, _ in of)))
    return suspended, tuple(told)


def _incident(
    performance: Performance, judged: tuple[Judged, ...], known: Found
) -> IncidentReported | IncidentEnded | None:
    first, last = performance.first_index, performance.last_index
    if first is None or last is None:
        return None
    missed = [beyond for one in judged if (beyond := one.missed()) is not None]
    told = {
        _bound(one)
        for _, body in known
        if isinstance(body, IncidentReported)
        for one in body.missed
    }
    if not told.issuperset(map(_bound, missed)):
        return IncidentReported(
            cases=performance.cases, first_index=first, last_index=last, missed=tuple(missed)
        )
    decided = {
        (one.bound.measure, one.group, one.bound.least, one.bound.most)
        for one in judged
        if not isinstance(one.found, Undecided)
    }
    if known and not missed and told <= decided:
        return IncidentEnded(cases=performance.cases, first_index=first, last_index=last)
    return None


def _bound(one: BoundMissed) -> tuple[Measure, str | None, float | None, float | None]:
    return one.measure, one.group, one.least, one.most


def _news(examined: Examined, latest: Window, known: Found) -> DriftDetected | DriftCleared | None:
    first, last = latest.indices[0], latest.indices[-1]
    match examined.finding:
        case Stable() as stable:
            if not known:
                return None
            return DriftCleared(cases=stable.cases, first_index=first, last_index=last)
        case Drifted() as drifted:
            told = {
                feature.feature
                for _, body in known
                if isinstance(body, DriftDetected)
                for feature in body.features
            }
            if told.issuperset(column.name for column in drifted.drifted):
                return None
            return DriftDetected(
                cases=drifted.cases,
                first_index=first,
                last_index=last,
                features=drifted.features,
                report_sha256=sha256(examined.html.encode()).hexdigest(),
            )


_News = DriftDetected | DriftCleared | IncidentReported | IncidentEnded
_OUTCOMES: Final[dict[type[_News], tuple[RecordType, str]]] = {
    DriftDetected: (RecordType.DRIFT_DETECTED, "drifted"),
    DriftCleared: (RecordType.DRIFT_CLEARED, "cleared"),
    IncidentReported: (RecordType.INCIDENT_REPORTED, "reported"),
    IncidentEnded: (RecordType.INCIDENT_ENDED, "ended"),
}


def _record(
    ledger: Ledger, actor: Actor, served: ServedModel, body: _News, last: int | None
) -> Recorded | None:
    """Put it on record; None where another look has.

    Args:
        last: The place of the record of its kind before it; none of a window that ended, which is
            recorded once and for all.
    """
    kind, outcome = _OUTCOMES[type(body)]
    # The key is the window's, not the actor's: of two runs at once, one is recorded.
    after = "" if last is None else f"/{last}"
    key = f"{served.name}/{served.version}/{kind}/{body.first_index}-{body.last_index}{after}"
    recorded = ledger.record(
        Draft(
            type=kind,
            actor=actor,
            outcome=outcome,
            body=body,
            model=served.name,
            model_version=served.version,
        ),
        Request(actor="monitoring", route="monitor run", key=key, content=key.encode()),
    )
    return None if recorded.repeated else recorded


def _show(home: Home, served: ServedModel, examined: Examined) -> None:
    workspace.keep(
        home,
        name=served.name,
        version=served.version,
        finding=examined.finding,
        snapshot=examined.snapshot,
    )


def _keep(home: Home, html: str) -> Path:
    # Named by its digest, which the record holds: a page is never written over.
    page = html.encode()
    path = home.monitoring / f"{sha256(page).hexdigest()}.html"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(page)
    return path
