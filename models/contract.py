"""What goes into a model: features by name, unit and range, and how they become a vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from guarantee.card import Language, Text
from models.errors import ModelsError

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


class InvalidFeature(ModelsError):
    """One feature of a profile cannot be taken; the message holds its name, never its value.

    Attributes:
        name: The feature at fault, shortened and printable.
        problem: What is wrong with it and what to send instead.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.name = _printable(name)
        self.problem = problem
        super().__init__(f"{self.name}: {problem}")


class NoKnownFeature(ModelsError):
    """A profile gives no value at all; the remedy is to send at least one feature."""


def _printable(name: str) -> str:
    shown = "".join(sign if sign.isprintable() else "?" for sign in name[:80])
    return shown if len(name) <= 80 else f"{shown}…"


class Bounds(BaseModel):
    """A closed interval in the feature's unit; an end left out is open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None:
            return f"at most {self.high:g}" if self.high is not None else "any number"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


class Meaning(BaseModel):
    """What one code of a feature stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: float
    words: Text


class Feature(BaseModel):
    """One number about a patient or a sample.

    Attributes:
        unit: As a laboratory writes it; "1" for a count or a code.
        possible: Outside it the value is refused: another unit, or a slip.
        plausible: Outside it the value is taken and flagged.
        words: What a clinician calls it; its name where there are none.
        unit_words: The unit in words, where it has no sign that all read alike.
        codes: What its values stand for; any other value is refused.
        required: Without it the model abstains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    unit: Annotated[str, Field(min_length=1)]
    possible: Bounds | None = None
    plausible: Bounds | None = None
    words: Text | None = None
    unit_words: Text | None = None
    codes: tuple[Meaning, ...] | None = None
    required: bool = False

    def in_words(self, language: Language) -> str:
        """What a clinician calls it."""
        return self.name if self.words is None else self.words.in_language(language)

    def unit_in_words(self, language: Language) -> str:
        """Its unit in words, or as a laboratory writes it."""
        return self.unit if self.unit_words is None else self.unit_words.in_language(language)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One patient's or sample's features, in the contract's order.

    Attributes:
        values: (n_features,), float32; NaN where the feature is missing.
        missing: Names of the features that were not given.
        implausible: Names of the features given outside their plausible range.
        lacking: Names of the required features that were not given.
    """

    values: NDArray[np.float32]
    missing: tuple[str, ...] = ()
    implausible: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


class FeatureContract(BaseModel):
    """The features of a model, in the order of its matrix's columns."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    features: tuple[Feature, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        if len(set(self.names)) < len(self.features):
            raise ValueError("two features have the same name")
        return self

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        *,
        unit: str,
        possible: Bounds | None = None,
        plausible: Bounds | None = None,
    ) -> Self:
        """A contract whose features share their unit and ranges."""
        return cls(
            features=tuple(
                Feature(name=name, unit=unit, possible=possible, plausible=plausible)
                for name in names
            )
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The contract that `to_json` wrote.

        Raises:
            ValueError: The text is not a contract.
        """
        return cls(features=_Columns.model_validate_json(text).features())

    def to_json(self) -> str:
        """The contract by columns; a unit or range that all features share is written once."""
        return _Columns.of(self.features).model_dump_json()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names, in column order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _possible(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _ends([feature.possible for feature in self.features])

    @cached_property
    def _plausible(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _ends([feature.plausible for feature in self.features])

    @cached_property
    def _coded(self) -> dict[int, frozenset[float]]:
        return {
            place: frozenset(meaning.code for meaning in feature.codes)
            for place, feature in enumerate(self.features)
            if feature.codes is not None
        }

    def least(self, share: float) -> int:
        """How many features a share of them are, rounded up."""
        # 0.15 of 680 is 102, and a little more by rounding.
        return ceil(share * len(self.features) - 1e-9)

    @cached_property
    def required(self) -> tuple[int, ...]:
        """Places of the features without which there is no answer."""
        return tuple(place for place, feature in enumerate(self.features) if feature.required)

    def vector(self, features: Mapping[str, object]) -> Profile:
        """The features as the model reads them; those left out are missing, not zero.

        A profile that lacks required features is made all the same, and names them.

        Raises:
            InvalidFeature: A feature is unknown, not a finite number, or impossible.
            NoKnownFeature: No feature is given.
        """
        if not features:
            raise NoKnownFeature("no feature is given; send at least one by its name")
        values = np.full(len(self.features), np.nan)
        places = self._places
        for name, value in features.items():
            place = places.get(name)
            if place is None:
                raise InvalidFeature(
                    name, "is not a feature of this model; see the names in its contract"
                )
            values[place] = _number(name, value)
        return self.profile(values)

    def profile(self, values: NDArray[np.float64]) -> Profile:
        """A row of numbers, (n_features,), NaN where missing, as a profile.

        Raises:
            InvalidFeature: A value is infinite, too large, or impossible.
            NoKnownFeature: Every value is missing.
        """
        absent = np.isnan(values)
        if absent.all():
            raise NoKnownFeature("every feature is missing; send at least one by its name")
        # Comparisons with NaN are false, so a missing value is never out of range.
        for place in np.flatnonzero(np.abs(values) > _FLOAT32_MAX):
            raise InvalidFeature(self.names[place], _TOO_LARGE)
        low, high = self._possible
        for place in np.flatnonzero((values < low) | (values > high)):
            feature = self.features[place]
            raise InvalidFeature(
                feature.name,
                f"is out of the possible range; send {feature.unit_in_words(Language.ENGLISH)}, "
                f"{feature.possible}",
            )
        for coded, codes in self._coded.items():
            if not (absent[coded] or values[coded] in codes):
                listed = ", ".join(f"{code:g}" for code in sorted(codes))
                raise InvalidFeature(self.names[coded], f"is not one of its codes: send {listed}")
        low, high = self._plausible
        unusual = np.flatnonzero((values < low) | (values > high))
        return Profile(
            values=values.astype(np.float32),
            missing=tuple(self.names[place] for place in np.flatnonzero(absent)),
            implausible=tuple(self.names[place] for place in unusual),
            lacking=tuple(self.names[place] for place in self.required if absent[place]),
        )


_TOO_LARGE: Final = "is not a finite number of single precision; send its value or leave it out"


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InvalidFeature(name, "is not a number; send a JSON number, or leave it out")
    # One comparison refuses NaN, both infinities and integers beyond any float.
    if not -_FLOAT32_MAX <= value <= _FLOAT32_MAX:
        raise InvalidFeature(name, _TOO_LARGE)
    return float(value)


def _ends(bounds: Sequence[Bounds | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low = [-np.inf if bound is None or bound.low is None else bound.low for bound in bounds]
    high = [np.inf if bound is None or bound.high is None else bound.high for bound in bounds]
    return np.array(low), np.array(high)


class _Columns(BaseModel):
    """A contract on disk; a list of one entry stands for all features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    unit: tuple[str, ...]
    possible: tuple[Bounds | None, ...]
    plausible: tuple[Bounds | None, ...]
    words: tuple[Text | None, ...] = (None,)
    unit_words: tuple[Text | None, ...] = (None,)
    codes: tuple[tuple[Meaning, ...] | None, ...] = (None,)
    required: tuple[bool, ...] = (False,)

    @model_validator(mode="after")
    def _columns_are_as_long(self) -> Self:
        for column in _COLUMNS:
            if len(getattr(self, column)) not in {1, len(self.names)}:
                raise ValueError("a column has neither one entry nor one a feature")
        return self

    @classmethod
    def of(cls, features: Sequence[Feature]) -> "_Columns":
        columns = {}
        for column in _COLUMNS:
            entries = tuple(getattr(feature, column) for feature in features)
            alike = all(entry == entries[0] for entry in entries)
            columns[column] = entries[:1] if alike else entries
        return cls(names=tuple(feature.name for feature in features), **columns)

    def features(self) -> tuple[Feature, ...]:
        count = len(self.names)
        columns = [getattr(self, column) for column in _COLUMNS]
        rows = zip(
            *(column * (count if len(column) == 1 else 1) for column in columns), strict=True
        )
        return tuple(
            Feature(name=name, **dict(zip(_COLUMNS, row, strict=True)))
            for name, row in zip(self.names, rows, strict=True)
        )


_COLUMNS: Final = tuple(name for name in Feature.model_fields if name != "name")
