"""What a clinician's own key signs of a decision, and what an issuer attests of it.

The signature covers digests that stand in headers, so that an export shows whose key signed which
decision; the words are sealed, and hidden in one of the digests.
"""

import hmac
from hashlib import sha256
from typing import Final

import rfc8785

from guarantee.bodies import DecisionSigned
from guarantee.identity import Assurance
from guarantee.pseudonyms import KnownActor
from guarantee.records import Header
from guarantee.signature import PublicKey, SignatureRefused, verify_attestation
from guarantee.signing_keys import check_signature

EMBEDDED_ISSUER = "urn:garant:issuer:"
"""How names of embedded issuers begin; the thumbprint of their key follows."""

_STATEMENT_TAG: Final = b"garant signed statement v1\0"


def salt_of(patient_key: bytes, inference: str) -> bytes:
    """The 32 bytes that hide what was decided on an inference; gone with the patient's key."""
    return hmac.digest(patient_key, b"garant statement salt v1\0" + inference.encode(), "sha256")


def statement_of(salt: bytes, *, label: str | None, reason: str | None) -> str:
    """What stands in a header for a decision's words, which nobody can guess without the salt.

    SHA-256, hexadecimal, over a tag, the salt, and the RFC 8785 JSON of `label` and `reason`,
    which may be null.
    """
    words = rfc8785.dumps({"label": label, "reason": reason})
    return sha256(_STATEMENT_TAG + salt + words).hexdigest()


def decision_payload(inference: str, *, header_sha256: str, decision: str, statement: str) -> bytes:
    """What a clinician's own key signs: the decision and what it is about.

    All of it stands in headers, so that whoever holds an export can check the signature; the
    words are hidden in `statement`, and whoever is shown them can check those.

    Args:
        inference: Its id.
        header_sha256: Of the inference's header, as in its receipt, hexadecimal.
        decision: One word.
        statement: See `statement_of`.
    """
    return rfc8785.dumps(
        {
            "inference": inference,
            "header_sha256": header_sha256,
            "decision": decision,
            "statement": statement,
        }
    )


def check_signed_decision(header: Header, *, header_sha256: str, key: PublicKey | None) -> None:
    """Check the signature of a decision that names a key of its actor's: headers are enough.

    Args:
        header: Of the `DecisionSigned`; the protocol has checked that the key was the actor's.
        header_sha256: Of the header of the inference that the dossier opened with.
        key: The key of that thumbprint, if it was registered.

    Raises:
        SignatureRefused: The key did not sign this decision on this inference.
    """
    payload = decision_payload(
        header.dossier or "",
        header_sha256=header_sha256,
        decision=header.outcome,
        statement=header.statement or "",
    )
    check_signature(header, payload, key)


def check_words(header: Header, body: DecisionSigned) -> None:
    """Check that an opened decision says what its header does, at the level that it claims.

    Raises:
        SignatureRefused: The words are not those that were signed, or the level is another.
    """
    if body.decision != header.outcome:
        raise SignatureRefused("the body decides otherwise than its header")
    own = body.assurance is Assurance.OWN_KEY
    if own != (header.key is not None) or own != (body.salt is not None):
        raise SignatureRefused("the record claims another level than its signature has")
    if body.salt is not None:
        salt = bytes.fromhex(body.salt)
        if header.statement != statement_of(salt, label=body.label, reason=body.reason):
            raise SignatureRefused("the words are not those that were signed")


def check_decision(
    header: Header, body: DecisionSigned, *, inference: Header, identity: KnownActor
) -> None:
    """Check that an opened decision is its actor's word, at the level that it claims.

    `check_signed_decision` checks the signature by their own key, where there is one.

    Args:
        header: Of the `DecisionSigned`.
        body: What it says, opened.
        inference: The header of the inference that the dossier opened with.
        identity: Who the header's actor is, from the vault.

    Raises:
        SignatureRefused: The issuer did not attest the actor, the words are not those that were
            signed, or the level is not what the record claims.
    """
    check_words(header, body)
    if header.dossier != inference.id:
        raise SignatureRefused("the decision stands in another dossier than its inference")
    issuer_key = PublicKey.parse(body.issuer_key)
    if identity.issuer.startswith(EMBEDDED_ISSUER) and identity.issuer != (
        EMBEDDED_ISSUER + issuer_key.thumbprint
    ):
        raise SignatureRefused("the attestation's key is not that of its issuer")
    verify_attestation(
        body.attestation,
        issuer_key,
        issuer=identity.issuer,
        subject=identity.subject,
        at=header.time,
    )
