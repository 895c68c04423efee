"""`garant models`: train, register, propose, promote, stop, and score."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from guarantee import versions
from guarantee.appending import Draft
from guarantee.bodies import CohortScored
from guarantee.card import Card
from guarantee.commands import (
    DEFAULT_HOME,
    HomeOption,
    TokenOption,
    acting,
    bar,
    check_log,
    opened,
    out,
    refusing,
)
from guarantee.home import Home
from guarantee.key_commands import KeyOption, signing
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from guarantee.refusals import UnknownModel
from models.errors import ModelsError

if TYPE_CHECKING:
    from models.evaluation import Estimate, Evaluation, Undefined
    from models.registry import Registration
    from models.served import ServedModel

app = typer.Typer(
    help="Train, register, propose, promote and stop models; score a file.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="The model's name.")]
_OURS = (ModelsError,)
# Names that a line tells; where there are more, it says how many.
_NAMED = 5


class UnwritableFile(ModelsError):
    """A file cannot be written there; the message says why."""


class NotACard(ModelsError):
    """A file is not a model's card; the message names each field at fault, and no value."""


@app.command(epilog="Example: garant models train tumour-origin-microarray --cohort gcm")
def train(
    name: NameArgument,
    *,
    cohort: Annotated[
        str | None,
        typer.Option(
            help="gcm, heart-disease, tcga-mirna, or a CSV or Parquet file; else the recipe's."
        ),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="A card in JSON, for a model of your own.")
    ] = None,
    cohorts: Annotated[
        Path | None,
        typer.Option(envvar="GARANT_COHORTS", help="The folder that holds tcga-mirna."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of folds, held-out part and boosting.")] = 0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Train and measure a model; keep it as an MLflow run, not yet registered."""
    from dataclasses import replace

    from models import recipes, registry
    from models.recipes import Recipe
    from models.training import Parameters

    at = home
    with refusing(_OURS):
        if card is None:
            recipe = recipes.recipe(name)
        else:
            own = _card(card, name)
            if cohort is None:
                raise typer.BadParameter("a model of your own needs --cohort")
            recipe = Recipe(card=lambda: own, source=cohort, parameters=Parameters())
        data = recipes.named_cohort(cohort or recipe.source, at, cohorts)
        with bar(f"training {name}") as progress:
            training = recipe.train(data, replace(recipe.parameters, seed=seed), progress)
        run_id = registry.log(at, training)
    _print_figures(name, training.bundle.evaluation)
    typer.echo(f"Run {run_id}; next: garant models register {name}")


@app.command(epilog="Example: garant models compare tumour-origin-microarray --only 'trees on'")
def compare(
    name: NameArgument,
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Candidates whose name begins so; may be repeated; all by default."),
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(min=2, help="Of those that hospitals are dealt into; all by default."),
    ] = None,
    cohorts: Annotated[
        Path | None,
        typer.Option(envvar="GARANT_COHORTS", help="The folder that holds tcga-mirna."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of parts, learning and alterations.")] = 0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Judge the ways to learn that a recipe was chosen from; keep each as an MLflow run."""
    from dataclasses import replace

    from models import experiments, recipes
    from models.evaluation import Judged

    with refusing(_OURS):
        of = experiments.ways(name, only or ())
        recipe = recipes.recipe(name)
        data, card = recipe.cohort(home, cohorts), recipe.card()
        parameters = replace(recipe.parameters, seed=seed)
        alterations = {} if recipe.alterations is None else recipe.alterations(data, card)
        table = Table("candidate", "accuracy", *(alterations[key].what.en for key in alterations))
        with bar(f"comparing {name}") as progress:
            for found in experiments.compare(
                name, data, card, parameters, alterations, of=of, parts=parts, progress=progress
            ):
                experiments.keep(home, name, parameters, found)
                hardships = [one.judged for one in found.evaluation.hardships.values()]
                table.add_row(
                    f"{found.name} (the recipe's)" if found.chosen else found.name,
                    _told(found.evaluation.accuracy),
                    *(_told(one.accuracy) if isinstance(one, Judged) else "" for one in hardships),
                )
    out.print(table)
    typer.echo(f"Kept in MLflow, experiment {name}-candidates.")


def _card(path: Path, name: str) -> Card:
    from models.admission import problems_of_card

    try:
        card = Card.model_validate_json(path.read_bytes())
    except OSError as cause:
        raise NotACard(f"{path}: {cause.strerror}") from cause
    except ValidationError as cause:
        lines = [f"  {problem}" for problem in problems_of_card(cause)]
        raise NotACard("\n".join([f"{path} is not a card:", *lines])) from cause
    if card.name != name:
        raise NotACard(f"{path} is the card of {card.name}, not of {name}")
    return card


@app.command("card", epilog="Example: garant models card tumour-origin-microarray > card.json")
def card_(
    name: NameArgument,
    version: Annotated[
        str | None, typer.Option(help="A registered version; the recipe's card by default.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print a card as JSON: a recipe's, or a registered version's; yours can start from it."""
    from models import recipes

    with refusing(_OURS):
        if version is None and name in recipes.RECIPES:
            card = recipes.recipe(name).card()
        else:
            check_log(home)
            card = _version_files(home, name, version)[1]
    typer.echo(card.model_dump_json(indent=2))


@app.command(
    epilog="Example: garant models register tumour-origin-microarray --token $DATA_SCIENTIST"
)
def register(
    context: typer.Context,
    name: NameArgument,
    token: TokenOption,
    run: Annotated[str | None, typer.Option(help="MLflow's run; the last by default.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Give a training the next version number in MLflow's registry, and put it on record.

    Where nothing of that name was trained, the version that comes with Garant, if one does.
    """
    from models import registry
    from models.promotion import record_registration

    at = home
    with refusing(_OURS), acting(context, home, token, founding=True) as (ledger, actor):
        found = registry.register(at, run or registry.run_to_register(at, name))
        recorded = record_registration(at, ledger, actor, name=found.name, version=found.version)
    typer.echo(
        f"Record {recorded.id}: {found.name} version {found.version}, digest {found.digest}",
    )
    typer.echo(f"Next: garant models propose {name} --version {found.version}")


@app.command("list", epilog="Example: garant models list")
def list_(home: HomeOption = DEFAULT_HOME) -> None:
    """List registered versions and what the log says of each."""
    from models import registry
    from models.promotion import lagging_aliases

    at = home
    with refusing(_OURS), opened(at) as ledger:
        table = Table("model", "version", "college", "answers", "digest")
        known = {
            (name, found.version): found
            for name in versions.model_names(ledger)
            for found in versions.versions_of(ledger, name)
        }
        serving = _serving(ledger)
        for registration in registry.registrations(at):
            key = (registration.name, registration.version)
            logged = known.get(key)
            table.add_row(
                registration.name,
                registration.version,
                "not on record" if logged is None else str(logged.verdict.value),
                serving.get(registration.name, {}).get(registration.version, "no"),
                registration.digest[:12],
            )
        out.print(table)
        for name in lagging_aliases(at, ledger):
            typer.echo(
                f"Finding: MLflow's alias of {name} is not what the log promoted; "
                "`garant models check` says more.",
                err=True,
            )


def _serving(ledger: Ledger) -> dict[str, dict[str, str]]:
    standings = [versions.standing(ledger, name) for name in versions.model_names(ledger)]
    return {
        standing.name: {standing.serving.version: "suspended" if standing.suspension else "yes"}
        for standing in standings
        if standing.serving is not None
    }


@app.command(epilog="Example: garant models show tumour-origin-microarray --version 1")
def show(
    name: NameArgument,
    version: Annotated[str | None, typer.Option(help="The latest by default.")] = None,
    lang: Annotated[str, typer.Option(help="fr or en.")] = "en",
    html: Annotated[
        Path | None,
        typer.Option(help="Write its whole evaluation there: one page, in French and English."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show a version's card and measured figures."""
    from guarantee.card import Language

    if lang not in set(Language):
        raise typer.BadParameter("lang is fr or en")
    with refusing(_OURS):
        check_log(home)
        registration, card, figures, page = _version_files(home, name, version)
        if html is not None:
            _write(html, page)
    language = Language(lang)
    table = Table(show_header=False, title=card.title.in_language(language))
    for row in ("intended_use", "population", "not_for", "provenance", "limits"):
        table.add_row(row.replace("_", " "), getattr(card, row).in_language(language))
    table.add_row("kind, reliance", f"{card.kind}, {card.reliance}")
    notice = card.regulatory.notice()
    table.add_row("regulatory", "CE-marked" if notice is None else notice.in_language(language))
    table.add_row("labels", ", ".join(label.id for label in card.labels))
    table.add_row("version", registration.version)
    table.add_row("MLflow run", registration.run_id)
    out.print(table)
    # Not in the table, which would cut it.
    typer.echo(f"digest {registration.digest}")
    _print_figures(name, figures)
    if html is not None:
        typer.echo(f"{html}: the evaluation, for a browser")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise UnwritableFile(f"{path} cannot be written: {cause.strerror}") from cause


def _version_files(
    home: Home, name: str, version: str | None
) -> "tuple[Registration, Card, Evaluation, str]":
    """A registered version, its card, figures and page; the latest version by default."""
    import tempfile

    from models import bundle, registry

    with tempfile.TemporaryDirectory() as scratch:
        registration = registry.registration(home, name, version)
        folder = registry.fetch(home, registration, Path(scratch))
        with opened(home) as ledger, suppress(UnknownModel):
            # Where the log knows the version, its digest counts, whatever MLflow's is.
            logged = versions.registered_version(ledger, name, registration.version)
            bundle.verify(folder, logged.digest)
        return (
            registration,
            bundle.read_card(folder),
            bundle.read_evaluation(folder),
            bundle.read_page(folder),
        )


def _told(figure: "Estimate | Undefined | None") -> str:
    if figure is None:
        return ""
    if hasattr(figure, "reason"):
        return f"undefined: {figure.reason}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _print_figures(name: str, evaluation: "Evaluation") -> None:
    from models.evaluation import HEADLINES, Estimate, Judged

    designs = (evaluation, evaluation.by_site, evaluation.forward)
    table = Table(
        "figure",
        f"{evaluation.folds}-fold cross-validation",
        "hospitals never seen",
        "later cases",
        title=f"{name}, each figure with its 95 % interval",
    )
    table.add_row(
        "cases",
        *(f"{one.cases}" if isinstance(one, Judged) else one.reason for one in designs),
    )
    for figure in HEADLINES:
        told = [getattr(one, figure) if isinstance(one, Judged) else None for one in designs]
        table.add_row(figure.replace("_", " "), *map(_told, told))
    out.print(table)
    if isinstance(evaluation.by_site, Judged):
        sites = Table(
            "hospital", "cases", "accuracy", "95 % interval", title="hospitals never seen"
        )
        for part in evaluation.by_site.parts:
            if isinstance(part.accuracy, Estimate):
                interval = f"{part.accuracy.low:.3f} to {part.accuracy.high:.3f}"
                sites.add_row(part.name, f"{part.cases}", f"{part.accuracy.value:.3f}", interval)
        out.print(sites)
    for hardship in evaluation.hardships.values():
        if isinstance(hardship.judged, Judged):
            typer.echo(
                f"{hardship.what.en}: right {_told(hardship.judged.answered)} of what is answered, "
                f"mean confidence {_told(hardship.judged.confidence)}."
            )
    typer.echo(f"{evaluation.cases} cases, {evaluation.held_out_cases} more held out.")
    for note in evaluation.notes:
        typer.echo(f"Note: {note.en}.")


@app.command(
    epilog="Example: garant models propose tumour-origin-microarray --token $DATA_SCIENTIST"
)
def propose(
    context: typer.Context,
    name: NameArgument,
    token: TokenOption,
    version: Annotated[str | None, typer.Option(help="The latest by default.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Ask the college of human guarantee to vote on a registered version."""
    from models import registry
    from models.promotion import propose_version

    at = home
    with refusing(_OURS), acting(context, home, token) as (ledger, _):
        wanted = registry.registration(at, name, version).version
        proposed = propose_version(at, ledger, name=name, version=wanted)
    typer.echo(
        f"{name} {wanted} waits for votes; missing: {', '.join(proposed.missing)}.",
    )
    typer.echo(f"Next: garant college vote {name} {wanted} --in-favour")


@app.command(
    epilog="Example: garant models promote tumour-origin-microarray --version 1 --token $TOKEN"
)
def promote(
    context: typer.Context,
    name: NameArgument,
    token: TokenOption,
    version: Annotated[str, typer.Option(help="An approved version.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Let an approved version answer from here on."""
    from models.promotion import promote_version

    at = home
    with refusing(_OURS), acting(context, home, token) as (ledger, actor):
        recorded = promote_version(at, ledger, actor, name=name, version=version)
    typer.echo(f"Record {recorded.id}: {name} {version} answers.")


@app.command(
    epilog="Example: garant models rollback tumour-origin --reason 'worse on metastases' --token $T"
)
def rollback(
    context: typer.Context,
    name: NameArgument,
    token: TokenOption,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    version: Annotated[
        str | None,
        typer.Option(help="One that answered before; by default the last that did."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Let an approved version that answered before answer again."""
    from models.promotion import roll_back

    at = home
    with refusing(_OURS), acting(context, home, token) as (ledger, actor):
        recorded = roll_back(at, ledger, actor, name=name, reason=reason, version=version)
        suspended = versions.standing(ledger, name).suspension is not None
    answers = "would answer, but the model is suspended" if suspended else "answers again"
    typer.echo(f"Record {recorded.id}: {name} {recorded.header.model_version} {answers}.")


@app.command(epilog="Example: garant models check")
def check(home: HomeOption = DEFAULT_HOME) -> None:
    """Hold MLflow and the shelf against the log: exit 0 nothing found, 1 something was."""
    from models.promotion import findings

    with refusing(_OURS), opened(home) as ledger:
        found = findings(home, ledger)
    for finding in found:
        typer.echo(f"Finding: {finding}")
    if found:
        raise typer.Exit(1)
    typer.echo("MLflow and the shelf are as the log says.")


@app.command(
    epilog="Example: garant models suspend tumour-origin-microarray --reason drift --token $TOKEN"
)
def suspend(
    context: typer.Context,
    name: NameArgument,
    token: TokenOption,
    reason: Annotated[str, typer.Option(help="What whoever is refused an answer will read.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Stop a model at once."""
    with refusing(_OURS), acting(context, home, token) as (ledger, actor):
        recorded = versions.suspend(ledger, actor, name=name, reason=reason)
    typer.echo(f"Record {recorded.id}: {name} no longer answers.")


@app.command(
    epilog="Example: garant models resume tumour-origin-microarray --reason checked --token $TOKEN"
)
def resume(
    context: typer.Context,
    name: NameArgument,
    token: TokenOption,
    reason: Annotated[str, typer.Option(help="Why it may answer again.")],
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Let a suspended model answer again; for the college."""
    with refusing(_OURS), acting(context, home, token) as (ledger, actor):
        recorded = signing(
            key,
            lambda signature: versions.resume(
                ledger, actor, name=name, reason=reason, signature=signature
            ),
            meant={
                "type": RecordType.MODEL_RESUMED,
                "model": name,
                "body": {"reason": reason.strip()},
            },
        )
    typer.echo(f"Record {recorded.id}: {name} answers again.")


@app.command(
    epilog="Example: garant models history tumour-origin-microarray --at 2026-11-24T12:00:00+00:00"
)
def history(
    name: NameArgument,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Which version could answer at that moment, UTC where no zone is given; of a day, "
            "each that could at some time of it.",
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show when which version could answer, as the log's records claim."""
    moment = None if at is None else _moment(at)
    with refusing(_OURS), opened(home) as ledger:
        reigns = versions.history(ledger, name)
    if at is None or moment is None:
        table = Table("from (UTC)", "record", "answers", "reason")
        for reign in reigns:
            table.add_row(_utc(reign.at), reign.event, reign.version or "none", reign.reason or "")
        out.print(table)
        return
    start = moment.timestamp() * 1000
    past = [reign.version for reign in reigns if reign.at <= start]
    answering = past[-1:]
    if len(at) == len("2026-11-24"):
        answering += [r.version for r in reigns if start < r.at < start + _DAY_MILLISECONDS]
    could = [version for version in dict.fromkeys(answering) if version is not None]
    typer.echo("\n".join(could) or "no version could answer")


_DAY_MILLISECONDS = 24 * 60 * 60 * 1000


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as cause:
        raise typer.BadParameter(
            "write it as 2026-11-24 or 2026-11-24T12:00:00+00:00", param_hint="--at"
        ) from cause
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(
        sep=" ", timespec="milliseconds"
    )


@app.command(
    epilog="Example: garant models score NAME --input tumours.csv --output answers.csv --token $T"
)
def score(
    context: typer.Context,
    name: NameArgument,
    *,
    source: Annotated[Path, typer.Option("--input", help="CSV or Parquet; ids come first.")],
    target: Annotated[Path, typer.Option("--output", help="CSV or Parquet.")],
    token: TokenOption,
    version: Annotated[
        str | None,
        typer.Option(
            help="A version to evaluate; by default the promoted one, or else the latest."
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Evaluate a model on a file; its output is not for care."""
    from models.scoring import UnwritableOutput, score

    at = home
    with refusing(_OURS), acting(context, home, token) as (ledger, actor):
        model = _evaluated(at, ledger, name, version)
        try:
            with bar(f"scoring with {name}") as progress:  # noqa: SIM117 - one block an act
                with score(model, source, target, progress) as scored:
                    recorded = ledger.record(
                        Draft(
                            type=RecordType.COHORT_SCORED,
                            actor=actor,
                            outcome="scored",
                            body=CohortScored(
                                cases=scored.cases,
                                input_sha256=scored.input_sha256,
                                output_sha256=scored.output_sha256,
                            ),
                            model=name,
                            model_version=model.version,
                        )
                    )
        except OSError as cause:
            raise UnwritableOutput(f"{target} cannot be written: {cause.strerror}") from cause
    typer.echo(
        f"Record {recorded.id}: {scored.cases} profile{'s' if scored.cases != 1 else ''} scored "
        f"with {name} {model.version}, not for care.",
    )
    if scored.abstained:
        typer.echo(
            f"The model abstained on {scored.abstained} of them: what stands there is no answer."
        )
    if scored.missing:
        absent = [name for name, rows in scored.missing.items() if rows == scored.cases]
        some = {name: rows for name, rows in scored.missing.items() if rows < scored.cases}
        if absent:
            typer.echo(f"Missing in every row: {_some(absent)}.")
        if some:
            most = max(some, key=lambda feature: some[feature])
            typer.echo(
                f"Missing in some rows: {_some(sorted(some))}; most often {most}, in {some[most]}."
            )
    if scored.passed_over:
        typer.echo(f"Not read, since the model knows no such feature: {_some(scored.passed_over)}.")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(
        "".join(sign if sign.isprintable() else "?" for sign in name[:80])
        for name in names[:_NAMED]
    )
    more = len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _evaluated(home: Home, ledger: Ledger, name: str, version: str | None) -> "ServedModel":
    """The version promoted last, from the shelf; else the latest, or the one named, from MLflow.

    An evaluation comes before the votes, and may be what a suspension is resolved with.
    """
    import tempfile

    from models import bundle, registry, shelf
    from models.registry import Registration

    serving = versions.standing(ledger, name).serving
    if version is None and serving is not None:
        return shelf.load(home, name=name, version=serving.version, digest=serving.digest)
    logged = (
        versions.versions_of(ledger, name)[-1]
        if version is None
        else versions.registered_version(ledger, name, version)
    )
    found = Registration(name=name, version=logged.version, digest=logged.digest, run_id=logged.run)
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.fetch(home, found, Path(scratch))
        return bundle.load(folder, name=name, version=logged.version, digest=logged.digest)
