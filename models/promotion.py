"""From the registry to what answers: put on record, proposed, promoted onto the shelf."""

import tempfile
from pathlib import Path

from guarantee.bodies import Learned
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.refusals import AlreadyDone
from guarantee.situations import Verdict
from guarantee.versions import (
    RegisteredVersion,
    history,
    model_names,
    promote,
    register_model,
    registered_version,
    standing,
    versions_of,
)
from models import bundle, registry, shelf
from models.admission import Inadmissible, check_admissible
from models.errors import ModelsError
from models.registry import Registration


class NothingEarlier(ModelsError):
    """No such version answered before; the message names those that did."""


def record_registration(
    home: Home,
    ledger: Ledger,
    actor: Actor,
    *,
    name: str,
    version: str | None = None,
    learned: Learned | None = None,
) -> Recorded:
    """Put a registered version (the latest by default) on record, with its card and digest.

    Args:
        learned: Of an update of a learning model.

    Raises:
        UnknownVersion: MLflow has no such version.
        DigestMismatch: Its files are not those that were registered.
        Inadmissible: It lacks what a version must have; says what.
        AlreadyDone: It is on record.
    """
    registration = registry.registration(home, name, version)
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.fetch(home, registration, Path(scratch))
        check_admissible(folder, name=name)
        card = bundle.read_card(folder)
    return register_model(
        ledger,
        actor,
        card=card,
        version=registration.version,
        digest=registration.digest,
        run=registration.run_id,
        learned=learned,
    )


def propose_version(home: Home, ledger: Ledger, *, name: str, version: str) -> RegisteredVersion:
    """Ask the college to vote on a version: MLflow's alias shows which one is proposed.

    Raises:
        UnknownModel: The log has no such version.
        AlreadyDone: The college has approved it.
    """
    proposed = registered_version(ledger, name, version)
    if proposed.verdict is Verdict.APPROVED:
        raise AlreadyDone(f"the college has approved version {version} of {name}")
    registry.project_proposal(home, name, version)
    return proposed


def promote_version(
    home: Home,
    ledger: Ledger,
    actor: Actor,
    *,
    name: str,
    version: str,
    reason: str | None = None,
) -> Recorded:
    """Let an approved version answer from here on.

    1. Lay it out on the shelf.  2. Record the promotion.  3. Move MLflow's alias.
    A stop after 1 leaves a version that does not answer; after 2, an alias that lags behind.

    Raises:
        UnknownModel: The log has no such version.
        NotApproved: The college has not approved it.
        DigestMismatch: MLflow's files are not those that the college approved.
    """
    approved = registered_version(ledger, name, version)
    registration = Registration(
        name=name, version=version, digest=approved.digest, run_id=approved.run
    )
    # 1. The digest is the log's, so that nothing else than what was voted on is laid out.
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.fetch(home, registration, Path(scratch))
        shelf.lay(home, folder, name=name, version=version, digest=approved.digest)
    # 2.
    recorded = promote(ledger, actor, name=name, version=version, reason=reason)
    # 3.
    registry.project_promotion(home, name, version)
    return recorded


def roll_back(
    home: Home,
    ledger: Ledger,
    actor: Actor,
    *,
    name: str,
    reason: str,
    version: str | None = None,
) -> Recorded:
    """Let a version that answered before answer again: the last other one, unless it is named.

    A suspension stays: only the college resumes.

    Raises:
        UnknownModel: The log has no such model.
        NothingEarlier: No such version answered before.
        Others: As for `promote_version`.
    """
    promoted = [reign.promoted for reign in history(ledger, name)]
    now = promoted[-1] if promoted else None
    earlier = [one for one in promoted if one is not None and one != now]
    wanted = version or (earlier[-1] if earlier else None)
    if wanted is None or wanted not in earlier:
        answered = ", ".join(dict.fromkeys(earlier)) or "none"
        raise NothingEarlier(
            f"no version {wanted or 'at all'} of {name} answered before the one that does now "
            f"(these did: {answered}); `garant models promote` lets a new one answer"
        )
    return promote_version(home, ledger, actor, name=name, version=wanted, reason=reason)


def lagging_aliases(home: Home, ledger: Ledger) -> tuple[str, ...]:
    """Models whose MLflow alias is not the version that the log promoted: each is a finding.

    None in a home without MLflow.
    """
    if not registry.is_here(home):
        return ()
    return tuple(
        name
        for name in model_names(ledger)
        if _promoted(ledger, name) != registry.projected_promotion(home, name)
    )


def findings(home: Home, ledger: Ledger) -> tuple[str, ...]:
    """Where MLflow and the shelf are not what the log says; nothing of it changes what answers.

    An alias moved past the college, a version that MLflow lost or whose digest it changed, files
    altered in MLflow or on the shelf, a version on record that lacks what it must have. In a home
    without MLflow, the shelf alone is looked at.

    Raises:
        RegistryUnavailable: MLflow cannot be read.
    """
    found = [
        f"{name}: MLflow's alias “{registry.PROMOTED}” names version "
        f"{registry.projected_promotion(home, name) or 'none'}, but the log promoted "
        f"{_promoted(ledger, name) or 'none'}; the log decides what answers"
        for name in lagging_aliases(home, ledger)
    ]
    for name in model_names(ledger):
        tracked = {one.version: one for one in registry.registrations(home, name)}
        for version in versions_of(ledger, name) if registry.is_here(home) else ():
            about = f"{name} version {version.version}"
            of_registry = tracked.get(version.version)
            if of_registry is None:
                found.append(f"{about} is on record, but MLflow has it no more")
            elif of_registry.digest != version.digest:
                found.append(f"{about}: MLflow gives it another digest than the log")
            else:
                found += _of_files(home, of_registry, about)
        serving = standing(ledger, name).serving
        if serving is not None:
            found += _of_shelf(home, serving)
    return tuple(found)


def _of_files(home: Home, registration: Registration, about: str) -> list[str]:
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = registry.fetch(home, registration, Path(scratch))
            check_admissible(folder, name=registration.name)
    except bundle.DigestMismatch as finding:
        return [f"{about}: in MLflow, {', '.join(finding.files)} differ from what was registered"]
    except Inadmissible as finding:
        return [f"{about}: {problem}" for problem in finding.missing]
    except registry.RegistryUnavailable:
        return [f"{about}: MLflow has lost its files"]
    return []


def _of_shelf(home: Home, serving: RegisteredVersion) -> list[str]:
    try:
        shelf.load(home, name=serving.name, version=serving.version, digest=serving.digest)
    except (shelf.NotOnTheShelf, bundle.DigestMismatch, bundle.MalformedBundle) as finding:
        return [f"{serving.name} version {serving.version}: {finding}"]
    return []


def _promoted(ledger: Ledger, name: str) -> str | None:
    serving = standing(ledger, name).serving
    return None if serving is None else serving.version
