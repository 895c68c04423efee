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


class Gathered(StrEnum):
    """The one step of gathered informations."""

    GATHERED = "gathered"


class DrawStep(StrEnum):
    """The steps of a draw of cases."""

    ANNOUNCED = "announced"
    DRAWN = "drawn"
    ABANDONED = "abandoned"


class FrameStep(StrEnum):
    """Whether an announcement stands open over any frame of cases."""

    FREE = "free"
    OPEN = "open"


class CollegeStep(StrEnum):
    """Whether the first seats are being filled, or the college appoints its members itself."""

    FOUNDING = "founding"
    SEATED = "seated"


class KeyStep(StrEnum):
    """The steps of a person's own key."""

    REGISTERED = "registered"
    WITHDRAWN = "withdrawn"


class Verdict(StrEnum):
    """The steps of a version before the college."""

    OPEN = "open"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Information:
    """One `PatientInformed` or `InformationDeferred`, by its record's id.

    Attributes:
        by: Pseudonym of who informed the patient: they care for them in every dossier that it
            opens.
    """

    step: Gate
    models: tuple[str, ...]
    valid_until: int | None
    by: str
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """One `InformationsGathered`, by its record's id."""

    step: Gathered
    informations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """One inference, by its record's id.

    Attributes:
        carers: Pseudonyms of who informed the patient, asked, decided, or was brought in by one
            of these: they read the dossier and take its steps, and none of them reviews it.
        glasses: Who broke the glass last, each until when, in milliseconds since 1970.
        abstained: Whether the model did; of a withheld answer, no header tells.
    """

    step: Step
    model: str
    model_version: str
    information: str
    lapsed: bool = False
    carers: tuple[str, ...] = ()
    glasses: tuple[tuple[str, int], ...] = ()
    abstained: bool = False

    def is_open_to(self, person: str, *, at: int) -> bool:
        """Whether somebody may read the dossier and take its next step, at that time."""
        return person in self.carers or any(
            who == person and at <= until for who, until in self.glasses
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model, by its name; `version` is the one that answers, `cause` the stopping record.

    Attributes:
        drifting: Whether drift of that version is on record and not cleared.
        failing: Whether an incident of that version is on record and not ended.
    """

    step: Standing
    version: str | None = None
    promotion: str | None = None
    cause: str | None = None
    drifting: bool = False
    failing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version, by `name/version`; `votes` holds member and word, in the order cast.

    Attributes:
        under: The registration whose change protocol approved it, in the place of votes.
    """

    step: Verdict
    registration: str
    registrar: str
    votes: tuple[tuple[str, str], ...] = ()
    under: str | None = None

    @property
    def charter(self) -> str:
        """The registration that the college voted on, and with it on the change protocol."""
        return self.under or self.registration


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
        model: Whose cases are in its frame; none: every model's.
        announced_at: Milliseconds since 1970, as the announcement claims.
        drawn: The record that revealed the secret.
    """

    step: DrawStep
    announcer: str
    announced_at: int
    model: str | None = None
    drawn: str | None = None


EVERY = "*"
"""The name of the frame that holds every model's cases; another's name is its model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """The frames of draws, under the college's key.

    Attributes:
        open: Frame and announcement of each draw that waits for its sample.
        ended: Frame and announcement of the last draw of each: there the next frame starts.
    """

    step: FrameStep = FrameStep.FREE
    open: tuple[tuple[str, str], ...] = ()
    ended: tuple[tuple[str, str], ...] = ()


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
    """A person's own key, by their pseudonym.

    Attributes:
        registration: The record that holds it.
        key: Its thumbprint.
        withdrawals: Who said that it is lost, each with their record.
    """

    step: KeyStep
    registration: str
    key: str
    withdrawals: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKey:
    """A key that was registered once, by its thumbprint: nobody registers it again."""

    step: KeyStep
    holder: str


Situation = (
    Information
    | Gathering
    | Dossier
    | Model
    | Version
    | Member
    | College
    | Draw
    | Frames
    | Review
    | Insider
    | KeyHolder
    | OwnKey
)
S = TypeVar(
    "S",
    Information,
    Gathering,
    Dossier,
    Model,
    Version,
    Member,
    College,
    Draw,
    Frames,
    Review,
    Insider,
    KeyHolder,
    OwnKey,
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
