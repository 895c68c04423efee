"""`garant monitor`: one window, for a person or for cron."""

from collections.abc import Callable
from typing import Annotated

import typer

from guarantee.commands import (
    DEFAULT_HOME,
    HomeOption,
    TokenOption,
    acting,
    opened,
    refusing,
    say_refused,
)
from guarantee.errors import GuaranteeError
from guarantee.ledger import Ledger
from guarantee.versions import model_names, standing
from models.errors import ModelsError
from monitoring import watch
from monitoring.drift import Drifted, Undecided
from monitoring.errors import MonitoringError
from monitoring.watch import Look

app = typer.Typer(help="Watch what models meet and what they answer.", no_args_is_help=True)

NameArgument = Annotated[
    str | None,
    typer.Argument(help="The model; left out, every promoted model.", show_default=False),
]


class NothingHere(MonitoringError):
    """There is no promoted model in that home; name another with --home."""


@app.command(epilog="Example: garant monitor run tumour-origin-microarray")
def run(
    context: typer.Context,
    token: TokenOption,
    name: NameArgument = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Look at the latest inferences; record drift, or its end, in the log.

    Too few cases are "undecided", never "stable". The same window is recorded once. Exit 0
    whatever was found, 1 where a model could not be looked at.
    """
    with (
        refusing((ModelsError, MonitoringError)),
        acting(context, home, token) as (ledger, actor),
    ):
        _each(ledger, name, lambda known: watch.look(ledger, home, actor, known))


@app.command(epilog="Example: garant monitor report tumour-origin-microarray")
def report(name: NameArgument = None, home: HomeOption = DEFAULT_HOME) -> None:
    """Write Evidently's page on the latest inferences; it holds columns, never a case."""
    with refusing((ModelsError, MonitoringError)), opened(home) as ledger:
        _each(ledger, name, lambda known: watch.report(ledger, home, known))


def _each(ledger: Ledger, name: str | None, look: Callable[[str], Look]) -> None:
    """Look at one model, or at every promoted one: one that fails does not hide the others."""
    promoted = [known for known in model_names(ledger) if standing(ledger, known).serving]
    names = promoted if name is None else [name]
    if not names:
        raise NothingHere("no model is promoted: there is nothing to watch")
    failed = False
    for known in names:
        try:
            _show(look(known))
        except (GuaranteeError, ModelsError, MonitoringError) as error:
            say_refused(error)
            failed = True
    if failed:
        raise typer.Exit(1)


def _show(look: Look) -> None:
    typer.echo(f"{look.name} {look.version}: {look.finding}")
    if isinstance(look.finding, Drifted):
        for column in look.finding.drifted:
            moved = "" if column.shift is None else f", shift {column.shift:+.2f}"
            typer.echo(
                f"  {column.name}: {column.test} p = {column.p_value:.2g}"
                f" (drift at or below {column.threshold:.2g}){moved}"
            )
    if not isinstance(look.finding, Undecided) and look.finding.skipped:
        typer.echo(f"  too few cases know: {', '.join(look.finding.skipped)}")
    if look.recorded is not None:
        typer.echo(f"  recorded: {look.recorded.header.type} {look.recorded.id}")
    if look.report is not None:
        typer.echo(f"  report: {look.report}")
