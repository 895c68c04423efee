"""A training judged as planned: who answered whom, and what could not be judged is counted."""

from dataclasses import replace

import numpy as np
import pytest

from guarantee.card import Text
from models import assessment
from models.assessment import Said
from models.cohorts import Cohort
from models.contract import FeatureContract
from models.evaluation import Estimate, Evaluation, Judged, Undefined
from tests.models.conftest import cohort_of

LABELS = ("a", "b", "c")


@pytest.fixture
def known() -> Cohort:
    """Sixty cases of two samples a patient; four have no date, two no hospital."""
    cohort = cohort_of(LABELS)
    days = [f"2020-{1 + place // 2 % 12:02d}-01" for place in range(60)]
    sites = [f"H{place // 2 % 4}" for place in range(60)]
    return replace(cohort, dates=("",) * 4 + tuple(days[4:]), sites=tuple(sites[:-2]) + ("",) * 2)


def judged(cohort: Cohort, *, right: bool = True) -> Evaluation:
    """Each part's model says the truth with some conviction, or the next label."""
    truth = np.array([LABELS.index(label) for label in cohort.labels])
    folds = cohort.groups() % 5
    planned = assessment.plan(cohort, folds, site_folds=2, forward_parts=2, seed=0)
    said = []
    for part in planned.parts:
        margins = np.random.default_rng(len(part.test)).normal(0, 0.5, (len(part.test), 3))
        margins[np.arange(len(part.test)), (truth[part.test] + (not right)) % 3] += 4
        said.append(
            Said(
                margins=margins,
                flagged=np.arange(len(margins)) == 0,
                declined=np.zeros(len(margins), dtype=np.bool_),
            )
        )
    return assessment.assess(
        planned,
        cohort,
        truth,
        said,
        labels=LABELS,
        held_out_cases=0,
        seed=0,
        notes=(Text(fr="un", en="one"),),
    )


def test_each_question_has_its_figures_and_its_parts(known: Cohort) -> None:
    evaluation = judged(known)
    assert isinstance(evaluation.by_site, Judged)
    assert isinstance(evaluation.forward, Judged)
    assert (evaluation.cases, evaluation.patients, evaluation.folds) == (60, 30, 5)
    assert evaluation.by_site.cases + evaluation.by_site.unseen == 58
    assert len(evaluation.by_site.parts) == 2
    assert all(len(part.name.split(", ")) == 2 for part in evaluation.by_site.parts)
    assert evaluation.forward.cases + evaluation.forward.unseen < 56
    for figures in (evaluation, evaluation.by_site, evaluation.forward):
        assert figures.accuracy.value > 0.95
        assert sum(map(sum, figures.confusion)) == figures.cases
    # The first case of each part was flagged.
    assert isinstance(evaluation.flagged, Estimate)
    assert evaluation.flagged.value == pytest.approx(5 / 60)
    assert evaluation.figures()["by_site.flagged"] == pytest.approx(2 / 58)
    wrong = judged(known, right=False)
    assert wrong.accuracy.value < 0.05
    figures_by_name = evaluation.figures()
    assert figures_by_name["by_site.accuracy"] == evaluation.by_site.accuracy.value
    assert figures_by_name["forward.cases"] == evaluation.forward.cases


def test_what_could_not_be_judged_is_counted(known: Cohort) -> None:
    notes = {note.en: note.fr for note in judged(known).notes}
    assert "one" in notes
    assert "2 cases of no known hospital are not judged by hospital" in notes
    assert "4 cases without a date are not judged forward in time" in notes
    assert notes["one"] == "un"
    assert all(not note.isascii() for english, note in notes.items() if english != "one")


def test_calibration_is_on_hospitals_left_out_where_they_are_known(known: Cohort) -> None:
    truth = np.array([LABELS.index(label) for label in known.labels])
    planned = assessment.plan(known, known.groups() % 5, site_folds=2, forward_parts=2, seed=0)
    said = [
        Said(
            margins=np.full((len(part.test), 3), float(place)),
            flagged=np.zeros(len(part.test), dtype=np.bool_),
            declined=np.zeros(len(part.test), dtype=np.bool_),
        )
        for place, part in enumerate(planned.parts)
    ]
    places, margins = assessment.to_calibrate(planned, said, truth)
    assert list(places) == list(range(60))
    assert isinstance(planned.by_site, tuple)
    for place, part in enumerate(planned.by_site, len(planned.by_patient)):
        assert (margins[part.test] == place).all()
    # The two cases of no known hospital.
    assert (margins[-2:] < len(planned.by_patient)).all()


def test_a_question_that_was_not_asked_is_undefined(known: Cohort) -> None:
    planned = assessment.plan(known, known.groups() % 3, site_folds=0, forward_parts=0, seed=0)
    assert len(planned.parts) == 3
    for found in planned.by_site, planned.forward:
        assert isinstance(found, Undefined)
        assert "not asked" in found.reason


def test_a_case_that_lacks_what_the_model_needs_counts_as_an_error(known: Cohort) -> None:
    features = known.contract.features
    needy = FeatureContract(
        features=(features[0].model_copy(update={"required": True}), *features[1:])
    )
    lacking = int(np.isnan(known.profiles[:, 0]).sum())
    assert lacking > 0
    evaluation = judged(replace(known, contract=needy))
    assert evaluation.abstained.value == pytest.approx(lacking / 60)
    assert evaluation.accuracy.value <= 1 - lacking / 60
