"""People's own keys: registered in the log, and what the college's acts sign with them.

The payloads are RFC 8785 JSON; a signature is a detached JWS over exactly those bytes, and stands
in the header. What recording asks of a signature, the `check_*` functions ask again of the log:
of headers and bodies in clear alone. For decisions see `guarantee.signed_decisions`.
"""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import rfc8785

from guarantee.appending import Draft, Request
from guarantee.bodies import Body, KeyGround, KeyRegistered, KeyWithdrawn, VoteCast
from guarantee.keys_thread import registered_over
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import Header, RecordType
from guarantee.refusals import StepMissing
from guarantee.signature import PublicKey, SignatureRefused, verify_detached
from guarantee.situations import KeyHolder, KeyStep, OwnKey

OWN_KEY_CURVES = ("Ed25519", "P-256")


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
    check_signature(header, payload, key)


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
    check_signature(header, payload, key)


def check_signature(header: Header, payload: bytes, key: PublicKey | None) -> None:
    """Check that the key that a header names, if it names one, signed the payload.

    Raises:
        SignatureRefused: It did not, or the log holds no such key.
    """
    if header.key is None:
        return
    if key is None or key.thumbprint != header.key:
        raise SignatureRefused("the log holds no such key")
    verify_detached(header.signature or "", payload, key)
