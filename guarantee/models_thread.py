"""The models' thread: registered, promoted, stopped, resumed, and what is seen of them."""

from dataclasses import replace
from typing import Final

from guarantee.college_thread import missing_votes
from guarantee.footing import expect, model_of, seated, version_named, version_of
from guarantee.records import Header, RecordType
from guarantee.refusals import (
    AlreadyDone,
    NotApproved,
    NotServing,
    ProtocolError,
    StepMissing,
)
from guarantee.situations import Model, Rule, Standing, State, Verdict, Version, version_key


def _register(header: Header, state: State) -> None:
    expect(header, outcome=("registered",))
    name, key = version_named(header)
    if state.get(Version, key) is not None:
        raise AlreadyDone(f"version {header.model_version} of {name} is registered")
    state.put(key, Version(step=Verdict.OPEN, registration=header.id, registrar=header.actor), None)
    if state.get(Model, name) is None:
        state.put(name, Model(step=Standing.REGISTERED), None)


def _promote(header: Header, state: State) -> None:
    expect(header, outcome=("promoted",))
    name, _ = version_named(header)
    version = version_of(header, state)
    if version.step is not Verdict.APPROVED:
        missing = ", ".join(missing_votes(version, state)) or "ModelApproved"
        raise NotApproved(f"the college has not approved this version; missing: {missing}")
    model = model_of(header, state)
    if model.step is Standing.SERVING and model.version == header.model_version:
        raise AlreadyDone("this version answers already")
    # A promotion does not lift a suspension: the college alone resumes.
    step = model.step if model.step is Standing.SUSPENDED else Standing.SERVING
    # What was found of one version says nothing of the next one.
    moved = replace(
        model,
        step=step,
        version=header.model_version,
        promotion=header.id,
        drifting=False,
        failing=False,
    )
    state.put(name, moved, model)


def _suspend(header: Header, state: State) -> None:
    expect(header, outcome=("suspended",))
    model = model_of(header, state)
    if model.step is Standing.SUSPENDED:
        raise AlreadyDone("the model is suspended")
    moved = replace(model, step=Standing.SUSPENDED, cause=header.id)
    state.put(header.model or "", moved, model)


def _resume(header: Header, state: State) -> None:
    expect(header, outcome=("resumed",))
    seated(header, state)
    model = model_of(header, state)
    if model.step is not Standing.SUSPENDED:
        raise AlreadyDone("the model is not suspended")
    if header.follows != ((model.cause,) if model.cause is not None else ()):
        raise StepMissing("the record names another suspension than the present one: look again")
    step = Standing.SERVING if model.version else Standing.REGISTERED
    state.put(header.model or "", replace(model, step=step, cause=None), model)


def _update(header: Header, state: State) -> None:
    """An update of what answers, approved by the change protocol that the college voted on.

    That the model learns, and that the update keeps inside the bounds, bodies in clear say.
    """
    expect(header, outcome=("updated",))
    name, key = version_named(header)
    version = version_of(header, state)
    if version.step is not Verdict.OPEN:
        raise AlreadyDone("this version is approved")
    if version.votes:
        raise NotApproved("the college votes on this version: its votes decide")
    answering = model_of(header, state).version
    before = state.get(Version, version_key(name, answering)) if answering else None
    if before is None:
        raise NotServing("no version of this model is promoted, so there is none to update")
    if header.follows != (before.charter,):
        raise NotApproved("it follows another registration than that whose protocol it is under")
    state.put(key, replace(version, step=Verdict.APPROVED, under=before.charter), version)


def _score(header: Header, state: State) -> None:
    expect(header, outcome=("scored",))
    version_of(header, state)


def _drift(header: Header, state: State) -> None:
    expect(header, outcome=("drifted", "cleared"))
    drifted = header.type is RecordType.DRIFT_DETECTED
    if drifted != (header.outcome == "drifted"):
        raise ProtocolError("the outcome contradicts the record's type")
    version_of(header, state)
    model = model_of(header, state)
    if model.version != header.model_version:
        return  # Of a version that answers no more.
    if not drifted and not model.drifting:
        raise StepMissing("no drift stands: DriftDetected is missing")
    if model.drifting != drifted:
        state.put(header.model or "", replace(model, drifting=drifted), model)


def _incident(header: Header, state: State) -> None:
    reported = header.type is RecordType.INCIDENT_REPORTED
    expect(header, outcome=("reported",) if reported else ("ended",))
    version_of(header, state)
    model = model_of(header, state)
    if model.version != header.model_version:
        return
    if not reported and not model.failing:
        raise StepMissing("no incident stands: IncidentReported is missing")
    if model.failing != reported:
        state.put(header.model or "", replace(model, failing=reported), model)


RULES: Final[dict[RecordType, Rule]] = {
    RecordType.MODEL_REGISTERED: _register,
    RecordType.MODEL_PROMOTED: _promote,
    RecordType.MODEL_SUSPENDED: _suspend,
    RecordType.MODEL_RESUMED: _resume,
    RecordType.MODEL_UPDATED: _update,
    RecordType.COHORT_SCORED: _score,
    RecordType.DRIFT_DETECTED: _drift,
    RecordType.DRIFT_CLEARED: _drift,
    RecordType.INCIDENT_REPORTED: _incident,
    RecordType.INCIDENT_ENDED: _incident,
}
