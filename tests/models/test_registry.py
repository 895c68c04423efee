"""MLflow's registry, a real one on SQLite."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from guarantee.home import Home
from models import bundle, predictor, registry, shelf
from models.bundle import DigestMismatch
from models.cohorts import Cohort
from models.composite import Always, Average, View
from models.registry import Registration, UnknownVersion
from models.representation import Ranks
from models.scikit import Scikit
from models.training import Training, train

Registered = tuple[Home, Registration]


def test_a_registered_version_gives_back_its_files_and_digest(
    registered: Registered, digest: str, tmp_path: Path
) -> None:
    home, first = registered
    assert (first.name, first.version, first.digest) == ("three-origins", "1", digest)
    folder = registry.fetch(home, first, tmp_path)
    assert bundle.digest_of(folder) == digest
    assert bundle.read_card(folder).name == "three-origins"


def test_registering_a_run_again_gives_the_same_version(registered: Registered) -> None:
    home, first = registered
    assert registry.register(home, first.run_id) == first
    assert registry.registrations(home) == (first,)
    assert registry.registration(home, first.name) == first


def test_the_native_model_loads_in_mlflow_with_its_signature(
    registered: Registered,
    cohort: Cohort,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, first = registered
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri(home))
    uri = f"models:/{first.name}/{first.version}"
    info = mlflow.models.get_model_info(uri)
    assert info.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 6)
    assert "xgboost" in info.flavors
    booster = mlflow.xgboost.load_model(uri)
    np.testing.assert_array_equal(
        booster.inplace_predict(cohort.profiles, predict_type="margin"),
        training.bundle.predictor.margins(cohort.profiles),
    )


def test_a_run_keeps_parameters_figures_and_intervals(
    registered: Registered, training: Training
) -> None:
    home, first = registered
    kept = registry.figures(home, first.run_id)
    accuracy = training.bundle.evaluation.accuracy
    assert kept["accuracy"] == accuracy.value
    assert kept["accuracy_low"] == accuracy.low


def test_mlflow_holds_no_sample_id_and_no_patient(registered: Registered, cohort: Cohort) -> None:
    home, _ = registered
    files = [path for path in home.mlflow.rglob("*") if path.is_file()]
    with sqlite3.connect(home.mlflow / "mlflow.db") as database:
        texts = ["\n".join(database.iterdump())]
    texts += [path.read_bytes().decode("latin1") for path in files if path.suffix != ".db"]
    distinct = [name for name in (*cohort.ids, *(cohort.patients or ())) if len(name) > 2]
    assert not any(
        f'"{name}"' in text or f"'{name}'" in text for name in distinct for text in texts
    )
    assert (home.mlflow / "mlflow.db") in files


def test_the_alias_follows_and_is_compared_by_its_version(registered: Registered) -> None:
    home, first = registered
    assert registry.projected_promotion(home, "nothing") is None
    registry.project_promotion(home, first.name, first.version)
    assert registry.projected_promotion(home, first.name) == first.version


def test_a_file_changed_in_mlflows_artifacts_is_found(
    training: Training, cohort: Cohort, registered: Registered, tmp_path: Path
) -> None:
    home, _ = registered
    card = training.bundle.card.model_copy(update={"name": "two-versions"})
    parameters = replace(training.parameters, rounds=2)
    run_id = registry.log(home, train(cohort, card, parameters))
    assert registry.latest_run(home, "two-versions") == run_id
    (changed,) = home.mlflow.rglob(f"{run_id}/artifacts/bundle/card.json")
    original = changed.read_bytes()
    changed.write_bytes(original.replace(b"words", b"wards"))
    with pytest.raises(DigestMismatch) as refusal:
        registry.register(home, run_id)
    assert refusal.value.files == ("card.json",)
    changed.write_bytes(original)
    found = registry.register(home, run_id)
    again = registry.register(home, registry.log(home, train(cohort, card, parameters)))
    assert (found.version, again.version) == ("1", "2")
    assert again.digest == found.digest
    assert registry.registrations(home, "two-versions") == (found, again)


def test_what_is_not_there_is_said(registered: Registered) -> None:
    home, first = registered
    with pytest.raises(UnknownVersion, match="has no version 9"):
        registry.registration(home, first.name, "9")
    with pytest.raises(UnknownVersion, match="no training run"):
        registry.register(home, "0" * 32)
    with pytest.raises(UnknownVersion, match="never trained"):
        registry.latest_run(home, "nothing")
    with pytest.raises(UnknownVersion, match="quotes"):
        registry.registrations(home, "a' OR name = 'b")


def test_scikit_learns_trees_are_logged_without_pickle_in_their_own_flavour(
    training: Training, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    labels = [label.id for label in training.bundle.card.labels]
    truth = [labels.index(name) for name in cohort.labels]
    estimator = HistGradientBoostingClassifier(max_iter=3).fit(cohort.profiles, truth)
    trees = replace(training.bundle, predictor=Scikit(estimator=estimator))
    found = registry.register(home, registry.log(home, replace(training, bundle=trees)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri(home))
    uri = f"models:/{found.name}/{found.version}"
    assert mlflow.models.get_model_info(uri).flavors["sklearn"]["serialization_format"] == "skops"
    loaded = mlflow.sklearn.load_model(uri)
    np.testing.assert_array_equal(
        loaded.decision_function(cohort.profiles), estimator.decision_function(cohort.profiles)
    )


def test_what_no_flavour_of_mlflow_computes_claims_none_and_is_registered_all_the_same(
    training: Training, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    ranks = View(representation=Ranks(), seen_by=training.bundle.predictor)
    mean = Average(members=(training.bundle.predictor, ranks), gate=Always(each=(0.5, 0.5)))
    averaged = replace(training, bundle=replace(training.bundle, predictor=mean))
    found = registry.register(home, registry.log(home, averaged))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri(home))
    info = mlflow.models.get_model_info(f"models:/{found.name}/{found.version}")
    assert set(info.flavors) == {"garant"}
    assert info.signature.outputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 3)
    (described,) = home.mlflow.rglob("MLmodel")
    np.testing.assert_array_equal(
        predictor.read(described.parent).margins(cohort.profiles), mean.margins(cohort.profiles)
    )
    # From the registry to the shelf, members' folders go along.
    fetched = registry.fetch(home, found, tmp_path / "fetched")
    shelf.lay(home, fetched, name=found.name, version="1", digest=found.digest)
    served = shelf.load(home, name=found.name, version="1", digest=found.digest)
    np.testing.assert_array_equal(served.margins(cohort.profiles), mean.margins(cohort.profiles))
