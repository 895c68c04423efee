"""`garant key`: people's own keys, made and used on their own machine; and the master key."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from guarantee.commands import DEFAULT_HOME, HomeOption, TokenOption, acting, refusing
from guarantee.custody import rotate_master_key
from guarantee.errors import GuaranteeError
from guarantee.remote import Remote
from guarantee.signature import PublicKey, new_key, private_key, sign_detached
from guarantee.signing_keys import register_key

key_app = typer.Typer(
    help="Your own key: make it, register it, sign with it. The house's: rotate it.",
    no_args_is_help=True,
)

ServiceOption = Annotated[
    str | None,
    typer.Option(
        "--service",
        envvar="GARANT_SERVICE",
        help="The service's https address, where the log is on another machine.",
    ),
]


class FileInTheWay(GuaranteeError):
    """A file stands where a secret would be written; it is left alone."""


class SecretUnreadable(GuaranteeError):
    """A file of a key or secret is not there, or holds something else."""


def write_secret(path: Path, content: str) -> None:
    """Write a new file that its owner alone may read; once this returns, it survives power loss.

    Raises:
        FileInTheWay: There is one; or its folder cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FileInTheWay(f"{path} cannot be made: {error.strerror}") from error


def read_secret(path: Path) -> str:
    """The text of a key's or secret's file.

    Raises:
        SecretUnreadable: It cannot be read.
    """
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise SecretUnreadable(f"{path} cannot be read") from error


@key_app.command(epilog="Example: garant key new mine.jwk")
def new(
    private: Annotated[Path, typer.Argument(help="Where the private key goes; never send it.")],
) -> None:
    """Make a key on this machine; prints the public half, which is what you register."""
    with refusing():
        made = new_key()
        write_secret(private, made + "\n")
    typer.echo(PublicKey.of(private_key(made)).jwk)


@key_app.command(epilog="Example: garant key register --jwk mine.public.jwk")
def register(
    *,
    context: typer.Context,
    jwk: Annotated[Path, typer.Option(help="A file with your public key (RFC 7517).")],
    token: TokenOption,
    service: ServiceOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Register your own public key; it takes the place of the one before, for what follows."""
    with refusing():
        key = PublicKey.parse(read_secret(jwk))
        if service is not None:
            recorded = str(Remote(service, token).post("/v1/keys", {"jwk": key.jwk})["record_id"])
        else:
            with acting(context, home, token, founding=True) as (ledger, actor):
                recorded = register_key(ledger, actor, key=key).id
    typer.echo(f"registered: record {recorded}, key {key.thumbprint}")


@key_app.command(epilog="Example: garant key sign --key mine.jwk < payload.json")
def sign(
    key: Annotated[Path, typer.Option(help="Your private key's file.")],
) -> None:
    """Sign standard input, byte for byte; prints the detached signature. Read it first."""
    with refusing():
        signature = sign_detached(sys.stdin.buffer.read(), read_secret(key))
    typer.echo(signature)


@key_app.command(epilog="Example: garant key rotate --token $OPERATOR")
def rotate(
    context: typer.Context,
    token: TokenOption,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Put every key in the vault under another master key; what serves goes on meanwhile.

    The new key is made in keys/. Where GARANT_MASTER_KEY holds the key, it holds the new one too,
    after a comma, here and for what serves; take the old one out when this is done. A stop at any
    moment loses nothing: run it again.
    """
    with refusing(), acting(context, home, token) as (ledger, actor):
        rotation = rotate_master_key(ledger, actor)
    typer.echo(
        f"rotated: record {rotation.recorded.id}, {rotation.keys} keys are under "
        f"{rotation.fingerprint}",
    )
