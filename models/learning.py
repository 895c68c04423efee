"""What an update of a learning model is trained on, and the training itself."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import Card, ChangeProtocol
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.records import unpack_floats
from guarantee.reuse import Outcome
from guarantee.versions import RegisteredVersion, registered_version, versions_of
from models import bundle, recipes, reference, registry
from models.cohorts import Cohort
from models.errors import ModelsError
from models.registry import Registration
from models.served import ServedModel
from models.training import Learn, Parameters, Progress, Split, Training, split, train

# What a cohort may know of its samples aside from profile and label.
_ASIDE: Final = (
    "patients",
    "dates",
    "sites",
    "machines",
    "sexes",
    "ages",
    "countries",
    "sample_types",
)


class OtherCohort(ModelsError):
    """The cohort is not the one that the model's first version was trained on."""


class DoesNotLearn(ModelsError):
    """The version that answers is fixed; a new one takes the college's votes."""


def check_learns(version: RegisteredVersion) -> ChangeProtocol:
    """The version's change protocol.

    Raises:
        DoesNotLearn: It has none.
    """
    protocol = version.card.change_protocol
    if protocol is None:
        raise DoesNotLearn(
            f"version {version.version} of {version.name} does not learn: train, register and "
            "propose a new one"
        )
    return protocol


def first_of(ledger: Ledger, name: str, version: str) -> RegisteredVersion:
    """The version that a version goes back to by updates alone; itself where it is none.

    Raises:
        UnknownModel: No such version is registered.
    """
    found = registered_version(ledger, name, version)
    while found.learned is not None:
        found = registered_version(ledger, name, found.learned.base)
    return found


def relatives(ledger: Ledger, first: RegisteredVersion) -> tuple[str, ...]:
    """Every version that goes back to that one: all read the same features in the same order."""
    return tuple(
        version.version
        for version in versions_of(ledger, first.name)
        if first_of(ledger, first.name, version.version).version == first.version
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the first version of a learning model was trained on, and how.

    Attributes:
        parts: Its held-out part is the locked set: no version learns from it.
        learner: What makes the learner of a cohort; none for XGBoost.
    """

    cohort: Cohort
    parameters: Parameters
    parts: Split
    learner: Callable[[Cohort], Learn | None] | None = None


def origin(home: Home, first: RegisteredVersion, cohort: Cohort) -> Origin:
    """Recognise the cohort that a version was trained on, and find its locked set again.

    Raises:
        OtherCohort: It was another one.
        UnknownVersion, RegistryUnavailable, DigestMismatch: Its run is not to be had.
    """
    model = fetched(home, first)
    parameters = registry.parameters(home, first.run)
    parts = split(cohort, share=parameters.held_out_share, seed=parameters.seed)
    if cohort.contract.names != model.contract.names or not np.array_equal(
        reference.quantiles_of(cohort.profiles[parts.train]), model.reference.quantiles,
        equal_nan=True,
    ):  # fmt: skip
        raise OtherCohort(
            f"version {first.version} of {first.name} was trained on another cohort: give that "
            "one with --cohort"
        )
    recipe = recipes.RECIPES.get(first.name)
    return Origin(
        cohort=cohort,
        parameters=parameters,
        parts=parts,
        learner=None if recipe is None else recipe.learn_from,
    )


def fetched(home: Home, version: RegisteredVersion) -> ServedModel:
    """A registered version from MLflow, its files checked against the log's digest.

    Raises:
        DigestMismatch, MalformedBundle, RegistryUnavailable: It is not to be had.
    """
    name, number, digest = version.name, version.version, version.digest
    found = Registration(name=name, version=number, digest=digest, run_id=version.run)
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.fetch(home, found, Path(scratch))
        return bundle.load(folder, name=name, version=number, digest=digest)


def widened(card: Card, approved: Card, outcomes: Sequence[Outcome]) -> Card:
    """The card of the next version: new labels enter as the change protocol has it.

    Args:
        card: Of the version that answers: what is on it stays as long as there are cases of it.
        approved: The card that the college voted on.
    """
    protocol = approved.change_protocol
    least = protocol.new_labels_from_cases if protocol is not None else None
    if protocol is None or least is None:
        return approved
    known = {label.id for label in card.labels}
    labels = [one.label for one in outcomes]
    entering = [
        label
        for label in protocol.new_labels
        if labels.count(label.id) >= (1 if label.id in known else least)
        and label not in approved.labels
    ]
    return approved.model_copy(update={"labels": (*approved.labels, *entering)})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """The first version's cohort and the confirmed outcomes, which stand at its end.

    Attributes:
        sha256: Over features, and labels and profiles that are learned from, in their order.
        learned: How many cases are learned from.
        outcomes: How many of these are confirmed outcomes.
    """

    cohort: Cohort
    parts: Split
    sha256: str
    learned: int
    outcomes: int


def training_set(origin: Origin, outcomes: Sequence[Outcome]) -> TrainingSet:
    """Put the outcomes behind the first version's cohort; the locked set stays held out."""
    before = len(origin.cohort.ids)
    cohort = _extended(origin.cohort, outcomes)
    train_on = np.concatenate([origin.parts.train, np.arange(before, len(cohort.ids))])
    digest = hashlib.sha256("\n".join(cohort.contract.names).encode())
    for row in train_on:
        digest.update(b"\n" + cohort.labels[row].encode() + b"\n")
        digest.update(cohort.profiles[row].astype("<f4").tobytes())
    return TrainingSet(
        cohort=cohort,
        parts=Split(train=train_on, held_out=origin.parts.held_out),
        sha256=digest.hexdigest(),
        learned=len(train_on),
        outcomes=len(outcomes),
    )


def _extended(cohort: Cohort, outcomes: Sequence[Outcome]) -> Cohort:
    if not outcomes:
        return cohort
    said: dict[str, Any] = {
        "patients": [one.patient for one in outcomes],
        "sites": [one.context.hospital or "" for one in outcomes],
        "machines": [one.context.machine or "" for one in outcomes],
        "sexes": [one.context.sex or "" for one in outcomes],
        "ages": [None] * len(outcomes),
    }
    columns: dict[str, Any] = {
        name: (*column, *said.get(name, [""] * len(outcomes)))
        for name in _ASIDE
        if (column := getattr(cohort, name)) is not None
    }
    return replace(
        cohort,
        profiles=np.vstack([cohort.profiles, profiles_of(outcomes)]),
        labels=(*cohort.labels, *(one.label for one in outcomes)),
        ids=(*cohort.ids, *(one.dossier for one in outcomes)),
        **columns,
    )


def profiles_of(outcomes: Sequence[Outcome]) -> NDArray[np.float32]:
    """(n, n_features), as they were asked."""
    return np.array([unpack_floats(one.profile) for one in outcomes], dtype=np.float32)


def retrain(
    card: Card, origin: Origin, given: TrainingSet, progress: Progress | None = None
) -> Training:
    """Train as the first version was trained, on that set; the locked cases stay held out.

    Raises:
        UntrainableCohort: A label of the card has no case.
    """
    return train(
        given.cohort, card, origin.parameters, progress,
        learn=None if origin.learner is None else origin.learner(given.cohort), parts=given.parts,
    )  # fmt: skip
