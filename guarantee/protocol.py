"""The order of steps: one pure function that recording obeys and verification replays.

Every rule reads headers alone. `advance` takes the next header and the state that the log's
earlier records led to; it moves the state, or refuses and names the step that is missing.

Once a version of Garant is released, these rules stand for headers of version 1: a stricter rule
would convict honest logs, so it comes with a header version of its own.
"""

from typing import Final

from guarantee import clinical_thread, college_thread, custody_thread, keys_thread, models_thread
from guarantee.identity import Role
from guarantee.records import Header, RecordType
from guarantee.refusals import ProtocolError, RoleRefused
from guarantee.situations import Insider, Member, Rule, State

_RULES: Final[dict[RecordType, Rule]] = {
    **clinical_thread.RULES,
    **models_thread.RULES,
    **college_thread.RULES,
    **custody_thread.RULES,
    **keys_thread.RULES,
}

_CLINICAL: Final = frozenset({Role.CLINICIAN})
_COLLEGE: Final = frozenset({Role.COLLEGE})
_MONITOR: Final = frozenset({Role.MONITOR})
_SCIENTIST: Final = frozenset({Role.DATA_SCIENTIST})
_DPO: Final = frozenset({Role.DPO})
_OPERATOR: Final = frozenset({Role.INTEGRATOR})
ROLES: Final[dict[RecordType, frozenset[Role]]] = {
    RecordType.PATIENT_INFORMED: _CLINICAL,
    RecordType.INFORMATION_DEFERRED: _CLINICAL,
    RecordType.PATIENT_OBJECTED: _CLINICAL | _DPO,
    RecordType.INFERENCE_MADE: _CLINICAL,
    RecordType.FIRST_READ: _CLINICAL,
    RecordType.DECISION_SIGNED: _CLINICAL,
    RecordType.PATIENT_TOLD: _CLINICAL,
    RecordType.OUTCOME_CONFIRMED: _CLINICAL,
    RecordType.REVIEW_LAPSED: _MONITOR,
    RecordType.WHAT_IF_MADE: _CLINICAL,
    RecordType.CORRECTED: _CLINICAL,
    RecordType.MODEL_REGISTERED: _SCIENTIST,
    RecordType.MODEL_PROMOTED: _SCIENTIST | _COLLEGE,
    RecordType.MODEL_SUSPENDED: _CLINICAL | _COLLEGE | _MONITOR,
    RecordType.MODEL_RESUMED: _COLLEGE,
    RecordType.MODEL_UPDATED: _SCIENTIST,
    RecordType.COHORT_SCORED: _SCIENTIST,
    RecordType.DRIFT_DETECTED: _MONITOR,
    RecordType.DRIFT_CLEARED: _MONITOR,
    RecordType.INCIDENT_REPORTED: _MONITOR,
    RecordType.INCIDENT_ENDED: _MONITOR,
    RecordType.MEMBER_APPOINTED: _COLLEGE,
    RecordType.VOTE_CAST: _COLLEGE,
    RecordType.MODEL_APPROVED: _COLLEGE,
    RecordType.DRAW_ANNOUNCED: _COLLEGE,
    RecordType.DRAW_ABANDONED: _COLLEGE,
    RecordType.SAMPLE_DRAWN: _COLLEGE,
    RecordType.CASE_REVIEWED: _COLLEGE,
    RecordType.ACCESS_RECORDED: _CLINICAL | _COLLEGE | _DPO | _MONITOR,
    RecordType.BREAK_GLASS: _CLINICAL,
    RecordType.CARE_SHARED: _CLINICAL,
    RecordType.INFORMATIONS_GATHERED: _CLINICAL | _DPO,
    RecordType.PATIENT_RECTIFIED: _DPO,
    RecordType.PATIENT_ERASED: _DPO,
    RecordType.HOLD_PLACED: _DPO,
    RecordType.KEY_REGISTERED: _CLINICAL | _COLLEGE,
    RecordType.KEY_WITHDRAWN: _COLLEGE,
    RecordType.KEY_ROTATED: _OPERATOR,
    RecordType.BACKUP_TAKEN: _OPERATOR,
    RecordType.LOG_OPENED: _OPERATOR,
}
"""Who may append what."""


_INSIDERS: Final = _SCIENTIST | _MONITOR | _OPERATOR


MOST_FOLLOWED: Final = 1500
"""So that a header's length fits into two bytes, as c2sp.org/tlog-tiles needs it."""


def advance(header: Header, state: State) -> None:
    """Move `state` by one record.

    Args:
        header: The next record of the log.
        state: What the records before it led to; unchanged where this raises.

    Raises:
        ProtocolError: The record may not stand here; the message names what is missing.
    """
    if header.role not in ROLES[header.type]:
        allowed = ", ".join(sorted(ROLES[header.type]))
        raise RoleRefused(f"{header.type} is for {allowed}, not for {header.role}")
    if len(header.follows) > MOST_FOLLOWED:
        raise ProtocolError(f"a record follows {MOST_FOLLOWED} others at most")
    _check_apart(header, state)
    keys_thread.check_signed(header, state)
    _RULES[header.type](header, state)
    if header.role in _INSIDERS and state.get(Insider, header.actor) is None:
        state.put(header.actor, Insider(step=header.role), None)


def _check_apart(header: Header, state: State) -> None:
    """Nobody who makes, runs or watches the models sits in the college, at any time."""
    if header.role == Role.COLLEGE:
        insider = state.get(Insider, header.actor)
        if insider is not None:
            raise RoleRefused(f"whoever acted as {insider.step} does not act for the college")
    elif header.role in _INSIDERS and state.get(Member, header.actor) is not None:
        raise RoleRefused(f"a member of the college does not act as {header.role}")
