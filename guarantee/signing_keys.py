"""People's own keys: registered in the log, and what decisions and votes sign with them.

The payloads are RFC 8785 JSON; a signature is a detached JWS over exactly those bytes. What
recording asks of a signature, the `check_*` functions ask again of the log.
"""

import json
from hashlib import sha256

import rfc8785

from guarantee.appending import Draft, Request
from guarantee.bodies import DecisionSigned, KeyRegistered, VoteCast
from guarantee.identity import Assurance
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor, KnownActor
from guarantee.records import Header, RecordType
from guarantee.signature import PublicKey, SignatureRefused, verify_attestation, verify_detached
from guarantee.situations import KeyHolder

EMBEDDED_ISSUER = "urn:garant:issuer:"
"""How names of embedded issuers begin; the thumbprint of their key follows."""

OWN_KEY_CURVES = ("Ed25519", "P-256")


def register_key(
    ledger: Ledger, actor: Actor, *, key: PublicKey, request: Request | None = None
) -> Recorded:
    """Register one's own public key; it takes the place of the one before, for what follows.

    Raises:
        SignatureRefused: The key is of a kind that signs nothing here.
        RoleRefused: Neither a clinician nor a member of the college.
    """
    if json.loads(key.jwk).get("crv") not in OWN_KEY_CURVES:
        raise SignatureRefused("your own key is on Ed25519 or P-256")
    return ledger.record(
        Draft(
            type=RecordType.KEY_REGISTERED,
            actor=actor,
            outcome="registered",
            body=KeyRegistered(jwk=key.jwk, thumbprint=key.thumbprint),
            subject=actor.pseudonym,
        ),
        request,
    )


def own_key(ledger: Ledger, pseudonym: str) -> tuple[str, PublicKey] | None:
    """The registration and the key that the person registered last, if any."""
    holder = ledger.get(KeyHolder, pseudonym)
    if holder is None:
        return None
    body = ledger.open_as(ledger.find(holder.registration), KeyRegistered)
    return holder.registration, PublicKey.parse(body.jwk)


def check_key(body: KeyRegistered) -> PublicKey:
    """The key that a registration holds.

    Raises:
        SignatureRefused: It is no public key, or the thumbprint is another key's.
    """
    key = PublicKey.parse(body.jwk)
    if key.thumbprint != body.thumbprint:
        raise SignatureRefused("the thumbprint is not that of the key")
    return key


def decision_payload(
    inference: Header, *, decision: str, label: str | None, reason: str | None
) -> bytes:
    """What a clinician's own key signs: the decision and what it is about.

    Its members are `inference` (id), `header_sha256` (of the inference's header, as in its
    receipt, hexadecimal), `decision`, `label` and `reason`; the last two may be null.
    """
    return rfc8785.dumps(
        {
            "inference": inference.id,
            "header_sha256": sha256(inference.encode()).hexdigest(),
            "decision": decision,
            "label": label,
            "reason": reason,
        }
    )


def check_decision(
    header: Header,
    body: DecisionSigned,
    *,
    inference: Header,
    key: PublicKey | None,
    identity: KnownActor,
) -> None:
    """Check that a decision is its actor's word, at the level that it claims.

    Args:
        header: Of the `DecisionSigned`.
        body: What it says, opened.
        inference: The header of the inference that the dossier opened with.
        key: The key of the `KeyRegistered` that the header follows second; none where it follows
            the inference alone. The protocol has checked that it was the actor's present one.
        identity: Who the header's actor is, from the vault.

    Raises:
        SignatureRefused: The issuer did not attest the actor, the key did not sign this decision
            on this inference, or the level is not what the record claims.
    """
    if body.decision != header.outcome or header.dossier != inference.id:
        raise SignatureRefused("the body decides otherwise, or elsewhere, than its header")
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
    own = body.assurance is Assurance.OWN_KEY
    if own != (body.signature is not None) or own != (len(header.follows) == 2):
        raise SignatureRefused("the record claims another level than its signature has")
    if own:
        payload = decision_payload(
            inference, decision=header.outcome, label=body.label, reason=body.reason
        )
        _check_signature(body.signature, payload, key)


def vote_payload(registration: Header, *, outcome: str, reason: str | None) -> bytes:
    """What a member's own key signs: the vote and the version that it is about.

    Its members are `registration` (id of the `ModelRegistered`), `header_sha256` (of that
    record's header, hexadecimal), `model`, `version`, `vote` ("for" or "against") and `reason`,
    which may be null.
    """
    return rfc8785.dumps(
        {
            "registration": registration.id,
            "header_sha256": sha256(registration.encode()).hexdigest(),
            "model": registration.model,
            "version": registration.model_version,
            "vote": outcome,
            "reason": reason,
        }
    )


def check_vote(
    header: Header, body: VoteCast, *, registration: Header, key: PublicKey | None
) -> None:
    """Check that a member with a key of their own signed their vote on this version.

    Args:
        header: Of the `VoteCast`.
        body: What it says.
        registration: The header of the version's `ModelRegistered`.
        key: The key of the `KeyRegistered` that the header follows second; none where it follows
            the appointment alone. The protocol has checked that it is the actor's present one,
            and that a member who has one names it.

    Raises:
        SignatureRefused: The key did not sign this vote, or there is a signature and no key.
    """
    if (registration.model, registration.model_version) != (header.model, header.model_version):
        raise SignatureRefused("the vote is on another version than the registration's")
    named = len(header.follows) == 2
    if named != (body.signature is not None):
        raise SignatureRefused("a vote is signed by those, and only those, who have a key")
    if named:
        payload = vote_payload(registration, outcome=header.outcome, reason=body.reason)
        _check_signature(body.signature, payload, key)


def _check_signature(signature: str | None, payload: bytes, key: PublicKey | None) -> None:
    if key is None:
        raise SignatureRefused("no key of yours is registered: garant key register")
    verify_detached(signature or "", payload, key)
