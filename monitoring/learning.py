"""An update of a learning model: trained, held against the version that answers, and let in or not.

Inside the change protocol that the college approved it answers at once; beyond it, it waits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guarantee.bodies import Learned, ModelRegistered
from guarantee.card import Card, ChangeProtocol
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.protocol import ROLES
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import RoleRefused
from guarantee.reuse import Outcome, reusable
from guarantee.situations import Verdict
from guarantee.updates import beyond
from guarantee.versions import (
    RegisteredVersion,
    charter_of,
    history,
    record_update,
    registered_version,
    standing,
    versions_of,
)
from models import learning, registry, splits
from models.cohorts import Cohort
from models.learning import Origin, TrainingSet
from models.promotion import promote_version, propose_version, record_registration
from models.training import Progress, Training
from monitoring import evolution_page
from monitoring.errors import MonitoringError
from monitoring.evolution import Cases, Evolution, Version, compare
from monitoring.window import KINDS


class TooFewOutcomes(MonitoringError):
    """There is too little to learn from yet; the message says how much, and how much is needed."""


class NothingToUpdate(MonitoringError):
    """No version of the model is promoted; there is none to go on from."""


class RolledBack(MonitoringError):
    """The version of these cases answered before, and somebody took it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What became of an update.

    Attributes:
        version: The new one.
        learned: From what it learned, and how it differs from the version before.
        kept_out: Confirmed outcomes that may not be learned from.
        unknown: Confirmed outcomes of labels that the card has not, or not yet.
        reasons: Which bounds it does not keep: it waits for the college; none: it answers.
        locked, window: The comparison; none where this very update was made before.
        page: The same for the college's eyes.
    """

    version: str
    learned: Learned
    kept_out: int
    unknown: int
    reasons: tuple[str, ...] = ()
    locked: Evolution | None = None
    window: Evolution | None = None
    page: Path | None = None


def update(
    ledger: Ledger,
    home: Home,
    actor: Actor,
    *,
    name: str,
    cohort: Callable[[], Cohort],
    progress: Progress | None = None,
) -> Updated:
    """Train a learning model on what was confirmed since, and let it answer where it may.

    1. The outcomes that may be learned from; the latest of them are the window.
    2. The set to train on; where a version was made of it before, that one is gone on with.
    3. Train, and compare with the version that answers.
    4. Register.  5. Inside the protocol: approve, promote.
    What was cut short, a second call completes; a call with nothing new records nothing.

    Args:
        cohort: What the first version was trained on; asked for once it is needed.

    Raises:
        UnknownModel: The log knows no such model.
        NothingToUpdate: No version of it is promoted.
        DoesNotLearn: The version that answers is fixed.
        TooFewOutcomes: The protocol asks for more new cases.
        RolledBack: Of these very cases a version was made, and rolled back.
        OtherCohort: The cohort is another one than the first version's.
        RoleRefused: The actor may not append such records; nothing was recorded.
    """
    if actor.role not in ROLES[RecordType.MODEL_UPDATED]:
        raise RoleRefused(f"updates are not for the role {actor.role}")
    serving = standing(ledger, name).serving
    if serving is None:
        raise NothingToUpdate(f"no version of {name} is promoted: there is none to go on from")
    protocol = learning.check_learns(serving)
    first = learning.first_of(ledger, name, serving.version)
    charter = ledger.find(charter_of(ledger, name, serving.version))
    approved = ledger.open_as(charter, ModelRegistered).card
    # 1.
    found = reusable(ledger, name, learning.relatives(ledger, first))
    since = 0 if serving.learned is None else serving.learned.up_to
    lesson = lesson_of(found.outcomes, serving.card, approved, protocol, since=since)
    # 2.
    origin = learning.origin(home, first, cohort())
    chosen = learning.training_set(origin, lesson.outcomes)
    made = _made(ledger, serving, chosen)
    attempt: Attempt | None = None
    if made is None:
        # 3.
        before = learning.fetched(home, serving)
        attempt = attempted(
            before, origin, chosen, lesson, version=serving.version, progress=progress
        )
        # 4.
        registered = registry.register(home, registry.log(home, attempt.training))
        record_registration(
            home, ledger, actor, name=name, version=registered.version, learned=attempt.learned
        )
        made = registered_version(ledger, name, registered.version)
    learned = made.learned
    if learned is None:  # `_made` and step 4 know none without.
        raise NothingToUpdate(f"version {made.version} of {name} is no update")
    # 5.
    reasons = beyond(protocol, learned)
    _let_in(ledger, home, actor, made, inside=not reasons)
    return Updated(
        version=made.version,
        learned=learned,
        kept_out=found.kept_out,
        unknown=lesson.unknown,
        reasons=reasons,
        locked=None if attempt is None else attempt.locked,
        window=None if attempt is None else attempt.window,
        page=None if attempt is None else _page(home, made, attempt, reasons),
    )


def _page(
    home: Home, made: RegisteredVersion, attempt: "Attempt", reasons: tuple[str, ...]
) -> Path:
    return evolution_page.keep(
        home,
        evolution_page.page(
            made.card, made.version, attempt.learned, reasons,
            locked=attempt.locked, window=attempt.window,
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What there is to learn, and for which card.

    Attributes:
        card: The next version's, with the labels that may enter.
        outcomes: To learn from.
        window: The latest; they judge, and the next update learns from them.
        new: How many of `outcomes` the version that answers had not learned from.
        unknown: Outcomes of labels that the card has not, or not yet.
    """

    card: Card
    outcomes: tuple[Outcome, ...]
    window: tuple[Outcome, ...]
    new: int
    unknown: int


def lesson_of(
    outcomes: Sequence[Outcome],
    card: Card,
    approved: Card,
    protocol: ChangeProtocol,
    *,
    since: int,
) -> Lesson:
    """Part the outcomes that may be learned from, as the change protocol has it.

    Args:
        card: Of the version that answers.
        approved: The one that the college voted on.
        since: The version that answers learned from outcomes confirmed before this place.

    Raises:
        TooFewOutcomes: The protocol asks for more new cases.
    """
    start = max(0, len(outcomes) - protocol.window_cases)
    given, window = outcomes[:start], outcomes[start:]
    widened = learning.widened(card, approved, given)
    known = {label.id for label in widened.labels}
    learned = tuple(one for one in given if one.label in known)
    new = sum(one.confirmed >= since for one in learned)
    if new < protocol.least_new_cases or not window:
        raise TooFewOutcomes(
            f"{new} new cases beside a window of {len(window)}; the change protocol asks for "
            f"{protocol.least_new_cases} beside a window of {protocol.window_cases}"
        )
    return Lesson(
        card=widened,
        outcomes=learned,
        window=tuple(window),
        new=new,
        unknown=len(given) - len(learned),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A version that was trained and compared, and is not registered."""

    training: Training
    learned: Learned
    locked: Evolution
    window: Evolution


def attempted(
    before: Version,
    origin: Origin,
    chosen: TrainingSet,
    lesson: Lesson,
    *,
    version: str,
    progress: Progress | None = None,
) -> Attempt:
    """Train on the chosen set, and compare with the version before, of that number."""
    training = learning.retrain(lesson.card, origin, chosen, progress)
    locked = compare(before, training.bundle, _locked(origin))
    window = compare(before, training.bundle, _window(lesson.window))
    return Attempt(
        training=training,
        learned=Learned(
            base=version,
            cases=chosen.learned,
            new_cases=lesson.new,
            cases_sha256=chosen.sha256,
            up_to=lesson.window[0].confirmed,
            locked=locked.difference,
            window=window.difference,
        ),
        locked=locked,
        window=window,
    )


def _made(
    ledger: Ledger, serving: RegisteredVersion, chosen: TrainingSet
) -> RegisteredVersion | None:
    """The version that was made of this set before, in the place of the one that answers.

    Raises:
        RolledBack: It answered, and does no more.
    """
    for version in versions_of(ledger, serving.name):
        learned = version.learned
        if learned is None or learned.base != serving.version:
            continue
        if learned.cases_sha256 == chosen.sha256:
            if version.version in {reign.promoted for reign in history(ledger, serving.name)}:
                raise RolledBack(
                    f"version {version.version} learned from these very cases and was rolled "
                    "back: an update needs others"
                )
            return version
    return None


def _let_in(
    ledger: Ledger, home: Home, actor: Actor, version: RegisteredVersion, *, inside: bool
) -> None:
    """Approve and promote what keeps inside the protocol; propose what does not."""
    name, number = version.name, version.version
    if not inside:
        if version.verdict is Verdict.OPEN:
            propose_version(home, ledger, name=name, version=number)
        return
    if version.verdict is Verdict.OPEN:
        record_update(ledger, actor, name=name, version=number)
    promote_version(home, ledger, actor, name=name, version=number)


def _locked(origin: Origin) -> Cases:
    rows = origin.parts.held_out
    return Cases(
        profiles=origin.cohort.profiles[rows],
        labels=tuple(origin.cohort.labels[row] for row in rows),
        groups={
            trait: [words[row] for row in rows]
            for trait, words in splits.traits_of(origin.cohort).items()
        },
    )


def _window(outcomes: Sequence[Outcome]) -> Cases:
    return Cases(
        profiles=learning.profiles_of(outcomes),
        labels=tuple(one.label for one in outcomes),
        groups={kind: [getattr(one.context, kind) or "" for one in outcomes] for kind in KINDS},
    )
