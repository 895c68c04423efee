"""Heart disease: a scikit-learn model, trained in one hospital and judged in three others."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from guarantee.abstention import Abstention
from guarantee.card import Card
from models import bundle, heart_disease, recipes
from models.cohorts import Cohort, CohortUnavailable
from models.contract import InvalidFeature
from models.evaluation import Estimate, Judged
from models.scikit import Scikit
from models.served import Flag, ServedModel
from models.training import Training

PATIENT: dict[str, float] = {
    "age": 58, "sex": 1, "cp": 4, "thalach": 120, "exang": 1, "oldpeak": 2.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def hearts(gcm_folder: Path) -> Cohort:
    return heart_disease.cohort(gcm_folder)


@pytest.fixture(scope="module")
def trained(hearts: Cohort) -> Training:
    recipe = recipes.recipe("heart-disease")
    return recipe.train(hearts, recipe.parameters, None)


@pytest.fixture(scope="module")
def heart(trained: Training, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = tmp_path_factory.mktemp("heart") / "bundle"
    digest = bundle.write(trained.bundle, folder)
    return bundle.load(folder, name="heart-disease", version="1", digest=digest)


def test_four_hospitals_hold_920_patients_whose_disease_differs_as_published(
    hearts: Cohort,
) -> None:
    assert hearts.sites is not None
    counts = Counter(hearts.sites)
    assert counts == {"Cleveland": 303, "Hungary": 294, "Switzerland": 123, "VA Long Beach": 200}
    diseased = Counter(
        site for site, label in zip(hearts.sites, hearts.labels, strict=True) if label == "present"
    )
    shares = {site: round(100 * diseased[site] / cases) for site, cases in counts.items()}
    assert shares == {"Cleveland": 46, "Hungary": 36, "Switzerland": 93, "VA Long Beach": 74}


def test_a_zero_that_was_written_for_a_missing_value_is_missing(hearts: Cohort) -> None:
    assert hearts.sites is not None
    chol = hearts.profiles[:, hearts.contract.names.index("chol")]
    swiss = np.array(hearts.sites) == "Switzerland"
    assert np.isnan(chol[swiss]).all()
    assert np.nanmin(chol) > 50
    ca = hearts.profiles[:, hearts.contract.names.index("ca")]
    assert np.isnan(ca[np.array(hearts.sites) != "Cleveland"]).mean() > 0.95
    assert np.isnan(ca[np.array(hearts.sites) == "Cleveland"]).mean() < 0.03


def test_every_patient_is_possible_by_the_contract_and_its_codes(hearts: Cohort) -> None:
    for row in hearts.profiles:
        hearts.contract.profile(row.astype(np.float64))


def test_it_is_trained_in_cleveland_and_judged_in_each_other_hospital(trained: Training) -> None:
    evaluation = trained.bundle.evaluation
    assert evaluation.cases + evaluation.held_out_cases == 303
    assert evaluation.accuracy.value > 0.78
    elsewhere = evaluation.by_site
    assert isinstance(elsewhere, Judged)
    assert elsewhere.cases == 617
    figures = {part.name: part.accuracy for part in elsewhere.parts}
    assert set(figures) == {"Hungary", "Switzerland", "VA Long Beach"}
    for figure in figures.values():
        assert isinstance(figure, Estimate)
        assert figure.low < figure.value < figure.high
    # Abstentions count as errors: 63 lack what the model needs.
    assert elsewhere.abstained.value == pytest.approx(63 / 617)
    assert isinstance(elsewhere.answered, Estimate)
    assert elsewhere.answered.value > 0.8
    assert elsewhere.accuracy.value == pytest.approx(elsewhere.answered.value * (1 - 63 / 617))
    assert elsewhere.risk[-1].risk.value == pytest.approx(1 - elsewhere.answered.value)
    limits = trained.bundle.card.limits
    for said in (limits.fr, limits.en):
        assert f"{elsewhere.answered.value:.0%}".replace("%", " %") in said
        assert f"{elsewhere.accuracy.value:.0%}".replace("%", " %") in said


def test_training_again_gives_the_same_bytes(
    hearts: Cohort, trained: Training, heart: ServedModel, tmp_path: Path
) -> None:
    again = recipes.recipe("heart-disease").train(hearts, trained.parameters, None)
    assert bundle.write(again.bundle, tmp_path / "again") == heart.digest


def test_it_is_a_scikit_learn_model_whose_parts_add_up(heart: ServedModel) -> None:
    assert isinstance(heart.predictor, Scikit)
    answer = heart.answer(heart.contract.vector(PATIENT))
    assert answer.label == "present"
    np.testing.assert_allclose(
        answer.contributions.sum(axis=1) + answer.bases, answer.margins, atol=1e-4
    )


def test_risk_rises_with_what_medicine_says_it_rises_with(heart: ServedModel) -> None:
    def risk(**changed: float) -> float:
        answer = heart.answer(heart.contract.vector(PATIENT | changed))
        return dict(answer.ranking)["present"]

    assert risk() >= risk(oldpeak=0) >= risk(oldpeak=0, exang=0)
    assert risk(oldpeak=0) >= risk(oldpeak=0, thalach=180)
    assert risk(ca=3) > risk(ca=0)


@pytest.mark.parametrize("name", ["age", "sex", "cp", "thalach", "exang", "oldpeak"])
def test_without_the_least_set_of_features_the_model_abstains(
    heart: ServedModel, name: str
) -> None:
    lacking = {feature: value for feature, value in PATIENT.items() if feature != name}
    profile = heart.contract.vector(lacking)
    assert profile.lacking == (name,)
    answer = heart.answer(profile)
    assert answer.abstention is Abstention.TOO_FEW_FEATURES
    assert Flag.ABSTAINED in answer.flags
    assert heart.answer(heart.contract.vector(PATIENT)).abstention is None


def test_a_value_that_is_no_code_or_comes_in_another_unit_is_refused(heart: ServedModel) -> None:
    with pytest.raises(InvalidFeature, match="send 3, 6, 7"):
        heart.contract.vector(PATIENT | {"thal": 4})
    with pytest.raises(InvalidFeature, match="mg/dL"):
        heart.contract.vector(PATIENT | {"chol": 5.2})
    with pytest.raises(InvalidFeature, match="send years, 18 to 110"):
        heart.contract.vector(PATIENT | {"age": 200})


def test_the_card_names_population_least_features_and_what_it_does_badly() -> None:
    card = heart_disease.card()
    required = {feature.name for feature in heart_disease.CONTRACT.features if feature.required}
    assert required == set(PATIENT)
    assert "without them the model does not answer" in card.intended_use.en
    assert "Cleveland" in card.population.fr
    assert {code.code for label in card.labels for code in label.codes} == {"Z03.5", "I25.1"}
    assert Card.model_validate_json(card.model_dump_json()) == card


def test_every_feature_and_code_has_words_in_both_languages() -> None:
    for feature in heart_disease.CONTRACT.features:
        assert feature.words is not None
        assert (feature.unit == "1") == (feature.codes is not None)


def test_a_wheel_that_is_not_the_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / heart_disease.WHEEL).write_bytes(b"another")
    with pytest.raises(CohortUnavailable, match=heart_disease.WHEEL_SHA256):
        heart_disease.cohort(tmp_path)
