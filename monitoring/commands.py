"""`garant monitor`: one window, for a person or for cron."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from guarantee.errors import GuaranteeError
from guarantee.home import Home
from guarantee.identity import Caller
from guarantee.ledger import Ledger
from guarantee.versions import model_names, standing
from models.errors import ModelsError
from monitoring import watch
from monitoring.drift import Drifted, Stable
from monitoring.errors import MonitoringError
from monitoring.watch import Look

Authenticate = Callable[[Home, str], Caller]
"""Who holds this token; injected by the door as the context's object."""

REFUSALS: Final = (GuaranteeError, ModelsError, MonitoringError)

app = typer.Typer(
    name="monitor",
    help="Watch what models meet and what they answer.",
    no_args_is_help=True,
)

Name = Annotated[
    str | None,
    typer.Argument(help="The model; left out, every promoted model.", show_default=False),
]
HomeDirectory = Annotated[
    Path, typer.Option("--home", envvar="GARANT_HOME", help="Where the log and the models are.")
]
Token = Annotated[
    str,
    typer.Option("--token", envvar="GARANT_TOKEN", help="A bearer token of the role monitor."),
]
DEFAULT_HOME = Path.home() / ".garant"


@app.command()
def run(
    context: typer.Context, token: Token, name: Name = None, home: HomeDirectory = DEFAULT_HOME
) -> None:
    """Look at the last window of inferences; record drift, or its end, in the log.

    Too few cases are "undecided", never "stable". The same window is recorded once.
    Exit code: 0 every model was looked at, 2 one could not be.

    Example: garant monitor run tumour-origin-microarray --token TOKEN
    """
    authenticate: Authenticate = context.obj
    with _log(home) as (place, ledger):
        actor = ledger.people.actor(authenticate(place, token))
        _each(ledger, name, lambda model: watch.look(ledger, place, actor, model))


@app.command()
def report(name: Name = None, home: HomeDirectory = DEFAULT_HOME) -> None:
    """Write Evidently's page on the last window; it holds columns, never a case.

    Exit code: 0 every model was looked at, 2 one could not be.

    Example: garant monitor report tumour-origin-microarray
    """
    with _log(home) as (place, ledger):
        _each(ledger, name, lambda model: watch.report(ledger, place, model))


@contextmanager
def _log(home: Path) -> Iterator[tuple[Home, Ledger]]:
    place = Home(home)
    # Opening a log makes one where there is none: a typing error would be watched for ever.
    if not place.database.is_file():
        _fail(f"there is no log in {home}: name the home of a running Garant with --home")
    try:
        with Ledger.open(place) as ledger:
            yield place, ledger
    except REFUSALS as refusal:
        _fail(str(refusal))


def _each(ledger: Ledger, name: str | None, look: Callable[[str], Look]) -> None:
    """Look at one model, or at every promoted one: a failure does not hide the others."""
    names = (
        [name]
        if name
        else [known for known in model_names(ledger) if standing(ledger, known).serving]
    )
    if not names:
        _fail("no model is promoted: there is nothing to watch")
    failed = False
    for known in names:
        try:
            _show(look(known))
        except REFUSALS as refusal:
            failed = True
            typer.echo(f"{known}: could not look: {refusal}", err=True)
    if failed:
        raise typer.Exit(2)


def _show(look: Look) -> None:
    typer.echo(f"{look.name} {look.version}: {look.finding}")
    if isinstance(look.finding, Drifted):
        for column in look.finding.drifted:
            moved = "" if column.shift is None else f", shift {column.shift:+.2f}"
            typer.echo(
                f"  {column.name}: {column.test} p = {column.p_value:.2g}"
                f" (drift at or below {column.threshold:.2g}){moved}"
            )
    if isinstance(look.finding, Stable | Drifted) and look.finding.skipped:
        typer.echo(f"  too few cases know: {', '.join(look.finding.skipped)}")
    if look.recorded is not None:
        typer.echo(f"  recorded: {look.recorded.header.type} {look.recorded.id}")
    if look.report is not None:
        typer.echo(f"  report: {look.report}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
