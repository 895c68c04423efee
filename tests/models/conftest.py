"""A small cohort with missing values, a model trained on it, and GCM, fetched once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from guarantee.card import Card, Code, Kind, Label, Regulatory, Reliance, Responsibility, Text
from guarantee.home import Home
from models import bundle, cohorts, registry
from models.centroids import Centroids
from models.cohorts import Cohort
from models.contract import Bounds, FeatureContract
from models.gated import Gated, Likeness
from models.predictor import Predictor
from models.registry import Registration
from models.served import ServedModel
from models.training import Parameters, Progress, Training, boost, train


def floats(values: Sequence[float] | Sequence[Sequence[float]]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


WORDS = Text(fr="mots", en="words")


def card_of(labels: tuple[str, ...], name: str = "three-origins") -> Card:
    return Card(
        name=name,
        title=WORDS,
        intended_use=WORDS,
        population=WORDS,
        not_for=WORDS,
        provenance=WORDS,
        limits=WORDS,
        kind=Kind.FIXED,
        reliance=Reliance.AIDED,
        regulatory=Regulatory(regulation="none", ce_marked=False),
        labels=tuple(
            Label(id=label, words=WORDS, codes=(Code(system="CIM-10", code="C80"),))
            for label in labels
        ),
        responsibilities=(Responsibility(holder="Garant", duty=WORDS),),
        leaflet=WORDS,
        lapse_hours=72,
    )


def cohort_of(
    labels: tuple[str, ...], *, each: int = 20, features: int = 6, seed: int = 0
) -> Cohort:
    """Classes that differ in one feature each; one value in ten missing; two samples a patient."""
    draw = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(labels)), each)
    profiles = draw.normal(5, 1, (len(truth), features)).astype(np.float32)
    profiles[np.arange(len(truth)), truth % features] += 3
    profiles[draw.random(profiles.shape) < 0.1] = np.nan
    return Cohort(
        contract=FeatureContract.of(
            [f"gene {number}" for number in range(features)],
            unit="log2 intensity",
            possible=Bounds(low=-10, high=30),
            plausible=Bounds(low=0, high=12),
        ),
        profiles=profiles,
        labels=tuple(labels[place] for place in truth),
        ids=tuple(f"S{number}" for number in range(len(truth))),
        patients=tuple(f"P{number // 2}" for number in range(len(truth))),
    )


def learn_with_likeness(
    profiles: NDArray[np.float32],
    truth: NDArray[np.intp],
    runs: Sequence[NDArray[np.intp]],
    *,
    classes: int,
    parameters: Parameters,
    progress: Progress | None,
) -> list[Predictor]:
    """XGBoost that knows how far a profile is from what it learned from; see `training.Learn`."""
    boosted = boost(
        profiles, truth, runs, classes=classes, parameters=parameters, progress=progress
    )
    learned = list[Predictor]()
    for rows, predictor in zip(runs, boosted, strict=True):
        whole = np.where(np.isnan(profiles[rows]), np.float32(5), profiles[rows])
        centroids = Centroids.of(whole, truth[rows], classes=classes, factors=2)
        furthest = float(centroids.distances(whole, spread=0.3).max())
        learned.append(
            Gated(
                here=predictor, elsewhere=predictor, temperature=1.0,
                likeness=Likeness(
                    centroids=centroids, spread=0.3, most_distant=furthest,
                    hopeless=4 * furthest, most_missing=1.0,
                ),
            )
        )  # fmt: skip
    return learned


@pytest.fixture(scope="session")
def cohort() -> Cohort:
    return cohort_of(("lung", "sein gauche", "["))


@pytest.fixture(scope="session")
def training(cohort: Cohort) -> Training:
    return train(cohort, card_of(("lung", "sein gauche", "[")), Parameters(rounds=10, threads=1))


@pytest.fixture(scope="session")
def folder(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version's files; tests that alter them copy them first."""
    folder = tmp_path_factory.mktemp("version") / "bundle"
    bundle.write(training.bundle, folder)
    return folder


@pytest.fixture(scope="session")
def digest(folder: Path) -> str:
    return bundle.digest_of(folder)


@pytest.fixture(scope="session")
def served(folder: Path, digest: str) -> ServedModel:
    return bundle.load(folder, name="three-origins", version="1", digest=digest)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def gcm(gcm_folder: Path) -> Cohort:
    return cohorts.gcm(gcm_folder)


@pytest.fixture(scope="session")
def registered(
    training: Training, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Home, Registration]:
    """A home with one version in a real MLflow registry; tests that add to it copy it first."""
    home = Home(tmp_path_factory.mktemp("registered"))
    return home, registry.register(home, registry.log(home, training))
