"""What people do with the answers, and whether they lean on them more than the answers deserve."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from guarantee.bodies import Decision
from models.evaluation import Estimate, wilson

if TYPE_CHECKING:
    from monitoring.performance import Case

_LEAST_TIMES: Final = 20
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many, with Wilson's 95 % interval; of none there is no share."""

    count: int
    of: int

    @property
    def estimate(self) -> Estimate | None:
        """The share."""
        return wilson(self.count, self.of) if self.of else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """From the answer's being shown to the decision, over all decided cases."""

    tenth: float
    median: float
    ninetieth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """The use of a window's answers; where the model abstained there was none to use.

    Attributes:
        accepted, overridden, disregarded: Of the answers decided on.
        lapsed: Of the answers whose time for review is up: without a decision in that time.
        minutes: None where fewer than twenty were decided: so few would tell a single case's.
        first_reads_agreeing: Of the answers decided on that were withheld until a first read: where
            it was the answer.
        switched: Of those first reads that differed from the answer: where it was accepted then.
        misled: Of those switched with a confirmed truth, the latest: where the read was right.
        corrected: Of the same: where the answer was right.
        rejected: Of the answers decided on with a confirmed truth, the latest: not accepted.
        wrong: Of the same answers: wrong.
    """

    accepted: Share
    overridden: Share
    disregarded: Share
    lapsed: Share
    minutes: Minutes | None
    first_reads_agreeing: Share
    switched: Share
    misled: Share
    corrected: Share
    rejected: Share
    wrong: Share

    def signs_of_automation_bias(self) -> tuple[str, ...]:
        """What speaks for it beyond chance, in words."""
        signs = []
        rejected, wrong = self.rejected.estimate, self.wrong.estimate
        if rejected is not None and wrong is not None and rejected.high < wrong.low:
            signs.append("answers are rejected less often than they are wrong")
        misled, corrected = self.misled, self.corrected
        if misled.of >= _LEAST_TIMES and misled.count > corrected.count:
            signs.append("first reads that were right are given up more often than wrong ones")
        return tuple(signs)


def used(
    *,
    decided: "Sequence[Case]",
    due: "Sequence[Case]",
    known: "Sequence[Case]",
    lapse_hours: int,
) -> Use:
    """What became of these cases' answers; see `monitoring.performance.Cases`."""
    lapse = lapse_hours * _HOUR_MS
    read = [case for case in decided if case.followed.first_read is not None]
    judged = [case for case in known if case.truth is not None and case.followed.decision]
    switched = [case for case in judged if _differed(case) and _took(case, Decision.ACCEPTED)]
    times = [
        ((case.followed.decided_at or 0) - (case.followed.first_read_at or case.at)) / 60_000
        for case in decided
    ]
    return Use(
        accepted=_share(_took(case, Decision.ACCEPTED) for case in decided),
        overridden=_share(_took(case, Decision.OVERRIDDEN) for case in decided),
        disregarded=_share(_took(case, Decision.DISREGARDED) for case in decided),
        lapsed=_share(
            case.followed.decided_at is None or case.followed.decided_at > case.at + lapse
            for case in due
        ),
        minutes=_minutes(times),
        first_reads_agreeing=_share(case.followed.first_read == case.label for case in read),
        switched=_share(_took(case, Decision.ACCEPTED) for case in read if _differed(case)),
        misled=_share(case.followed.first_read == case.truth for case in switched),
        corrected=_share(case.label == case.truth for case in switched),
        rejected=_share(not _took(case, Decision.ACCEPTED) for case in judged),
        wrong=_share(case.label != case.truth for case in judged),
    )


def _differed(case: "Case") -> bool:
    return case.followed.first_read not in (None, case.label)


def _took(case: "Case", decision: Decision) -> bool:
    signed = case.followed.decision
    return signed is not None and signed.decision is decision


def _share(hits: Iterable[bool]) -> Share:
    said = list(hits)
    return Share(count=sum(said), of=len(said))


def _minutes(times: Sequence[float]) -> Minutes | None:
    if len(times) < _LEAST_TIMES:
        return None
    tenth, median, ninetieth = np.quantile(times, [0.1, 0.5, 0.9])
    return Minutes(tenth=float(tenth), median=float(median), ninetieth=float(ninetieth))
