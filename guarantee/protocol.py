"""The order of steps: one pure function that recording obeys and verification replays.

Every rule reads headers alone. `advance` takes the next header and the state that the log's
earlier records led to; it moves the state, or refuses and names the step that is missing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, TypeVar

from guarantee.errors import GuaranteeError
from guarantee.identity import Profession, Role
from guarantee.records import Decision, Header, RecordType


class ProtocolError(GuaranteeError):
    """A record whose precondition fails: it is refused alone and never logged."""


class NotInformed(ProtocolError):
    """No information of the patient opens the gate; inform first."""


class Objected(ProtocolError):
    """The patient objected; there is no answer."""


class UnknownDossier(ProtocolError):
    """The log holds no such inference."""


class UnknownInformation(ProtocolError):
    """The log holds no such information of a patient."""


class StepMissing(ProtocolError):
    """An earlier step of the dossier was not taken; the message names it."""


class AlreadyDone(ProtocolError):
    """The step was taken; append a correction instead."""


class UnknownModel(ProtocolError):
    """The log holds no such model or version."""


class NotApproved(ProtocolError):
    """The college has not approved that version."""


class NotServing(ProtocolError):
    """No version of the model is promoted, or another one is by now."""


class Suspended(ProtocolError):
    """The model was stopped; the college resumes it."""


class NotAMember(ProtocolError):
    """The actor has no seat in the college."""


class RoleRefused(ProtocolError):
    """The actor's role may not append such a record."""


class Gate(StrEnum):
    """The steps of a patient's information."""

    INFORMED = "informed"
    DEFERRED = "deferred"
    OBJECTED = "objected"


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
    votes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One seat of the college, by its holder's pseudonym."""

    step: Profession
    appointment: str


Situation = Information | Dossier | Model | Version | Member
S = TypeVar("S", Information, Dossier, Model, Version, Member)


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
        self.situations: dict[tuple[type[Situation], str], Situation] = {}

    def get(self, kind: type[S], key: str) -> S | None:
        """The situation of that kind and key, if there is one."""
        return self.situations.get((kind, key))  # type: ignore[return-value]  # keyed by its type

    def put(self, key: str, new: Situation, old: Situation | None) -> None:  # noqa: ARG002  # State's
        """Move a situation."""
        self.situations[type(new), key] = new


QUORUM = frozenset({Profession.PHYSICIAN, Profession.PARAMEDIC, Profession.PATIENT_REPRESENTATIVE})
"""The seats whose votes an approval needs at least."""

_CLINICAL = frozenset({Role.CLINICIAN})
_ROLES: dict[RecordType, frozenset[Role]] = {
    RecordType.PATIENT_INFORMED: _CLINICAL,
    RecordType.INFORMATION_DEFERRED: _CLINICAL,
    RecordType.PATIENT_OBJECTED: frozenset({Role.CLINICIAN, Role.DPO}),
    RecordType.INFERENCE_MADE: _CLINICAL,
    RecordType.FIRST_READ: _CLINICAL,
    RecordType.DECISION_SIGNED: _CLINICAL,
    RecordType.PATIENT_TOLD: _CLINICAL,
    RecordType.OUTCOME_CONFIRMED: _CLINICAL,
    RecordType.REVIEW_LAPSED: frozenset({Role.MONITOR}),
    RecordType.CORRECTED: _CLINICAL,
    RecordType.MODEL_REGISTERED: frozenset({Role.DATA_SCIENTIST}),
    RecordType.VOTE_CAST: frozenset({Role.COLLEGE}),
    RecordType.MODEL_APPROVED: frozenset({Role.COLLEGE}),
    RecordType.MODEL_PROMOTED: frozenset({Role.DATA_SCIENTIST, Role.COLLEGE}),
    RecordType.MODEL_SUSPENDED: frozenset({Role.CLINICIAN, Role.COLLEGE, Role.MONITOR}),
    RecordType.MODEL_RESUMED: frozenset({Role.COLLEGE}),
    RecordType.COHORT_SCORED: frozenset({Role.DATA_SCIENTIST}),
    RecordType.DRIFT_DETECTED: frozenset({Role.MONITOR}),
    RecordType.DRIFT_CLEARED: frozenset({Role.MONITOR}),
    RecordType.MEMBER_APPOINTED: frozenset({Role.COLLEGE}),
}


def advance(header: Header, state: State) -> None:
    """Move `state` by one record.

    Args:
        header: The next record of the log.
        state: What the records before it led to; unchanged where this raises.

    Raises:
        ProtocolError: The record may not stand here; the message names what is missing.
    """
    if header.role not in _ROLES[header.type]:
        allowed = ", ".join(sorted(_ROLES[header.type]))
        raise RoleRefused(f"{header.type} is for {allowed}, not for {header.role}")
    _RULES[header.type](header, state)


def version_key(name: str, version: str) -> str:
    """The key of a version's situation."""
    return f"{name}/{version}"


def _inform(header: Header, state: State) -> None:
    _expect(header, outcome=(Gate.INFORMED,))
    _open_gate(header, state, Gate.INFORMED)


def _defer(header: Header, state: State) -> None:
    _expect(header, outcome=(Gate.DEFERRED,))
    _open_gate(header, state, Gate.DEFERRED)


def _open_gate(header: Header, state: State, step: Gate) -> None:
    if not header.models:
        raise NotInformed("the record names no model that the patient was informed of")
    information = Information(step=step, models=header.models, valid_until=header.valid_until)
    state.put(header.id, information, None)


def _object(header: Header, state: State) -> None:
    _expect(header, outcome=(Gate.OBJECTED,))
    if not header.follows:
        raise UnknownInformation("an objection names the information that it ends")
    ended = [(key, _information(state, key)) for key in header.follows]
    for key, information in ended:
        state.put(key, replace(information, step=Gate.OBJECTED), information)


def _infer(header: Header, state: State) -> None:
    _expect(header, outcome=(Step.WITHHELD, Step.ANSWERED, "abstained"))
    if header.dossier != header.id or state.get(Dossier, header.id):
        raise UnknownDossier("an inference opens its own dossier")
    (key,) = _exactly(header, 1, "the patient's information")
    information = state.get(Information, key)
    if information is None:
        raise NotInformed("the patient has not been informed: PatientInformed is missing")
    if information.step is Gate.OBJECTED:
        raise Objected("the patient objected to the use of this AI")
    if header.model not in information.models:
        raise NotInformed("the patient was not informed of this model: PatientInformed is missing")
    if information.valid_until is not None and header.time > information.valid_until:
        raise NotInformed("the information has expired: a new PatientInformed is missing")
    model = _model(header, state)
    _check_serving(model)
    if header.model_version != model.version:
        raise NotServing("another version of this model answers by now: ask again")
    dossier = Dossier(
        step=Step.WITHHELD if header.outcome == Step.WITHHELD else Step.ANSWERED,
        model=header.model or "",
        model_version=header.model_version or "",
        information=key,
    )
    state.put(header.id, dossier, None)


def _check_serving(model: Model) -> None:
    if model.step is Standing.SUSPENDED:
        raise Suspended("the model is suspended")
    if model.step is not Standing.SERVING:
        raise NotServing("no version of this model is promoted")


def _first_read(header: Header, state: State) -> None:
    _expect(header, outcome=("read",))
    key, dossier = _dossier(header, state)
    if dossier.step is not Step.WITHHELD:
        raise AlreadyDone("the answer is not withheld, or no longer")
    state.put(key, replace(dossier, step=Step.ANSWERED), dossier)


def _decide(header: Header, state: State) -> None:
    _expect(header, outcome=tuple(Decision))
    key, dossier = _dossier(header, state)
    if dossier.step is Step.WITHHELD:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    if dossier.step is not Step.ANSWERED:
        raise AlreadyDone("a decision stands: append a correction instead")
    state.put(key, replace(dossier, step=Step.DECIDED), dossier)


def _tell(header: Header, state: State) -> None:
    _expect(header, outcome=("told",))
    key, dossier = _dossier(header, state)
    if dossier.step in (Step.WITHHELD, Step.ANSWERED):
        raise StepMissing("nothing is decided yet: DecisionSigned is missing")
    if dossier.step is not Step.DECIDED:
        raise AlreadyDone("the patient was told: append a correction instead")
    state.put(key, replace(dossier, step=Step.TOLD), dossier)


def _confirm(header: Header, state: State) -> None:
    _expect(header, outcome=("confirmed",))
    key, dossier = _dossier(header, state)
    if dossier.step in (Step.WITHHELD, Step.ANSWERED):
        raise StepMissing("nothing is decided yet: DecisionSigned is missing")
    if dossier.step is Step.DECIDED:
        raise StepMissing("the patient does not know yet: PatientTold is missing")
    if dossier.step is not Step.TOLD:
        raise AlreadyDone("the outcome was confirmed: append a correction instead")
    state.put(key, replace(dossier, step=Step.CONFIRMED), dossier)


def _lapse(header: Header, state: State) -> None:
    _expect(header, outcome=("lapsed",))
    key, dossier = _dossier(header, state)
    if dossier.lapsed or dossier.step not in (Step.WITHHELD, Step.ANSWERED):
        raise AlreadyDone("the dossier has lapsed before, or a decision stands")
    state.put(key, replace(dossier, lapsed=True), dossier)


def _correct(header: Header, state: State) -> None:
    _expect(header, outcome=("corrected",))
    _dossier(header, state)


def _register(header: Header, state: State) -> None:
    _expect(header, outcome=("registered",))
    name, key = _version_named(header)
    if state.get(Version, key) is not None:
        raise AlreadyDone(f"version {header.model_version} of {name} is registered")
    state.put(key, Version(step=Verdict.OPEN, registration=header.id), None)
    if state.get(Model, name) is None:
        state.put(name, Model(step=Standing.REGISTERED), None)


def _vote(header: Header, state: State) -> None:
    _expect(header, outcome=("for", "against"))
    _, key = _version_named(header)
    version = _version(header, state)
    if state.get(Member, header.actor) is None:
        raise NotAMember("the voter has no seat in the college: MemberAppointed is missing")
    if version.step is not Verdict.OPEN:
        raise AlreadyDone("the college has approved this version")
    if header.actor in (voter for voter, _ in version.votes):
        raise AlreadyDone("this member has voted on this version")
    votes = (*version.votes, (header.actor, header.outcome))
    state.put(key, replace(version, votes=votes), version)


def _approve(header: Header, state: State) -> None:
    _expect(header, outcome=("approved",))
    _, key = _version_named(header)
    version = _version(header, state)
    if version.step is not Verdict.OPEN:
        raise AlreadyDone("the college has approved this version")
    missing = missing_votes(version, state)
    if missing:
        raise NotApproved("votes are missing: " + ", ".join(missing))
    state.put(key, replace(version, step=Verdict.APPROVED), version)


def missing_votes(version: Version, state: View) -> tuple[str, ...]:
    """What an approval still needs: a seat of the quorum without a vote for, or a majority."""
    in_favour = {voter for voter, word in version.votes if word == "for"}
    seats = {member.step for voter in in_favour if (member := state.get(Member, voter))}
    missing: list[str] = sorted(QUORUM - seats)
    if not missing and 2 * len(in_favour) <= len(version.votes):
        missing = ["a majority"]
    return tuple(missing)


def _promote(header: Header, state: State) -> None:
    _expect(header, outcome=("promoted",))
    name, _ = _version_named(header)
    version = _version(header, state)
    if version.step is not Verdict.APPROVED:
        missing = ", ".join(missing_votes(version, state)) or "ModelApproved"
        raise NotApproved(f"the college has not approved this version; missing: {missing}")
    model = _model(header, state)
    if model.step is Standing.SERVING and model.version == header.model_version:
        raise AlreadyDone("this version answers already")
    # A promotion does not lift a suspension: the college alone resumes.
    step = model.step if model.step is Standing.SUSPENDED else Standing.SERVING
    # What drifted away from one version's reference says nothing of the next one's.
    moved = replace(
        model, step=step, version=header.model_version, promotion=header.id, drifting=False
    )
    state.put(name, moved, model)


def _suspend(header: Header, state: State) -> None:
    _expect(header, outcome=("suspended",))
    model = _model(header, state)
    if model.step is Standing.SUSPENDED:
        raise AlreadyDone("the model is suspended")
    moved = replace(model, step=Standing.SUSPENDED, cause=header.id)
    state.put(header.model or "", moved, model)


def _resume(header: Header, state: State) -> None:
    _expect(header, outcome=("resumed",))
    model = _model(header, state)
    if model.step is not Standing.SUSPENDED:
        raise AlreadyDone("the model is not suspended")
    step = Standing.SERVING if model.version else Standing.REGISTERED
    state.put(header.model or "", replace(model, step=step, cause=None), model)


def _score(header: Header, state: State) -> None:
    _expect(header, outcome=("scored",))
    _version(header, state)


def _drift(header: Header, state: State) -> None:
    _expect(header, outcome=("drifted", "cleared"))
    drifted = header.type is RecordType.DRIFT_DETECTED
    if drifted != (header.outcome == "drifted"):
        raise ProtocolError("the outcome contradicts the record's type")
    _version(header, state)
    model = _model(header, state)
    if not drifted and not model.drifting:
        raise StepMissing("no drift stands: DriftDetected is missing")
    if model.drifting != drifted:
        state.put(header.model or "", replace(model, drifting=drifted), model)


def _appoint(header: Header, state: State) -> None:
    _expect(header, outcome=tuple(Profession))
    if header.subject is None:
        raise NotAMember("the appointment names nobody")
    if state.get(Member, header.subject) is not None:
        raise AlreadyDone("this person has a seat in the college")
    seat = Member(step=Profession(header.outcome), appointment=header.id)
    state.put(header.subject, seat, None)


def _expect(header: Header, *, outcome: Iterable[str]) -> None:
    if header.outcome not in set(outcome):
        raise ProtocolError(f"{header.type} has no outcome {header.outcome!r}")


def _exactly(header: Header, count: int, what: str) -> tuple[str, ...]:
    if len(header.follows) != count:
        raise NotInformed(f"{header.type} follows {what}, and nothing else")
    return header.follows


def _information(state: State, key: str) -> Information:
    information = state.get(Information, key)
    if information is None:
        raise UnknownInformation("the log holds no such information of a patient")
    return information


def _dossier(header: Header, state: State) -> tuple[str, Dossier]:
    dossier = state.get(Dossier, header.dossier) if header.dossier else None
    if header.dossier is None or dossier is None:
        raise UnknownDossier("the log holds no such inference")
    if (header.model, header.model_version) != (dossier.model, dossier.model_version):
        raise UnknownDossier("the record names another model than its dossier")
    return header.dossier, dossier


def _version_named(header: Header) -> tuple[str, str]:
    if header.model is None or header.model_version is None:
        raise UnknownModel(f"{header.type} names no version")
    return header.model, version_key(header.model, header.model_version)


def _version(header: Header, state: State) -> Version:
    name, key = _version_named(header)
    version = state.get(Version, key)
    if version is None:
        raise UnknownModel(f"no version {header.model_version} of {name} is registered")
    return version


def _model(header: Header, state: State) -> Model:
    model = state.get(Model, header.model) if header.model else None
    if model is None:
        raise UnknownModel(f"no model {header.model} is registered")
    return model


_RULES: dict[RecordType, Callable[[Header, State], None]] = {
    RecordType.PATIENT_INFORMED: _inform,
    RecordType.INFORMATION_DEFERRED: _defer,
    RecordType.PATIENT_OBJECTED: _object,
    RecordType.INFERENCE_MADE: _infer,
    RecordType.FIRST_READ: _first_read,
    RecordType.DECISION_SIGNED: _decide,
    RecordType.PATIENT_TOLD: _tell,
    RecordType.OUTCOME_CONFIRMED: _confirm,
    RecordType.REVIEW_LAPSED: _lapse,
    RecordType.CORRECTED: _correct,
    RecordType.MODEL_REGISTERED: _register,
    RecordType.VOTE_CAST: _vote,
    RecordType.MODEL_APPROVED: _approve,
    RecordType.MODEL_PROMOTED: _promote,
    RecordType.MODEL_SUSPENDED: _suspend,
    RecordType.MODEL_RESUMED: _resume,
    RecordType.COHORT_SCORED: _score,
    RecordType.DRIFT_DETECTED: _drift,
    RecordType.DRIFT_CLEARED: _drift,
    RecordType.MEMBER_APPOINTED: _appoint,
}
