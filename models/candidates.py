"""Ways to learn where a tumour comes from, tried against each other: as data, to be run again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.composite import View
from models.laboratory import measured_elsewhere
from models.origins import fit, fit_linear, fit_trees
from models.predictor import Predictor
from models.representation import Centred, Filled, Matched, Ranks, Stored
from models.training import Parameters, Rounds

_LABORATORIES: Final = 60
_ABSENT: Final = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """Cases to learn from.

    Attributes:
        profiles: (n, n_features), logarithms, nothing missing.
        truth: (n,), class indices.
        hosts: (m, n_features), normal tissue in the same unit; may be empty.
    """

    profiles: NDArray[np.float32]
    truth: NDArray[np.intp]
    classes: int
    parameters: Parameters
    hosts: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One member on one representation, taught by how many copies of made-up laboratories.

    Attributes:
        copies: Of each training profile, as sixty made-up laboratories would measure it, beside
            the profile itself: other gains, other depths, features missing.
    """

    seen: Literal["logarithms", "log-ratios", "ranks", "matched"]
    member: Literal["linear", "trees"]
    copies: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called in the experiment."""
        taught = f", taught {self.copies} of made-up laboratories" if self.copies else ""
        return (f"{self.member} on {self.seen}{taught}",)

    def fit(self, given: Fitting) -> Mapping[str, Predictor]:
        """A predictor by its name."""
        seed = given.parameters.seed
        copies = [
            np.log2(
                measured_elsewhere(
                    given.profiles, laboratories=_LABORATORIES, seed=seed * self.copies + copy
                )
                + 1
            )
            for copy in range(self.copies)
        ]
        profiles = np.vstack([given.profiles, *copies])
        truth = np.tile(given.truth, self.copies + 1)
        representation = _representation(self.seen, given.profiles)
        seen = profiles if representation is None else representation.columns(profiles)
        member: Predictor
        if self.member == "linear":
            spread = np.nanstd(seen[: len(given.truth)], axis=0)
            member = fit_linear(
                # What is missing says nothing: it is where the mean is.
                np.where(np.isnan(seen), np.nanmean(seen[: len(given.truth)], axis=0), seen),
                truth, classes=given.classes, strength=_STRENGTH[self.seen],
                units=np.full(len(spread), np.median(spread)),
            )  # fmt: skip
        else:
            filled = Filled(value=_ABSENT)
            trees = fit_trees(
                filled.columns(seen) if self.copies else seen, truth, classes=given.classes,
                settings=given.parameters.of_trees(), rounds=given.parameters.rounds,
                counter=Rounds(given.parameters.rounds, None),
            )  # fmt: skip
            member = View(representation=filled, seen_by=trees) if self.copies else trees
        if representation is None:
            return {self.names[0]: member}
        return {self.names[0]: View(representation=representation, seen_by=member)}


def _representation(seen: str, profiles: NDArray[np.float32]) -> Stored | None:
    """What training profiles, (n, n_features), become before a member sees them."""
    match seen:
        case "log-ratios":
            return Centred()
        case "ranks":
            return Ranks()
        case "matched":
            return Matched.of(profiles, levels=16, digits=2)
    return None


_STRENGTH: Final = {"logarithms": 0.02, "log-ratios": 0.02, "ranks": 0.3, "matched": 0.02}


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The members that `tumour-origin` is made of, fitted once: averaged, and chosen between."""

    names: tuple[str, ...] = (
        "discriminant on matched, gains as random effects",
        "five members averaged, for profiles like those learned from",
        "three members averaged, for those of elsewhere",
        "both averages, the profile's likeness chooses",
    )

    def fit(self, given: Fitting) -> Mapping[str, Predictor]:
        """Predictors by their names."""
        members = fit(
            given.profiles, given.truth, classes=given.classes, parameters=given.parameters,
            counter=Rounds(given.parameters.rounds * 3, None), hosts=given.hosts,
        )  # fmt: skip
        matched = members.matched
        parts: tuple[Predictor, ...] = (
            members.discriminant_elsewhere,
            members.here(),
            members.elsewhere(),
            members.together().seen_by,
        )
        return {
            name: View(representation=matched, seen_by=part)
            for name, part in zip(self.names, parts, strict=True)
        }


Way = Candidate | Members

CANDIDATES: Final[tuple[Way, ...]] = (
    Candidate(seen="logarithms", member="linear"),
    Candidate(seen="log-ratios", member="linear"),
    Candidate(seen="ranks", member="linear"),
    Candidate(seen="matched", member="linear"),
    Candidate(seen="matched", member="linear", copies=2),
    Candidate(seen="logarithms", member="trees"),
    Candidate(seen="log-ratios", member="trees"),
    Candidate(seen="ranks", member="trees"),
    Candidate(seen="matched", member="trees"),
    Candidate(seen="matched", member="trees", copies=1),
    Members(),
)

MICROARRAY_CANDIDATES: Final = tuple(
    candidate
    for candidate in CANDIDATES
    if isinstance(candidate, Candidate) and not candidate.copies
)

# The recipes' own ways, by model.
CHOSEN: Final[Mapping[str, str]] = {
    "tumour-origin": Members().names[-1],
    "tumour-origin-microarray": "trees on logarithms",
}
