"""`garant ledger`, and what every package's commands share."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import inspect, select

from guarantee import disclosure
from guarantee.bodies import Purpose
from guarantee.databases import UnsupportedDatabase
from guarantee.disclosure import write_disclosure
from guarantee.errors import GuaranteeError
from guarantee.export import write_export
from guarantee.home import Home
from guarantee.identity import Caller
from guarantee.kept import keep_checkpoint, read_note
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.store import HEAD, Reader
from guarantee.succession import settle
from guarantee.timestamp import fetch_timestamp
from guarantee.transfer import NoLog
from guarantee.verify import (
    Report,
    anchors_of,
    exit_status,
    reading,
    verify_export,
    verify_home,
)

Authenticate = Callable[[Home, str], Caller]
"""Checks a token as over HTTP; `garant.py` puts it into the context, since arrows run down."""

DEFAULT_HOME = Home(Path.home() / ".garant")


def _home(named: str | Home) -> Home:
    """The home at a path, with the database that the environment names."""
    path = named.path if isinstance(named, Home) else Path(named)
    try:
        return Home.named(path, os.environ.get("GARANT_DATABASE_URL"))
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

# For tables and bars. Lines go through `typer.echo`: in a pipe a console breaks at 80 columns.
out = Console()
err = Console(stderr=True)

ledger_app = typer.Typer(help="Verify the log and take proofs from it.", no_args_is_help=True)


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
    words = f"refused ({type(error).__name__}): {error}"
    typer.echo(words, err=True)


def check_log(home: Home) -> None:
    """Refuse a home without a log: opening it would make one, with keys, where a slip pointed.

    Raises:
        NoLog: There is none.
        StoreUnavailable: The database cannot be read.
        HomeUnavailable: A restore was cut short, and the home cannot be written.
    """
    settle(home)
    if not home.lacks_log:
        with closing(Reader.open(home.url)) as reader, reader.reading() as connection:
            made = inspect(connection).has_table(HEAD.name)
            if made and connection.scalar(select(HEAD.c.size)) is not None:
                return
    raise NoLog(f"there is no log in {home.path}: name a home that has one with --home")


@contextmanager
def opened(home: Home) -> Iterator[Ledger]:
    """The log under `home`, where there is one: see `check_log`."""
    check_log(home)
    with Ledger.open(home) as ledger:
        yield ledger


@contextmanager
def acting(
    context: typer.Context, home: Home, token: str, *, founding: bool = False
) -> Iterator[tuple[Ledger, Actor]]:
    """The log under `home`, and the token's caller as an actor in it.

    Args:
        founding: Whether it may be the first act of a house, whose log is then made.
    """
    if not founding:
        check_log(home)
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


@ledger_app.command(
    epilog="Example: garant ledger verify --export log.garant --key VKEY --since kept.txt"
)
def verify(
    home: HomeOption = DEFAULT_HOME,
    export: Annotated[
        Path | None, typer.Option(help="An export to verify, instead of the home's log.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="The log's verifier key, as you were given it; then earlier logs'."),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(help="A checkpoint kept outside the house: the log only grew since."),
    ] = None,
    cosigner: Annotated[
        list[str] | None, typer.Option(help="The key of a witness who has cosigned.")
    ] = None,
    tsa_root: Annotated[
        Path | None, typer.Option(help="PEM file of timestamping authorities' roots.")
    ] = None,
) -> None:
    """Check every record, body, step and signature.

    Exit 0: verified. Exit 1: tampering was found, which a log that the key given did not sign is,
    too. Exit 2: could not check, because a key, a file or the database is missing, unreadable or
    malformed.
    """

    def verification() -> Report:
        anchors = anchors_of(
            keys=tuple(key or ()),
            since=since,
            witnesses=tuple(cosigner or ()),
            authorities=tsa_root,
        )
        with bar("verifying") as progress:
            if export is not None:
                return verify_export(export, progress, anchors=anchors, home=home)
            return verify_home(home, progress, anchors=anchors)

    raise typer.Exit(
        exit_status(verification, say=typer.echo, complain=partial(typer.echo, err=True))
    )


@ledger_app.command(epilog="Example: garant ledger export log.garant")
def export(
    file: Annotated[Path, typer.Argument(help="Replaced where it exists.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write the whole log into one file that a college verifies alone; no key leaves with it."""
    with refusing():
        # A log that is never idle is signed for its home only when it is opened.
        with opened(home):
            pass
        with bar("exporting") as progress, reading(home) as log:
            size = write_export(log, file, progress)
    typer.echo(f"{file}: {size} records")


@ledger_app.command(epilog="Example: garant ledger disclose 019a8f3c-… case.json --purpose review")
def disclose(
    context: typer.Context,
    dossier: Annotated[str, typer.Argument(help="The inference's id.")],
    file: Annotated[Path, typer.Argument(help="Where to write; it will hold what is clinical.")],
    token: TokenOption,
    purpose: Annotated[Purpose | None, typer.Option(help="Why; it is recorded.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Open one dossier for somebody who checks it against an export; no key leaves with it."""
    with refusing(), acting(context, home, token) as (ledger, actor):
        write_disclosure(file, disclosure.disclose(ledger, actor, dossier=dossier, purpose=purpose))
    typer.echo(f"{file}: for your eyes alone")


@ledger_app.command(epilog="Example: garant ledger checkpoint > kept-outside-the-house.txt")
def checkpoint(
    home: HomeOption = DEFAULT_HOME,
    timestamp: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Have an authority timestamp it (RFC 3161), and keep it."),
    ] = None,
    cosigned: Annotated[
        Path | None,
        typer.Option(help="A checkpoint that witnesses have cosigned: keep it with the log."),
    ] = None,
) -> None:
    """Print the signed checkpoint: keep it outside the house, and later verify against it."""
    with refusing(), opened(home) as ledger:
        note = ledger.checkpoint()
        if timestamp is not None:
            keep_checkpoint(ledger, note, fetch_timestamp(timestamp, note.encode()))
        if cosigned is not None:
            keep_checkpoint(ledger, read_note(cosigned))
        typer.echo(note, nl=False)
        typer.echo(f"verifier key: {ledger.verifier_key}", err=True)


@ledger_app.command(epilog="Example: garant ledger proof 019a8f3c-… > receipt.tlog-proof")
def proof(
    record: Annotated[str, typer.Argument(help="The record's id.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print the proof that a record stands in the log; its header goes to stderr."""
    with refusing(), opened(home) as ledger:
        receipt = ledger.receipt(record)
    typer.echo(receipt.proof, nl=False)
    typer.echo(receipt.header, err=True)


@ledger_app.command(epilog="Example: garant ledger stats --home ~/.garant")
def stats(home: HomeOption = DEFAULT_HOME) -> None:
    """Count the records of each type."""
    with refusing(), opened(home) as ledger:
        counts = ledger.counts()
    table = Table("record", "count")
    for kind, count in counts.items():
        table.add_row(kind, str(count))
    out.print(table)
