"""Tokens of an issuer outside: OpenID Connect, Pro Santé Connect's claims by default.

The issuer's keys are found by discovery and kept for ten minutes. A token that names a key not
known yet has them fetched anew, so that the issuer may rotate them at any time; what nobody signed
cannot have them fetched more than once in ten seconds. Where the issuer cannot be reached, known
keys are believed for an hour.

Sources: OpenID Connect Discovery 1.0, section 4; RFC 7517 to 7519; RFC 8725, section 3.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from guarantee.identity import Caller, Role
from guarantee.signature import PublicKey, SignatureRefused
from serving.auth import Issuer, TokenIssuer, Unauthenticated, clinician_number
from serving.errors import ServingError
from serving.settings import OutsideIssuer, Settings, is_private

_FRESH_SECONDS: Final = 600
_BELIEVED_SECONDS: Final = 3600
_PAUSE_SECONDS: Final = 10
_TIMEOUT_SECONDS: Final = 5
_LEEWAY_SECONDS: Final = 30
_MOST_BYTES: Final = 512 * 1024
# What a record can keep of it: see `guarantee.signature`.
_MOST_CHARACTERS: Final = 16_384
# As long as the modulus of an RSA key of 2048 bits is in base64url.
_LONG_ENOUGH: Final = "n" * 342
# The members of a public key, and no more of what the issuer publishes beside them.
_MEMBERS: Final = ("kty", "crv", "x", "y", "n", "e")
Key = ECKey | OKPKey | RSAKey


class IssuerUnreachable(ServingError):
    """The issuer's keys cannot be had, so that no token can be checked; its address is named."""


def issuer_of(settings: Settings) -> TokenIssuer:
    """Whoever attests callers: the issuer outside, where there is one, else the embedded one.

    Raises:
        IssuerUnavailable: The embedded issuer's key file is damaged.
    """
    if settings.oidc is not None:
        return Outside(settings.oidc, luhn=settings.in_production)
    return Issuer.open(settings.home, luhn=settings.in_production)


class Outside:
    """An issuer that is configured, and shared by a process's threads."""

    def __init__(
        self, configured: OutsideIssuer, *, luhn: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._configured = configured
        self._luhn = luhn
        self._clock = clock
        self._keys = _PublishedKeys(configured.url)

    @property
    def name(self) -> str:
        """The `iss` of its tokens."""
        return self._configured.url

    def verify_token(self, token: str) -> Caller:
        """The caller whom a token names.

        1. The key that it names is one of the issuer's, for the algorithm that it names.
        2. The signature holds, and the claims are for this service, now.
        3. One role, and of a clinician the number of Pro Santé Connect.

        Raises:
            Unauthenticated: Not a token of this issuer for this service, or no longer.
            IssuerUnreachable: Its keys cannot be had.
        """
        if len(token) > _MOST_CHARACTERS:
            raise Unauthenticated("the token is too long to be one")
        # 1.
        key = self._keys.named(_header(token))
        # 2. `sub`, `exp` and `iat` must be there: an absent claim is not an unlimited one.
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self.name},
            aud={"essential": True, "value": self._configured.audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            claims = jwt.decode(token, key, algorithms=list(_algorithms(key))).claims
            registry.validate(claims)
        except ExpiredTokenError as error:
            raise Unauthenticated("the token has expired") from error
        except (JoseError, ValueError) as error:
            raise Unauthenticated("the token is not one of this service's issuer") from error
        # 3.
        role = self._role(claims)
        clinician = role is Role.CLINICIAN
        name = claims.get("name")
        return Caller(
            issuer=self.name,
            subject=clinician_number(claims, luhn=self._luhn) if clinician else str(claims["sub"]),
            role=role,
            name=name if isinstance(name, str) else None,
            attestation=token,
            issuer_key=PublicKey.of(key).jwk,
        )

    def _role(self, claims: Mapping[str, Any]) -> Role:
        claim = self._configured.role_claim
        if claim is None:
            # Pro Santé Connect knows professionals alone, and no role of ours.
            return Role.CLINICIAN
        said = _found(claims, claim)
        words = said if isinstance(said, list) else [said]
        named = {role for role in Role if role in words}
        if len(named) != 1:
            raise Unauthenticated(
                f"a token names one role of Garant's, and this names {len(named) or 'none'}"
            )
        return named.pop()


@dataclass(slots=True)
class _PublishedKeys:
    """An issuer's keys by `kid`, as they were when last fetched."""

    url: str
    _keys: dict[str, tuple[Key, str | None]] = field(default_factory=dict)
    _fetched: float | None = None
    _tried: float | None = None
    _fetching: threading.Lock = field(default_factory=threading.Lock)

    def named(self, header: Mapping[str, Any]) -> Key:
        """The key that a token's header names, fit for its algorithm.

        Raises:
            Unauthenticated: The issuer has no such key.
            IssuerUnreachable: Its keys cannot be had.
        """
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(kid, str):
            raise Unauthenticated("the token does not name its key: kid is missing")
        if kid not in self._keys or self._age(self._fetched) > _FRESH_SECONDS:
            believed = kid in self._keys and self._age(self._fetched) <= _BELIEVED_SECONDS
            self._renew(wait=not believed)
        if self._age(self._fetched) > _BELIEVED_SECONDS:
            raise IssuerUnreachable(f"the keys of {self.url} cannot be had: retry")
        key, fixed = self._keys.get(kid, (None, None))
        if key is None:
            raise Unauthenticated("the token's key is none of the issuer's")
        if algorithm not in _algorithms(key) or fixed not in (None, algorithm):
            raise Unauthenticated("the token's algorithm is not its key's")
        return key

    def _age(self, then: float | None) -> float:
        return float("inf") if then is None else time.monotonic() - then

    def _renew(self, *, wait: bool) -> None:
        # One thread fetches; the others go on with a key that they know.
        if not self._fetching.acquire(blocking=wait):
            return
        try:
            # Whoever waited here finds what the one before has fetched, or failed to.
            if self._age(self._tried) < _PAUSE_SECONDS:
                return
            self._tried = time.monotonic()
            keys = _published(self.url)
            self._keys, self._fetched = keys, time.monotonic()
        except IssuerUnreachable:
            # Known keys go on for their hour; without any, `named` says so.
            return
        finally:
            self._fetching.release()


def _published(url: str) -> dict[str, tuple[Key, str | None]]:
    """The issuer's keys that sign, each with the one algorithm that it is for, if it says one."""
    discovered = _fetched(f"{url.rstrip('/')}/.well-known/openid-configuration")
    address = discovered.get("jwks_uri")
    if discovered.get("issuer") != url or not isinstance(address, str) or not is_private(address):
        raise IssuerUnreachable(f"{url} describes another issuer, or names no keys over https")
    keys = _fetched(address).get("keys")
    found: dict[str, tuple[Key, str | None]] = {}
    for members in keys if isinstance(keys, list) else []:
        # Keys for encryption, of other kinds or without a name are not for us.
        if not isinstance(members, dict) or members.get("use", "sig") != "sig":
            continue
        if len(str(members.get("n", _LONG_ENOUGH))) < len(_LONG_ENOUGH):
            continue
        try:
            public = {name: members[name] for name in _MEMBERS if name in members}
            key = PublicKey.parse(json.dumps(public)).key()
        except SignatureRefused:
            continue
        if isinstance(members.get("kid"), str) and _algorithms(key):
            found[members["kid"]] = (key, members.get("alg"))
    return found


def _fetched(url: str) -> dict[str, Any]:
    # Only a service with an issuer outside pays for its import.
    import httpx

    content = b""
    try:
        # A proxy of the environment is for what leaves the machine.
        away = url.startswith("https:")
        with httpx.stream("GET", url, timeout=_TIMEOUT_SECONDS, trust_env=away) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise IssuerUnreachable(f"{url} answers too much")
        document = json.loads(content)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
        raise IssuerUnreachable(f"{url} does not answer as an issuer does") from error
    if not isinstance(document, dict):
        raise IssuerUnreachable(f"{url} does not answer as an issuer does")
    return document


def _header(token: str) -> dict[str, Any]:
    try:
        return dict(jws.extract_compact(token.encode()).headers())
    except (JoseError, ValueError, RecursionError) as error:
        raise Unauthenticated("the token is not one of this service's issuer") from error


def _algorithms(key: Key) -> tuple[str, ...]:
    """What a key may sign by; pinned here, as a token's own header never chooses its check."""
    if isinstance(key, ECKey):
        return ("ES256",) if key.curve_name == "P-256" else ()
    if isinstance(key, OKPKey):
        return ("EdDSA", "Ed25519") if key.curve_name == "Ed25519" else ()
    return ("RS256", "PS256")


def _found(claims: Mapping[str, Any], claim: str) -> object:
    """A claim by its name or, inside objects, by a path with dots."""
    if claim in claims:
        return claims[claim]
    value: object = claims
    for part in claim.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
