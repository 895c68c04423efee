"""Who calls: bearer tokens of the embedded issuer, in the shape of Pro Santé Connect's.

An issuer outside, where one is configured, takes its place: see `serving.oidc`.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, Self

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey

from guarantee.home import Home
from guarantee.identity import Caller, InvalidIdentity, Role, professional_number
from guarantee.signature import PublicKey
from guarantee.succession import settle
from guarantee.vault import made_once
from serving.errors import ServingError

AUDIENCE: Final = "garant"
# One algorithm, fixed here: a token's own header never chooses how it is checked.
_ALGORITHM: Final = "ES256"
_MOST_CHARACTERS: Final = 8192
_RPPS_KIND: Final = "8"


class Unauthenticated(ServingError):
    """No caller can be known from what was sent; get a new token. Never holds the token."""


class Forbidden(ServingError):
    """The caller is known, and may not do this."""


class IssuerUnavailable(ServingError):
    """The issuer's key file is damaged, or tokens come from elsewhere."""


class TokenIssuer(Protocol):
    """Whoever attests callers."""

    @property
    def name(self) -> str:
        """The `iss` of its tokens."""

    def verify_token(self, token: str) -> Caller:
        """The caller whom a token names.

        Raises:
            Unauthenticated: Not a token of this issuer for this service, or no longer.
        """


@dataclass(frozen=True, slots=True)
class Issuer:
    """The issuer inside the house, for a hospital without one, for tests and for the demo.

    Attributes:
        name: The `iss` of its tokens; made from its public key, so that no two homes agree.
        luhn: Whether an RPPS number's last digit is checked, as production does.
    """

    key: ECKey
    name: str
    luhn: bool = False
    clock: Callable[[], float] = time.time

    @classmethod
    def open(cls, home: Home, *, luhn: bool = False) -> Self:
        """The issuer of this home; its key is made on first use.

        Raises:
            IssuerUnavailable: The key file is damaged.
        """
        settle(home)
        path = home.keys / "issuer.jwk"
        try:
            key = ECKey.import_key(json.loads(made_once(path, _new_key)))
        except (ValueError, JoseError) as error:
            raise IssuerUnavailable(f"{path} holds no key: restore it from a backup") from error
        return cls(key=key, name=f"urn:garant:issuer:{key.thumbprint()}", luhn=luhn)

    def issue(
        self, *, role: Role, subject: str, name: str | None = None, lifetime: timedelta
    ) -> str:
        """A token for one person in one role.

        Args:
            subject: Of clinicians, the 11 digits of an RPPS number; else any identifier.

        Raises:
            InvalidIdentity: A clinician's number is not an RPPS number.
        """
        now = int(self.clock())
        claims: dict[str, str | int] = {
            "iss": self.name,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
            "jti": secrets.token_hex(16),
            "role": role.value,
        }
        if name:
            claims["name"] = name
        if role is Role.CLINICIAN:
            claims["SubjectNameID"] = _RPPS_KIND + subject
            professional_number(_RPPS_KIND + subject, luhn=self.luhn)
        return jwt.encode({"alg": _ALGORITHM, "typ": "JWT"}, claims, self.key)

    def verify_token(self, token: str) -> Caller:
        """The caller whom a token names.

        Raises:
            Unauthenticated: Not a token of this issuer for this service, or no longer.
        """
        if len(token) > _MOST_CHARACTERS:
            raise Unauthenticated("the token is too long to be one")
        # `sub`, `exp` and the rest must be there: an absent claim is not an unlimited one.
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(self.clock()),
            leeway=30,
            iss={"essential": True, "value": self.name},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
            role={"essential": True, "values": [role.value for role in Role]},
        )
        try:
            claims = jwt.decode(token, self.key, algorithms=[_ALGORITHM]).claims
            registry.validate(claims)
            # The registry takes a list of roles for a role.
            role = Role(claims["role"])
        except ExpiredTokenError as error:
            raise Unauthenticated("the token has expired") from error
        except (JoseError, ValueError) as error:
            raise Unauthenticated("the token is not one of this service's issuer") from error
        name = claims.get("name")
        return Caller(
            issuer=self.name,
            subject=self._subject(claims),
            role=role,
            name=name if isinstance(name, str) else None,
            attestation=token,
            issuer_key=PublicKey.of(self.key).jwk,
        )

    def _subject(self, claims: dict[str, object]) -> str:
        if claims["role"] != Role.CLINICIAN:
            return str(claims["sub"])
        return clinician_number(claims, luhn=self.luhn)


def clinician_number(claims: Mapping[str, object], *, luhn: bool) -> str:
    """The number in Pro Santé Connect's `SubjectNameID`: its type's digit, then the number.

    Raises:
        Unauthenticated: There is none, or not an RPPS number.
    """
    named = claims.get("SubjectNameID")
    if not isinstance(named, str):
        raise Unauthenticated("a clinician's token carries SubjectNameID")
    try:
        return professional_number(named, luhn=luhn)
    except InvalidIdentity as error:
        raise Unauthenticated(str(error)) from error


def require(caller: Caller, *roles: Role) -> None:
    """Check that the caller has one of these roles.

    Raises:
        Forbidden: The caller has another; names those that may.
    """
    if caller.role not in roles:
        raise Forbidden(f"this is for {', '.join(roles)}; the token is for {caller.role}")


def _new_key() -> bytes:
    return json.dumps(ECKey.generate_key("P-256").as_dict(private=True)).encode()
