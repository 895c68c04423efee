"""People's own keys: registered in the log, and what decisions and the college's acts sign.

The payloads are RFC 8785 JSON; a signature is a detached JWS over exactly those bytes, and stands
in the header. What recording asks of a signature, the `check_*` functions ask again of the log:
of headers and bodies in clear alone, but for a decision's words.
"""

import hmac
import json
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import rfc8785

from guarantee.appending import Draft, Request
from guarantee.bodies import Body, DecisionSigned, KeyGround, KeyRegistered, KeyWithdrawn, VoteCast
from guarantee.identity import Assurance
from guarantee.keys_thread import registered_over
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor, KnownActor
from guarantee.records import Header, RecordType
from guarantee.refusals import StepMissing
from guarantee.signature import PublicKey, SignatureRefused, verify_attestation, verify_detached
from guarantee.situations import KeyHolder, KeyStep, OwnKey

EMBEDDED_ISSUER = "urn:garant:issuer:"
"""How names of embedded issuers begin; the thumbprint of their key follows."""

OWN_KEY_CURVES = ("Ed25519", "P-256")
_STATEMENT_TAG: Final = b"garant signed statement v1\0"


class SignatureNeeded(SignatureRefused):
    """A signature with one's own key is missing.

    Attributes:
        payload: What to sign.
    """

    def __init__(self, words: str, payload: bytes) -> None:
        self.payload = payload.decode()
        super().__init__(words)


# Registering


def key_payload(*, log: str, actor: str, thumbprint: str, follows: tuple[str, ...]) -> bytes:
    """What a new key signs to be registered, and the standing one, to be replaced by it.

    Its members are `type` ("KeyRegistered"), `log` (the log's origin), `actor` (their pseudonym),
    `key` (the new key's thumbprint) and `follows`: the registration that is replaced, then the
    withdrawals of that key, if any. `key` and `follows` make it fresh: a key is registered once
    ever, and over that registration alone.
    """
    return rfc8785.dumps(
        {
            "type": RecordType.KEY_REGISTERED.value,
            "log": log,
            "actor": actor,
            "key": thumbprint,
            "follows": list(follows),
        }
    )


def register_key(
    ledger: Ledger,
    actor: Actor,
    *,
    key: PublicKey,
    proof: str | None = None,
    endorsement: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Register one's own public key; it takes the place of the one before, for what follows.

    Args:
        proof: A detached JWS over `key_payload` by the private half of `key`.
        endorsement: The same by the standing key, where there is one. Where that is lost, two
            members of the college withdraw it first: see `withdraw_key`.

    Raises:
        SignatureNeeded: One of the two is missing; carries what to sign.
        SignatureRefused: A key did not sign this, or is of a kind that signs nothing here.
        AlreadyDone: The key was registered before.
        RoleRefused: Neither a clinician nor a member of the college.
    """
    if json.loads(key.jwk).get("crv") not in OWN_KEY_CURVES:
        raise SignatureRefused("your own key is on Ed25519 or P-256")
    holder = ledger.get(KeyHolder, actor.pseudonym)
    follows = registered_over(holder)
    payload = key_payload(
        log=ledger.verifier_key.name,
        actor=actor.pseudonym,
        thumbprint=key.thumbprint,
        follows=follows,
    )
    if proof is None:
        raise SignatureNeeded("sign the registration with the new key: this is `proof`", payload)
    verify_detached(proof, payload, key)
    standing = own_key(ledger, actor.pseudonym)
    if standing is not None and endorsement is None:
        raise SignatureNeeded(
            "a key of yours stands: sign the registration with that one, too: this is "
            "`endorsement`; where it is lost, two members of the college withdraw it first",
            payload,
        )
    if standing is not None:
        verify_detached(endorsement or "", payload, standing)
    elif endorsement is not None:
        raise SignatureRefused("no key of yours stands that could endorse this one")
    return ledger.record(
        Draft(
            type=RecordType.KEY_REGISTERED,
            actor=actor,
            outcome="registered",
            body=KeyRegistered(
                jwk=key.jwk,
                thumbprint=key.thumbprint,
                log=ledger.verifier_key.name,
                endorsement=endorsement,
            ),
            follows=follows,
            subject=actor.pseudonym,
            key=key.thumbprint,
            signature=proof,
        ),
        request,
    )


def withdraw_key(
    ledger: Ledger,
    actor: Actor,
    *,
    thumbprint: str,
    ground: KeyGround,
    signature: str | None = None,
    request: Request | None = None,
) -> Recorded:
    """Say, as a member of the college, that somebody else's key is lost.

    Once two members have, it signs nothing more, and its holder may register another.

    Raises:
        StepMissing: No such key stands.
        SignatureNeeded: Sign this with your own key; carries what to sign.
        OwnKeyNeeded: The member has no key of their own.
        NotAMember: The actor has no seat, or the key is theirs.
        AlreadyDone: It is withdrawn, or this member has said so.
    """
    known = ledger.get(OwnKey, thumbprint)
    holder = ledger.get(KeyHolder, known.holder) if known is not None else None
    if known is None or holder is None or holder.key != thumbprint:
        raise StepMissing("no such key stands: KeyRegistered is missing")
    draft = Draft(
        type=RecordType.KEY_WITHDRAWN,
        actor=actor,
        outcome="withdrawn",
        body=KeyWithdrawn(thumbprint=thumbprint, ground=ground),
        follows=(holder.registration,),
        subject=known.holder,
    )
    return ledger.record(signed(ledger, draft, signature), request)


def own_key(ledger: Ledger, pseudonym: str) -> PublicKey | None:
    """The key that the person registered last, if any, and if it was not withdrawn."""
    holder = ledger.get(KeyHolder, pseudonym)
    if holder is None or holder.step is KeyStep.WITHDRAWN:
        return None
    body = ledger.open_as(ledger.find(holder.registration), KeyRegistered)
    return PublicKey.parse(body.jwk)


def check_key(header: Header, body: KeyRegistered, *, standing: PublicKey | None) -> PublicKey:
    """The key that a registration holds.

    Args:
        header: Of the `KeyRegistered`; the protocol has checked what it follows.
        body: What it says.
        standing: The key of the registration that the header follows first.

    Raises:
        SignatureRefused: It is no public key, the thumbprint is another key's, its holder did not
            prove to hold it, or the key that it replaces did not sign it.
    """
    key = PublicKey.parse(body.jwk)
    if not key.thumbprint == body.thumbprint == header.key:
        raise SignatureRefused("the thumbprint is not that of the key")
    payload = key_payload(
        log=body.log, actor=header.actor, thumbprint=key.thumbprint, follows=header.follows
    )
    verify_detached(header.signature or "", payload, key)
    if len(header.follows) == 1:
        if standing is None or body.endorsement is None:
            raise SignatureRefused("the key that it replaces did not sign it")
        verify_detached(body.endorsement, payload, standing)
    return key


# The college's acts


def act_payload(
    *,
    type: RecordType,  # noqa: A002  # the header's own name for it
    outcome: str,
    body: Body,
    follows: tuple[str, ...] = (),
    dossier: str | None = None,
    model: str | None = None,
    model_version: str | None = None,
    subject: str | None = None,
) -> bytes:
    """What a member's own key signs of an act of the college: all that the record will say.

    Its members are those of the header, as far as the member makes them, and `body`; what is
    absent is left out. Every act stands once in a log, so that none can be repeated.
    """
    facts: dict[str, Any] = {
        "type": type.value,
        "outcome": str(outcome),
        "follows": list(follows),
        "dossier": dossier,
        "model": model,
        "model_version": model_version,
        "subject": subject,
        "body": json.loads(body.encode()),
    }
    return rfc8785.dumps({name: fact for name, fact in facts.items() if fact is not None})


def signed(
    ledger: Ledger, draft: Draft, signature: str | None, *, payload: bytes | None = None
) -> Draft:
    """The draft with its actor's signature, which whoever has a key of their own must give.

    Args:
        payload: What was to be signed; by default `act_payload` of the draft.

    Raises:
        SignatureNeeded: There is none; carries what to sign.
        SignatureRefused: The key did not sign this, or there is no key.
    """
    own = own_key(ledger, draft.actor.pseudonym)
    if own is None:
        if signature is not None:
            raise SignatureRefused("no key of yours is registered: garant key register")
        return draft
    if payload is None:
        payload = act_payload(
            type=draft.type,
            outcome=draft.outcome,
            body=draft.body,
            follows=draft.follows,
            dossier=draft.dossier,
            model=draft.model,
            model_version=draft.model_version,
            subject=draft.subject,
        )
    if signature is None:
        raise SignatureNeeded("you have registered a key: sign this with it", payload)
    verify_detached(signature, payload, own)
    return replace(draft, key=own.thumbprint, signature=signature)


def check_act(header: Header, body: Body, *, key: PublicKey | None) -> None:
    """Check that an act of the college is signed with the key that its header names.

    Args:
        header: The protocol has checked that a member who has a key names it.
        body: What it says, in clear.
        key: The key of that thumbprint, if it was registered.

    Raises:
        SignatureRefused: The key did not sign this.
    """
    payload = act_payload(
        type=header.type,
        outcome=header.outcome,
        body=body,
        follows=header.follows,
        dossier=header.dossier,
        model=header.model,
        model_version=header.model_version,
        subject=header.subject,
    )
    _check_signature(header, payload, key)


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
    """Like `check_act`, of a vote, which is signed over `vote_payload`.

    Raises:
        SignatureRefused: The key did not sign this vote, or not on this version.
    """
    if (registration.model, registration.model_version) != (header.model, header.model_version):
        raise SignatureRefused("the vote is on another version than the registration's")
    payload = vote_payload(registration, outcome=header.outcome, reason=body.reason)
    _check_signature(header, payload, key)


def _check_signature(header: Header, payload: bytes, key: PublicKey | None) -> None:
    if header.key is None:
        return
    if key is None or key.thumbprint != header.key:
        raise SignatureRefused("the log holds no such key")
    verify_detached(header.signature or "", payload, key)


# Decisions


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
    _check_signature(header, payload, key)


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
