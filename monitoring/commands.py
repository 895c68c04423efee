"""`garant monitor`: one window, for a person or for cron."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Final

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
from guarantee.lapse import record_lapses
from guarantee.ledger import Ledger
from guarantee.logged import LedgerUnavailable, Recorded
from guarantee.pseudonyms import Actor
from guarantee.vault import KeyAltered
from guarantee.versions import model_names, standing
from models.errors import ModelsError
from models.promotion import lagging_aliases
from monitoring import watch
from monitoring.alerts import Outbox, Webhook
from monitoring.errors import MonitoringError
from monitoring.findings import Drifted, Undecided
from monitoring.summary import told
from monitoring.watch import Look
from monitoring.window import Bounds

FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

app = typer.Typer(help="Watch what models meet and what they answer.", no_args_is_help=True)

NameArgument = Annotated[
    str | None,
    typer.Argument(help="The model; left out, every promoted model.", show_default=False),
]


LastOption = Annotated[
    int | None,
    typer.Option("--last", min=1, help="So many cases, the latest; else the card says."),
]
DaysOption = Annotated[
    int | None, typer.Option("--days", min=1, help="Cases of the last so many days.")
]
SinceOption = Annotated[
    datetime | None,
    typer.Option("--since", formats=FORMATS, help="Cases from that day or time on, UTC."),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option("--until", formats=FORMATS, help="Cases before that day or time, UTC."),
]
AlertUrlOption = Annotated[
    str | None,
    typer.Option(
        "--alert-url",
        envvar="GARANT_ALERT_URL",
        help="Where alerts are posted as JSON, over https; signed with HMAC-SHA256 where "
        "GARANT_ALERT_SECRET is set.",
    ),
]


class NothingHere(MonitoringError):
    """There is no promoted model in that home; name another with --home."""


@app.command(epilog="Example: garant monitor run tumour-origin-microarray --days 30")
def run(
    context: typer.Context,
    token: TokenOption,
    name: NameArgument = None,
    last: LastOption = None,
    days: DaysOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    alert_url: AlertUrlOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Look at the latest cases; record drift, incidents, or their end; follow the card's policy.

    A case is a patient's latest inference. Too few are "undecided", never "stable". An incident
    is performance or use beyond a bound of the card, with its whole 95 % interval. The same
    window is recorded once. The policy may alert, and suspend the model. Exit 0 whatever was
    found, 1 where a model could not be looked at or an alert was not taken.
    """
    bounds = _bounds(last, days, since, until)
    webhook = _webhook(alert_url)
    outbox = Outbox(home)

    def look(known: str) -> Look:
        seen = watch.look(ledger, home, actor, known, bounds)
        if webhook is not None:
            outbox.put(seen.alerts)
        return seen

    with (
        refusing((ModelsError, MonitoringError)),
        acting(context, home, token) as (ledger, actor),
    ):
        for moved in lagging_aliases(home, ledger):
            typer.echo(
                f"Finding: MLflow's alias of {moved} is not what the log promoted; "
                "`garant models check` says more.",
                err=True,
            )
        lapses_failed = not _record_lapses(ledger, actor, name)
        failed = _each(ledger, name, look) or lapses_failed
        if webhook is not None:
            failed = not _deliver(outbox, webhook) or failed
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: garant monitor lapse")
def lapse(
    context: typer.Context,
    token: TokenOption,
    name: Annotated[
        str | None,
        typer.Argument(help="The model; left out, every one.", show_default=False),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Record which answers nobody decided on in the time that their card leaves; for cron.

    Each is recorded once; nothing of an answer is shown, and a later decision is still possible.
    `garant monitor run` does this, too.
    """
    with refusing(), acting(context, home, token) as (ledger, actor):
        _say_lapsed(record_lapses(ledger, actor, model=name))


def _record_lapses(ledger: Ledger, actor: Actor, name: str | None) -> bool:
    """Whether lapses could be recorded; where not, what changes is looked for all the same."""
    try:
        recorded = record_lapses(ledger, actor, model=name)
    except (LedgerUnavailable, KeyAltered) as failure:
        typer.echo(f"Lapsed reviews were not all recorded: {failure}", err=True)
        return False
    if recorded:
        _say_lapsed(recorded)
    return True


def _say_lapsed(recorded: Sequence[Recorded]) -> None:
    for one in recorded:
        typer.echo(f"review lapsed: {one.header.model} {one.header.dossier}")
    typer.echo(f"reviews lapsed: {len(recorded)}")


@app.command(epilog="Example: garant monitor report tumour-origin-microarray --days 30")
def report(
    name: NameArgument = None,
    last: LastOption = None,
    days: DaysOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Tell drift, performance and use of the answers; write a page with Evidently's charts.

    Against confirmed truths, and apart from them against clinicians' decisions; before truths
    arrive, as an estimate. It holds columns and shares, never a case, and tells the log nothing.
    `evidently ui --workspace HOME/monitoring/workspace` shows it beside earlier ones.
    """
    bounds = _bounds(last, days, since, until)
    with refusing((ModelsError, MonitoringError)), opened(home) as ledger:
        failed = _each(ledger, name, lambda known: watch.report(ledger, home, known, bounds))
    if failed:
        raise typer.Exit(1)


def _bounds(
    last: int | None, days: int | None, since: datetime | None, until: datetime | None
) -> Bounds:
    return Bounds(last=last, days=days, since=_milliseconds(since), until=_milliseconds(until))


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)


def _webhook(url: str | None) -> Webhook | None:
    with refusing((MonitoringError,)):
        return (
            Webhook(url=url, secret=os.environ.get("GARANT_ALERT_SECRET") or None) if url else None
        )


def _deliver(outbox: Outbox, webhook: Webhook) -> bool:
    """Send what waits; whether all of it was taken."""
    taken, undelivered = outbox.deliver(webhook)
    for alert in taken:
        typer.echo(f"alert taken: {alert.id}: {alert.text}")
    for one in undelivered:
        typer.echo(
            f"alert not taken, the next run tries again: {one.alert.id} ({one.problem})", err=True
        )
    return not undelivered


def _each(ledger: Ledger, name: str | None, look: Callable[[str], Look]) -> bool:
    """Look at one model, or at every promoted one: one that fails does not hide the others.

    Whether one failed.
    """
    promoted = [known for known in model_names(ledger) if standing(ledger, known).serving]
    names = promoted if name is None else [name]
    if not names:
        raise NothingHere("no model is promoted: there is nothing to watch")
    failed = False
    # Aside: inferences come first on a machine that does both.
    with ThreadPoolExecutor(1, initializer=_step_aside) as aside:
        for known in names:
            try:
                _show(aside.submit(look, known).result())
            except (GuaranteeError, ModelsError, MonitoringError) as error:
                say_refused(error)
                failed = True
    return failed


def _step_aside() -> None:
    """Lower this thread's priority, and so that of the threads that it starts."""
    if sys.platform == "linux":  # Elsewhere this would be the whole process.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _show(look: Look) -> None:
    typer.echo(f"{look.name} {look.version}: {look.finding}")
    if isinstance(look.finding, Drifted):
        for column in look.finding.drifted:
            moved = "" if column.shift is None else f", shift {column.shift:+.2f}"
            typer.echo(
                f"  {column.name}: {column.test} p = {column.p_value:.2g}"
                f" (drift at or below {column.threshold:.2g}){moved}"
            )
    if not isinstance(look.finding, Undecided):
        if look.finding.passed:
            typer.echo(f"  beyond the screen's threshold, too: {', '.join(look.finding.passed)}")
        for reason in look.finding.skipped:
            typer.echo(f"  untested: {reason}")
    if look.performance is not None:
        for line in told(look.performance):
            typer.echo(f"  {line}")
    if look.judged and look.performance is None:
        unknown = [one for one in look.judged if isinstance(one.found, Undecided)]
        for one in look.judged:
            if one.is_missed:
                typer.echo(f"  {one}")
        typer.echo(
            f"  the card's bounds: {sum(one.is_missed for one in look.judged)} missed, "
            f"{len(unknown)} undecided, of {len(look.judged)}"
        )
    elif look.judged:
        typer.echo("  the card's bounds, and 95 % intervals:")
        for one in look.judged:
            typer.echo(f"    {one}")
    if look.recorded is not None:
        typer.echo(f"  recorded: {look.recorded.header.type} {look.recorded.id}")
    if look.incident is not None:
        typer.echo(f"  recorded: {look.incident.header.type} {look.incident.id}")
    if look.suspended is not None:
        typer.echo(f"  the card's policy suspended the model: ModelSuspended {look.suspended.id}")
    if look.alerts and (look.recorded is not None or look.incident is not None):
        typer.echo("  the card's policy alerts, where GARANT_ALERT_URL says")
    if look.report is not None:
        typer.echo(f"  report: {look.report}")
