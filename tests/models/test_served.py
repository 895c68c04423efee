"""The version that answers."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from guarantee.abstention import Abstention
from models.cohorts import Cohort
from models.served import Flag, ServedModel
from models.training import Training


def test_an_answer_ranks_every_label_and_its_set_holds_the_first(
    served: ServedModel, cohort: Cohort
) -> None:
    answer = served.answer(served.contract.vector(cohort.features_of("S0")))
    probabilities = [probability for _, probability in answer.ranking]
    assert {label for label, _ in answer.ranking} == set(served.labels)
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert answer.ranking[0] == (answer.label, answer.probability)
    assert answer.prediction_set[0] == answer.label


def test_held_out_cases_are_answered_better_than_by_chance(
    served: ServedModel, cohort: Cohort, training: Training
) -> None:
    right = [
        served.answer(served.contract.vector(cohort.features_of(held_out))).label
        == cohort.labels[cohort.ids.index(held_out)]
        for held_out in training.held_out
    ]
    assert len(right) >= 3
    assert np.mean(right) > 0.5


def test_requests_side_by_side_get_the_answers_they_would_get_alone(
    served: ServedModel, cohort: Cohort
) -> None:
    profiles = [served.contract.vector(cohort.features_of(sample)) for sample in cohort.ids]
    alone = [served.answer(profile) for profile in profiles]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(served.answer, profiles * 4))
    for number, answer in enumerate(together):
        expected = alone[number % len(profiles)]
        np.testing.assert_array_equal(answer.contributions, expected.contributions)
        np.testing.assert_array_equal(answer.margins, expected.margins)
        assert answer.ranking == expected.ranking


def test_flags_say_what_is_missing_implausible_or_unlike_the_cohort(served: ServedModel) -> None:
    usual = dict.fromkeys(served.contract.names, 5.0)
    assert served.answer(served.contract.vector(usual)).flags == ()
    strange = dict.fromkeys(served.contract.names, 25.0)
    assert served.answer(served.contract.vector(strange)).flags == (
        Flag.OUT_OF_DISTRIBUTION,
        Flag.IMPLAUSIBLE_FEATURES,
        Flag.ABSTAINED,
    )
    one = dict.fromkeys(served.contract.names, 5.0) | {"gene 0": 25.0}
    assert Flag.ABSTAINED not in served.answer(served.contract.vector(one)).flags
    partial = {"gene 0": 5.0}
    assert served.answer(served.contract.vector(partial)).flags == (Flag.MISSING_FEATURES,)


def test_with_fewer_features_than_its_card_asks_for_no_model_claims_to_know(
    served: ServedModel,
) -> None:
    card = served.card.model_copy(update={"least_known_share": 0.5})
    asking = replace(served, card=card)
    sent = {f"gene {place}": 8.0 for place in range(3)}
    enough = asking.answer(asking.contract.vector(sent))
    assert enough.abstention is None
    assert enough.probability == served.answer(served.contract.vector(sent)).probability
    del sent["gene 2"]
    answer = asking.answer(asking.contract.vector(sent))
    assert answer.abstention is Abstention.TOO_FEW_FEATURES
    assert answer.flags == (Flag.MISSING_FEATURES, Flag.ABSTAINED)
    # The order of the labels is left, and nothing that looks like knowledge.
    known = served.answer(served.contract.vector(sent))
    assert [label for label, _ in answer.ranking] == [label for label, _ in known.ranking]
    assert answer.label == known.label
    assert answer.probability < 0.4 < known.probability
    assert set(answer.prediction_set) == set(served.labels)
    np.testing.assert_array_equal(answer.margins, known.margins)
    totals = answer.contributions.sum(axis=1) + answer.bases
    np.testing.assert_allclose(totals, answer.margins, atol=1e-4)


def test_reasons_are_given_for_any_label_and_no_other(served: ServedModel) -> None:
    answer = served.answer(served.contract.vector(dict.fromkeys(served.contract.names, 5.0)))
    for label in served.labels:
        assert all(reason.contribution > 0 for reason in answer.reasons_for(label))
        assert all(reason.contribution < 0 for reason in answer.reasons_against(label))
    assert answer.why() == answer.why(answer.label)
    assert answer.rather_than("lung", "[")[0].contribution == pytest.approx(
        -answer.rather_than("[", "lung")[0].contribution
    )
    with pytest.raises(KeyError):
        answer.why("foot")
