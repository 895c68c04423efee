"""One look at one model: the latest window against the reference, and what the log is told."""

from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path

from guarantee.appending import Draft, Request
from guarantee.bodies import DriftCleared, DriftDetected, FeatureDrift
from guarantee.card import Response
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.versions import standing
from models import shelf
from models.served import ServedModel
from monitoring import runs, window, workspace
from monitoring.alerts import Alert, drifted, over
from monitoring.drift import Examined, examine
from monitoring.errors import MonitoringError
from monitoring.findings import Drifted, Finding, Stable, Undecided
from monitoring.performance import Performance, measure
from monitoring.policy import Judge, stop
from monitoring.sample import Expected
from monitoring.summary import told
from monitoring.window import AS_THE_CARD_SAYS, Bounds, Window


class NothingToWatch(MonitoringError):
    """No version of the model was ever promoted; there is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one model.

    Attributes:
        recorded: What it told the log; None where there was nothing new.
        suspended: By the card's policy, for drift that stands; None where that is not new.
        alerts: What the card's policy wants told.
        report: Evidently's page, where one was written.
    """

    name: str
    version: str
    finding: Finding
    recorded: Recorded | None = None
    suspended: Recorded | None = None
    alerts: tuple[Alert, ...] = ()
    report: Path | None = None
    performance: Performance | None = None


def look(
    ledger: Ledger, home: Home, actor: Actor, name: str, bounds: Bounds = AS_THE_CARD_SAYS
) -> Look:
    """Look at one window of the promoted version, the latest by default, and record what is new.

    Drift is new when a column drifts that has not since the last `DriftCleared`; stability is
    new when drift stands, and the window reaches the present. So a second look at the same window
    records nothing.

    Then, if the window reaches the present, the card's policy is followed for all drift that
    stands: what a look that was cut short left undone, the next one does.

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
        body = _news(examined, latest, _standing_drift(ledger, served))
        if isinstance(body, DriftCleared) and bounds.until is not None:
            body = None  # What was so once clears nothing that is so now.
        if isinstance(body, DriftDetected):
            report = _keep(home, examined.html)
        if body is not None:
            recorded = _record(ledger, actor, served, body)
            _show(home, served, examined)
    suspended = None
    alerts: tuple[Alert, ...] = ()
    if bounds.until is None:
        suspended, alerts = _follow_policy(ledger, actor, served)
        runs.note(home, ledger, served, finding)
    return Look(
        name=name,
        version=served.version,
        finding=finding,
        recorded=recorded,
        suspended=suspended,
        alerts=alerts,
        report=report,
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
    if isinstance(examined, Undecided):
        return Look(name=name, version=served.version, finding=examined, performance=performance)
    words = "\n".join([f"{name} {served.version}", str(examined.finding), *told(performance)])
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
    )


def _examined(served: ServedModel, latest: Window) -> Examined | Undecided:
    return examine(
        Expected.of_version(served), latest.sample, served.card.monitoring, latest.earlier
    )


def _promoted(ledger: Ledger, home: Home, name: str) -> ServedModel:
    serving = standing(ledger, name).serving
    if serving is None:
        raise NothingToWatch(f"no version of {name} is promoted: there is nothing to watch")
    return shelf.load(home, name=name, version=serving.version, digest=serving.digest)


_Found = tuple[tuple[Recorded, DriftDetected], ...]
"""Findings of drift, oldest first."""


def _standing_drift(ledger: Ledger, served: ServedModel) -> _Found:
    """What was detected on this version since drift was last cleared."""
    cleared = ledger.latest(RecordType.DRIFT_CLEARED, model=served.name, count=1)
    since = cleared[-1].index if cleared else -1
    return _drift_between(ledger, served, since, ledger.head().size)


def _drift_between(ledger: Ledger, served: ServedModel, after: int, before: int) -> _Found:
    return tuple(
        (recorded, ledger.open_as(recorded, DriftDetected))
        for recorded in ledger.latest(RecordType.DRIFT_DETECTED, model=served.name)
        if after < recorded.index < before and recorded.header.model_version == served.version
    )


def _follow_policy(
    ledger: Ledger, actor: Actor, served: ServedModel
) -> tuple[Recorded | None, tuple[Alert, ...]]:
    """Stop the model where its card says so; what was newly recorded, and what is to be told."""
    judge = Judge(served)
    suspended = None
    told = []
    for found, body in _standing_drift(ledger, served):
        response = judge.response(body)
        if response is Response.SUSPEND:
            suspended = stop(ledger, actor, name=served.name, found=found, body=body) or suspended
        if response is not Response.RECORD:
            told.append(drifted(ledger, found, body, response))
    return suspended, tuple(told) or _over(ledger, served)


def _over(ledger: Ledger, served: ServedModel) -> tuple[Alert, ...]:
    """That drift is over, to those who were told of it."""
    cleared = ledger.latest(RecordType.DRIFT_CLEARED, model=served.name, count=2)
    if not cleared or _standing_drift(ledger, served):
        return ()
    since = cleared[0].index if len(cleared) > 1 else -1
    ended = _drift_between(ledger, served, since, cleared[-1].index)
    if not ended:
        return ()  # It was another version's.
    body = ledger.open_as(cleared[-1], DriftCleared)
    return (over(ledger, cleared[-1], body, tuple(found.id for found, _ in ended)),)


def _news(examined: Examined, latest: Window, known: _Found) -> DriftDetected | DriftCleared | None:
    first, last = latest.indices[0], latest.indices[-1]
    match examined.finding:
        case Stable() as stable:
            if not known:
                return None
            return DriftCleared(cases=stable.cases, first_index=first, last_index=last)
        case Drifted() as drifted:
            told = {feature.feature for _, body in known for feature in body.features}
            if told.issuperset(column.name for column in drifted.drifted):
                return None
            return DriftDetected(
                cases=drifted.cases,
                first_index=first,
                last_index=last,
                features=tuple(
                    FeatureDrift(
                        feature=column.name,
                        test=column.test,
                        p_value=column.p_value,
                        shift=column.shift,
                        threshold=column.threshold,
                    )
                    for column in drifted.drifted
                ),
                report_sha256=sha256(examined.html.encode()).hexdigest(),
            )


def _record(
    ledger: Ledger, actor: Actor, served: ServedModel, body: DriftDetected | DriftCleared
) -> Recorded:
    detected = isinstance(body, DriftDetected)
    kind = RecordType.DRIFT_DETECTED if detected else RecordType.DRIFT_CLEARED
    # The key is the window's, not the actor's: of two runs at once, one is recorded.
    key = f"{served.name}/{served.version}/{kind}/{body.first_index}-{body.last_index}"
    return ledger.record(
        Draft(
            type=kind,
            actor=actor,
            outcome="drifted" if detected else "cleared",
            body=body,
            model=served.name,
            model_version=served.version,
        ),
        Request(actor="monitoring", route="monitor run", key=key, content=key.encode()),
    )


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
