"""The ways to learn that a recipe was chosen from, run again, and kept in MLflow."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guarantee.home import Home
from models import experiments, recipes, registry
from models.alterations import mirna_alterations
from models.candidates import CANDIDATES, CHOSEN, Candidate, Members
from models.cohorts import Cohort
from models.evaluation import Judged
from models.experiments import NothingToCompare
from models.training import Parameters
from tests.models.conftest import card_of, cohort_of

LABELS = ("a", "b", "c")
QUICK = Parameters(rounds=3, site_folds=2, threads=1)


@pytest.fixture(scope="module")
def sequenced() -> Cohort:
    """Three hospitals' tumours of three origins, logarithms of reads, each of a size of its own."""
    cohort = cohort_of(LABELS, each=24, features=40)
    draw = np.random.default_rng(3)
    profiles = draw.normal(np.linspace(2, 12, 40), 0.5, cohort.profiles.shape)
    truth = np.array([LABELS.index(label) for label in cohort.labels])
    profiles[np.arange(len(truth)), 20 + truth] += 4
    return replace(
        cohort,
        profiles=np.maximum(profiles, 0).astype(np.float32),
        sites=tuple(f"H{place // 2 % 3}" for place in range(len(truth))),
    )


def test_every_candidate_is_judged_on_the_same_cases_of_hospitals_left_out(
    sequenced: Cohort, tmp_path: Path
) -> None:
    home, card = Home(tmp_path), card_of(LABELS, "tumour-origin")
    alterations = mirna_alterations(sequenced, card)
    of = (
        Candidate(seen="logarithms", member="linear"),
        Candidate(seen="ranks", member="trees", copies=1),
        Candidate(seen="matched", member="linear", copies=2),
        Members(),
    )
    found = list(experiments.compare("tumour-origin", sequenced, card, QUICK, alterations, of=of))
    assert len(found) == 3 + len(Members().names)
    for one in found:
        assert one.evaluation.cases == 72
        assert len(one.evaluation.parts) == 2
        made_up = one.evaluation.hardships["made_up_laboratories"].judged
        assert isinstance(made_up, Judged)
        assert made_up.cases == 72
        experiments.keep(home, "tumour-origin", QUICK, one)
    assert found[0].evaluation.accuracy.value > 0.9
    assert [one.chosen for one in found] == [False] * 6 + [True]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=registry.tracking_uri(home))
        experiment = client.get_experiment_by_name("tumour-origin-candidates")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        chosen = client.search_runs([experiment.experiment_id], "params.chosen = 'true'")
    assert {run.info.run_name for run in runs} == {one.name for one in found}
    assert [run.info.run_name for run in chosen] == [CHOSEN["tumour-origin"]]
    for run in runs:
        (same,) = (one for one in found if one.name == run.data.params["candidate"])
        assert run.data.metrics["accuracy"] == same.evaluation.accuracy.value
        assert "made_up_laboratories.accuracy_low" in run.data.metrics
        assert run.data.params["rounds"] == "3"
    # What is compared is no training to register.
    with pytest.raises(registry.UnknownVersion):
        registry.latest_run(home, "tumour-origin")


def test_the_same_seed_gives_the_same_figures(sequenced: Cohort) -> None:
    card = card_of(LABELS, "tumour-origin")
    of = experiments.ways("tumour-origin", ["trees on matched, taught"])
    first, again = (
        [
            one.evaluation
            for one in experiments.compare("tumour-origin", sequenced, card, QUICK, {}, of=of)
        ]
        for _ in range(2)
    )
    assert first == again


def test_the_recipes_own_way_is_among_the_candidates_of_each_model() -> None:
    for name, ways in experiments.WAYS.items():
        names = [one for way in ways for one in way.names]
        assert CHOSEN[name] in names
        assert len(names) == len(set(names))
        recipes.recipe(name)
    assert set(CANDIDATES) == set(experiments.ways("tumour-origin"))
    with pytest.raises(NothingToCompare, match="trees on ranks"):
        experiments.ways("tumour-origin", ["horoscope"])
    with pytest.raises(NothingToCompare, match="has: none"):
        experiments.ways("heart-disease")


def test_ranks_do_without_the_scale_of_a_microarray(gcm: Cohort) -> None:
    recipe = recipes.recipe("tumour-origin-microarray")
    of = experiments.ways("tumour-origin-microarray", ["linear on ranks"])
    (found,) = experiments.compare(
        "tumour-origin-microarray", gcm, recipe.card(), recipe.parameters, {}, of=of, parts=2
    )
    assert found.evaluation.accuracy.value > 0.7
