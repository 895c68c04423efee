"""`garant key`: people's own keys, made and used on their own machine; and the master key."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from guarantee.bodies import KeyGround
from guarantee.commands import DEFAULT_HOME, HomeOption, TokenOption, acting, refusing
from guarantee.errors import GuaranteeError
from guarantee.records import RecordType
from guarantee.remote import Remote
from guarantee.rotation import rotate_master_key
from guarantee.signature import (
    PublicKey,
    SignatureRefused,
    new_key,
    private_key,
    sign_detached,
)
from guarantee.signing_keys import SignatureNeeded, register_key, withdraw_key

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


KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="Your private key's file: needed once you have registered a key; it is never sent.",
    ),
]

T = TypeVar("T")


def signing(
    key: Path | None,
    act: Callable[[str | None], T],
    *,
    meant: Mapping[str, object],
    option: str = "--key",
) -> T:
    """Act, and where a signature with one's own key is needed, sign and act again.

    Args:
        key: The private key's file, if it was given.
        act: Takes the signature.
        meant: What the payload must say, at least: a service might show another.
        option: How the key's file is given.

    Raises:
        SignatureRefused: A key is needed and was not given, or the payload says something else.
    """
    try:
        return act(None)
    except SignatureNeeded as needed:
        if key is None:
            raise SignatureRefused(f"{needed}: give its file with {option}") from needed
        _check_meant(needed.payload, meant)
        return act(sign_detached(needed.payload.encode(), read_secret(key)))


def _check_meant(payload: str, meant: Mapping[str, object]) -> None:
    try:
        said = json.loads(payload)
    except ValueError:
        said = None
    if not _says(said, meant):
        raise SignatureRefused("the payload to sign is not what you asked for: nothing was signed")


def _says(said: object, meant: object) -> bool:
    if isinstance(meant, Mapping):
        return isinstance(said, dict) and all(
            _says(said.get(name), value) for name, value in meant.items()
        )
    return said == meant


@key_app.command(epilog="Example: garant key register --key mine.jwk --standing before.jwk")
def register(
    *,
    context: typer.Context,
    key: Annotated[Path, typer.Option(help="The new private key's file; it is never sent.")],
    token: TokenOption,
    standing: Annotated[
        Path | None,
        typer.Option(help="The file of the private key that it replaces, where one stands."),
    ] = None,
    service: ServiceOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Register your own key; it takes the place of the one before, for what follows.

    The new key signs the registration, which proves that you hold it, and the one that stands
    signs it, too. Where that is lost, two members of the college withdraw it first: `withdraw`.
    """
    with refusing():
        private = read_secret(key)
        public = PublicKey.of(private_key(private))
        meant = {"type": RecordType.KEY_REGISTERED, "key": public.thumbprint}

        def act(proof: str | None, endorsement: str | None) -> str:
            if service is not None:
                body: dict[str, Any] = {"jwk": public.jwk}
                if proof is not None:
                    body["proof"] = proof
                if endorsement is not None:
                    body["endorsement"] = endorsement
                return str(Remote(service, token).post("/v1/keys", body)["record_id"])
            with acting(context, home, token, founding=True) as (ledger, actor):
                return register_key(
                    ledger, actor, key=public, proof=proof, endorsement=endorsement
                ).id

        recorded = signing(
            key,
            # Proved: only the standing key's signature may still be missing.
            lambda proof: (
                act(None, None)
                if proof is None
                else signing(
                    standing,
                    lambda endorsement: act(proof, endorsement),
                    meant=meant,
                    option="--standing",
                )
            ),
            meant=meant,
        )
    typer.echo(f"registered: record {recorded}, key {public.thumbprint}")


@key_app.command(epilog="Example: garant key withdraw THUMBPRINT --ground lost --key mine.jwk")
def withdraw(
    *,
    context: typer.Context,
    thumbprint: Annotated[str, typer.Argument(help="The lost key's: see `garant college status`.")],
    ground: Annotated[KeyGround, typer.Option(help="Why it must sign no more.")],
    key: Annotated[Path, typer.Option(help="Your own private key's file; it is never sent.")],
    token: TokenOption,
    service: ServiceOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Say that another's key is lost; once two members have, its holder may register another.

    First see or ring up the holder: with this, whoever has a token for them takes their place.
    """

    def act(signature: str | None) -> str:
        if service is not None:
            body: dict[str, Any] = {"ground": ground.value}
            if signature is not None:
                body["signature"] = signature
            answer = Remote(service, token).post(f"/v1/keys/{thumbprint}/withdrawal", body)
            return str(answer["record_id"])
        with acting(context, home, token) as (ledger, actor):
            return withdraw_key(
                ledger, actor, thumbprint=thumbprint, ground=ground, signature=signature
            ).id

    with refusing():
        meant = {
            "type": RecordType.KEY_WITHDRAWN,
            "body": {"thumbprint": thumbprint, "ground": ground},
        }
        recorded = signing(key, act, meant=meant)
    typer.echo(f"withdrawn: record {recorded}")


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
