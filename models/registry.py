"""MLflow, where data scientists work: runs, registered versions and their files, on SQLite.

What answers is decided by the ledger; here is where its versions come from.
"""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from guarantee.home import Home
from models import bundle, committed, scikit
from models.admission import check_admissible
from models.boosted import Boosted
from models.bundle import digest_of
from models.errors import ModelsError
from models.predictor import FILE, Predictor
from models.scikit import Scikit
from models.training import Parameters, Training, logged, parameters_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

# The alias that follows the ledger's last promotion; nothing reads it to decide what answers.
PROMOTED: Final = "promoted"
PROPOSED: Final = "proposed"

_NAME_TAG: Final = "garant.model"
_DIGEST_TAG: Final = "garant.digest"
_FOLDER: Final = "bundle"
# Opened where it is not, it would be made.
_DATABASE: Final = "mlflow.db"


class UnknownVersion(ModelsError):
    """The registry has no such run, model or version; `garant models list` shows what it has."""


class RegistryUnavailable(ModelsError):
    """MLflow could not do it; the message is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A version in the registry.

    Attributes:
        version: MLflow's number, "1" for the first.
        digest: SHA-256 of the version's files, hexadecimal.
        run_id: The training run that made it.
    """

    name: str
    version: str
    digest: str
    run_id: str


def tracking_uri(home: Home) -> str:
    """What MLFLOW_TRACKING_URI is for this home; `file:` stores are no longer accepted."""
    return f"sqlite:///{home.mlflow.resolve() / _DATABASE}"


def is_here(home: Home) -> bool:
    """Whether data scientists work in this home: one that only serves needs no MLflow."""
    return (home.mlflow / _DATABASE).is_file()


def log(home: Home, training: Training, *, files: Path | None = None) -> str:
    """Keep a training as a finished MLflow run, with its version's files; return the run's id.

    Args:
        files: The folder where they have been written already; None to write them now.

    Raises:
        RegistryUnavailable: MLflow failed; the run, if begun, is marked so.
    """
    name = training.bundle.card.name
    with _mlflow(home) as client, tempfile.TemporaryDirectory() as scratch:
        folder = files or Path(scratch) / _FOLDER
        digest = bundle.write(training.bundle, folder) if files is None else digest_of(files)
        experiment_id = _experiment(client, home, name)
        run_id: str = client.create_run(
            experiment_id, run_name=name, tags={_NAME_TAG: name, _DIGEST_TAG: digest}
        ).info.run_id
        status = "FAILED"
        try:
            for parameter, value in logged(training.parameters).items():
                client.log_param(run_id, parameter, value)
            _log_model(client, experiment_id, run_id, training, digest)
            client.log_artifacts(run_id, str(folder), _FOLDER)
            status = "FINISHED"
        finally:
            client.set_terminated(run_id, status)
        return run_id


def log_figures(
    home: Home,
    experiment: str,
    run_name: str,
    *,
    parameters: Mapping[str, str],
    figures: Mapping[str, float],
) -> str:
    """Keep figures as a finished run without a model, and return the run's id.

    Raises:
        RegistryUnavailable: MLflow failed.
    """
    with _mlflow(home) as client:
        from mlflow.entities import Metric, Param

        run = client.create_run(_experiment(client, home, experiment), run_name=run_name)
        run_id: str = run.info.run_id
        now = int(run.info.start_time)
        client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in parameters.items()],
            metrics=[Metric(key, value, now, 0) for key, value in figures.items()],
        )
        client.set_terminated(run_id)
        return run_id


def _experiment(client: "MlflowClient", home: Home, name: str) -> str:
    """The id of the experiment of that name, which is made where there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    folder = home.mlflow.resolve() / "artifacts" / name
    return str(client.create_experiment(name, artifact_location=folder.as_uri()))


def register(home: Home, run_id: str) -> Registration:
    """Give a run's model the next version of its name; a run already registered keeps its own.

    Raises:
        UnknownVersion: There is no such run, or it did not finish.
        DigestMismatch: The run's files are not those that were logged.
        Inadmissible: They lack what a version must have; says what, and how to add it.
        RegistryUnavailable: MLflow failed.
    """
    with _mlflow(home) as client:
        for version in client.search_model_versions(f"run_id = '{_quoted(run_id)}'"):
            return _registration(version)
        from mlflow.exceptions import MlflowException

        try:
            run = client.get_run(run_id)
        except MlflowException as cause:
            raise UnknownVersion(f"no training run {run_id}; train first") from cause
        name, digest = run.data.tags.get(_NAME_TAG), run.data.tags.get(_DIGEST_TAG)
        if run.info.status != "FINISHED" or name is None or digest is None:
            raise UnknownVersion(f"run {run_id} is not a finished training; train again")
        with tempfile.TemporaryDirectory() as scratch:
            check_admissible(_download(client, run_id, digest, Path(scratch)), name=name)
        if not client.search_registered_models(f"name = '{_quoted(name)}'"):
            client.create_registered_model(name)
        outputs = run.outputs.model_outputs if run.outputs is not None else []
        if len(outputs) != 1:
            raise UnknownVersion(f"run {run_id} logged no model; train again")
        model = client.get_logged_model(outputs[0].model_id)
        return _registration(
            client.create_model_version(
                name,
                # Not models:/ID, which MLflow looks up in the process's store instead of this one.
                source=model.artifact_location,
                run_id=run_id,
                model_id=model.model_id,
                tags={_DIGEST_TAG: digest},
            )
        )


def registrations(home: Home, name: str | None = None) -> tuple[Registration, ...]:
    """All versions, of one name or of all, oldest first within a name."""
    if not is_here(home):
        return ()
    with _mlflow(home) as client:
        found = client.search_model_versions(f"name = '{_quoted(name)}'" if name else None)
        return tuple(
            sorted(
                (_registration(version) for version in found if _DIGEST_TAG in version.tags),
                key=lambda registration: (registration.name, int(registration.version)),
            )
        )


def registration(home: Home, name: str, version: str | None = None) -> Registration:
    """One version; the latest where none is named.

    Raises:
        UnknownVersion: It is not in the registry.
    """
    of_name = registrations(home, name)
    wanted = [found for found in of_name if version in {None, found.version}]
    if not wanted:
        has = ", ".join(found.version for found in of_name) or "none"
        raise UnknownVersion(
            f"{name} has no version {version or 'at all'} in the registry (it has: {has})"
        )
    return wanted[-1]


def latest_run(home: Home, name: str) -> str:
    """Id of the last finished training of this name.

    Raises:
        UnknownVersion: There is none.
    """
    with _mlflow(home) as client:
        experiment = client.get_experiment_by_name(name)
        runs = (
            client.search_runs(
                [experiment.experiment_id],
                "attributes.status = 'FINISHED'",
                max_results=1,
                order_by=["attributes.start_time DESC"],
            )
            if experiment is not None
            else []
        )
        if not runs:
            raise UnknownVersion(f"{name} was never trained; `garant models train {name}`")
        return str(runs[0].info.run_id)


def run_to_register(home: Home, name: str) -> str:
    """Id of the last finished training of this name; where there is none, of what is committed.

    A version that comes with Garant is logged as a run of its own, from the files as they are.

    Raises:
        UnknownVersion: It was never trained, and none comes with Garant.
        RegistryUnavailable: MLflow failed.
    """
    try:
        return latest_run(home, name)
    except UnknownVersion:
        if name not in committed.names():
            raise
    return log(home, committed.training(name), files=committed.folder_of(name))


def figures(home: Home, run_id: str) -> dict[str, float]:
    """A run's measured figures by name.

    Raises:
        RegistryUnavailable: MLflow failed.
    """
    with _mlflow(home) as client:
        return dict(client.get_run(run_id).data.metrics)


def parameters(home: Home, run_id: str) -> Parameters:
    """How a run was trained.

    Raises:
        UnknownVersion: The run does not say it.
        RegistryUnavailable: MLflow failed.
    """
    with _mlflow(home) as client:
        params = client.get_run(run_id).data.params
    try:
        return parameters_of(params)
    except (KeyError, ValueError) as cause:
        raise UnknownVersion(f"run {run_id} does not say how it was trained") from cause


def fetch(home: Home, registration: Registration, folder: Path) -> Path:
    """Copy a version's files below `folder`, check them, and return where they are.

    Raises:
        DigestMismatch: They are not those that were registered.
        RegistryUnavailable: MLflow failed.
    """
    with _mlflow(home) as client:
        folder.mkdir(parents=True, exist_ok=True)
        return _download(client, registration.run_id, registration.digest, folder)


def project_promotion(home: Home, name: str, version: str) -> None:
    """Point the alias at the version that the ledger promoted.

    Raises:
        RegistryUnavailable: MLflow failed; the ledger's promotion stands all the same.
    """
    with _mlflow(home) as client:
        client.set_registered_model_alias(name, PROMOTED, version)


def project_proposal(home: Home, name: str, version: str) -> None:
    """Point the alias of what waits for the college at a version.

    Raises:
        RegistryUnavailable: MLflow failed.
    """
    with _mlflow(home) as client:
        client.set_registered_model_alias(name, PROPOSED, version)


def projected_promotion(home: Home, name: str) -> str | None:
    """The version that the alias names; where the ledger says otherwise, that is a finding."""
    if not is_here(home):
        return None
    with _mlflow(home) as client:
        for model in client.search_registered_models(f"name = '{_quoted(name)}'"):
            aliased = model.aliases.get(PROMOTED)
            return None if aliased is None else str(aliased)
        return None


@contextmanager
def _mlflow(home: Home) -> Iterator["MlflowClient"]:
    """A client of this home, without MLflow's chatter, its errors translated."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    home.mlflow.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Deprecations inside MLflow are its maintainers' to heed.
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        uri = tracking_uri(home)
        try:
            # Addresses are given, never set for the process: two homes may be open at once.
            yield MlflowClient(tracking_uri=uri, registry_uri=uri)
        except MlflowException as cause:
            raise RegistryUnavailable(f"MLflow in {home.mlflow}: {cause.message}") from cause
        except SQLAlchemyError as cause:
            raise RegistryUnavailable(f"{home.mlflow / _DATABASE} cannot be used") from cause


def _log_model(
    client: "MlflowClient", experiment_id: str, run_id: str, training: Training, digest: str
) -> None:
    """The model in its native flavour with its signature, and the metrics, tied to the run."""
    from mlflow.entities import LoggedModelOutput, Metric

    flavour = _flavour(training.bundle.predictor)
    model = client.create_logged_model(
        experiment_id,
        name=training.bundle.card.name,
        source_run_id=run_id,
        params=logged(training.parameters),
        tags={_DIGEST_TAG: digest},
        model_type=flavour,
    )
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "model"
        _save(training.bundle.predictor, flavour, saved, _signature(training))
        client.log_model_artifacts(model.model_id, str(saved))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step=0)])
    now = int(client.get_run(run_id).info.start_time)
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, now, 0, model_id=model.model_id, run_id=run_id)
            for name, value in training.bundle.evaluation.figures().items()
        ],
    )


def _flavour(predictor: Predictor) -> str:
    """MLflow's own flavour where it computes the same margins from the same profile."""
    if isinstance(predictor, Boosted):
        return "xgboost"
    return "sklearn" if isinstance(predictor, Scikit) and predictor.usual is None else "garant"


def _save(predictor: Predictor, flavour: str, path: Path, signature: "ModelSignature") -> None:
    # Requirements are given, since MLflow would find them by importing the model in a process.
    numpy = f"numpy=={np.__version__}"
    if isinstance(predictor, Boosted):
        from mlflow import xgboost

        xgboost.save_model(
            predictor.booster,
            str(path),
            signature=signature,
            model_format="ubj",
            pip_requirements=[_required("xgboost"), numpy],
        )
    elif isinstance(predictor, Scikit) and flavour == "sklearn":
        from mlflow import sklearn

        sklearn.save_model(
            predictor.estimator,
            str(path),
            signature=signature,
            serialization_format="skops",
            skops_trusted_types=list(scikit.TRUSTED),
            pip_requirements=[_required("scikit-learn"), _required("skops"), numpy],
        )
    else:
        from mlflow.models import Model

        # No flavour of MLflow computes it, so none is claimed: `models.predictor.read` does.
        path.mkdir()
        predictor.write(path)
        described = Model(signature=signature)
        described.add_flavor(flavour, predictor=FILE)
        described.save(str(path / "MLmodel"))


def _required(distribution: str) -> str:
    return f"{distribution}=={metadata.version(distribution)}"


def _signature(training: Training) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    features = len(training.bundle.contract.features)
    classes = len(training.bundle.card.labels)
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, features))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
    )


def _download(client: "MlflowClient", run_id: str, digest: str, folder: Path) -> Path:
    fetched = Path(client.download_artifacts(run_id, _FOLDER, str(folder)))
    bundle.verify(fetched, digest)
    return fetched


def _registration(version: "ModelVersion") -> Registration:
    return Registration(
        name=version.name,
        version=str(version.version),
        digest=version.tags[_DIGEST_TAG],
        run_id=version.run_id or "",
    )


def _quoted(text: str) -> str:
    # MLflow's filters have no escape: a quote would end the string.
    if "'" in text or "\\" in text:
        raise UnknownVersion("a name or run id holds no quotes")
    return text
