"""`garant serve` and `garant token`."""

import itertools
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from guarantee.commands import DEFAULT_HOME, HomeOption, bar, err, out, refusing
from guarantee.home import Home
from guarantee.identity import Caller, InvalidIdentity, Role
from serving.auth import Issuer, IssuerUnavailable
from serving.errors import ServingError
from serving.oidc import issuer_of
from serving.settings import Settings

app = typer.Typer(
    help="Clinical AI under a human guarantee.",
    epilog="Example: garant demo (the main job from nothing); then: garant models --help",
    no_args_is_help=True,
    add_completion=False,
)
# Of the RPPS's format, and nobody's.
_SAMPLE_RPPS: Final = "10000000001"


def authenticate(home: Home, token: str) -> Caller:
    """The caller whom a token of this home's issuer names, checked as over HTTP.

    Raises:
        Unauthenticated: Not a token of that issuer, or no longer.
        IssuerUnreachable: The issuer is outside, and its keys cannot be had.
    """
    settings = Settings.read(os.environ, home=home.path)
    return issuer_of(settings).verify_token(token)


@app.command(epilog="Example: garant serve --port 3000 --workers 2")
def serve(
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[str, typer.Option(help="The IP address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
) -> None:
    """Serve the models over HTTP until it is stopped."""
    with refusing((ServingError,)):
        settings = Settings.read(os.environ, home=home.path)
    settings.home.bentoml.mkdir(parents=True, exist_ok=True)
    # The workers read the first; BentoML reads the others when it is imported.
    os.environ["GARANT_HOME"] = str(settings.home.path)
    os.environ["BENTOML_HOME"] = str(settings.home.bentoml)
    os.environ["BENTOML_CONFIG_OPTIONS"] = f"services.Garant.workers={workers}"
    import bentoml

    # Another service's port and a host by name are the operator's to change, not defects.
    with refusing((ServingError, bentoml.exceptions.BentoMLException, OSError)):
        bentoml.serve(
            "serving.service:Garant",
            host=host,
            port=port,
            working_dir=str(Path(__file__).parent.parent),
            blocking=True,
        )


@app.command(epilog="Example: garant token --role clinician --subject 10000000001")
def token(
    role: Annotated[Role, typer.Option(help="What the token is for.")],
    subject: Annotated[
        str | None,
        typer.Option(help="Who: of a clinician, the 11 digits of an RPPS number."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The person's name.")] = None,
    hours: Annotated[int | None, typer.Option(min=1, max=168, help="How long it lives.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print a token of the embedded issuer; refused in production, or where another is set."""
    with refusing((ServingError, InvalidIdentity)):
        settings = Settings.read(os.environ, home=home.path)
        if settings.oidc is not None:
            raise IssuerUnavailable(
                f"tokens come from {settings.oidc.url}, as GARANT_OIDC_ISSUER says"
            )
        if settings.in_production:
            raise IssuerUnavailable(
                "the embedded issuer gives no token where GARANT_ENVIRONMENT is production"
            )
        issued = Issuer.open(settings.home).issue(
            role=role,
            subject=subject or (_SAMPLE_RPPS if role is Role.CLINICIAN else f"some-{role}"),
            name=name,
            lifetime=timedelta(hours=hours) if hours else settings.token_lifetime,
        )
    typer.echo(issued)


@app.command(epilog="Example: garant demo --keep")
def demo(
    home: HomeOption = DEFAULT_HOME,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service running; prints how to stop it.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Delete the home first, if an earlier demo made it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Train, approve, inform, ask, decide, tell and verify, on a real tumour, from nothing."""
    from models.errors import ModelsError
    from serving.demo import Teller, clear, run

    # With --json the story goes to stderr, so that stdout is the object alone.
    voice = err if as_json else out
    steps = itertools.count(1)
    teller = Teller(
        step=lambda words: voice.print(
            f"\n[bold]{next(steps)}. {words}[/bold]", highlight=False, soft_wrap=True
        ),
        say=lambda words: typer.echo(f"   {words}", err=as_json),
        bar=bar,
    )
    with refusing((ServingError, ModelsError)):
        if os.environ.get("GARANT_OIDC_ISSUER"):
            raise IssuerUnavailable("the demo makes its own tokens: unset GARANT_OIDC_ISSUER")
        if anew:
            clear(home)
        outcome = run(home, teller, keep=keep)
    if as_json:
        typer.echo(json.dumps(outcome.as_json()))
    elif outcome.address is not None:
        voice.print(f"\nThe service goes on at {outcome.address}/", highlight=False, soft_wrap=True)
        voice.print(f"stop it with: kill {outcome.process}", highlight=False, soft_wrap=True)
        for role, token in outcome.tokens.items():
            voice.print(f"\ntoken of a {role}:", highlight=False, soft_wrap=True)
            typer.echo(token)
    if not outcome.ledger_verified:
        raise typer.Exit(1)
