"""What the environment may set: one frozen object, read once and passed down."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from guarantee.databases import UnsupportedDatabase
from guarantee.home import Home
from guarantee.keyring import GivenKeys
from guarantee.vault import KeyUnavailable
from serving.errors import ServingError

PREFIX: Final = "GARANT_"
_READ_HERE: Final = frozenset(
    {
        "GARANT_DATABASE_URL",
        "GARANT_ENVIRONMENT",
        "GARANT_HOME",
        "GARANT_OIDC_AUDIENCE",
        "GARANT_OIDC_ISSUER",
        "GARANT_OIDC_ROLE_CLAIM",
        "GARANT_TOKEN_HOURS",
    }
)
# Read where they are used: by commands, by cohorts, by tests.
_READ_ELSEWHERE: Final = frozenset(
    {
        "GARANT_ALERT_SECRET",
        "GARANT_ALERT_URL",
        "GARANT_COHORTS",
        "GARANT_MASTER_KEY",
        "GARANT_SERVICE",
        "GARANT_TEST_CACHE",
        "GARANT_TOKEN",
    }
)


class InvalidSettings(ServingError):
    """The environment does not make settings; names the variable, never its value."""


class Environment(StrEnum):
    """What the house is for: production refuses test identities and the embedded issuer."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideIssuer:
    """An OpenID Connect issuer that takes the embedded one's place.

    Attributes:
        url: The `iss` of its tokens, under which its discovery document stands.
        audience: What its tokens' `aud` must hold.
        role_claim: The claim that holds one of Garant's roles, or a list with one of them; a path
            with dots inside objects. None: whoever it names is a clinician, as with Pro Santé
            Connect.
    """

    url: str
    audience: str
    role_claim: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process serves.

    Attributes:
        home: From `GARANT_HOME`; `~/.garant` by default. `GARANT_DATABASE_URL` names the
            PostgreSQL database that holds its log; without it, a SQLite file in the home does.
        environment: From `GARANT_ENVIRONMENT`.
        oidc: From `GARANT_OIDC_ISSUER`, `GARANT_OIDC_AUDIENCE` and `GARANT_OIDC_ROLE_CLAIM`; none:
            the embedded issuer.
        token_lifetime: Of the embedded issuer's tokens, from `GARANT_TOKEN_HOURS`.
    """

    home: Home
    environment: Environment = Environment.DEVELOPMENT
    oidc: OutsideIssuer | None = None
    token_lifetime: timedelta = timedelta(hours=12)

    @property
    def in_production(self) -> bool:
        """Whether patients and professionals must be real."""
        return self.environment is Environment.PRODUCTION

    @classmethod
    def read(cls, environ: Mapping[str, str], *, home: Path | None = None) -> Self:
        """The settings in `environ`; `home` given by hand goes before `GARANT_HOME`.

        Raises:
            InvalidSettings: A `GARANT_` variable is unknown, or a value is not one of its kind.
        """
        unknown = sorted(
            name
            for name in environ
            if name.startswith(PREFIX) and name not in _READ_HERE | _READ_ELSEWHERE
        )
        if unknown:
            known = ", ".join(sorted(_READ_HERE | _READ_ELSEWHERE))
            raise InvalidSettings(f"unknown: {', '.join(unknown)}; the variables are {known}")
        _check_master_key(environ.get("GARANT_MASTER_KEY"))
        path = home or Path(environ.get("GARANT_HOME") or "~/.garant")
        return cls(
            home=_home(path.expanduser().absolute(), environ.get("GARANT_DATABASE_URL")),
            environment=_environment(environ.get("GARANT_ENVIRONMENT")),
            oidc=_oidc(environ),
            token_lifetime=_hours(environ.get("GARANT_TOKEN_HOURS")),
        )


def _check_master_key(text: str | None) -> None:
    """The log reads it where it opens; here a wrong one only stops the start, with a word."""
    try:
        if text:
            GivenKeys.parse(text)
    except KeyUnavailable as error:
        raise InvalidSettings(str(error)) from None


def _home(path: Path, server: str | None) -> Home:
    try:
        return Home.named(path, server)
    except UnsupportedDatabase as error:
        raise InvalidSettings(f"GARANT_DATABASE_URL: {error}") from error


def _environment(word: str | None) -> Environment:
    if not word:
        return Environment.DEVELOPMENT
    try:
        return Environment(word)
    except ValueError as error:
        raise InvalidSettings(f"GARANT_ENVIRONMENT is one of {', '.join(Environment)}") from error


def _oidc(environ: Mapping[str, str]) -> OutsideIssuer | None:
    url, audience, role_claim = (
        environ.get(f"GARANT_OIDC_{name}") or None for name in ("ISSUER", "AUDIENCE", "ROLE_CLAIM")
    )
    if url is None:
        if audience or role_claim:
            raise InvalidSettings("GARANT_OIDC_ISSUER is missing, and the others rest on it")
        return None
    if not is_private(url) or any(sign in url for sign in "?#"):
        raise InvalidSettings("GARANT_OIDC_ISSUER is an https address, as the tokens' iss has it")
    if audience is None:
        raise InvalidSettings("GARANT_OIDC_AUDIENCE is missing: what the tokens' aud must hold")
    return OutsideIssuer(url=url, audience=audience, role_claim=role_claim)


def is_private(url: str) -> bool:
    """Whether nobody on the way can change what is fetched there: https, or this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _hours(word: str | None) -> timedelta:
    if not word:
        return timedelta(hours=12)
    # A token cannot be recalled, so it lives a week at most.
    if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= 168:
        raise InvalidSettings("GARANT_TOKEN_HOURS is a whole number of hours, 1 to 168")
    return timedelta(hours=int(word))
