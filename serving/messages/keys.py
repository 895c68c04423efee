"""Messages about people's own keys."""

from typing import Any

from pydantic import Field

from serving.messages.parts import StepRecorded, Taken


class KeyGiven(Taken):
    """One's own public key."""

    jwk: dict[str, Any] | str = Field(
        description="RFC 7517, as an object or its text: OKP (Ed25519) or EC (P-256)",
        examples=[
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        ],
    )


class KeyRecorded(StepRecorded):
    """A key, now in the log."""

    thumbprint: str = Field(description="RFC 7638: what `kid` names the key by")
