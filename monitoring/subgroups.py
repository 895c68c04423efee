"""Each hospital, machine, sex and age band against its own earlier cases; and how they mix.

Like with like: against the whole reference a subgroup differs from the start, as women's tumours
do from all tumours. A group that is too small, now or before, is said to be undecided. A new
machine has no earlier cases: that it came is seen in the mix.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import MonitoringPolicy
from monitoring.comparison import Comparison, Numbers, Words
from monitoring.sample import Sample

_MOST_LOOKED_AT: Final = 10
_OTHERS: Final = "others"


def subgroups(
    earlier: Sample, window: Sample, watched: tuple[int, ...], policy: MonitoringPolicy
) -> tuple[list[Comparison], list[str]]:
    """The columns of subgroups that chance does not explain, for Evidently to decide on.

    Tested are label, confidence and the watched features of every group with enough cases now
    and before, and of each kind how large its groups are among the cases that tell theirs; all
    of them share the family's false alarms.

    Returns:
        The surest columns, at most ten, and what is undecided, by kind of group. A small group
        is counted and not named: its name might be one patient's.
    """
    large: list[tuple[str, str]] = []
    undecided = []
    for kind, said in window.groups.items():
        groups = {group for group in said if group is not None}
        enough = {
            group
            for group in groups
            if min(_count(window, kind, group), _count(earlier, kind, group)) >= policy.least_cases
        }
        large += [(kind, group) for group in sorted(enough)]
        if small := len(groups) - len(enough):
            undecided.append(
                f"{kind}: {small} of {len(groups)} groups undecided, "
                f"{policy.least_cases} cases needed now and before"
            )
    mixed = {
        kind: both
        for kind in window.groups
        if (both := _mixed(earlier, window, kind, policy.least_cases)) is not None
    }
    threshold = policy.share / max(len(large) * (len(watched) + 2) + len(mixed), 1)
    surprising: list[tuple[float, str, Comparison]] = []
    for kind, (expected, met) in mixed.items():
        mix = Words(
            name=f"mix: {kind}",
            test=policy.categorical_test,
            threshold=threshold,
            expected=expected,
            met=met,
        )
        if (chance := mix.chance()) <= threshold:
            surprising.append((chance, mix.name, mix))
    for kind, group in large:
        before = earlier.take(_places(earlier, kind, group))
        now = window.take(_places(window, kind, group))
        columns = _columns(
            before,
            now,
            group=f"{kind} {group}",
            watched=watched,
            policy=policy,
            threshold=threshold,
        )
        for column in columns:
            chance = column.chance()
            if chance <= threshold:
                surprising.append((chance, column.name, column))
    surprising.sort(key=lambda found: found[:2])
    return [column for _, _, column in surprising[:_MOST_LOOKED_AT]], undecided


def _mixed(
    earlier: Sample, window: Sample, kind: str, least: int
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The groups of earlier cases and of the window's; small ones are not told apart.

    None where too few cases tell theirs, now or before.
    """
    before, now = (
        [group for group in sample.groups.get(kind, ()) if group is not None]
        for sample in (earlier, window)
    )
    if min(len(before), len(now)) < least:
        return None
    counts = Counter([*before, *now])
    return (
        tuple(group if counts[group] >= least else _OTHERS for group in before),
        tuple(group if counts[group] >= least else _OTHERS for group in now),
    )


def _count(sample: Sample, kind: str, group: str) -> int:
    return len(_places(sample, kind, group))


def _places(sample: Sample, kind: str, group: str) -> NDArray[np.intp]:
    said = sample.groups.get(kind, ())
    return np.array([place for place, one in enumerate(said) if one == group], dtype=np.intp)


def _columns(
    before: Sample,
    now: Sample,
    *,
    group: str,
    watched: tuple[int, ...],
    policy: MonitoringPolicy,
    threshold: float,
) -> Iterator[Comparison]:
    numbers = {"confidence": (before.confidence.astype(float), now.confidence.astype(float))}
    numbers |= {now.names[place]: (before.known(place), now.known(place)) for place in watched}
    for name, (expected, met) in numbers.items():
        if min(len(expected), len(met)) >= policy.least_cases:
            yield Numbers(
                name=f"{name}, {group}",
                test=policy.numeric_test,
                threshold=threshold,
                expected=expected,
                met=met,
            )
    yield Words(
        name=f"label, {group}",
        test=policy.categorical_test,
        threshold=threshold,
        expected=before.labels,
        met=now.labels,
    )
