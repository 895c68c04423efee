"""`garant models update`: what needs both models and the comparison of versions."""

from pathlib import Path
from typing import Annotated

import typer

from guarantee.commands import DEFAULT_HOME, HomeOption, TokenOption, acting, bar, refusing
from models.errors import ModelsError
from monitoring.errors import MonitoringError

app = typer.Typer(help="Update models that learn.", no_args_is_help=True)


@app.callback()
def _room() -> None:
    """With a callback, a single command keeps its name."""


@app.command(epilog="Example: garant models update my-model --cohort cohort.csv --token $TOKEN")
def update(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A model that learns.")],
    *,
    token: TokenOption,
    cohort: Annotated[
        str | None,
        typer.Option(help="What its first version was trained on; else the recipe's."),
    ] = None,
    cohorts: Annotated[
        Path | None,
        typer.Option(envvar="GARANT_COHORTS", help="The folder that holds tcga-mirna."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Retrain a learning model from confirmed outcomes, under its approved change protocol.

    Learned from are outcomes of patients told of this reuse who did not refuse it. Inside the
    bounds the new version answers at once; beyond one it waits for the college's votes. Both
    versions side by side are a page, whose path is printed. Exit 0 for both, 1 where nothing could
    be updated.
    """
    from models import recipes
    from monitoring.evolution import told
    from monitoring.learning import update

    source = cohort
    with (
        refusing((ModelsError, MonitoringError)),
        acting(context, home, token) as (ledger, actor),
        bar(f"training {name}") as progress,
    ):
        if source is None and name not in recipes.RECIPES:
            raise typer.BadParameter("a model of your own needs --cohort")
        updated = update(
            ledger,
            home,
            actor,
            name=name,
            cohort=lambda: recipes.first_cohort(name, source, home, cohorts),
            progress=progress,
        )
    learned = updated.learned
    typer.echo(
        f"{name} {updated.version} learned from {learned.cases} cases, {learned.new_cases} of "
        f"them new; SHA-256 {learned.cases_sha256}"
    )
    if updated.kept_out:
        typer.echo(f"Not told of the reuse, or refused: {updated.kept_out} outcomes left out.")
    if updated.unknown:
        typer.echo(f"Of labels that are not on the card: {updated.unknown} outcomes left out.")
    if updated.page is not None:
        typer.echo(f"The comparison as a page: {updated.page}")
    for what, evolution in (("locked set", updated.locked), ("window", updated.window)):
        for line in () if evolution is None else told(evolution):
            typer.echo(f"  {what}: {line}")
    if not updated.reasons:
        typer.echo(f"Inside the change protocol: {name} {updated.version} answers.")
        return
    for reason in updated.reasons:
        typer.echo(f"Beyond the change protocol: {reason}.")
    typer.echo(f"It waits: garant college vote {name} {updated.version} --in-favour, or --against")
