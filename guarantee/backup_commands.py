"""`garant backup` and `garant restore`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from guarantee.backup import KEEP_DAYS, take_backup
from guarantee.commands import (
    DEFAULT_HOME,
    Authenticate,
    HomeOption,
    TokenOption,
    acting,
    bar,
    refusing,
)
from guarantee.home import Home
from guarantee.identity import Caller
from guarantee.keyring import VARIABLE
from guarantee.restore import restore as restore_backup

backup_app = typer.Typer(help="Take backups of the house, and restore it from one.")


@backup_app.command(epilog="Example: garant backup /mnt/backups/garant-2026-11-24.tar")
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    *,
    token: TokenOption,
    keep_days: Annotated[
        int,
        typer.Option(
            min=1,
            max=3650,
            help="For how long the backup may be restored. It must be deleted then: patients "
            "who are erased stay in it until that day, and are told so.",
        ),
    ] = KEEP_DAYS,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Leave keys/ out; back it up elsewhere.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write log, vault, keys and models to one file, while the service goes on; for integrators."""
    with refusing(), acting(context, home, token) as (ledger, actor):
        taken = take_backup(
            home,
            ledger,
            actor,
            file,
            keep_days=keep_days,
            with_keys=not without_keys,
            bar=bar,
        )
    manifest = taken.manifest
    typer.echo(f"backed up: {manifest.size} records, on record as {taken.recorded.id}")
    typer.echo(f"SHA-256 {taken.sha256}")
    typer.echo(f"restored until {manifest.expires}: delete it then")
    if without_keys:
        warning = "without keys/ it opens nothing: keep that folder elsewhere, and restore both"
    else:
        warning = "whoever has this file reads every patient's records and signs in the log's name"
        if os.environ.get(VARIABLE):
            warning = f"the master key is in {VARIABLE} and not in this file: keep it elsewhere"
    typer.echo(f"warning: {warning}", err=True)


@backup_app.command(epilog="Example: garant restore /mnt/backups/garant-2026-11-24.tar")
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that `garant backup` wrote.")],
    *,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="GARANT_TOKEN",
            help="Who answers for it, an integrator; needed where the home holds a log.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also over a log that is newer, another one, or unreadable, which is kept "
            "aside; also from a backup that has expired.",
        ),
    ] = False,
    reason: Annotated[
        str, typer.Option(help="Why; anyone may read it in the log.")
    ] = "restored from a backup",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a verified backup the home's content, as a new log; stop what serves first."""
    authenticate: Authenticate = context.obj

    def identify(at: Home) -> Caller:
        return authenticate(at, token or "")

    with refusing():
        restored = restore_backup(
            home,
            file,
            identify=identify if token else None,
            force=force,
            reason=reason,
            bar=bar,
        )

    typer.echo(
        f"restored: {restored.manifest.size} records of {restored.manifest.taken:%Y-%m-%d %H:%M}Z"
    )
    typer.echo(
        f"the log goes on as {restored.origin}; give those who verify it this key, beside the old:"
    )
    typer.echo(restored.verifier_key)
    for kind, count in sorted(restored.lost.items()):
        typer.echo(f"not in the backup: {count} {kind}")
    for kind, count in sorted(restored.repeated.items()):
        typer.echo(f"repeated in the new log: {count} {kind}")
    for name, count in sorted(restored.doubted.items()):
        typer.echo(
            f"NOT repeated, since no signed checkpoint proves it: {count} {name}; look at what is "
            "kept aside, and do it again where it stands",
            err=True,
        )
    if restored.aside is not None:
        typer.echo(f"kept aside: {restored.aside}; erasures do not reach it, so delete it in time:")
    typer.echo(f"copies of these patients' records stay until {restored.copies_expire}")
