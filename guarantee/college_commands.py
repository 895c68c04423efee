"""`garant college`: seats, votes, draws and reviews, on a member's own machine or the house's."""

import json
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from guarantee import college, review
from guarantee.bodies import Concern, Opinion
from guarantee.commands import DEFAULT_HOME, HomeOption, TokenOption, acting, opened, out, refusing
from guarantee.draw import DAYS_TO_DRAW, SECRET_BYTES, SampleRefused
from guarantee.home import Home
from guarantee.identity import Caller, Profession, Role
from guarantee.key_commands import KeyOption, ServiceOption, read_secret, signing, write_secret
from guarantee.records import RecordType
from guarantee.remote import Remote

college_app = typer.Typer(
    help="The college of human guarantee: seats, votes, draws and reviews.", no_args_is_help=True
)
Announcement = Annotated[str, typer.Argument(help="The announcement's record id.")]


@college_app.command(
    epilog="Example: garant college appoint --subject claire.nurse --profession paramedic"
)
def appoint(
    *,
    context: typer.Context,
    subject: Annotated[str, typer.Option(help="The member's subject in their tokens.")],
    profession: Annotated[Profession, typer.Option(help="The seat.")],
    token: TokenOption,
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Give a person a seat: anyone of the college until it is seated, then its members alone."""
    with refusing(), acting(context, home, token, founding=True) as (ledger, actor):
        issuer = ledger.people.actor_named(actor.pseudonym).issuer
        member = ledger.people.actor(Caller(issuer=issuer, subject=subject, role=Role.COLLEGE))
        recorded = signing(
            key,
            lambda signature: college.appoint(
                ledger, actor, member=member, profession=profession, signature=signature
            ),
            meant={
                "type": RecordType.MEMBER_APPOINTED,
                "outcome": profession,
                "subject": member.pseudonym,
            },
        )
    typer.echo(f"appointed: record {recorded.id}")


@college_app.command(epilog="Example: garant college vote tumour-origin 1 --in-favour")
def vote(
    *,
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str, typer.Argument(help="The version to vote on.")],
    token: TokenOption,
    in_favour: Annotated[
        bool, typer.Option("--in-favour/--against", help="The vote.", show_default=False)
    ],
    reason: Annotated[str | None, typer.Option(help="Why; anyone may read it.")] = None,
    key: KeyOption = None,
    service: ServiceOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Cast your vote; the vote that makes the quorum approves the version."""

    def act(signature: str | None) -> tuple[str, bool]:
        if service is not None:
            ballot: dict[str, Any] = {"version": version, "in_favour": in_favour}
            ballot |= {"reason": reason} if reason is not None else {}
            ballot |= {"signature": signature} if signature is not None else {}
            cast = Remote(service, token).post(f"/v1/models/{name}/votes", ballot)
            return str(cast["record_id"]), cast["verdict"] == "approved"
        with acting(context, home, token) as (ledger, actor):
            done = college.vote(
                ledger,
                actor,
                name=name,
                version=version,
                in_favour=in_favour,
                reason=reason,
                signature=signature,
            )
        return done.cast.id, done.approval is not None

    with refusing():
        meant = {
            "model": name,
            "version": version,
            "vote": "for" if in_favour else "against",
            "reason": reason.strip() if reason is not None else None,
        }
        record, approved = signing(key, act, meant=meant)
    typer.echo(f"voted: record {record}")
    if approved:
        typer.echo(f"approved: {name} version {version}")


@college_app.command(epilog="Example: garant college announce --rate 1/20 --secret-file draw.txt")
def announce(
    *,
    context: typer.Context,
    rate: Annotated[str, typer.Option(help="The share of each stratum, as 1/20.")],
    token: TokenOption,
    model: Annotated[
        str | None, typer.Option(help="Its cases alone; every model's if not.")
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="Where the secret is kept; made if it is not there, outside the home."),
    ] = None,
    key: KeyOption = None,
    service: ServiceOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Announce a draw: the secret is made here and stays here; only its SHA-256 is sent.

    It takes from every case since the last draw of these. One draw at a time stands open over a
    case: draw before you announce the next, or have another member abandon what was forgotten.

    After a lost reply, ask again with the same secret file: the announcement is recorded once.
    """
    with refusing():
        path, secret = _kept_secret(secret_file, home)
        digest = sha256(secret).hexdigest()

        def act(signature: str | None) -> tuple[str, int]:
            if service is not None:
                body: dict[str, Any] = {"rate": rate, "secret_sha256": digest}
                body |= {"model": model} if model is not None else {}
                body |= {"signature": signature} if signature is not None else {}
                answer = Remote(service, token).post("/v1/college/draws", body)
                return str(answer["record_id"]), int(answer["index"])
            with acting(context, home, token) as (ledger, actor):
                recorded = review.announce(
                    ledger,
                    actor,
                    rate=rate,
                    model=model,
                    secret_sha256=digest,
                    signature=signature,
                )
            return recorded.id, recorded.index

        body = {"rate": rate, "secret_sha256": digest, "model": model}
        meant = {"type": RecordType.DRAW_ANNOUNCED, "model": model, "body": body}
        record, index = signing(key, act, meant=meant)
    typer.echo(f"announced: record {record}, index {index}")
    typer.echo(f"the secret is in {path}: keep it, and show it to nobody")
    typer.echo(
        f"within {DAYS_TO_DRAW} days: garant college draw {record} --secret-file {path}",
    )


def _kept_secret(path: Path | None, home: Home) -> tuple[Path, bytes]:
    """The secret of that file, made with it where there is none yet."""
    made = secrets.token_bytes(SECRET_BYTES)
    place = path or Path(f"college-draw-{sha256(made).hexdigest()[:16]}.secret")
    if place.resolve().is_relative_to(home.path.resolve()):
        raise SampleRefused("keep the secret outside the service's home, on your own machine")
    if place.exists():
        return place, _read_secret(place)
    write_secret(place, made.hex() + "\n")
    return place, made


def _read_secret(path: Path) -> bytes:
    try:
        secret = bytes.fromhex(read_secret(path))
    except ValueError as error:
        raise SampleRefused(f"{path} does not hold a secret") from error
    if len(secret) != SECRET_BYTES:
        raise SampleRefused(f"{path} does not hold a secret of {SECRET_BYTES} bytes")
    return secret


@college_app.command(epilog="Example: garant college draw 019a8f3c-… --secret-file draw.txt")
def draw(
    *,
    context: typer.Context,
    announcement: Announcement,
    secret_file: Annotated[Path, typer.Option(help="The file that `announce` wrote.")],
    token: TokenOption,
    service: ServiceOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Reveal the secret and record the cases that it draws; prints their ids."""
    with refusing():
        secret = _read_secret(secret_file)
        if service is not None:
            answer = Remote(service, token).post(
                f"/v1/college/draws/{announcement}/sample",
                {"secret": secret.hex()},
                once=announcement,
            )
            record, dossiers = str(answer["record_id"]), tuple(answer["inferences"])
        else:
            with acting(context, home, token) as (ledger, actor):
                drawn = review.draw(ledger, actor, announcement=announcement, secret=secret)
            record, dossiers = drawn.recorded.id, drawn.dossiers
    typer.echo(f"drawn: record {record}, {len(dossiers)} cases")
    for dossier in dossiers:
        typer.echo(dossier)


@college_app.command(
    epilog='Example: garant college abandon 019a8f3c-… --reason "the secret is lost"'
)
def abandon(
    *,
    context: typer.Context,
    announcement: Announcement,
    reason: Annotated[str, typer.Option(help="Why it was not drawn; anyone may read it.")],
    token: TokenOption,
    key: KeyOption = None,
    service: ServiceOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Give up another member's draw whose secret is lost; its cases fall to the next draw."""

    def act(signature: str | None) -> str:
        if service is not None:
            body = {"reason": reason} | ({"signature": signature} if signature is not None else {})
            path = f"/v1/college/draws/{announcement}/abandonment"
            return str(Remote(service, token).post(path, body)["record_id"])
        with acting(context, home, token) as (ledger, actor):
            return review.abandon(
                ledger, actor, announcement=announcement, reason=reason, signature=signature
            ).id

    with refusing():
        meant = {
            "type": RecordType.DRAW_ABANDONED,
            "follows": [announcement],
            "body": {"reason": reason.strip()},
        }
        record = signing(key, act, meant=meant)
    typer.echo(f"abandoned: record {record}")


@college_app.command(
    "review", epilog="Example: garant college review 019a8f3c-… 019a8f2b-… --opinion agreed"
)
def judge(
    *,
    context: typer.Context,
    announcement: Announcement,
    dossier: Annotated[str, typer.Argument(help="The drawn case: its inference's id.")],
    opinion: Annotated[Opinion, typer.Option(help="Of what was answered, decided and told.")],
    token: TokenOption,
    concern: Annotated[
        list[Concern] | None, typer.Option(help="What is wrong; may be given several times.")
    ] = None,
    key: KeyOption = None,
    service: ServiceOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Record your review of a drawn case; write nothing clinical, there is no place for it."""
    concerns = concern or []

    def act(signature: str | None) -> str:
        if service is not None:
            body: dict[str, Any] = {
                "draw": announcement,
                "inference_id": dossier,
                "opinion": opinion.value,
                "concerns": [one.value for one in concerns],
            }
            body |= {"signature": signature} if signature is not None else {}
            return str(Remote(service, token).post("/v1/college/reviews", body)["record_id"])
        with acting(context, home, token) as (ledger, actor):
            return review.review(
                ledger,
                actor,
                announcement=announcement,
                dossier=dossier,
                opinion=opinion,
                concerns=concerns,
                signature=signature,
            ).id

    with refusing():
        said = {"opinion": opinion, "concerns": concerns}
        meant = {"type": RecordType.CASE_REVIEWED, "dossier": dossier, "body": said}
        record = signing(key, act, meant=meant)
    typer.echo(f"reviewed: record {record}")


@college_app.command(epilog="Example: garant college status")
def status(
    *,
    service: ServiceOption = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="GARANT_TOKEN", help="For `--service` alone.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show who sits, what waits for votes, draws and reviews, and what stands open elsewhere.

    Of a service on another machine, it prints what `GET /v1/college` answers.
    """
    with refusing():
        if service is not None:
            answer = Remote(service, token or "").get("/v1/college")
            typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
            return
        with opened(home) as ledger:
            present = college.status(ledger)
    seats = Table("member", "seat", "own key", title="Seats")
    for seat in present.members:
        seats.add_row(seat.member, seat.profession, "yes" if seat.key else "no")
    for profession in present.empty_seats:
        seats.add_row("(empty)", profession, "")
    waiting = Table("model", "version", "votes", "missing", title="Versions that wait for votes")
    for version in present.open_versions:
        cast = f"{len(version.votes)}"
        waiting.add_row(version.name, version.version, cast, ", ".join(version.missing))
    announced = Table(
        "draw", "announced", "rate", "model", "drawn", "to review", "erased", title="Draws"
    )
    for one in present.draws:
        missing = f"OVERDUE: no sample after {DAYS_TO_DRAW} days" if one.overdue else "not yet"
        if one.abandoned:
            missing = "abandoned"
        announced.add_row(
            one.announcement,
            _day(one.announced_at),
            one.rate,
            one.model or "every",
            missing if one.drawn is None else f"{one.drawn}",
            f"{len(one.open)}",
            f"{len(one.erased)}",
        )
    deferred = Table("information", "since", "models", title="Deferred, and not informed yet")
    for deferral in present.deferrals:
        deferred.add_row(deferral.information, _day(deferral.since), ", ".join(deferral.models))
    for table in (seats, waiting, announced, deferred):
        out.print(table)
    for version in present.open_versions:
        for reason in version.beyond:
            typer.echo(
                f"{version.name} {version.version}, an update beyond its change protocol: {reason}"
            )
    if present.founded is not None:
        typer.echo(present.founded)
    for seat in present.members:
        if seat.key is not None:
            typer.echo(f"key of {seat.member}: {seat.key}")
    for draw_standing in present.draws:
        for dossier in draw_standing.open:
            typer.echo(f"to review: {draw_standing.announcement} {dossier}")
    for dossier in present.lapsed:
        typer.echo(f"lapsed without a decision: {dossier}")
    for glass in present.broken:
        at = f"{datetime.fromtimestamp(glass.at / 1000, UTC):%Y-%m-%d %H:%M}Z"
        typer.echo(f"glass broken: {glass.dossier} by {glass.by}, {at}, {glass.ground}")
    _say_disagreement(present.disagreement)


def _say_disagreement(disagreement: review.Disagreement | None) -> None:
    if disagreement is None:
        typer.echo("no case was reviewed yet")
        return
    low, high = disagreement.interval()
    typer.echo(
        f"a member disagreed on {disagreement.disagreed} of {disagreement.cases} reviewed cases: "
        f"{disagreement.share:.1%} (95 %: {low:.1%} to {high:.1%})",
    )


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")
