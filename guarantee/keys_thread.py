"""The thread of people's own keys: registered, withdrawn, and what must be signed with them.

Headers name a key by its thumbprint; that it signed what it should, the bodies' readers check:
see `guarantee.signing_keys`.
"""

from dataclasses import replace
from typing import Final

from guarantee.footing import expect, seated
from guarantee.records import Header, RecordType
from guarantee.refusals import (
    AlreadyDone,
    NotAMember,
    OwnKeyNeeded,
    ProtocolError,
    RoleRefused,
    StepMissing,
)
from guarantee.situations import KeyHolder, KeyStep, OwnKey, Rule, State

WITHDRAWALS_NEEDED: Final = 2
"""So many members of the college, each with a key of their own, say that another's key is lost."""

COLLEGE_ACTS: Final = frozenset(
    {
        RecordType.MEMBER_APPOINTED,
        RecordType.VOTE_CAST,
        RecordType.DRAW_ANNOUNCED,
        RecordType.DRAW_ABANDONED,
        RecordType.CASE_REVIEWED,
        RecordType.MODEL_RESUMED,
        RecordType.KEY_WITHDRAWN,
    }
)
"""What a member who has a key of their own signs with it: a token for them is not enough."""


def check_signed(header: Header, state: State) -> None:
    """Check that a record names its actor's present key where it must, and no key elsewhere."""
    if (header.key is None) != (header.signature is None):
        raise ProtocolError("a record has a signature and its key, or neither")
    decision = header.type is RecordType.DECISION_SIGNED
    if (header.statement is not None) != (decision and header.key is not None):
        raise ProtocolError("signed decisions, and they alone, have a statement")
    if header.type in COLLEGE_ACTS or (decision and header.key is not None):
        _check_present_key(header, state.get(KeyHolder, header.actor))
    elif header.key is not None and header.type is not RecordType.KEY_REGISTERED:
        raise ProtocolError(f"{header.type} is signed by nobody")


def _check_present_key(header: Header, holder: KeyHolder | None) -> None:
    if holder is None:
        if header.key is not None:
            raise OwnKeyNeeded("the record is signed, and its actor has registered no key")
    elif holder.step is KeyStep.WITHDRAWN:
        raise OwnKeyNeeded("the key of yours was withdrawn: register a new one first")
    elif header.key is None:
        raise OwnKeyNeeded("the actor has a key of their own: sign with it")
    elif header.key != holder.key:
        raise OwnKeyNeeded("the record names another key than its actor's present one: sign again")


def _register(header: Header, state: State) -> None:
    """A first key; one in place of a standing key, which signs, too; or of a withdrawn one."""
    expect(header, outcome=("registered",))
    if header.subject != header.actor:
        raise RoleRefused("everyone registers their own key, and nobody else's")
    if header.key is None:
        raise OwnKeyNeeded("the record does not name the key that it registers")
    if state.get(OwnKey, header.key) is not None:
        raise AlreadyDone("this key was registered before: make a new one")
    holder = state.get(KeyHolder, header.actor)
    if header.follows != registered_over(holder):
        raise StepMissing("another key of yours stands by now: sign the registration again")
    state.put(header.key, OwnKey(step=KeyStep.REGISTERED, holder=header.actor), None)
    registered = KeyHolder(step=KeyStep.REGISTERED, registration=header.id, key=header.key)
    state.put(header.actor, registered, holder)


def registered_over(holder: KeyHolder | None) -> tuple[str, ...]:
    """What a registration follows: the one that it replaces, and the withdrawals of that, if any.

    So one id alone means that the standing key must have signed, too.
    """
    if holder is None:
        return ()
    if holder.step is KeyStep.REGISTERED:
        return (holder.registration,)
    return (holder.registration, *(record for _, record in holder.withdrawals))


def _withdraw(header: Header, state: State) -> None:
    """One member's word that another's key is lost; enough of them, and it signs no more."""
    expect(header, outcome=("withdrawn",))
    seated(header, state)
    if header.key is None:
        raise OwnKeyNeeded("register a key of your own first: this is signed with it")
    if header.subject == header.actor:
        raise NotAMember("others say that a key is lost; replace your own with it")
    holder = state.get(KeyHolder, header.subject) if header.subject else None
    if holder is None or header.follows != (holder.registration,):
        raise StepMissing("no such key stands: KeyRegistered is missing")
    if holder.step is KeyStep.WITHDRAWN or header.actor in dict(holder.withdrawals):
        raise AlreadyDone("the key is withdrawn, or you have said so")
    withdrawals = (*holder.withdrawals, (header.actor, header.id))
    enough = len(withdrawals) >= WITHDRAWALS_NEEDED
    step = KeyStep.WITHDRAWN if enough else KeyStep.REGISTERED
    moved = replace(holder, step=step, withdrawals=withdrawals)
    state.put(header.subject or "", moved, holder)


RULES: Final[dict[RecordType, Rule]] = {
    RecordType.KEY_REGISTERED: _register,
    RecordType.KEY_WITHDRAWN: _withdraw,
}
