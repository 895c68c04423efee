"""Predictors made of others: one that sees another representation, and an average."""

import json
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from models import predictor, representation
from models.explanation import Explanation
from models.predictor import Predictor

_SEEN: Final = "seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A predictor that is shown a representation of the profile in its place."""

    representation: representation.Stored
    seen_by: Predictor

    @property
    def features(self) -> int:
        """How many columns a profile has."""
        return self.seen_by.features

    @property
    def classes(self) -> int:
        """How many margins a profile gets."""
        return self.seen_by.classes

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features), NaN where missing."""
        return self.seen_by.margins(self.representation.columns(profiles))

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        """The same margins; a column's contribution is its feature's, as `Representation` says."""
        return self.seen_by.explain(self.representation.columns(profiles))

    def write(self, folder: Path) -> None:
        """Write the representation, and the predictor into a folder of its own."""
        predictor.describe(folder, "view", representation=self.representation.model_dump())
        (folder / _SEEN).mkdir()
        self.seen_by.write(folder / _SEEN)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote; errors as for `predictor.read`."""
        stored = json.loads((folder / predictor.FILE).read_bytes())
        return cls(
            representation=_REPRESENTATION.validate_python(stored["representation"]),
            seen_by=predictor.read(folder / _SEEN),
        )


_REPRESENTATION: Final = TypeAdapter[representation.Stored](representation.Stored)


class Gate(Protocol):
    """How much each member of an average counts for a profile."""

    @property
    def members(self) -> int:
        """How many members it weighs."""

    def weights(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weights, (n, n_members), of profiles, (n, n_features); each row sums to 1."""


Weights = tuple[Annotated[float, Field(ge=0, le=1)], ...]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_shares(weights: Weights) -> None:
    if not weights or abs(sum(weights) - 1) > 1e-9:
        raise ValueError("weights add up to 1")


class Always(_Stored):
    """The same weights for every profile."""

    kind: Literal["always"] = "always"
    each: Weights

    @model_validator(mode="after")
    def _they_are_shares(self) -> Self:
        _check_shares(self.each)
        return self

    @property
    def members(self) -> int:
        """How many members it weighs."""
        return len(self.each)

    def weights(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Gate`."""
        return np.tile(np.array(self.each, dtype=np.float32), (len(profiles), 1))


class ByMissing(_Stored):
    """Weights that go from one set to another as the share of missing features grows.

    Attributes:
        whole: Weights of a profile that misses at most `low` of its features.
        sparse: Weights of one that misses at least `high`; in between they are interpolated.
    """

    kind: Literal["by-missing"] = "by-missing"
    whole: Weights
    sparse: Weights
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _they_are_shares(self) -> Self:
        _check_shares(self.whole)
        _check_shares(self.sparse)
        if len(self.whole) != len(self.sparse) or not self.low < self.high:
            raise ValueError("both sets weigh the same members, and low is below high")
        return self

    @property
    def members(self) -> int:
        """How many members it weighs."""
        return len(self.whole)

    def weights(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Gate`."""
        missing = np.isnan(profiles).mean(axis=1, keepdims=True)
        part = np.clip((missing - self.low) / (self.high - self.low), 0, 1)
        return np.asarray(
            (1 - part) * np.array(self.whole) + part * np.array(self.sparse), dtype=np.float32
        )


# Those that a version's files may name; a new one is added here.
StoredGate = Annotated[Always | ByMissing, Field(discriminator="kind")]
_GATE: Final = TypeAdapter[StoredGate](StoredGate)


def reads_ranks(model: Predictor) -> bool:
    """Whether a model reads the ranks of a profile's features alone, on whatever scale."""
    return isinstance(model, View) and isinstance(
        model.representation, representation.Ranks | representation.Matched
    )


def read_values(model: Predictor, profiles: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Profiles, (n, n_features), as a model reads them that matches each to its reference.

    In the reference's own unit; none of any other model.
    """
    if isinstance(model, View) and isinstance(model.representation, representation.Matched):
        return model.representation.columns(profiles)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """The weighted mean of members' margins, and of their contributions.

    Contributions are linear in the model, so those of a mean are the mean of the members'. Where
    the gate looks at the profile, they explain the mean that it chose, not its choice.
    """

    members: tuple[Predictor, ...]
    gate: StoredGate

    def __post_init__(self) -> None:
        shapes = {(member.features, member.classes) for member in self.members}
        if len(shapes) != 1 or len(self.members) != self.gate.members:
            raise ValueError("members have as many features and classes, and a weight each")

    @property
    def features(self) -> int:
        """How many columns a profile has."""
        return self.members[0].features

    @property
    def classes(self) -> int:
        """How many margins a profile gets."""
        return self.members[0].classes

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features), NaN where missing."""
        return self._mean(profiles, [member.margins(profiles) for member in self.members])

    def explain(self, profiles: NDArray[np.float32]) -> Explanation:
        """The same margins with the contributions of every feature; errors as for `Predictor`."""
        parts = [member.explain(profiles) for member in self.members]
        return Explanation(
            margins=self._mean(profiles, [part.margins for part in parts]),
            bases=self._mean(profiles, [part.bases for part in parts]),
            contributions=self._mean(profiles, [part.contributions for part in parts]),
        )

    def write(self, folder: Path) -> None:
        """Write the gate, and each member into a folder of its own, `0` for the first."""
        predictor.describe(folder, "average", gate=self.gate.model_dump())
        for place, member in enumerate(self.members):
            (folder / str(place)).mkdir()
            member.write(folder / str(place))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote; errors as for `predictor.read`."""
        gate = _GATE.validate_python(json.loads((folder / predictor.FILE).read_bytes())["gate"])
        return cls(
            gate=gate,
            members=tuple(predictor.read(folder / str(place)) for place in range(gate.members)),
        )

    def _mean(
        self, profiles: NDArray[np.float32], parts: list[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        weights = self.gate.weights(profiles)
        shape = (len(profiles), *[1] * (parts[0].ndim - 1))
        weighted = [part * weights[:, place].reshape(shape) for place, part in enumerate(parts)]
        return reduce(np.add, weighted)
