"""Calls about people's own keys."""

import json
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path

from guarantee.identity import Role
from guarantee.signature import PublicKey
from guarantee.signing_keys import register_key, withdraw_key
from serving.messages.keys import KeyGiven, KeyLost, KeyRecorded
from serving.messages.parts import StepRecorded
from serving.received import ReceivedRoute
from serving.rest.frame import CREATED, REFUSALS, Acting, ActingMember, acting

router = APIRouter(prefix="/v1/keys", tags=["keys"], responses=REFUSALS, route_class=ReceivedRoute)


@router.post("", status_code=CREATED)
def register_own_key(
    by: Annotated[Acting, acting(Role.CLINICIAN, Role.COLLEGE)], given: KeyGiven
) -> KeyRecorded:
    """Register your own public key; it takes the place of the one before, for what follows.

    The key signs this, and so does the one that stands; two members of the college withdraw that
    first where it is lost.
    """
    text = given.jwk if isinstance(given.jwk, str) else json.dumps(given.jwk)
    key = PublicKey.parse(text)
    recorded = by.once(
        partial(register_key, key=key, proof=given.proof, endorsement=given.endorsement)
    )
    return KeyRecorded(record_id=recorded.id, index=recorded.index, thumbprint=key.thumbprint)


@router.post("/{thumbprint}/withdrawal", status_code=CREATED)
def withdraw_lost_key(
    by: ActingMember,
    thumbprint: Annotated[str, Path(description="RFC 7638", pattern=r"^[A-Za-z0-9_-]{43}$")],
    lost: KeyLost,
) -> StepRecorded:
    """Say that another's key is lost; once two members have, its holder may register another."""
    return by.step(
        partial(withdraw_key, thumbprint=thumbprint, ground=lost.ground, signature=lost.signature)
    )
