"""The environment makes one frozen object, or stops the start with a clear word."""

from datetime import timedelta
from pathlib import Path

import pytest

from serving.settings import Environment, InvalidSettings, Settings


def test_an_empty_environment_is_a_development_home_of_ones_own() -> None:
    settings = Settings.read({})
    assert settings.home.path == Path.home() / ".garant"
    assert settings.environment is Environment.DEVELOPMENT
    assert settings.token_lifetime == timedelta(hours=12)


def test_a_home_by_hand_goes_before_the_environments(tmp_path: Path) -> None:
    environ = {"GARANT_HOME": "/elsewhere"}
    assert Settings.read(environ).home.path == Path("/elsewhere")
    assert Settings.read(environ, home=tmp_path).home.path == tmp_path


def test_an_unknown_variable_stops_the_start_and_is_named_without_its_value() -> None:
    with pytest.raises(InvalidSettings, match="GARANT_HOMES") as refused:
        Settings.read({"GARANT_HOMES": "s3cret", "GARANT_COHORTS": "/data", "PATH": "/bin"})
    assert "s3cret" not in str(refused.value)


def test_a_database_url_names_where_the_log_is_and_is_never_shown() -> None:
    settings = Settings.read({"GARANT_DATABASE_URL": "postgresql://u:s3cret@host/name"})
    assert settings.home.url.host == "host"
    assert "s3cret" not in repr(settings)
    with pytest.raises(InvalidSettings, match="GARANT_DATABASE_URL") as refused:
        Settings.read({"GARANT_DATABASE_URL": "mysql://u:s3cret@host/name"})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"GARANT_ENVIRONMENT": "prod"},
        {"GARANT_TOKEN_HOURS": "0"},
        {"GARANT_TOKEN_HOURS": "169"},
        {"GARANT_TOKEN_HOURS": "-1"},
        {"GARANT_TOKEN_HOURS": "1.5"},
        {"GARANT_TOKEN_HOURS": "²"},
        {"GARANT_MASTER_KEY": "too short"},
        {"GARANT_OIDC_ISSUER": "issuer.example", "GARANT_OIDC_AUDIENCE": "garant"},
        {"GARANT_OIDC_ISSUER": "http://issuer.example", "GARANT_OIDC_AUDIENCE": "garant"},
        {"GARANT_OIDC_ISSUER": "https://issuer.example/?realm", "GARANT_OIDC_AUDIENCE": "garant"},
        {"GARANT_OIDC_ISSUER": "https://[", "GARANT_OIDC_AUDIENCE": "garant"},
    ],
)
def test_a_value_of_another_kind_stops_the_start(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(environ))):
        Settings.read(environ)


def test_an_issuer_outside_is_configured_whole() -> None:
    with pytest.raises(InvalidSettings, match="GARANT_OIDC_AUDIENCE is missing"):
        Settings.read({"GARANT_OIDC_ISSUER": "https://issuer.example/realm"})
    for alone in ("GARANT_OIDC_AUDIENCE", "GARANT_OIDC_ROLE_CLAIM"):
        with pytest.raises(InvalidSettings, match="GARANT_OIDC_ISSUER is missing"):
            Settings.read({alone: "garant"})
    assert Settings.read({}).oidc is None
