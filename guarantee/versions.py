"""Model versions in the log: registered, approved, promoted, suspended, resumed.

The log decides what answers; every registry beside it is a projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guarantee.appending import Draft, Request
from guarantee.bodies import (
    Learned,
    ModelPromoted,
    ModelRegistered,
    ModelResumed,
    ModelSuspended,
    ModelUpdated,
    stated,
)
from guarantee.card import Card
from guarantee.college_thread import missing_votes
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.refusals import NotApproved, NotServing, Suspended, UnknownModel
from guarantee.signing_keys import signed
from guarantee.situations import Model, Standing, Verdict, Version, version_key
from guarantee.updates import beyond, contradiction


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version as the log knows it.

    Attributes:
        digest: SHA-256 over the digests of the version's files, hexadecimal.
        verdict: Whether the college approved it.
        votes: Member's pseudonym and word, in the order cast.
        missing: What an approval still needs.
        registered_at: Milliseconds since 1970, UTC.
        learned: Of an update of a learning model: from what, and how it differs from before.
    """

    name: str
    version: str
    digest: str
    card: Card
    run: str
    verdict: Verdict
    votes: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    registered_at: int
    learned: Learned | None = None

    @property
    def beyond(self) -> tuple[str, ...]:
        """Of an update, each bound of its card's change protocol that it does not keep."""
        protocol = self.card.change_protocol
        return beyond(protocol, self.learned) if protocol and self.learned else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStanding:
    """Whether a model may answer, and with which version.

    Attributes:
        serving: The promoted version; none before the first promotion.
        suspension: The reason why it was stopped; none where it was not.
    """

    name: str
    step: Standing
    serving: RegisteredVersion | None
    suspension: str | None

    def check_serving(self) -> RegisteredVersion:
        """The version that answers.

        Raises:
            Suspended: The model was stopped; carries the reason.
            NotServing: No version is promoted.
        """
        if self.step is Standing.SUSPENDED:
            raise Suspended(f"the model is suspended: {self.suspension}")
        if self.serving is None:
            raise NotServing("no version of this model is promoted")
        return self.serving


def register_model(
    ledger: Ledger,
    actor: Actor,
    *,
    card: Card,
    version: str,
    digest: str,
    run: str,
    learned: Learned | None = None,
    request: Request | None = None,
) -> Recorded:
    """Record that a version exists and what it is.

    Raises:
        AlreadyDone: That version is registered.
    """
    return ledger.record(
        Draft(
            type=RecordType.MODEL_REGISTERED,
            actor=actor,
            outcome="registered",
            body=ModelRegistered(digest=digest, card=card, run=run, learned=learned),
            model=card.name,
            model_version=version,
        ),
        request,
    )


def registered_version(ledger: Ledger, name: str, version: str) -> RegisteredVersion:
    """What the log says of a version.

    Raises:
        UnknownModel: No such version is registered.
    """
    situation = _situation(ledger, name, version)
    recorded = ledger.find(situation.registration)
    body = ledger.open_as(recorded, ModelRegistered)
    return RegisteredVersion(
        name=name,
        version=version,
        digest=body.digest,
        card=body.card,
        run=body.run,
        verdict=situation.step,
        votes=situation.votes,
        # What a change protocol approved needs no votes.
        missing=() if situation.under else missing_votes(situation, ledger),
        registered_at=recorded.header.time,
        learned=body.learned,
    )


def versions_of(ledger: Ledger, name: str) -> list[RegisteredVersion]:
    """Every registered version of a model, in the order of registration."""
    return [
        registered_version(ledger, name, recorded.header.model_version or "")
        for recorded in ledger.stretch((RecordType.MODEL_REGISTERED,), model=name)
    ]


def model_names(ledger: Ledger) -> list[str]:
    """Every model that the log knows, in alphabetical order."""
    return [name for name, _ in ledger.situations(Model, Standing)]


def standing(ledger: Ledger, name: str) -> ModelStanding:
    """Whether the model may answer, and with which version.

    Raises:
        UnknownModel: No version of it is registered.
    """
    model = ledger.get(Model, name)
    if model is None:
        raise UnknownModel("no model of that name is registered")
    suspension = None
    if model.cause is not None:
        suspension = ledger.open_as(ledger.find(model.cause), ModelSuspended).reason
    return ModelStanding(
        name=name,
        step=model.step,
        serving=registered_version(ledger, name, model.version) if model.version else None,
        suspension=suspension,
    )


def promote(
    ledger: Ledger,
    actor: Actor,
    *,
    name: str,
    version: str,
    reason: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Let an approved version answer from here on.

    Args:
        reason: Why, where it has answered before.

    Raises:
        BodyRefused: The reason is blank or too long.
        UnknownModel: No such version is registered.
        NotApproved: The college has not approved it; names the votes that are missing.
        AlreadyDone: It answers already.
    """
    digest = registered_version(ledger, name, version).digest
    return ledger.record(
        Draft(
            type=RecordType.MODEL_PROMOTED,
            actor=actor,
            outcome="promoted",
            body=stated(ModelPromoted, digest=digest, reason=reason),
            model=name,
            model_version=version,
        ),
        request,
    )


def record_update(ledger: Ledger, actor: Actor, *, name: str, version: str) -> Recorded:
    """Record that a registered update keeps inside the approved change protocol: it is approved.

    Raises:
        UnknownModel: No such version is registered.
        NotServing: No version of the model is promoted.
        NotApproved: It does not; says why. The college votes on it.
        AlreadyDone: The version is approved.
    """
    update = _registration(ledger, name, version)
    serving = standing(ledger, name).serving
    if serving is None:
        raise NotServing("no version of this model is promoted, so there is none to update")
    if update.learned is None:
        raise NotApproved("the version was not registered as an update: the college votes on it")
    body = ModelUpdated(
        digest=update.digest,
        new_cases=update.learned.new_cases,
        cases_sha256=update.learned.cases_sha256,
    )
    charter = charter_of(ledger, name, serving.version)
    approved = ledger.open_as(ledger.find(charter), ModelRegistered).card
    problem = contradiction(body, update, approved, answering=serving.version)
    if problem is not None:
        raise NotApproved(problem)
    return ledger.record(
        Draft(
            type=RecordType.MODEL_UPDATED,
            actor=actor,
            outcome="updated",
            body=body,
            follows=(charter,),
            model=name,
            model_version=version,
        )
    )


def charter_of(ledger: Ledger, name: str, version: str) -> str:
    """The registration that the college voted on, and with it on that version's change protocol.

    Raises:
        UnknownModel: No such version is registered.
    """
    return _situation(ledger, name, version).charter


def _situation(ledger: Ledger, name: str, version: str) -> Version:
    situation = ledger.get(Version, version_key(name, version))
    if situation is None:
        raise UnknownModel("no such version of this model is registered")
    return situation


def _registration(ledger: Ledger, name: str, version: str) -> ModelRegistered:
    registration = _situation(ledger, name, version).registration
    return ledger.open_as(ledger.find(registration), ModelRegistered)


def suspend(
    ledger: Ledger, actor: Actor, *, name: str, reason: str, request: Request | None = None
) -> Recorded:
    """Stop a model now: no inference follows this record in the log.

    Raises:
        UnknownModel: No such model.
        AlreadyDone: It is suspended.
    """
    return ledger.record(
        Draft(
            type=RecordType.MODEL_SUSPENDED,
            actor=actor,
            outcome="suspended",
            body=stated(ModelSuspended, reason=reason),
            model=name,
        ),
        request,
    )


def resume(
    ledger: Ledger,
    actor: Actor,
    *,
    name: str,
    reason: str,
    signature: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Let a suspended model answer again.

    Args:
        signature: By the member's own key, where they have one, over `signing_keys.act_payload`.

    Raises:
        UnknownModel: No such model.
        SignatureNeeded: The member has a key: sign this with it; carries what to sign.
        SignatureRefused: The key did not sign this.
        AlreadyDone: It is not suspended.
        NotAMember: The actor has no seat in the college.
    """
    if request is not None and (repeat := ledger.repeated(request)) is not None:
        return repeat
    model = ledger.get(Model, name)
    draft = Draft(
        type=RecordType.MODEL_RESUMED,
        actor=actor,
        outcome="resumed",
        body=stated(ModelResumed, reason=reason),
        follows=(model.cause,) if model is not None and model.cause is not None else (),
        model=name,
    )
    return ledger.record(signed(ledger, draft, signature), request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reign:
    """One event in a model's history: which version could answer from then on.

    Attributes:
        at: Milliseconds since 1970, UTC, as the record claims.
        version: None where no version could answer.
        promoted: The version last promoted, whether or not the model is suspended.
        reason: As whoever acted stated it, if at all.
    """

    at: int
    event: RecordType
    version: str | None
    promoted: str | None
    reason: str | None


_EVENTS: Final[Mapping[RecordType, type[ModelPromoted | ModelSuspended | ModelResumed]]] = {
    RecordType.MODEL_PROMOTED: ModelPromoted,
    RecordType.MODEL_SUSPENDED: ModelSuspended,
    RecordType.MODEL_RESUMED: ModelResumed,
}


def history(ledger: Ledger, name: str) -> list[Reign]:
    """Every event that changed what could answer, in the log's order.

    Raises:
        UnknownModel: No such model.
    """
    if ledger.get(Model, name) is None:
        raise UnknownModel("no model of that name is registered")
    promoted: str | None = None
    suspended = False
    reigns = []
    for recorded in ledger.stretch(_EVENTS, model=name):
        header = recorded.header
        if header.type is RecordType.MODEL_PROMOTED:
            promoted = header.model_version
        else:
            suspended = header.type is RecordType.MODEL_SUSPENDED
        reigns.append(
            Reign(
                at=header.time,
                event=header.type,
                version=None if suspended else promoted,
                promoted=promoted,
                reason=ledger.open_as(recorded, _EVENTS[header.type]).reason,
            )
        )
    return reigns
