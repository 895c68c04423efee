"""Whether a window of inferences differs from the reference: Evidently decides, column by column.

The card's rate of false alarms is for a whole run. Five families share it evenly, and within a
family its columns do (Bonferroni: it holds whatever the dependence between columns):

1. values of the watched features, against the version's reference;
2. the predicted label, against the reference's cross-validated answers, and the confidence in it,
   against the version's earlier cases;
3. how often cases are out of distribution and the model abstains, and how many features a case
   lacks, against the earlier cases; before there are any, the first of these alone, against the
   rate that its threshold was set for;
4. the screen of every other feature's values, and of how often each feature is missing: those
   beyond their threshold are what Evidently looks at, too, and decides at the same threshold;
5. subgroups, each against its own earlier cases.

Earlier cases are the version's first ones after its promotion, before the window. Confidence needs
them: folds are less sure than the model that was trained on all of them, so that cross-validation
tells no confidence to expect. Were the first cases drifted themselves, families 1, 2 and 4 say so.

What leaves this file, as a finding or as HTML, is about columns, never about a case.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import MonitoringPolicy
from monitoring import comparison
from monitoring.comparison import Comparison, Numbers, Words
from monitoring.findings import Drifted, Finding, Stable, Undecided
from monitoring.sample import Expected, Sample
from monitoring.screen import Screen, screen
from monitoring.subgroups import subgroups

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

LABEL: Final = "predicted label"
CONFIDENCE: Final = "confidence in it"
UNLIKE: Final = "out of distribution"
ABSTAINED: Final = "abstained"
MISSING: Final = "missing features"
_MOST_SCREENED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What Evidently found in a window, and its report.

    Attributes:
        html: One page that holds no case's value and loads nothing.
        snapshot: The same for Evidently's workspace; holds no case's value, either.
    """

    finding: Stable | Drifted
    html: str
    snapshot: "Snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What Evidently is asked about a window.

    Attributes:
        screened, passed, skipped: As `findings.Tested` has them.
    """

    comparisons: tuple[Comparison, ...]
    screened: int
    passed: tuple[str, ...]
    skipped: tuple[str, ...]


def plan(
    expected: Expected, window: Sample, policy: MonitoringPolicy, earlier: Sample | None = None
) -> Plan | Undecided:
    """Screen `window` and choose the columns of all five families; see `examine`."""
    if len(window) < policy.least_cases:
        return Undecided(cases=len(window), needed=policy.least_cases)
    if expected.names != window.names or (earlier and earlier.names != window.names):
        raise ValueError("reference and window have different features")
    skipped: list[str] = []
    screened = screen(expected, window, policy.least_cases)
    comparisons = [
        *_watched(expected, window, policy, screened, skipped),
        _labels(expected, window, policy),
    ]
    picked, passed = _screened(expected, window, policy, screened)
    comparisons += picked
    known = 0 if earlier is None else len(earlier)
    if earlier is None or known < policy.least_cases:
        threshold = policy.share / 3
        comparisons.append(_flags(UNLIKE, expected.flagged(), window.unlike, policy, threshold))
        skipped.append(
            f"{CONFIDENCE}, {ABSTAINED}, {MISSING}, subgroups: "
            f"{known} earlier cases, {policy.least_cases} needed"
        )
    else:
        of_groups, undecided = subgroups(earlier, window, expected.watched, policy)
        comparisons += [*_against_earlier(earlier, window, policy), *of_groups]
        skipped += undecided
    return Plan(
        comparisons=tuple(comparisons),
        screened=len(expected.names) - len(expected.watched),
        passed=passed,
        skipped=tuple(skipped),
    )


def examine(
    expected: Expected, window: Sample, policy: MonitoringPolicy, earlier: Sample | None = None
) -> Examined | Undecided:
    """Test `window` against what is expected of it, at the policy's false alarms.

    Args:
        earlier: The version's first cases, before the window and of other patients; none: what
            needs them is untested, and said to be.

    Raises:
        ValueError: The samples have different features.
        AmbiguousColumn: A feature is called as another column that is tested.
    """
    asked = plan(expected, window, policy, earlier)
    if isinstance(asked, Undecided):
        return asked
    decided = comparison.decide(asked.comparisons)
    kind = Drifted if any(column.drifted for column in decided.columns) else Stable
    finding = kind(
        cases=len(window),
        columns=decided.columns,
        screened=asked.screened,
        passed=asked.passed,
        skipped=asked.skipped,
    )
    return Examined(finding=finding, html=decided.page(), snapshot=decided.snapshot)


def decide(
    expected: Expected, window: Sample, policy: MonitoringPolicy, earlier: Sample | None = None
) -> Finding:
    """What `examine` finds, without the report."""
    examined = examine(expected, window, policy, earlier)
    return examined if isinstance(examined, Undecided) else examined.finding


def _watched(
    expected: Expected,
    window: Sample,
    policy: MonitoringPolicy,
    screened: Screen,
    skipped: list[str],
) -> Iterator[Comparison]:
    of_reference = expected.known()
    for place in expected.watched:
        if np.isnan(screened.values[place]):
            known, of = screened.known[place], ""
            if known >= policy.least_cases:
                known, of = of_reference[place], " of the reference"
            skipped.append(
                f"{expected.names[place]}: {known} cases{of} know it, {policy.least_cases} needed"
            )
            continue
        threshold = policy.share / len(expected.watched)
        yield _values(expected, window, place, policy, threshold)


def _labels(expected: Expected, window: Sample, policy: MonitoringPolicy) -> Comparison:
    return Words(
        name=LABEL,
        test=policy.categorical_test,
        threshold=policy.share / 2,
        expected=expected.answered(),
        met=window.labels,
    )


def _against_earlier(
    earlier: Sample, window: Sample, policy: MonitoringPolicy
) -> Iterator[Comparison]:
    for name, columns, threshold in (
        (CONFIDENCE, (earlier.confidence, window.confidence), policy.share / 2),
        (MISSING, (earlier.missing(), window.missing()), policy.share / 3),
    ):
        yield Numbers(
            name=name,
            test=policy.numeric_test,
            threshold=threshold,
            expected=columns[0].astype(np.float64),
            met=columns[1].astype(np.float64),
        )
    for name, before, now in (
        (UNLIKE, earlier.unlike, window.unlike),
        (ABSTAINED, earlier.abstained, window.abstained),
    ):
        yield _flags(name, before, now, policy, policy.share / 3)


def _screened(
    expected: Expected, window: Sample, policy: MonitoringPolicy, screened: Screen
) -> tuple[list[Comparison], tuple[str, ...]]:
    """The surest columns beyond the screen's threshold, and the names of the others."""
    others = screened.values.copy()
    others[list(expected.watched)] = np.nan
    threshold = policy.share / max(2 * len(others) - len(expected.watched), 1)
    beyond = [
        (float(chances[place]), place, missing)
        for missing, chances in ((False, others), (True, screened.missing))
        for place in np.flatnonzero(chances <= threshold)
    ]
    beyond.sort(key=lambda found: found[0])
    looked_at: list[Comparison] = []
    passed = []
    for _, place, missing in beyond:
        name = f"missing: {expected.names[place]}" if missing else expected.names[place]
        if len(looked_at) == _MOST_SCREENED:
            passed.append(name)
        elif missing:
            lacking = np.arange(expected.rows) < np.rint(
                expected.rows * expected.missing_rates[place]
            )
            met = np.isnan(window.features[:, place])
            looked_at.append(_flags(name, lacking, met, policy, threshold))
        else:
            looked_at.append(_values(expected, window, int(place), policy, threshold))
    return looked_at, tuple(passed)


def _values(
    expected: Expected, window: Sample, place: int, policy: MonitoringPolicy, threshold: float
) -> Comparison:
    met = window.known(place)
    return Numbers(
        name=expected.names[place],
        test=policy.numeric_test,
        threshold=threshold,
        expected=expected.values(place, met),
        met=met,
    )


def _flags(
    name: str,
    expected: NDArray[np.bool_],
    met: NDArray[np.bool_],
    policy: MonitoringPolicy,
    threshold: float,
) -> Comparison:
    return Words(
        name=name,
        test=policy.categorical_test,
        threshold=threshold,
        expected=tuple(np.where(expected, "yes", "no")),
        met=tuple(np.where(met, "yes", "no")),
    )
