"""`garant patient`: a patient's rights, exercised through the data protection officer."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from guarantee import custody, erasure
from guarantee.access import NotEntitled, patient_access
from guarantee.bodies import ErasureGround, HoldReason, Purpose
from guarantee.commands import DEFAULT_HOME, HomeOption, TokenOption, acting, refusing
from guarantee.errors import GuaranteeError
from guarantee.identity import Patient, Role

patient_app = typer.Typer(
    help="A patient's rights: see, rectify, have erased; and legal holds.", no_args_is_help=True
)
PseudonymArgument = Annotated[
    str, typer.Argument(help="The patient's, as `garant patient find` prints it.")
]


class IdentityUnreadable(GuaranteeError):
    """A file holds no patient's identity; names the fields at fault, never their values."""


@patient_app.command(epilog="Example: garant patient find")
def find(
    *,
    context: typer.Context,
    matricule: Annotated[str, typer.Option(prompt="INS matricule, 13 characters")],
    oid: Annotated[str, typer.Option(prompt="OID of the INS")] = "1.2.250.1.213.1.4.8",
    token: TokenOption,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print the pseudonym of the patient with that INS; asked for, so that no history keeps it."""
    with refusing(), acting(context, home, token) as (ledger, actor):
        if actor.role is not Role.DPO:
            raise NotEntitled("patients are looked up by the data protection officer")
        pseudonym = ledger.people.patient_by_ins(oid=oid, matricule=matricule)
    typer.echo(pseudonym)


@patient_app.command(epilog="Example: garant patient access 0f3c… > everything.json")
def access(
    *,
    context: typer.Context,
    pseudonym: PseudonymArgument,
    purpose: Annotated[Purpose, typer.Option(help="Why.")] = Purpose.PATIENT_REQUEST,
    token: TokenOption,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print everything that is held on a patient, and who read it, as JSON; recorded first."""
    with refusing(), acting(context, home, token) as (ledger, actor):
        report = patient_access(ledger, actor, pseudonym=pseudonym, purpose=purpose)
    typer.echo(report.model_dump_json(indent=2))


@patient_app.command(epilog="Example: garant patient rectify 0f3c… --identity rectified.json")
def rectify(
    *,
    context: typer.Context,
    pseudonym: PseudonymArgument,
    identity: Annotated[
        Path,
        typer.Option(help="A JSON file with the identity as it should be, whole; - is stdin."),
    ],
    token: TokenOption,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Put a patient's identity right; what it was stays on record, sealed."""
    with refusing():
        after = _identity(identity)
        with acting(context, home, token) as (ledger, actor):
            recorded = custody.rectify(ledger, actor, pseudonym=pseudonym, identity=after)
    typer.echo(f"rectified: record {recorded.id}")


@patient_app.command(epilog="Example: garant patient erase 0f3c… --ground retention_ended")
def erase(
    *,
    context: typer.Context,
    pseudonym: PseudonymArgument,
    ground: Annotated[ErasureGround, typer.Option(help="Why they may be erased.")],
    died: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The day of death: it ends retention earlier."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")] = False,
    token: TokenOption,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Destroy a patient's key, identity and bodies; it cannot be undone.

    Refused while the law has the records kept (CSP R. 1112-7) or a hold stands.
    """
    if not yes:
        typer.confirm("This cannot be undone. Erase?", abort=True, err=True)
    with refusing(), acting(context, home, token) as (ledger, actor):
        done = erasure.erase(
            ledger,
            actor,
            pseudonym=pseudonym,
            ground=ground,
            died=died.date() if died is not None else None,
        )
    bodies = len(done.records)
    typer.echo(f"erased: record {done.recorded.id}, {bodies} bodies")
    if done.backups_expire is not None:
        typer.echo(f"backups may hold them until {done.backups_expire}", err=True)


@patient_app.command(epilog="Example: garant patient hold 0f3c… --reason litigation")
def hold(
    *,
    context: typer.Context,
    pseudonym: PseudonymArgument,
    reason: Annotated[HoldReason, typer.Option(help="What they are kept for.")],
    lift: Annotated[bool, typer.Option("--lift", help="The hold ends.")] = False,
    token: TokenOption,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Keep a patient's records from erasure, or let them go again."""
    act = custody.lift if lift else custody.hold
    with refusing(), acting(context, home, token) as (ledger, actor):
        recorded = act(ledger, actor, pseudonym=pseudonym, reason=reason)
    typer.echo(f"{recorded.header.outcome}: record {recorded.id}")


def _identity(path: Path) -> Patient:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        return Patient.model_validate_json(text)
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityUnreadable(f"{path} cannot be read") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'identity'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise IdentityUnreadable(f"{path} holds no identity: {problems}") from None
