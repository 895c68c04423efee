"""Calls about people's own keys."""

import json
from functools import partial
from typing import Annotated

from fastapi import APIRouter

from guarantee.identity import Role
from guarantee.signature import PublicKey
from guarantee.signing_keys import register_key
from serving.messages.keys import KeyGiven, KeyRecorded
from serving.received import ReceivedRoute
from serving.rest.frame import CREATED, REFUSALS, Acting, acting

router = APIRouter(prefix="/v1/keys", tags=["keys"], responses=REFUSALS, route_class=ReceivedRoute)


@router.post("", status_code=CREATED)
def register_own_key(
    by: Annotated[Acting, acting(Role.CLINICIAN, Role.COLLEGE)], given: KeyGiven
) -> KeyRecorded:
    """Register your own public key; it takes the place of the one before, for what follows."""
    text = given.jwk if isinstance(given.jwk, str) else json.dumps(given.jwk)
    key = PublicKey.parse(text)
    recorded = by.once(partial(register_key, key=key))
    return KeyRecorded(record_id=recorded.id, index=recorded.index, thumbprint=key.thumbprint)
