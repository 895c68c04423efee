"""Where the protocol stands: with a patient's information, a dossier, a model, the college.

A situation is what earlier records led to; see `guarantee.protocol` for how records move it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from guarantee.bodies import Opinion
from guarantee.identity import Profession, Role
from guarantee.records import Header


class Gate(StrEnum):
    """The steps of a patient's information."""

    INFORMED = "informed"
    DEFERRED = "deferred"
    OBJECTED = "objected"
    ERASED = "erased"


class Step(StrEnum):
    """The steps of a dossier."""

    WITHHELD = "withheld"
    ANSWERED = "answered"
    DECIDED = "decided"
    TOLD = "told"
    CONFIRMED = "confirmed"


class Standing(StrEnum):
    """The steps of a model: whether it may answer."""

    REGISTERED = "registered"
    SERVING = "serving"
    SUSPENDED = "suspended"


class DrawStep(StrEnum):
    """The steps of a draw of cases."""

    ANNOUNCED = "announced"
    DRAWN = "drawn"


class CollegeStep(StrEnum):
    """Whether the first seats are being filled, or the college appoints its members itself."""

    FOUNDING = "founding"
    SEATED = "seated"


class KeyStep(StrEnum):
    """The steps of a person's own key."""

    REGISTERED = "registered"


class Verdict(StrEnum):
    """The steps of a version before the college."""

    OPEN = "open"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Information:
    """One `PatientInformed` or `InformationDeferred`, by its record's id."""

    step: Gate
    models: tuple[str, ...]
    valid_until: int | None
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """One inference, by its record's id."""

    step: Step
    model: str
    model_version: str
    information: str
    lapsed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model, by its name; `version` is the one that answers, `cause` the stopping record."""

    step: Standing
    version: str | None = None
    promotion: str | None = None
    cause: str | None = None
    drifting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version, by `name/version`; `votes` holds member and word, in the order cast."""

    step: Verdict
    registration: str
    registrar: str
    votes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One seat of the college, by its holder's pseudonym."""

    step: Profession
    appointment: str


COLLEGE = "college"
"""The key of the one college."""


@dataclass(frozen=True, slots=True, kw_only=True)
class College:
    """The college as a whole: which seats were ever filled."""

    step: CollegeStep
    seats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One announced draw, by its announcement's id.

    Attributes:
        announcer: Pseudonym of the member who holds the secret.
        announced_at: Milliseconds since 1970, as the announcement claims.
        drawn: The record that revealed the secret.
    """

    step: DrawStep
    announcer: str
    announced_at: int
    drawn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One member's review of one drawn case, by `announcement/dossier/member`."""

    step: Opinion
    draw: str
    dossier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Insider:
    """Somebody who made, ran or watched the models, by their pseudonym: no seat in the college.

    Attributes:
        step: The role in which they first did.
    """

    step: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """A person's own key, by their pseudonym; `registration` is the record that holds it."""

    step: KeyStep
    registration: str


Situation = (
    Information | Dossier | Model | Version | Member | College | Draw | Review | Insider | KeyHolder
)
S = TypeVar(
    "S",
    Information,
    Dossier,
    Model,
    Version,
    Member,
    College,
    Draw,
    Review,
    Insider,
    KeyHolder,
)


class View(Protocol):
    """Where the log's records have led so far, to read."""

    def get(self, kind: type[S], key: str) -> S | None:
        """The situation of that kind and key, if there is one."""


class State(View, Protocol):
    """Where the log's records have led so far, to move on."""

    def put(self, key: str, new: Situation, old: Situation | None) -> None:
        """Move a situation from `old` to `new`; `old` is what `get` gave."""


class Remembered:
    """A state in memory, for whoever replays a log."""

    def __init__(self) -> None:
        # A dictionary a kind: a log of a million records has about as many keys.
        self._kinds: dict[type[Situation], dict[str, Situation]] = {}

    def get(self, kind: type[S], key: str) -> S | None:
        """The situation of that kind and key, if there is one."""
        return self._kinds.get(kind, {}).get(key)  # type: ignore[return-value]  # by its type

    def put(self, key: str, new: Situation, old: Situation | None) -> None:  # noqa: ARG002  # State's
        """Move a situation."""
        self._kinds.setdefault(type(new), {})[key] = new

    def take(self, kind: type[Situation], key: str) -> Situation | None:
        """The situation of that kind and key, which is forgotten, if there is one."""
        return self._kinds.get(kind, {}).pop(key, None)

    def places(self) -> Iterator[tuple[type[Situation], str]]:
        """Kind and key of every situation."""
        for kind, situations in self._kinds.items():
            for key in situations:
                yield kind, key


Rule = Callable[[Header, State], None]
"""Moves the state by one header, or raises a `ProtocolError` and leaves it."""


def version_key(name: str, version: str) -> str:
    """The key of a version's situation."""
    return f"{name}/{version}"


def review_key(draw: str, dossier: str, member: str) -> str:
    """The key of a review's situation."""
    return f"{draw}/{dossier}/{member}"
