"""Performance and use of the answers, in words: shares of many cases, nothing of one."""

from collections.abc import Iterator

from models.evaluation import Estimate
from monitoring.findings import Undecided
from monitoring.performance import Against, Estimated, Performance
from monitoring.use import Share, Use


def told(performance: Performance) -> Iterator[str]:
    """Line by line."""
    yield f"performance: {performance.cases} cases, the model abstained on {performance.abstained}"
    yield from _against("confirmed truths", performance.truths)
    yield from _against("clinicians' decisions", performance.decisions)
    yield from _estimate(performance.estimate)
    yield from _use(performance.use)


def _against(what: str, against: Against | Undecided) -> Iterator[str]:
    if isinstance(against, Undecided):
        yield f"  against {what}: {against}"
        return
    yield f"  against {what}: {against.cases} cases"
    yield f"    accuracy {_percent(against.accuracy)}"
    gap = against.overconfidence
    yield (
        f"    confidence minus accuracy {gap.value:+.1%} "
        f"(95 % interval {gap.low:+.1%} to {gap.high:+.1%})"
    )
    yield f"    prediction sets hold it {_percent(against.coverage)}"
    for part in against.reliability:
        yield (
            f"    at a confidence about {part.confidence:.1%}, right {_percent(part.right)}, "
            f"{part.cases} cases"
        )
    for group in against.groups:
        yield (
            f"    {group.kind} {group.name}: accuracy {_percent(group.accuracy)}, sets hold it "
            f"{_percent(group.coverage)}, {group.cases} cases"
        )
    if against.small_groups:
        yield f"    {against.small_groups} groups have too few cases to be shown"


def _estimate(estimate: Estimated | Undecided) -> Iterator[str]:
    if isinstance(estimate, Undecided):
        yield f"  estimated, not measured: {estimate}"
        return
    yield (
        f"  estimated, not measured: accuracy {_percent(estimate.accuracy)}, from the confidence "
        f"of {estimate.cases} answers, if it is calibrated still"
    )
    if estimate.error is None or estimate.worst is None:
        yield "    how far such estimates were off is not known yet: too few truths before"
    else:
        yield (
            f"    such estimates were off by {estimate.error:.1%} on average, at most "
            f"{estimate.worst:.1%}, on {estimate.past_windows} past windows of "
            f"{estimate.past_cases} cases"
        )


def _use(use: Use) -> Iterator[str]:
    yield "  use of the answers:"
    yield f"    accepted {_share(use.accepted)}"
    yield f"    overridden {_share(use.overridden)}"
    yield f"    disregarded {_share(use.disregarded)}"
    yield f"    not reviewed in time {_share(use.lapsed)}"
    if use.minutes is None:
        yield "    minutes to decide: too few decisions"
    else:
        yield (
            f"    minutes to decide: median {use.minutes.median:.1f}, one in ten below "
            f"{use.minutes.tenth:.1f}, one in ten above {use.minutes.ninetieth:.1f}"
        )
    yield f"    first reads that agree with the withheld answer {_share(use.first_reads_agreeing)}"
    yield f"    first reads given up for the answer {_share(use.switched)}"
    yield f"    of these, the first read was right {_share(use.misled)}"
    yield f"    of these, the answer was right {_share(use.corrected)}"
    for sign in use.signs_of_automation_bias():
        yield f"    a sign of automation bias: {sign}"


def _share(share: Share) -> str:
    estimate = share.estimate
    return "none yet" if estimate is None else f"{_percent(estimate)}, {share.count} of {share.of}"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} (95 % interval {estimate.low:.1%} to {estimate.high:.1%})"
