"""What a header stands on: the situations that rules of every thread look up."""

from collections.abc import Collection, Iterator

from guarantee.records import Header
from guarantee.refusals import (
    Erased,
    NotAMember,
    NotCaring,
    NotInformed,
    ProtocolError,
    UnknownDossier,
    UnknownInformation,
    UnknownModel,
)
from guarantee.situations import (
    Dossier,
    Gate,
    Gathering,
    Information,
    Member,
    Model,
    State,
    Version,
    View,
    version_key,
)


def expect(header: Header, *, outcome: Collection[str]) -> None:
    """Check that the header's outcome is one of its type's words."""
    if header.outcome not in outcome:
        raise ProtocolError(f"{header.type} has no outcome {header.outcome!r}")


def exactly(header: Header, count: int, what: str) -> tuple[str, ...]:
    """The ids that the header follows, which must be so many."""
    if len(header.follows) != count:
        raise NotInformed(f"{header.type} follows {what}, and nothing else")
    return header.follows


def information_of(state: State, key: str) -> Information:
    """The information of that id, which must be there."""
    information = state.get(Information, key)
    if information is None:
        raise UnknownInformation("the log holds no such information of a patient")
    return information


def informations_of(header: Header, state: State) -> dict[str, Information]:
    """Every information that the header follows, itself or gathered; none of an erased patient."""
    if not header.follows:
        raise UnknownInformation("the record names no information of a patient")
    informations = {key: information_of(state, key) for key in followed(header, state)}
    if any(information.step is Gate.ERASED for information in informations.values()):
        raise Erased("the patient's records were erased")
    return informations


def followed(header: Header, state: View) -> Iterator[str]:
    """The ids that the header follows; in the place of a gathering, those that it gathered."""
    for key in header.follows:
        gathering = state.get(Gathering, key)
        yield from (key,) if gathering is None else gathering.informations


def cared_for(header: Header, state: State) -> tuple[str, Dossier]:
    """As `dossier_of`, where the dossier is open to who acts."""
    key, dossier = dossier_of(header, state)
    check_open(dossier, header.actor, at=header.time)
    return key, dossier


def check_open(dossier: Dossier, person: str, *, at: int) -> None:
    """Check that a clinician may read the dossier, and take its next step.

    Raises:
        NotCaring: They may not.
    """
    if not dossier.is_open_to(person, at=at):
        raise NotCaring(
            "you are none of those who care for this patient here: have one of them bring you in "
            "(POST /v1/inferences/{id}/carers) or, where it cannot wait, break the glass "
            "(POST /v1/inferences/{id}/break-glass)"
        )


def dossier_of(header: Header, state: State) -> tuple[str, Dossier]:
    """The key and situation of the header's dossier, which must be there and its own."""
    dossier = state.get(Dossier, header.dossier) if header.dossier else None
    if header.dossier is None or dossier is None:
        raise UnknownDossier("the log holds no such inference")
    information = state.get(Information, dossier.information)
    if information is not None and information.step is Gate.ERASED:
        raise Erased("the patient's records were erased")
    if (header.model, header.model_version) != (dossier.model, dossier.model_version):
        raise UnknownDossier("the record names another model than its dossier")
    return header.dossier, dossier


def version_named(header: Header) -> tuple[str, str]:
    """The model's name and the version's key in the header."""
    if header.model is None or header.model_version is None:
        raise UnknownModel(f"{header.type} names no version")
    return header.model, version_key(header.model, header.model_version)


def version_of(header: Header, state: State) -> Version:
    """The version that the header names, which must be registered."""
    _, key = version_named(header)
    version = state.get(Version, key)
    if version is None:
        raise UnknownModel("no such version of this model is registered")
    return version


def model_of(header: Header, state: State) -> Model:
    """The model that the header names, which must be registered."""
    model = state.get(Model, header.model) if header.model else None
    if model is None:
        raise UnknownModel("no model of that name is registered")
    return model


def seated(header: Header, state: State) -> None:
    """Check that the actor has a seat in the college."""
    if state.get(Member, header.actor) is None:
        raise NotAMember("the actor has no seat in the college: MemberAppointed is missing")
