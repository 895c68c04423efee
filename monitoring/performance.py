"""How good answers were: by confirmed truths, and by clinicians' decisions; never mixed.

Before truths arrive, an estimate from the calibrated confidence, with the error that such estimates
had on earlier cases. One case a patient. Of few cases no figure is told: it would be about each.

Truths come weeks after answers, and decisions hours: each figure is of the latest cases that can
tell it, as many as a window has, since a busy ward's latest have no truth yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee import seen
from guarantee.abstention import ABSTAINED
from guarantee.bodies import Context
from guarantee.card import Card
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from guarantee.seen import Followed, Seen, Span
from models.evaluation import Z95, Estimate, wilson
from models.served import ServedModel
from monitoring.findings import Undecided
from monitoring.use import Use, used
from monitoring.window import AS_THE_CARD_SAYS, KINDS, Bounds

_BINS: Final = 5
_LEAST_IN_A_BIN: Final = 20
_MOST: Final = 5000
"""Cases of a figure: it is then sure to a point or two, and more would be slow."""
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One answer and what followed it.

    Attributes:
        index: Its place in the log.
        at: Milliseconds since 1970, UTC.
        confidence: The calibrated probability of `label`.
    """

    index: int
    at: int
    label: str
    confidence: float
    prediction_set: tuple[str, ...]
    abstained: bool
    context: Context
    followed: Followed

    @property
    def truth(self) -> str | None:
        """The confirmed label; none where it is not known, or a correction stands beside it."""
        return None if self.followed.truth_corrected else self.followed.truth

    @property
    def decided(self) -> str | None:
        """The label that the clinician decided; none where there is none."""
        return self.followed.decision.label if self.followed.decision else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Of cases of about one confidence, the mean of it and how many of them were right."""

    cases: int
    confidence: float
    right: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The same for one hospital, machine, sex or age band."""

    kind: str
    name: str
    cases: int
    accuracy: Estimate
    overconfidence: Estimate
    coverage: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Answers against labels that came from elsewhere; 95 % intervals, of shares Wilson's.

    Attributes:
        cases: Answered, and with such a label.
        accuracy: Share of answers that are the label.
        overconfidence: Mean confidence − accuracy; the interval is that of the accuracy.
        coverage: Share of prediction sets that hold the label.
        reliability: In bins of as many cases each; empty where there are too few.
        groups: Those with enough cases.
        small_groups: How many have fewer.
    """

    cases: int
    accuracy: Estimate
    overconfidence: Estimate
    coverage: Estimate
    reliability: tuple[Reliability, ...]
    groups: tuple[Group, ...]
    small_groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What the accuracy should be, if the confidence is still calibrated: an estimate.

    Attributes:
        accuracy: Mean confidence of all answers of the window; the interval is chance's alone,
            for answers of such confidence.
        error: Mean |estimate − accuracy| over past windows; none where there is no such window.
        worst: The largest of them.
        past_windows: How many, of `past_cases` cases with a confirmed truth each.

    Source: confidence-based performance estimation, as NannyML has it.
    """

    cases: int
    accuracy: Estimate
    error: float | None
    worst: float | None
    past_windows: int
    past_cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Of one window.

    Attributes:
        cases: One a patient.
        abstained: Of these; they are in no figure of accuracy.
        first_index, last_index: Between them lie all inferences that figures were read of; none
            where there were none.
        truths: Against confirmed outcomes.
        decisions: Against the labels that clinicians decided.
    """

    cases: int
    abstained: int
    first_index: int | None
    last_index: int | None
    truths: Against | Undecided
    decisions: Against | Undecided
    estimate: Estimated | Undecided
    use: Use


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """What a window's figures are read of; each one a patient, within the window's bounds.

    Attributes:
        latest: All of them.
        known: The latest answers with a confirmed outcome.
        decided: The latest answers that clinicians decided on.
        due: The latest answers whose time for review is up.
        past: Answers with a confirmed outcome, before the window and of other patients.
    """

    latest: Sequence[Case]
    known: Sequence[Case] = ()
    decided: Sequence[Case] = ()
    due: Sequence[Case] = ()
    past: Sequence[Case] = ()


def measure(ledger: Ledger, served: ServedModel, bounds: Bounds = AS_THE_CARD_SAYS) -> Performance:
    """Measure within the bounds that `window.read` reads; of a large window, its latest cases."""
    card, now = served.card, ledger.now()
    span, count = bounds.span(card.monitoring, now)
    most = min(count or _MOST, _MOST)

    def cases(
        span: Span,
        followed_by: RecordType | None = None,
        passing_over: set[str] | None = None,
        *,
        abstained_too: bool = False,
    ) -> list[Case]:
        found = seen.inferences(
            ledger,
            model=served.name,
            version=served.version,
            span=span,
            once_a_patient=True,
            passing_over=passing_over,
            followed_by=followed_by,
        )
        # Where the model abstained there is nothing to follow, so it takes no case's place.
        some = (one for one in found if abstained_too or ABSTAINED not in one.answer.flags)
        light = [(case.id, _case(case)) for case in islice(some, most)]
        followed = seen.followed(ledger, [one for one, _ in light])
        return [make(followed[one]) for one, make in light if one in followed]

    patients: set[str] = set()
    latest = cases(span, passing_over=patients, abstained_too=True)
    lapsed = now - card.lapse_hours * _HOUR_MS + 1
    until = lapsed if span.until is None else min(span.until, lapsed)
    first = min((case.index for case in latest), default=0)
    return performance(
        Cases(
            latest=latest,
            known=cases(span, RecordType.OUTCOME_CONFIRMED),
            decided=cases(span, RecordType.DECISION_SIGNED),
            due=cases(replace(span, until=until)),
            past=cases(Span(end=first), RecordType.OUTCOME_CONFIRMED, patients),
        ),
        card,
    )


def performance(cases: Cases, card: Card) -> Performance:
    """The figures of these cases."""
    least = card.monitoring.least_cases
    latest, known, decided, due, past = (
        [case for case in some if not case.abstained]
        for some in (cases.latest, cases.known, cases.decided, cases.due, cases.past)
    )
    read = [case.index for some in (cases.latest, known, decided, due) for case in some]
    return Performance(
        cases=len(cases.latest),
        abstained=len(cases.latest) - len(latest),
        first_index=min(read, default=None),
        last_index=max(read, default=None),
        truths=_against(known, lambda case: case.truth, least),
        decisions=_against(decided, lambda case: case.decided, least),
        estimate=_estimated(latest, past, least),
        use=used(decided=decided, due=due, known=known, lapse_hours=card.lapse_hours),
    )


def _case(case: Seen) -> Callable[[Followed], Case]:
    answer = case.answer
    index, at, context = case.index, case.at, case.context

    def followed_by(followed: Followed) -> Case:
        return Case(
            index=index,
            at=at,
            label=answer.label,
            confidence=answer.probability,
            prediction_set=answer.prediction_set,
            abstained=ABSTAINED in answer.flags,
            context=context,
            followed=followed,
        )

    return followed_by


def _against(
    cases: Sequence[Case], label: Callable[[Case], str | None], least: int
) -> Against | Undecided:
    pairs = [(case, told) for case in cases if (told := label(case)) is not None]
    if len(pairs) < least:
        return Undecided(cases=len(pairs), needed=least)
    right = np.array([case.label == told for case, told in pairs])
    held = np.array([told in case.prediction_set for case, told in pairs])
    confidence = np.array([case.confidence for case, _ in pairs])
    groups, small = [], 0
    for kind in KINDS:
        said = [getattr(case.context, kind) for case, _ in pairs]
        for name in sorted({one for one in said if one is not None}):
            of_group = np.array([one == name for one in said])
            if of_group.sum() < least:
                small += 1
                continue
            groups.append(
                Group(
                    kind=kind,
                    name=name,
                    cases=int(of_group.sum()),
                    accuracy=_share(right[of_group]),
                    overconfidence=_gap(confidence[of_group], right[of_group]),
                    coverage=_share(held[of_group]),
                )
            )
    return Against(
        cases=len(pairs),
        accuracy=_share(right),
        overconfidence=_gap(confidence, right),
        coverage=_share(held),
        reliability=tuple(
            Reliability(
                cases=len(some),
                confidence=float(confidence[some].mean()),
                right=_share(right[some]),
            )
            for some in np.array_split(np.argsort(confidence, kind="stable"), _BINS)
            if len(pairs) >= _BINS * _LEAST_IN_A_BIN
        ),
        groups=tuple(groups),
        small_groups=small,
    )


def _share(hits: NDArray[np.bool_]) -> Estimate:
    return wilson(int(hits.sum()), len(hits))


def _gap(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Estimate:
    mean, accuracy = float(confidence.mean()), _share(right)
    return Estimate(value=mean - accuracy.value, low=mean - accuracy.high, high=mean - accuracy.low)


def _estimated(cases: Sequence[Case], past: Sequence[Case], least: int) -> Estimated | Undecided:
    if len(cases) < least:
        return Undecided(cases=len(cases), needed=least)
    confidence = np.array([case.confidence for case in cases])
    half = Z95 * float(np.sqrt((confidence * (1 - confidence)).sum())) / len(cases)
    mean = float(confidence.mean())
    known = [case for case in past if case.truth is not None]
    errors = []
    for start in range(0, len(known) - least + 1, least):
        some = known[start : start + least]
        expected = sum(case.confidence for case in some) / least
        errors.append(abs(expected - sum(case.label == case.truth for case in some) / least))
    return Estimated(
        cases=len(cases),
        accuracy=Estimate(value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half)),
        error=sum(errors) / len(errors) if errors else None,
        worst=max(errors, default=None),
        past_windows=len(errors),
        past_cases=least,
    )
