"""The thread of custody: who read, what was rectified, held or erased, which keys and backups."""

from dataclasses import replace
from typing import Final

from guarantee.bodies import Purpose, Sharing
from guarantee.footing import cared_for, dossier_of, expect, informations_of
from guarantee.records import Header, RecordType
from guarantee.refusals import (
    AlreadyDone,
    NotCaring,
    OnHold,
    ProtocolError,
    UnknownDossier,
    UnknownInformation,
)
from guarantee.situations import Gate, Gathered, Gathering, Information, Rule, State

GLASS_MS: Final = 24 * 3_600_000
"""How long a broken glass opens a dossier at most."""


def _access(header: Header, state: State) -> None:
    """One dossier was read, or all that is held on a patient."""
    expect(header, outcome=tuple(Purpose))
    if header.dossier is not None:
        dossier_of(header, state)
    else:
        _patient(header, state)


def _break_glass(header: Header, state: State) -> None:
    """It says until when it stays broken; another of the same person takes its place."""
    expect(header, outcome=("opened",))
    key, dossier = dossier_of(header, state)
    until = header.valid_until
    if until is None or not header.time < until <= header.time + GLASS_MS:
        raise ProtocolError("a broken glass closes within 24 hours, and the record says when")
    others = (
        (who, end) for who, end in dossier.glasses if who != header.actor and end >= header.time
    )
    state.put(key, replace(dossier, glasses=(*others, (header.actor, until))), dossier)


def _share(header: Header, state: State) -> None:
    """A carer brings in another one. Under a broken glass nobody brings in anybody."""
    expect(header, outcome=tuple(Sharing))
    key, dossier = cared_for(header, state)
    if header.actor not in dossier.carers:
        raise NotCaring("the glass is broken for you alone: those who care bring in others")
    if header.subject is None:
        raise UnknownDossier("the record does not say with whom the dossier is shared")
    if header.subject in dossier.carers:
        raise AlreadyDone("they are among those who care for this patient here")
    state.put(key, replace(dossier, carers=(*dossier.carers, header.subject)), dossier)


def _gather(header: Header, state: State) -> None:
    """Informations of one patient, for a record that concerns them all to follow."""
    expect(header, outcome=(Gathered.GATHERED,))
    informations = informations_of(header, state)
    if tuple(informations) != header.follows:
        raise UnknownInformation("what is gathered are informations, each once")
    state.put(header.id, Gathering(step=Gathered.GATHERED, informations=header.follows), None)


def _rectify(header: Header, state: State) -> None:
    expect(header, outcome=("rectified",))
    _patient(header, state)


def _hold(header: Header, state: State) -> None:
    expect(header, outcome=("placed", "lifted"))
    placed = header.outcome == "placed"
    informations = _patient(header, state)
    if all(information.held == placed for _, information in informations):
        raise AlreadyDone(f"the hold is {header.outcome} already")
    for key, information in informations:
        if information.held != placed:
            state.put(key, replace(information, held=placed), information)


def _erase(header: Header, state: State) -> None:
    expect(header, outcome=("erased",))
    informations = _patient(header, state)
    if any(information.held for _, information in informations):
        raise OnHold("a legal hold keeps these records: lift it first")
    for key, information in informations:
        state.put(key, replace(information, step=Gate.ERASED), information)


def _patient(header: Header, state: State) -> list[tuple[str, Information]]:
    """Every information of the patient, by which a custody record names whom it concerns.

    That none is left out, so that no hold is passed over, headers cannot tell; for an erasure the
    verifier can: the informations among the records that its body names are those it follows.
    """
    if header.subject is None:
        raise UnknownInformation("the record names no patient")
    return list(informations_of(header, state).items())


def _rotate(header: Header, state: State) -> None:  # noqa: ARG001  # stands on nothing earlier
    expect(header, outcome=("rotated",))


def _back_up(header: Header, state: State) -> None:  # noqa: ARG001  # stands on nothing earlier
    expect(header, outcome=("taken",))


def _open_log(header: Header, state: State) -> None:  # noqa: ARG001  # stands on nothing earlier
    expect(header, outcome=("opened",))


RULES: Final[dict[RecordType, Rule]] = {
    RecordType.ACCESS_RECORDED: _access,
    RecordType.BREAK_GLASS: _break_glass,
    RecordType.CARE_SHARED: _share,
    RecordType.INFORMATIONS_GATHERED: _gather,
    RecordType.PATIENT_RECTIFIED: _rectify,
    RecordType.HOLD_PLACED: _hold,
    RecordType.PATIENT_ERASED: _erase,
    RecordType.KEY_ROTATED: _rotate,
    RecordType.BACKUP_TAKEN: _back_up,
    RecordType.LOG_OPENED: _open_log,
}
