"""What would have become of a learning model, had these cases arrived in this order.

For whoever is to approve a change protocol: a version that stays as it is and one that learns meet
the same cases, window after window. What watches them, what the card's policy answers and what an
update may do is decided by what decides it in service; only the log is left out, and with it votes:
an update beyond the protocol is not let in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee.bodies import Context, DriftDetected, IncidentReported
from guarantee.card import Card, ChangeProtocol, Response
from guarantee.records import pack_floats
from guarantee.reuse import Outcome
from guarantee.seen import Followed
from guarantee.updates import beyond
from models import learning
from models.bundle import Bundle
from models.cohorts import Cohort
from models.learning import Origin
from models.served import Flag, ServedModel
from models.training import Training
from monitoring.bounds import Judged, judge
from monitoring.drift import Examined, examine
from monitoring.findings import Drifted, Finding, Undecided
from monitoring.learning import Attempt, TooFewOutcomes, attempted, lesson_of
from monitoring.performance import Case, Cases, performance
from monitoring.policy import Judge
from monitoring.sample import Expected, Sample

_FIRST: Final = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """One version and the cases of one window.

    Attributes:
        right: Answers that are the truth; an abstention counts as its label.
        known: Cases of a label that the first version knows.
        known_right: Of these.
        unlike: Cases flagged as out of distribution.
        judged: The card's bounds, by the truths of these cases.
        response: Of the card's policy, to drift and to bounds that are missed.
    """

    version: str
    cases: int
    right: int
    known: int
    known_right: int
    unlike: int
    finding: Finding
    judged: tuple[Judged, ...]
    response: Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """An update after a window.

    Attributes:
        version: The number that it would have.
        entered: Labels that the version before has not.
        reasons: Why it waits for the college; none: it answers from the next window on.
    """

    version: str
    entered: tuple[str, ...]
    attempt: Attempt
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One window of the stream.

    Attributes:
        name: As its caller says.
        unseen: Cases of a label that the first version does not know.
        update: None where the protocol asks for more new cases, or nothing learns.
    """

    name: str
    cases: int
    unseen: int
    frozen: Met
    learning: Met
    update: Proposed | None


def rehearse(
    first: Training, origin: Origin, arrivals: Cohort, names: Sequence[str]
) -> Iterator[Window]:
    """Let the cases arrive; window by window.

    Cases of patients of the first cohort are answered, and not learned from: some of these are in
    the locked set.

    Args:
        first: The first version, which learned from `origin`.
        arrivals: In the order of their arrival; each truth is confirmed by the window's end.
        names: (n,), the window of each arrival; a window's are together.
    """
    frozen = _Watched(_served(first.bundle, _FIRST), first.bundle)
    learned = _Watched(frozen.served, first.bundle)
    protocol = first.bundle.card.change_protocol
    since = 0
    met_before = set(origin.cohort.patients or ())
    outcomes: dict[str, Outcome] = {}
    versions = 1
    for name in dict.fromkeys(names):
        rows = np.flatnonzero(np.array(names) == name)
        cases = arrivals.take(rows)
        of_frozen = frozen.meet(cases, rows)
        of_learning = of_frozen if learned.served is frozen.served else learned.meet(cases, rows)
        update = None
        if protocol is not None:
            for one in _outcomes(cases, rows):
                if one.patient not in met_before:
                    outcomes.pop(one.patient, None)
                    outcomes[one.patient] = one
            update = _update(
                learned.served, first.bundle.card, protocol, origin, list(outcomes.values()),
                since=since, number=versions + 1,
            )  # fmt: skip
        if update is not None:
            versions += 1
            if not update.reasons:
                since = update.attempt.learned.up_to
                bundle = update.attempt.training.bundle
                learned = _Watched(_served(bundle, update.version), first.bundle)
        yield Window(
            name=name,
            cases=len(rows),
            unseen=len(rows) - of_frozen.known,
            frozen=of_frozen,
            learning=of_learning,
            update=update,
        )


@dataclass(slots=True)
class _Watched:
    """A version, and its first cases."""

    served: ServedModel
    first: Bundle
    _earlier: list[tuple[Sample, tuple[str, ...]]] = field(default_factory=list)

    def meet(self, cases: Cohort, rows: NDArray[np.intp]) -> Met:
        served = self.served
        sample, judged = _answered(served, cases, rows)
        patients = cases.patients or cases.ids
        # One case a patient, the latest, as a window reads them.
        last = np.array(sorted({who: row for row, who in enumerate(patients)}.values()))
        window = sample.take(last)
        examined = examine(
            Expected.of_version(served),
            window,
            served.card.monitoring,
            self._before(set(patients), len(window)),
        )
        performed = performance(
            Cases(latest=(some := [judged[row] for row in last]), known=some), served.card
        )
        bounds = judge(performed, served.card.monitoring)
        self._earlier.append((window, tuple(patients[row] for row in last)))
        finding = examined if isinstance(examined, Undecided) else examined.finding
        known = np.isin(cases.labels, [label.id for label in self.first.card.labels])
        right = np.array(sample.labels) == np.array(cases.labels)
        return Met(
            version=served.version,
            cases=len(rows),
            right=int(right.sum()),
            known=int(known.sum()),
            known_right=int(right[known].sum()),
            unlike=int(sample.unlike.sum()),
            finding=finding,
            judged=bounds,
            response=_response(served, examined, bounds, rows),
        )

    def _before(self, patients: set[str], most: int) -> Sample | None:
        """The first cases of other patients, at most so many; see `window.read`."""
        if not self._earlier:
            return None
        known: set[str] = set()
        parts = []
        for sample, theirs in self._earlier:
            rows = [
                row for row, one in enumerate(theirs) if one not in patients and one not in known
            ][: most - len(known)]
            known.update(theirs[row] for row in rows)
            parts.append(sample.take(np.array(rows, dtype=np.intp)))
        return _joined(parts)


def _joined(parts: Sequence[Sample]) -> Sample:
    first = parts[0]
    return Sample(
        names=first.names,
        features=np.vstack([part.features for part in parts]),
        labels=sum((part.labels for part in parts), ()),
        confidence=np.concatenate([part.confidence for part in parts]),
        unlike=np.concatenate([part.unlike for part in parts]),
        abstained=np.concatenate([part.abstained for part in parts]),
        groups={kind: sum((part.groups[kind] for part in parts), ()) for kind in first.groups},
    )


def _response(
    served: ServedModel,
    examined: Examined | Undecided,
    bounds: tuple[Judged, ...],
    rows: NDArray[np.intp],
) -> Response:
    policy = Judge(served)
    first, last = int(rows[0]), int(rows[-1])
    responses = [Response.RECORD]
    if isinstance(examined, Examined) and isinstance(examined.finding, Drifted):
        drifted = examined.finding
        responses.append(
            policy.response(
                DriftDetected(
                    cases=drifted.cases,
                    first_index=first,
                    last_index=last,
                    features=drifted.features,
                    report_sha256=sha256(examined.html.encode()).hexdigest(),
                )
            )
        )
    missed = [beyond_it for one in bounds if (beyond_it := one.missed()) is not None]
    if missed:
        responses.append(
            policy.response(
                IncidentReported(
                    cases=len(rows), first_index=first, last_index=last, missed=tuple(missed)
                )
            )
        )
    return max(responses, key=tuple(Response).index)


def _answered(
    served: ServedModel, cases: Cohort, rows: NDArray[np.intp]
) -> tuple[Sample, list[Case]]:
    profiles = [served.contract.profile(row.astype(np.float64)) for row in cases.profiles]
    matrix = np.stack([profile.values for profile in profiles])
    verdicts = served.verdicts(profiles, served.margins(matrix))
    groups = {
        kind: tuple(one or None for one in said)
        for kind, said in (
            ("hospital", cases.sites),
            ("machine", cases.machines),
        )
        if said is not None
    }
    contexts = _contexts(cases)
    sample = Sample(
        names=served.contract.names,
        features=cases.profiles,
        labels=tuple(served.labels[verdict.ranked[0]] for verdict in verdicts),
        confidence=np.array(
            [verdict.probabilities[verdict.ranked[0]] for verdict in verdicts], dtype=np.float32
        ),
        unlike=np.array([Flag.OUT_OF_DISTRIBUTION in verdict.flags for verdict in verdicts]),
        abstained=np.array([verdict.abstention is not None for verdict in verdicts]),
        groups=groups,
    )
    judged = [
        Case(
            index=int(row),
            at=int(row),
            label=label,
            confidence=float(confidence),
            prediction_set=tuple(served.labels[place] for place in verdict.kept),
            abstained=verdict.abstention is not None,
            context=context,
            followed=Followed(truth=truth),
        )
        for row, label, confidence, verdict, context, truth in zip(
            rows, sample.labels, sample.confidence, verdicts, contexts, cases.labels, strict=True
        )
    ]
    return sample, judged


def _contexts(cases: Cohort) -> list[Context]:
    nothing = [""] * len(cases.ids)
    return [
        Context(hospital=site or None, machine=machine or None)
        for site, machine in zip(cases.sites or nothing, cases.machines or nothing, strict=True)
    ]


def _outcomes(cases: Cohort, rows: NDArray[np.intp]) -> Iterator[Outcome]:
    contexts = _contexts(cases)
    for place, row in enumerate(rows):
        yield Outcome(
            dossier=cases.ids[place],
            patient=cases.ids[place] if cases.patients is None else cases.patients[place],
            profile=pack_floats(cases.profiles[place]),
            label=cases.labels[place],
            context=contexts[place],
            confirmed=int(row),
        )


def _update(
    served: ServedModel,
    approved: Card,
    protocol: ChangeProtocol,
    origin: Origin,
    outcomes: Sequence[Outcome],
    *,
    since: int,
    number: int,
) -> Proposed | None:
    try:
        lesson = lesson_of(outcomes, served.card, approved, protocol, since=since)
    except TooFewOutcomes:
        return None
    chosen = learning.training_set(origin, lesson.outcomes)
    attempt = attempted(served, origin, chosen, lesson, version=served.version)
    before = set(served.labels)
    return Proposed(
        version=str(number),
        entered=tuple(label.id for label in lesson.card.labels if label.id not in before),
        attempt=attempt,
        reasons=beyond(protocol, attempt.learned),
    )


def _served(bundle: Bundle, version: str) -> ServedModel:
    return ServedModel(
        name=bundle.card.name,
        version=version,
        digest="",
        card=bundle.card,
        contract=bundle.contract,
        predictor=bundle.predictor,
        calibration=bundle.calibration,
        reference=bundle.reference,
    )
