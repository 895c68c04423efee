"""What left-out cases are altered to, judged as they were unaltered, and told on the card."""

from dataclasses import replace

import numpy as np
import pytest

from models.alterations import (
    made_up_laboratories,
    microarray_alterations,
    mirna_alterations,
    mixed,
    thinned,
)
from models.cohorts import Cohort
from models.evaluation import Estimate, Judged, Undefined
from models.measured import with_figures
from models.training import Parameters, Training, train
from tests.models.conftest import card_of, floats

LABELS = ("lung", "sein gauche", "[")
PROFILES = np.tile(np.linspace(1, 12, 40, dtype=np.float32), (50, 1))


def test_thinned_profiles_keep_a_share_of_their_features_unaltered() -> None:
    alteration = thinned(known=0.3)
    thin = alteration.alter(PROFILES, 1)
    assert (~np.isnan(thin)).sum(axis=1).tolist() == [12] * 50
    np.testing.assert_array_equal(thin[~np.isnan(thin)], PROFILES[~np.isnan(thin)])
    # Not the same for all.
    assert 1 < len({row.tobytes() for row in np.isnan(thin)}) <= 20
    np.testing.assert_array_equal(thin, alteration.alter(PROFILES, 1))
    assert alteration.what.en == "With 30 % of the features, at random"


def test_mixed_profiles_have_the_same_share_of_other_reads_in_each() -> None:
    nothing = np.zeros((1, 40), dtype=np.float32)
    kept = (np.exp2(mixed(nothing, share=0.3).alter(PROFILES, 0)) - 1) / (np.exp2(PROFILES) - 1)
    np.testing.assert_allclose(kept, 0.7, rtol=2e-3)


def test_a_made_up_laboratory_of_the_judges_is_none_that_a_member_was_taught_by() -> None:
    from models.laboratory import measured_elsewhere

    judged = made_up_laboratories().alter(PROFILES, 0)
    taught = measured_elsewhere(PROFILES, laboratories=60, seed=0)
    assert not np.array_equal(np.isnan(judged), np.isnan(taught))


def test_a_model_is_judged_on_as_few_features_as_it_answers_on(cohort: Cohort) -> None:
    card = card_of(LABELS)
    least = card.model_copy(update={"least_known_share": 0.6})
    assert set(microarray_alterations(cohort, least)) == {"least_known"}
    assert set(mirna_alterations(cohort, least)) == {
        "made_up_laboratories", "half_known", "least_known"
    }  # fmt: skip
    with_tissue = replace(cohort, tissue=floats([[1] * 6]))
    assert "mixed" in mirna_alterations(with_tissue, least)


@pytest.fixture(scope="module")
def altered(cohort: Cohort) -> Training:
    """Three hospitals; features taken away, and an alteration that leaves nothing as it was."""
    known = replace(cohort, sites=tuple(f"H{place // 2 % 3}" for place in range(len(cohort.ids))))
    blank = replace(thinned(known=0), what=thinned(known=0).what)
    return train(
        known, card_of(LABELS), Parameters(rounds=10, threads=1),
        alterations={"same": thinned(known=1), "third": thinned(known=1 / 3), "blank": blank},
    )  # fmt: skip


def test_altered_cases_are_those_of_hospitals_never_seen(altered: Training) -> None:
    evaluation = altered.bundle.evaluation
    by_site, hardships = evaluation.by_site, evaluation.hardships
    assert isinstance(by_site, Judged)
    same, third = hardships["same"].judged, hardships["third"].judged
    assert isinstance(same, Judged)
    assert isinstance(third, Judged)
    # Where nothing is altered, nothing changes.
    assert same.model_copy(update={"subgroups": by_site.subgroups}) == by_site
    assert third.cases == by_site.cases
    assert third.accuracy.value < same.accuracy.value
    assert evaluation.figures()["third.accuracy"] == third.accuracy.value
    blank = hardships["blank"].judged
    assert isinstance(blank, Judged)
    assert blank.abstained.value == 1
    assert isinstance(blank.answered, Undefined)


def test_a_card_tells_the_figures_of_its_own_evaluation(altered: Training) -> None:
    bundle = altered.bundle
    card = with_figures(bundle.card, bundle.evaluation)
    by_site, third = bundle.evaluation.by_site, bundle.evaluation.hardships["third"].judged
    assert isinstance(by_site, Judged)
    assert isinstance(third, Judged)
    assert isinstance(third.answered, Estimate)
    assert isinstance(third.confidence, Estimate)
    right = f"{100 * by_site.accuracy.value:.1f}"
    for figure in (
        f"({by_site.cases} cases), {right} % of answers are right",
        f"{100 * by_site.accuracy.low:.1f} to {100 * by_site.accuracy.high:.1f} %",
        f"With 33 % of the features, at random: {100 * third.answered.value:.1f} % of answers",
        f" are right at a mean confidence of {100 * third.confidence.value:.1f} %",
        "With 0 % of the features, at random: it abstains.",
    ):
        assert figure in card.limits.en
    assert f"({by_site.cases} cas), {right.replace('.', ',')} % de réponses justes" in (
        card.limits.fr
    )
    assert card.limits.en.endswith(f" {bundle.card.limits.en}")
