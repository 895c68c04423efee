"""People's own keys: registered in the log by whoever will sign with them."""

from guarantee.bodies import KeyRegistered
from guarantee.ledger import Draft, Ledger, Recorded, Request
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType
from guarantee.signature import PublicKey, SignatureRefused
from guarantee.situations import KeyHolder


def register_key(
    ledger: Ledger, actor: Actor, *, key: PublicKey, request: Request | None = None
) -> Recorded:
    """Register one's own public key; it takes the place of the one before, for what follows.

    Raises:
        RoleRefused: Neither a clinician nor a member of the college.
    """
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


def own_key(ledger: Ledger, actor: Actor) -> PublicKey:
    """The key that the actor registered last.

    Raises:
        SignatureRefused: There is none.
    """
    holder = ledger.get(KeyHolder, actor.pseudonym)
    if holder is None:
        raise SignatureRefused("no key of yours is registered: garant key register")
    body = ledger.open_as(ledger.find(holder.registration), KeyRegistered)
    return PublicKey.parse(body.jwk)
