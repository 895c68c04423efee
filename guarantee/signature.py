"""Signatures of people: a detached JWS by their own key, or the issuer's word for who they are.

Sources: RFC 7515 (appendix F: detached content), RFC 7638 (thumbprints), RFC 8037 (EdDSA).
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Final

import rfc8785
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from guarantee.errors import GuaranteeError

OWN_KEY_ALGORITHMS: Final = ("EdDSA", "Ed25519", "ES256")
ISSUER_ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519", "RS256", "PS256")
_MOST_CHARACTERS: Final = 16_384


class SignatureRefused(GuaranteeError):
    """A signature or key is not what it should be; says which part, never the content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A person's or an issuer's public key.

    Attributes:
        jwk: Canonical JSON of the public members alone.
        thumbprint: RFC 7638, SHA-256, base64url: what `kid` names it by.
    """

    jwk: str
    thumbprint: str

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        """Read a JWK; a private one is refused, since nobody should have sent it.

        Raises:
            SignatureRefused: Not a public key of a kind that signs.
        """
        try:
            members = json.loads(text)
            if not isinstance(members, dict):
                raise SignatureRefused("a key is a JSON object (JWK, RFC 7517)")
            if "d" in members:
                raise SignatureRefused("this is a private key: send the public one, and renew it")
            return cls.of(_import(members))
        except (ValueError, TypeError, KeyError, JoseError) as error:
            raise SignatureRefused("this is no public key (JWK, RFC 7517)") from error

    @classmethod
    def of(cls, key: OKPKey | ECKey | RSAKey) -> "PublicKey":
        """The public half of a key at hand."""
        public = {
            name: value for name, value in key.as_dict(private=False).items() if name != "kid"
        }
        return cls(jwk=rfc8785.dumps(public).decode(), thumbprint=key.thumbprint())

    def key(self) -> OKPKey | ECKey | RSAKey:
        """The key, to verify with."""
        return _import(json.loads(self.jwk))


def _import(members: dict[str, str | list[str]]) -> OKPKey | ECKey | RSAKey:
    kinds: dict[str, type[OKPKey | ECKey | RSAKey]] = {
        "OKP": OKPKey,
        "EC": ECKey,
        "RSA": RSAKey,
    }
    kind = kinds.get(str(members.get("kty")))
    if kind is None:
        raise SignatureRefused("a key is of type OKP, EC or RSA")
    return kind.import_key(members)


def new_key() -> str:
    """A new private key to sign with, Ed25519, as a JWK; its owner alone should ever see it."""
    return json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=True))


def private_key(text: str) -> OKPKey | ECKey | RSAKey:
    """The private key in a JWK.

    Raises:
        SignatureRefused: It is none.
    """
    try:
        members = json.loads(text)
        if "d" not in members:
            raise SignatureRefused("this is no private key (JWK, RFC 7517)")
        return _import(members)
    except (ValueError, TypeError, KeyError, AttributeError, JoseError) as error:
        raise SignatureRefused("this is no private key (JWK, RFC 7517)") from error


def sign_detached(payload: bytes, private: str) -> str:
    """A detached JWS over the payload, naming its key by thumbprint.

    Args:
        payload: Exactly the bytes that will be verified.
        private: The signer's private JWK: Ed25519 or P-256.

    Raises:
        SignatureRefused: It is no private key of these kinds.
    """
    key = private_key(private)
    algorithm = "ES256" if isinstance(key, ECKey) else "Ed25519"
    header = {"alg": algorithm, "kid": key.thumbprint()}
    try:
        compact = jws.serialize_compact(header, payload, key, algorithms=[algorithm])
    except (ValueError, JoseError) as error:
        raise SignatureRefused("this is no private key that signs (Ed25519 or P-256)") from error
    head, _, signature = compact.split(".")
    return f"{head}..{signature}"


def verify_detached(signature: str, payload: bytes, key: PublicKey) -> None:
    """Check that `key` signed exactly `payload`.

    Args:
        signature: A JWS in compact form without its payload: `header..signature`.
        payload: The bytes that should have been signed.
        key: Known beforehand; a `kid` in the header must be its thumbprint.

    Raises:
        SignatureRefused: Another key, other bytes, another algorithm, or no JWS at all.
    """
    header, _, rest = signature.partition("..")
    if len(signature) > _MOST_CHARACTERS or not header or not rest or "." in rest:
        raise SignatureRefused("a detached signature reads header..signature (RFC 7515, F)")
    encoded = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
    try:
        named = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
        if named.get("kid") not in (None, key.thumbprint):
            raise SignatureRefused("the signature names another key than the registered one")
        jws.deserialize_compact(
            f"{header}.{encoded}.{rest}", key.key(), algorithms=list(OWN_KEY_ALGORITHMS)
        )
    except (JoseError, ValueError, AttributeError, binascii.Error) as error:
        raise SignatureRefused("the key did not sign this") from error


def verify_attestation(token: str, key: PublicKey, *, issuer: str, subject: str, at: int) -> None:
    """Check that an issuer named `subject` in a token that was valid at a time.

    Args:
        token: The compact JWT that the signer presented.
        key: The issuer's public key.
        issuer: The `iss` that the token must name.
        subject: The person whom the token must name: its `sub`, or the number in its
            `SubjectNameID` behind the digit of its type.
        at: Milliseconds since 1970, as the record claims.

    Raises:
        SignatureRefused: The issuer did not sign it, or it names another person or time.
    """
    if len(token) > _MOST_CHARACTERS:
        raise SignatureRefused("the attestation is too long to be a token")
    try:
        claims = jwt.decode(token, key.key(), algorithms=list(ISSUER_ALGORITHMS)).claims
    except (JoseError, ValueError) as error:
        raise SignatureRefused("the issuer did not sign the attestation") from error
    if claims.get("iss") != issuer:
        raise SignatureRefused("the attestation is another issuer's")
    if subject not in (claims.get("sub"), str(claims.get("SubjectNameID", ""))[1:]):
        raise SignatureRefused("the attestation names another person than the signer")
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, (int, float)) or not isinstance(expires, (int, float)):
        raise SignatureRefused("the attestation has no time")
    if not issued - LEEWAY_SECONDS <= at / 1000 <= expires + LEEWAY_SECONDS:
        raise SignatureRefused("the attestation was not valid when the record was made")


LEEWAY_SECONDS: Final = 60
"""Between the issuer's clock and ours."""
