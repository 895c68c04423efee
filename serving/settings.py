"""What the environment may set: one frozen object, read once and passed down."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from guarantee.databases import UnsupportedDatabase
from guarantee.home import Home
from guarantee.keyring import GivenKeys
from guarantee.vault import KeyUnavailable
from serving.errors import ServingError

PREFIX: Final = "GARANT_"
_READ_HERE: Final = frozenset(
    {"GARANT_DATABASE_URL", "GARANT_HOME", "GARANT_ENVIRONMENT", "GARANT_TOKEN_HOURS"}
)
# Read where they are used: by commands, by cohorts, by tests.
_READ_ELSEWHERE: Final = frozenset(
    {
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
class Settings:
    """How this process serves.

    Attributes:
        home: From `GARANT_HOME`; `~/.garant` by default. `GARANT_DATABASE_URL` names the
            PostgreSQL database that holds its log; without it, a SQLite file in the home does.
        environment: From `GARANT_ENVIRONMENT`.
        token_lifetime: Of the embedded issuer's tokens, from `GARANT_TOKEN_HOURS`.
    """

    home: Home
    environment: Environment = Environment.DEVELOPMENT
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


def _hours(word: str | None) -> timedelta:
    if not word:
        return timedelta(hours=12)
    # A token cannot be recalled, so it lives a week at most.
    if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= 168:
        raise InvalidSettings("GARANT_TOKEN_HOURS is a whole number of hours, 1 to 168")
    return timedelta(hours=int(word))
