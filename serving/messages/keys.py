"""Messages about people's own keys."""

from typing import Any

from pydantic import Field

from guarantee.bodies import KeyGround
from serving.messages.parts import Signature, StepRecorded, Taken


class KeyGiven(Taken):
    """One's own public key."""

    jwk: dict[str, Any] | str = Field(
        description="RFC 7517, as an object or its text: OKP (Ed25519) or EC (P-256)",
        examples=[
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        ],
    )

    proof: Signature | None = Field(
        default=None,
        description="By this very key: without it, the refusal's `payload` is what to sign",
    )
    endorsement: Signature | None = Field(
        default=None, description="By the key that it replaces, over the same payload"
    )


class KeyLost(Taken):
    """Why another's key must sign no more."""

    ground: KeyGround
    signature: Signature | None = Field(
        default=None,
        description="By your own key: without it, the refusal's `payload` is what to sign",
    )


class KeyRecorded(StepRecorded):
    """A key, now in the log."""

    thumbprint: str = Field(description="RFC 7638: what `kid` names the key by")
