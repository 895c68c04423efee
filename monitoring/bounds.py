"""Performance and use of the answers against the card's bounds.

A bound is missed where the 95 % interval lies beyond it as a whole: what chance explains is no
incident. The groups of a measure share the 5 %. Too few cases are undecided, never "kept".
"""

from collections.abc import Iterator
from dataclasses import dataclass

from scipy.stats import binomtest

from guarantee.bodies import BoundMissed
from guarantee.card import Bound, Measure, MonitoringPolicy
from models.evaluation import Estimate
from monitoring.findings import Undecided
from monitoring.performance import Against, Group, Performance
from monitoring.use import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One measure under one of the card's bounds.

    Attributes:
        group: As "hospital H1"; none for all cases.
        found: The measure, or that too few cases tell it.
        cases: That tell it.
    """

    bound: Bound
    group: str | None
    found: Estimate | Undecided
    cases: int

    @property
    def is_missed(self) -> bool:
        """Whether the interval lies beyond the bound as a whole."""
        if isinstance(self.found, Undecided):
            return False
        least, most = self.bound.least, self.bound.most
        return (least is not None and self.found.high < least) or (
            most is not None and self.found.low > most
        )

    @property
    def name(self) -> str:
        """Of the measure, and the group."""
        words = self.bound.measure.value.replace("_", " ")
        return words if self.group is None else f"{words}, {self.group}"

    def missed(self) -> BoundMissed | None:
        """What the log is told of a missed bound."""
        if isinstance(self.found, Undecided) or not self.is_missed:
            return None
        return BoundMissed(
            measure=self.bound.measure,
            group=self.group,
            cases=self.cases,
            value=self.found.value,
            low=self.found.low,
            high=self.found.high,
            least=self.bound.least,
            most=self.bound.most,
        )

    def __str__(self) -> str:
        least, most = self.bound.least, self.bound.most
        said = [f"at least {least:.1%}"] if least is not None else []
        said += [f"at most {most:.1%}"] if most is not None else []
        asked = f"{self.name}: {' and '.join(said)} asked"
        if isinstance(self.found, Undecided):
            return f"{asked}, {self.found}"
        word = "missed" if self.is_missed else "kept"
        interval = f"{self.found.low:.1%} to {self.found.high:.1%}"
        return f"{asked}, {word}: {self.found.value:.1%} ({interval}), {self.cases} cases"


def judge(performance: Performance, policy: MonitoringPolicy) -> tuple[Judged, ...]:
    """Each bound on all cases, then in each group with enough of them."""
    return tuple(
        Judged(bound=bound, group=group, found=found, cases=cases)
        for bound in policy.bounds
        for group, found, cases in _measured(performance, bound.measure, policy.least_cases)
    )


def _measured(
    performance: Performance, measure: Measure, least: int
) -> Iterator[tuple[str | None, Estimate | Undecided, int]]:
    use = performance.use
    match measure:
        case Measure.ACCURACY | Measure.OVERCONFIDENCE | Measure.COVERAGE:
            truths = performance.truths
            if isinstance(truths, Undecided):
                yield None, truths, truths.cases
                return
            yield None, _of(truths, measure), truths.cases
            for group in truths.groups:
                found = _wider(group, measure, len(truths.groups))
                yield f"{group.kind} {group.name}", found, group.cases
        case Measure.ESTIMATED_ACCURACY:
            estimate = performance.estimate
            if isinstance(estimate, Undecided):
                yield None, estimate, estimate.cases
                return
            # How far such estimates were off is no chance of this window's.
            off = estimate.error or 0.0
            accuracy = estimate.accuracy
            yield (
                None,
                Estimate(
                    value=accuracy.value,
                    low=max(0.0, accuracy.low - off),
                    high=min(1.0, accuracy.high + off),
                ),
                estimate.cases,
            )
        case Measure.OVERRIDDEN:
            yield _share(use.overridden, least)
        case Measure.DISREGARDED:
            yield _share(use.disregarded, least)
        case Measure.LAPSED:
            yield _share(use.lapsed, least)
        case Measure.FIRST_READS_AGREEING:
            yield _share(use.first_reads_agreeing, least)
        case Measure.MISLED:
            yield _share(use.misled, least)


def _of(one: Against | Group, measure: Measure) -> Estimate:
    by_measure = {
        Measure.ACCURACY: one.accuracy,
        Measure.OVERCONFIDENCE: one.overconfidence,
        Measure.COVERAGE: one.coverage,
    }
    return by_measure[measure]


def _wider(group: Group, measure: Measure, groups: int) -> Estimate:
    """The group's figure, its interval at the groups' common 5 %."""
    share = group.coverage if measure is Measure.COVERAGE else group.accuracy
    hits = round(share.value * group.cases)
    interval = binomtest(hits, group.cases).proportion_ci(1 - 0.05 / groups, method="wilson")
    if measure is not Measure.OVERCONFIDENCE:
        return Estimate(value=share.value, low=float(interval.low), high=float(interval.high))
    confidence = group.overconfidence.value + share.value
    return Estimate(
        value=group.overconfidence.value,
        low=confidence - float(interval.high),
        high=confidence - float(interval.low),
    )


def _share(share: Share, least: int) -> tuple[None, Estimate | Undecided, int]:
    estimate = share.estimate
    if estimate is None or share.of < least:
        return None, Undecided(cases=share.of, needed=least), share.of
    return None, estimate, share.of
