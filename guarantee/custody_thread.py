"""The thread of custody: who read, what was rectified, held or erased, which keys and backups."""

from dataclasses import replace
from typing import Final

from guarantee.bodies import Purpose
from guarantee.footing import dossier_of, expect, information_of
from guarantee.records import Header, RecordType
from guarantee.refusals import AlreadyDone, Erased, OnHold, UnknownInformation
from guarantee.situations import Gate, Information, Rule, State


def _access(header: Header, state: State) -> None:
    """One dossier was read, or all that is held on a patient."""
    expect(header, outcome=tuple(Purpose))
    if header.dossier is not None:
        dossier_of(header, state)
    else:
        _patient(header, state)


def _break_glass(header: Header, state: State) -> None:
    expect(header, outcome=("opened",))
    dossier_of(header, state)


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
    if not header.follows or header.subject is None:
        raise UnknownInformation("the record names no patient, or no information of theirs")
    informations = [(key, information_of(state, key)) for key in header.follows]
    if any(information.step is Gate.ERASED for _, information in informations):
        raise Erased("the patient's records were erased")
    return informations


def _rotate(header: Header, state: State) -> None:  # noqa: ARG001  # stands on nothing earlier
    expect(header, outcome=("rotated",))


def _back_up(header: Header, state: State) -> None:  # noqa: ARG001  # stands on nothing earlier
    expect(header, outcome=("taken",))


def _open_log(header: Header, state: State) -> None:  # noqa: ARG001  # stands on nothing earlier
    expect(header, outcome=("opened",))


RULES: Final[dict[RecordType, Rule]] = {
    RecordType.ACCESS_RECORDED: _access,
    RecordType.BREAK_GLASS: _break_glass,
    RecordType.PATIENT_RECTIFIED: _rectify,
    RecordType.HOLD_PLACED: _hold,
    RecordType.PATIENT_ERASED: _erase,
    RecordType.KEY_ROTATED: _rotate,
    RecordType.BACKUP_TAKEN: _back_up,
    RecordType.LOG_OPENED: _open_log,
}
