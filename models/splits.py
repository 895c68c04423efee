"""Which cases are judged apart from which: hospitals left out whole, and the future."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.cohorts import Cohort
from models.evaluation import Undefined

# What figures are grouped by, in the order in which they are shown.
TRAITS: Final = ("site", "machine", "sex", "age", "country", "sample type", "year")

_AGE_BANDS: Final = ((18, "0–17"), (40, "18–39"), (60, "40–59"), (75, "60–74"))
_OLDEST_BAND: Final = "75–"
# The first share of the dated cases is learned from before anything is judged forward.
_FIRST_SHARE: Final = 0.4
_NAMED_SITES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Cases to judge, and those to fit the model on that judges them; no patient is in both.

    Attributes:
        train, test: Places in the cohort, ascending.
    """

    name: str
    train: NDArray[np.intp]
    test: NDArray[np.intp]


def sites_left_out(cohort: Cohort, *, folds: int, seed: int) -> tuple[Apart, ...] | Undefined:
    """Each hospital in one of `folds` parts of like size, judged by a model of the others.

    Cases of an unknown hospital are in no part: they may come from any of them.
    """
    sites = np.array(cohort.sites or [""] * len(cohort.ids))
    names, sizes = np.unique(sites[sites != ""], return_counts=True)
    if len(names) < 2:
        return Undefined(reason="the cohort does not tell two hospitals apart")
    count = min(folds, len(names))
    loads, fold_of = np.zeros(count), dict[str, int]()
    shuffled = np.random.default_rng(seed).permutation(len(names))
    # The largest first, each to the emptiest part.
    for place in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold = int(loads.argmin())
        fold_of[names[place]] = fold
        loads[fold] += sizes[place]
    part = np.array([fold_of.get(site, -1) for site in sites])
    members = [[name for name in names if fold_of[name] == fold] for fold in range(count)]
    return _judgeable(
        cohort,
        [_apart(cohort, _several(members[fold]), part == fold, part >= 0) for fold in range(count)],
    )


def forward(cohort: Cohort, *, parts: int) -> tuple[Apart, ...] | Undefined:
    """The last part of the dated cases in `parts`, each judged by a model of all before it.

    A day is never on both sides. Cases without a date are in no part.
    """
    days = np.array([day[:10] for day in cohort.dates or [""] * len(cohort.ids)])
    dated = np.sort(days[days != ""])
    shares = np.linspace(_FIRST_SHARE, 1, parts + 1)[:-1]
    starts = sorted({str(dated[int(share * len(dated))]) for share in shares}) if len(dated) else []
    starts = [start for start in starts if start > dated[0]]
    if not starts:
        return Undefined(reason="the cohort does not tell earlier from later cases")
    ends = [*starts[1:], _day_after(str(dated[-1]))]
    return _judgeable(
        cohort,
        [
            _apart(
                cohort,
                f"{start} – {_day_before(end)}",
                (days >= start) & (days < end),
                (days != "") & (days < start),
            )
            for start, end in zip(starts, ends, strict=True)
        ],
    )


def _apart(
    cohort: Cohort, name: str, tested: NDArray[np.bool_], eligible: NDArray[np.bool_]
) -> Apart:
    groups = cohort.groups()
    train = eligible & ~tested & ~np.isin(groups, groups[tested])
    return Apart(name=name, train=np.flatnonzero(train), test=np.flatnonzero(tested))


def _judgeable(cohort: Cohort, parts: Sequence[Apart]) -> tuple[Apart, ...] | Undefined:
    """The parts that leave two labels to learn from."""
    kept = [part for part in parts if len({cohort.labels[row] for row in part.train}) > 1]
    return tuple(kept) or Undefined(reason="what is left to learn from has a single label")


def _several(sites: Sequence[str]) -> str:
    return ", ".join(sites) if len(sites) <= _NAMED_SITES else f"{len(sites)} sites"


def _day_after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def _day_before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def traits_of(cohort: Cohort) -> Mapping[str, Sequence[str]]:
    """What figures are grouped by, as far as the cohort knows: a word a case, empty if unknown."""
    known = {
        "site": cohort.sites,
        "machine": cohort.machines,
        "sex": cohort.sexes,
        "age": None if cohort.ages is None else [_band(age) for age in cohort.ages],
        "country": cohort.countries,
        "sample type": cohort.sample_types,
        "year": None if cohort.dates is None else [day[:4] for day in cohort.dates],
    }
    return {trait: words for trait in TRAITS if (words := known[trait]) is not None}


def _band(age: float | None) -> str:
    if age is None:
        return ""
    return next((name for end, name in _AGE_BANDS if age < end), _OLDEST_BAND)
