"""The clinical thread: informed, asked, decided, told, confirmed, in that order."""

from dataclasses import replace
from functools import lru_cache
from typing import Final

from guarantee.abstention import ABSTAINED
from guarantee.bodies import Decision
from guarantee.footing import (
    cared_for,
    dossier_of,
    exactly,
    expect,
    followed,
    information_of,
    informations_of,
    model_of,
)
from guarantee.records import Header, RecordType
from guarantee.refusals import (
    AlreadyDone,
    Erased,
    NothingToAccept,
    NotInformed,
    NotServing,
    Objected,
    StepMissing,
    Suspended,
    UnknownDossier,
)
from guarantee.situations import Dossier, Gate, Information, Model, Rule, Standing, State, Step

REUSE_REFUSED: Final = "reuse_refused"
"""The outcome of an objection to training on the patient's records, and to nothing else."""


def _inform(header: Header, state: State) -> None:
    expect(header, outcome=(Gate.INFORMED,))
    _open_gate(header, state, Gate.INFORMED)
    for key in followed(header, state):
        deferred = information_of(state, key)
        if deferred.step is Gate.DEFERRED and set(deferred.models) <= set(header.models or ()):
            state.put(key, replace(deferred, step=Gate.INFORMED), deferred)


def _defer(header: Header, state: State) -> None:
    expect(header, outcome=(Gate.DEFERRED,))
    _open_gate(header, state, Gate.DEFERRED)


def _open_gate(header: Header, state: State, step: Gate) -> None:
    if not header.models:
        raise NotInformed("the record names no model that the patient was informed of")
    information = Information(
        step=step, models=header.models, valid_until=header.valid_until, by=header.actor
    )
    state.put(header.id, information, None)


def _object(header: Header, state: State) -> None:
    expect(header, outcome=(Gate.OBJECTED, REUSE_REFUSED))
    informations = informations_of(header, state)
    if header.outcome == REUSE_REFUSED:
        return  # Answers may still be given; `guarantee.reuse` leaves the patient out.
    for key, information in informations.items():
        state.put(key, replace(information, step=Gate.OBJECTED), information)


def _infer(header: Header, state: State) -> None:
    expect(header, outcome=(Step.WITHHELD, Step.ANSWERED, ABSTAINED))
    if header.dossier != header.id or state.get(Dossier, header.id):
        raise UnknownDossier("an inference opens its own dossier")
    (key,) = exactly(header, 1, "the patient's information")
    informer = _check_gate(header, state, key).by
    model = model_of(header, state)
    _check_serving(model)
    if header.model_version != model.version:
        raise NotServing("another version of this model answers by now: ask again")
    dossier = Dossier(
        step=Step.WITHHELD if header.outcome == Step.WITHHELD else Step.ANSWERED,
        model=header.model or "",
        model_version=header.model_version or "",
        information=key,
        carers=_circle(*dict.fromkeys((informer, header.actor))),
        abstained=header.outcome == ABSTAINED,
    )
    state.put(header.id, dossier, None)


@lru_cache(maxsize=1024)
def _circle(*people: str) -> tuple[str, ...]:
    """The same people, in one object for all dossiers of theirs: replays remember millions."""
    return people


def _check_gate(header: Header, state: State, key: str) -> Information:
    information = state.get(Information, key)
    if information is None:
        raise NotInformed("the patient has not been informed: PatientInformed is missing")
    if information.step is Gate.ERASED:
        raise Erased("the patient's records were erased")
    if information.step is Gate.OBJECTED:
        raise Objected("the patient objected to the use of this AI")
    if header.model not in information.models:
        raise NotInformed("the patient was not informed of this model: PatientInformed is missing")
    if information.valid_until is not None and header.time > information.valid_until:
        raise NotInformed("the information has expired: a new PatientInformed is missing")
    return information


def _check_serving(model: Model) -> None:
    if model.step is Standing.SUSPENDED:
        raise Suspended("the model is suspended")
    if model.step is not Standing.SERVING:
        raise NotServing("no version of this model is promoted")


def _first_read(header: Header, state: State) -> None:
    expect(header, outcome=("read",))
    key, dossier = cared_for(header, state)
    if dossier.step is not Step.WITHHELD:
        raise AlreadyDone("the answer is not withheld, or no longer")
    state.put(key, replace(dossier, step=Step.ANSWERED), dossier)


def _decide(header: Header, state: State) -> None:
    expect(header, outcome=tuple(Decision))
    key, dossier = cared_for(header, state)
    if dossier.step is Step.WITHHELD:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    if dossier.step is not Step.ANSWERED:
        raise AlreadyDone("a decision stands: append a correction instead")
    if dossier.abstained and header.outcome == Decision.ACCEPTED:
        raise NothingToAccept("the model abstained: there is nothing to accept")
    # Who decides under a broken glass took the patient on; who corrects a word did not.
    carers = _circle(*dict.fromkeys((*dossier.carers, header.actor)))
    state.put(key, replace(dossier, step=Step.DECIDED, carers=carers), dossier)


def _tell(header: Header, state: State) -> None:
    expect(header, outcome=("told",))
    key, dossier = cared_for(header, state)
    if dossier.step in (Step.WITHHELD, Step.ANSWERED):
        raise StepMissing("nothing is decided yet: DecisionSigned is missing")
    if dossier.step is not Step.DECIDED:
        raise AlreadyDone("the patient was told: append a correction instead")
    state.put(key, replace(dossier, step=Step.TOLD), dossier)


def _confirm(header: Header, state: State) -> None:
    expect(header, outcome=("confirmed",))
    key, dossier = cared_for(header, state)
    if dossier.step in (Step.WITHHELD, Step.ANSWERED):
        raise StepMissing("nothing is decided yet: DecisionSigned is missing")
    if dossier.step is Step.DECIDED:
        raise StepMissing("the patient does not know yet: PatientTold is missing")
    if dossier.step is not Step.TOLD:
        raise AlreadyDone("the outcome was confirmed: append a correction instead")
    state.put(key, replace(dossier, step=Step.CONFIRMED), dossier)


def _lapse(header: Header, state: State) -> None:
    expect(header, outcome=("lapsed",))
    key, dossier = dossier_of(header, state)
    if dossier.lapsed or dossier.step not in (Step.WITHHELD, Step.ANSWERED):
        raise AlreadyDone("the dossier has lapsed before, or a decision stands")
    state.put(key, replace(dossier, lapsed=True), dossier)


def _simulate(header: Header, state: State) -> None:
    """The version is the dossier's, whichever answers by now; the gate is that of answers."""
    expect(header, outcome=("simulated",))
    key, dossier = cared_for(header, state)
    if header.follows != (key,):
        raise UnknownDossier("a simulation follows its dossier's inference, and nothing else")
    if dossier.step is Step.WITHHELD:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    _check_gate(header, state, dossier.information)
    _check_serving(model_of(header, state))


def _correct(header: Header, state: State) -> None:
    expect(header, outcome=("corrected",))
    cared_for(header, state)


RULES: Final[dict[RecordType, Rule]] = {
    RecordType.PATIENT_INFORMED: _inform,
    RecordType.INFORMATION_DEFERRED: _defer,
    RecordType.PATIENT_OBJECTED: _object,
    RecordType.INFERENCE_MADE: _infer,
    RecordType.FIRST_READ: _first_read,
    RecordType.DECISION_SIGNED: _decide,
    RecordType.PATIENT_TOLD: _tell,
    RecordType.OUTCOME_CONFIRMED: _confirm,
    RecordType.REVIEW_LAPSED: _lapse,
    RecordType.WHAT_IF_MADE: _simulate,
    RecordType.CORRECTED: _correct,
}
