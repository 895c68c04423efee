"""What a person's own key signed, and what an issuer attested; nothing that looks like it."""

import base64
import json

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey

from guarantee.signature import (
    PublicKey,
    SignatureRefused,
    verify_attestation,
    verify_detached,
)

OWN = OKPKey.generate_key("Ed25519")
EC = ECKey.generate_key("P-256")
PAYLOAD = b'{"decision":"accepted"}'


def public(key: OKPKey | ECKey) -> PublicKey:
    return PublicKey.parse(json.dumps(key.as_dict(private=False)))


def detached(key: OKPKey | ECKey | OctKey, payload: bytes, alg: str, **header: str) -> str:
    compact = jws.serialize_compact({"alg": alg, **header}, payload, key, algorithms=[alg])
    head, _, signature = compact.split(".")
    return f"{head}..{signature}"


# RFC 9864 renames EdDSA; most clients still sign under its old name.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(("key", "alg"), [(OWN, "Ed25519"), (OWN, "EdDSA"), (EC, "ES256")])
def test_a_decision_signed_with_the_own_key_verifies(key: OKPKey | ECKey, alg: str) -> None:
    registered = public(key)
    verify_detached(detached(key, PAYLOAD, alg), PAYLOAD, registered)
    named = detached(key, PAYLOAD, alg, kid=registered.thumbprint)
    verify_detached(named, PAYLOAD, registered)


def test_other_bytes_another_key_and_no_algorithm_are_refused() -> None:
    signature = detached(OWN, PAYLOAD, "Ed25519")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode() + "..AA"
    shared = OctKey.import_key(public(OWN).jwk)
    confused = detached(shared, PAYLOAD, "HS256")
    for refused, payload, key in (
        (signature, PAYLOAD + b" ", OWN),
        (signature, PAYLOAD, OKPKey.generate_key("Ed25519")),
        (signature, PAYLOAD, EC),
        (signature[:-4] + "AAAA", PAYLOAD, OWN),
        (none, PAYLOAD, OWN),
        (confused, PAYLOAD, OWN),
        (detached(OWN, PAYLOAD, "Ed25519", kid="another"), PAYLOAD, OWN),
        ("", PAYLOAD, OWN),
        ("..", PAYLOAD, OWN),
        ("a.b.c", PAYLOAD, OWN),
        ("!..!", PAYLOAD, OWN),
        ("x" * 20_000 + "..y", PAYLOAD, OWN),
    ):
        with pytest.raises(SignatureRefused):
            verify_detached(refused, payload, public(key))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kty":"oct","k":"AA"}', "null", '{"kty":"EC"}'])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(SignatureRefused):
        PublicKey.parse(text)


def test_a_private_key_is_refused_by_name() -> None:
    with pytest.raises(SignatureRefused, match="private"):
        PublicKey.parse(json.dumps(OWN.as_dict(private=True)))


def test_an_issuer_attests_one_person_for_a_time() -> None:
    token = jwt.encode({"alg": "ES256"}, {"iss": "i", "sub": "8100", "iat": 1000, "exp": 2000}, EC)
    verify_attestation(token, public(EC), issuer="i", subject="8100", at=1_500_000)
    with pytest.raises(SignatureRefused, match="another issuer"):
        verify_attestation(token, public(EC), issuer="j", subject="8100", at=1_500_000)
    for subject, at, key in (
        ("8101", 1_500_000, EC),
        ("8100", 900_000, EC),
        ("8100", 2_100_000, EC),
        ("8100", 1_500_000, ECKey.generate_key("P-256")),
    ):
        with pytest.raises(SignatureRefused):
            verify_attestation(token, public(key), issuer="i", subject=subject, at=at)
    timeless = jwt.encode({"alg": "ES256"}, {"iss": "i", "sub": "8100"}, EC)
    with pytest.raises(SignatureRefused, match="no time"):
        verify_attestation(timeless, public(EC), issuer="i", subject="8100", at=1)
