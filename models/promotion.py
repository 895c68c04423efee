"""From the registry to what answers: put on record, proposed, promoted onto the shelf."""

import tempfile
from pathlib import Path

from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.refusals import AlreadyDone
from guarantee.situations import Verdict
from guarantee.versions import (
    RegisteredVersion,
    model_names,
    promote,
    register_model,
    registered_version,
    standing,
)
from models import bundle, registry, shelf
from models.registry import Registration


def record_registration(
    home: Home, ledger: Ledger, actor: Actor, *, name: str, version: str | None = None
) -> Recorded:
    """Put a registered version (the latest by default) on record, with its card and digest.

    Raises:
        UnknownVersion: MLflow has no such version.
        DigestMismatch: Its files are not those that were registered.
        AlreadyDone: It is on record.
    """
    registration = registry.registration(home, name, version)
    with tempfile.TemporaryDirectory() as scratch:
        card = bundle.read_card(registry.fetch(home, registration, Path(scratch)))
    return register_model(
        ledger,
        actor,
        card=card,
        version=registration.version,
        digest=registration.digest,
        run=registration.run_id,
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
    home: Home, ledger: Ledger, actor: Actor, *, name: str, version: str
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
    recorded = promote(ledger, actor, name=name, version=version)
    # 3.
    registry.project_promotion(home, name, version)
    return recorded


def lagging_aliases(home: Home, ledger: Ledger) -> tuple[str, ...]:
    """Models whose MLflow alias is not the version that the log promoted: each is a finding."""
    return tuple(
        name
        for name in model_names(ledger)
        if _promoted(ledger, name) != registry.projected_promotion(home, name)
    )


def _promoted(ledger: Ledger, name: str) -> str | None:
    serving = standing(ledger, name).serving
    return None if serving is None else serving.version
