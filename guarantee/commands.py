"""`garant ledger` and `garant college`, and what every package's commands share."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from guarantee import college
from guarantee.databases import UnsupportedDatabase, parse_url
from guarantee.errors import GuaranteeError
from guarantee.home import Home
from guarantee.identity import Caller, Profession, Role
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.verify import COULD_NOT_CHECK, CouldNotCheck, print_report, verify_home

Authenticate = Callable[[Home, str], Caller]
"""Checks a token as over HTTP; `garant.py` puts it into the context, since arrows run down."""

DEFAULT_HOME = Home(Path.home() / ".garant")


def _home(named: str | Home) -> Home:
    """The home at a path, with the database that the environment names."""
    path = named.path if isinstance(named, Home) else Path(named)
    server = os.environ.get("GARANT_DATABASE_URL")
    try:
        return Home(path, parse_url(server) if server else None)
    except UnsupportedDatabase as error:
        raise typer.BadParameter(str(error), param_hint="GARANT_DATABASE_URL") from error


HomeOption = Annotated[
    Home,
    typer.Option(
        "--home",
        envvar="GARANT_HOME",
        parser=_home,
        metavar="DIRECTORY",
        show_default="~/.garant",
        help="Where the log, keys and models are kept; GARANT_DATABASE_URL names a PostgreSQL "
        "database to keep the log in instead.",
    ),
]
TokenOption = Annotated[
    str,
    typer.Option("--token", envvar="GARANT_TOKEN", help="Who acts; `garant token` issues one."),
]

out = Console()
err = Console(stderr=True)

ledger_app = typer.Typer(help="Verify the log and take proofs from it.", no_args_is_help=True)
college_app = typer.Typer(
    help="The college of human guarantee: seats and votes.", no_args_is_help=True
)


@contextmanager
def refusing(errors: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Say one of these errors, or one of the guarantee's, in a line; exit 1.

    Anything else is a defect and keeps its trace.
    """
    expected: tuple[type[Exception], ...] = (GuaranteeError, *errors)
    try:
        yield
    except expected as error:
        say_refused(error)
        raise typer.Exit(1) from error


def say_refused(error: Exception) -> None:
    """Write an error to stderr, in one line."""
    err.print(f"refused ({type(error).__name__}): {error}", markup=False, highlight=False)


@contextmanager
def acting(context: typer.Context, home: Home, token: str) -> Iterator[tuple[Ledger, Actor]]:
    """The log under `home`, and the token's caller as an actor in it."""
    authenticate: Authenticate = context.obj
    caller = authenticate(home, token)
    with Ledger.open(home) as ledger:
        yield ledger, ledger.people.actor(caller)


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on a terminal, silence elsewhere; call it with done and all."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@ledger_app.command(epilog="Example: garant ledger verify --home ~/.garant")
def verify(home: HomeOption = DEFAULT_HOME) -> None:
    """Check every record, body, step and signature: exit 0 verified, 1 tampering, 2 not checked."""
    try:
        with bar("verifying") as progress:
            report = verify_home(home, progress)
    except CouldNotCheck as error:
        err.print(f"could not check: {error}", markup=False, highlight=False)
        raise typer.Exit(COULD_NOT_CHECK) from error
    raise typer.Exit(print_report(report, typer.echo))


@ledger_app.command(epilog="Example: garant ledger checkpoint > kept-outside-the-house.txt")
def checkpoint(home: HomeOption = DEFAULT_HOME) -> None:
    """Print the signed checkpoint: keep it outside the house, and later verify against it."""
    with refusing(), Ledger.open(home) as ledger:
        typer.echo(ledger.checkpoint(), nl=False)
        err.print(f"verifier key: {ledger.verifier_key}", markup=False, highlight=False)


@ledger_app.command(epilog="Example: garant ledger proof 019a8f3c-… > receipt.tlog-proof")
def proof(
    record: Annotated[str, typer.Argument(help="The record's id.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print the proof that a record stands in the log; its header goes to stderr."""
    with refusing(), Ledger.open(home) as ledger:
        receipt = ledger.receipt(record)
    typer.echo(receipt.proof, nl=False)
    typer.echo(receipt.header, err=True)


@ledger_app.command(epilog="Example: garant ledger stats --home ~/.garant")
def stats(home: HomeOption = DEFAULT_HOME) -> None:
    """Count the records of each type."""
    with refusing(), Ledger.open(home) as ledger:
        counts = ledger.counts()
    table = Table("record", "count")
    for kind, count in counts.items():
        table.add_row(kind, str(count))
    out.print(table)


@college_app.command(
    epilog="Example: garant college appoint --subject claire.nurse --profession paramedic"
)
def appoint(
    context: typer.Context,
    subject: Annotated[str, typer.Option(help="The member's subject in their tokens.")],
    profession: Annotated[Profession, typer.Option(help="The seat.")],
    token: TokenOption,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Give a person a seat in the college."""
    with refusing(), acting(context, home, token) as (ledger, actor):
        issuer = ledger.people.actor_named(actor.pseudonym).issuer
        member = ledger.people.actor(Caller(issuer=issuer, subject=subject, role=Role.COLLEGE))
        recorded = college.appoint(ledger, actor, member=member, profession=profession)
    out.print(f"appointed: record {recorded.id}", highlight=False)


@college_app.command(epilog="Example: garant college vote tumour-origin-microarray 1 --in-favour")
def vote(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str, typer.Argument(help="The version to vote on.")],
    *,
    token: TokenOption,
    in_favour: Annotated[
        bool, typer.Option("--in-favour/--against", help="The vote.", show_default=False)
    ],
    reason: Annotated[str | None, typer.Option(help="Why; anyone may read it.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Cast your vote; the vote that makes the quorum approves the version."""
    with refusing(), acting(context, home, token) as (ledger, actor):
        cast = college.vote(
            ledger, actor, name=name, version=version, in_favour=in_favour, reason=reason
        )
    out.print(f"voted: record {cast.cast.id}", highlight=False)
    if cast.approval is not None:
        out.print(f"approved: {name} version {version}", highlight=False)


@college_app.command(epilog="Example: garant college status")
def status(home: HomeOption = DEFAULT_HOME) -> None:
    """Show who sits and which versions wait for votes."""
    with refusing(), Ledger.open(home) as ledger:
        present = college.status(ledger)
    seats = Table("member", "seat", title="Seats")
    for pseudonym, profession in present.members:
        seats.add_row(pseudonym, profession)
    out.print(seats)
    waiting = Table("model", "version", "votes", "missing", title="Versions that wait for votes")
    for version in present.open_versions:
        cast = f"{len(version.votes)}"
        waiting.add_row(version.name, version.version, cast, ", ".join(version.missing))
    out.print(waiting)
