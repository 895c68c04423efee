"""Figures by hand on made-up cases, and the same through a real log."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from guarantee.bodies import (
    Context,
    Decision,
    DecisionSigned,
)
from guarantee.card import Mode
from guarantee.identity import Assurance
from guarantee.seen import Followed
from models.evaluation import wilson
from monitoring.findings import Undecided
from monitoring.performance import (
    Against,
    Case,
    Cases,
    Estimated,
    Performance,
    measure,
    performance,
)
from monitoring.summary import told
from monitoring.use import Share
from monitoring.watch import report
from tests.monitoring.conftest import NAME, Ward, profiles
from tests.monitoring.conftest import card as made_up

HOUR = 3_600_000
NOW = 1000 * HOUR
NOWHERE = Context()
CARD = made_up()  # 40 cases at least, lapse after 72 hours


def _signed(decision: Decision, label: str | None) -> DecisionSigned:
    return DecisionSigned(
        decision=decision,
        label=label,
        assurance=Assurance.ISSUER,
        attestation="a token",
        issuer_key="a key",
    )


def case_of(
    place: int,
    *,
    truth: str | None = None,
    decision: Decision | None = None,
    first_read: str | None = None,
    minutes: float = 5,
    confidence: float = 0.9,
    context: Context = NOWHERE,
    abstained: bool = False,
    corrected: bool = False,
) -> Case:
    """An answer "lung", a hundred hours ago."""
    at = NOW - 100 * HOUR
    decided = {Decision.ACCEPTED: "lung", Decision.OVERRIDDEN: "breast"}
    return Case(
        index=place,
        at=at,
        label="lung",
        confidence=confidence,
        prediction_set=("lung", "ovary"),
        abstained=abstained,
        context=context,
        followed=Followed(
            first_read=first_read,
            first_read_at=None if first_read is None else at,
            decision=None if decision is None else _signed(decision, decided.get(decision)),
            decided_at=None if decision is None else at + round(minutes * 60_000),
            truth=truth,
            truth_corrected=corrected,
        ),
    )


def _measured(cases: Sequence[Case], past: Sequence[Case] = ()) -> Performance:
    return performance(
        Cases(
            latest=cases,
            known=[case for case in cases if case.followed.truth],
            decided=[case for case in cases if case.followed.decision],
            due=cases,
            past=past,
        ),
        CARD,
    )


def test_truths_and_decisions_are_never_mixed() -> None:
    cases = [
        *(case_of(place, truth="lung", decision=Decision.OVERRIDDEN) for place in range(60)),
        *(case_of(60 + place, truth="ovary", decision=Decision.ACCEPTED) for place in range(40)),
        *(case_of(100 + place) for place in range(50)),
    ]
    found = _measured(cases)
    assert isinstance(found.truths, Against)
    assert isinstance(found.decisions, Against)
    assert found.truths.cases == found.decisions.cases == 100
    assert found.truths.accuracy == wilson(60, 100)
    assert found.decisions.accuracy == wilson(40, 100)
    assert found.truths.coverage == wilson(100, 100)
    assert found.decisions.coverage == wilson(40, 100)
    assert found.truths.overconfidence.value == pytest.approx(0.9 - 0.6)
    assert found.truths.overconfidence.low < 0.3 < found.truths.overconfidence.high


def test_with_few_truths_no_accuracy_is_told() -> None:
    accepted = Decision.ACCEPTED
    cases = [
        *(case_of(place, decision=accepted) for place in range(50)),
        *(case_of(50 + place, decision=accepted, truth="lung") for place in range(12)),
    ]
    found = _measured(cases)
    assert found.truths == Undecided(cases=12, needed=40)
    assert isinstance(found.decisions, Against)
    said = "  against confirmed truths: undecided: 12 cases, 40 needed"
    assert said in list(told(found))


def test_abstentions_and_corrected_truths_count_for_no_accuracy() -> None:
    cases = [
        *(case_of(place, truth="lung") for place in range(40)),
        *(case_of(40 + place, truth="ovary", abstained=True) for place in range(10)),
        *(case_of(50 + place, truth="ovary", corrected=True) for place in range(10)),
    ]
    found = _measured(cases)
    assert (found.cases, found.abstained) == (60, 10)
    assert isinstance(found.truths, Against)
    assert found.truths.accuracy == wilson(40, 40)


def test_groups_are_told_apart_and_small_ones_are_not_named() -> None:
    cases = [
        *(case_of(n, truth="lung", context=Context(hospital="H1", sex="F")) for n in range(50)),
        *(case_of(50 + n, truth="ovary", context=Context(hospital="H2")) for n in range(40)),
        *(case_of(90 + n, truth="lung", context=Context(hospital="H3")) for n in range(39)),
    ]
    found = _measured(cases)
    assert isinstance(found.truths, Against)
    said = {(group.kind, group.name): group for group in found.truths.groups}
    assert set(said) == {("hospital", "H1"), ("hospital", "H2"), ("sex", "F")}
    assert said["hospital", "H2"].accuracy == wilson(0, 40)
    assert said["hospital", "H2"].coverage == wilson(40, 40)
    assert found.truths.small_groups == 1
    assert not any("H3" in line for line in told(found))


def test_reliability_is_told_by_confidence() -> None:
    cases = [
        case_of(place, truth="lung" if place % 10 < tenths else "ovary", confidence=tenths / 10)
        for tenths in (2, 4, 6, 8, 9)
        for place in range(40)
    ]
    found = _measured(cases)
    assert isinstance(found.truths, Against)
    confidences = [part.confidence for part in found.truths.reliability]
    shares = [part.right.value for part in found.truths.reliability]
    assert confidences == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.9])
    assert shares == pytest.approx(confidences)


def test_before_truths_arrive_accuracy_is_estimated_with_its_error_in_the_past() -> None:
    draw = np.random.default_rng(0)

    def calibrated(cases: int) -> list[Case]:
        sure = draw.uniform(0.5, 1, cases)
        right = draw.random(cases) < sure
        return [
            case_of(place, truth="lung" if right[place] else "ovary", confidence=sure[place])
            for place in range(cases)
        ]

    window = calibrated(4000)
    found = _measured(
        [case_of(place, confidence=case.confidence) for place, case in enumerate(window)],
        calibrated(1000),
    )
    assert isinstance(found.estimate, Estimated)
    truth = sum(case.truth == "lung" for case in window) / 4000
    assert found.estimate.accuracy.low < truth < found.estimate.accuracy.high
    assert found.estimate.past_windows == 25
    assert found.estimate.error is not None
    assert 0.01 < found.estimate.error < 0.1  # forty cases a window: chance alone is 6 points
    assert any(line.startswith("  estimated, not measured") for line in told(found))


def test_an_estimate_that_was_wrong_says_so() -> None:
    past = [case_of(place, truth="ovary", confidence=0.95) for place in range(80)]
    found = _measured([case_of(place) for place in range(50)], past)
    assert isinstance(found.estimate, Estimated)
    assert found.estimate.error == pytest.approx(0.95)


def test_an_estimate_without_a_past_claims_no_error() -> None:
    found = _measured(
        [case_of(place) for place in range(50)], [case_of(place) for place in range(99)]
    )
    assert isinstance(found.estimate, Estimated)
    assert found.estimate.error is None
    assert any("not known yet" in line for line in told(found))


def test_what_people_do_with_answers_is_counted() -> None:
    cases = [
        *(case_of(n, decision=Decision.ACCEPTED, minutes=n) for n in range(60)),
        *(case_of(60 + n, decision=Decision.OVERRIDDEN, minutes=80 * 60) for n in range(30)),
        *(case_of(90 + n, decision=Decision.DISREGARDED, minutes=60) for n in range(10)),
        *(case_of(100 + n) for n in range(20)),
    ]
    use = _measured(cases).use
    assert use.accepted == Share(count=60, of=100)
    assert use.overridden == Share(count=30, of=100)
    assert use.disregarded == Share(count=10, of=100)
    # Thirty came after the card's 72 hours, twenty not at all.
    assert use.lapsed == Share(count=50, of=120)
    assert use.minutes is not None
    assert use.minutes.median == pytest.approx(50, abs=1)


def test_times_of_few_decisions_are_not_told() -> None:
    found = _measured([case_of(place, decision=Decision.ACCEPTED) for place in range(19)])
    assert found.use.minutes is None


def test_first_reads_that_were_right_and_given_up_are_a_sign_of_automation_bias() -> None:
    accepted = Decision.ACCEPTED
    cases = [
        *(case_of(n, first_read="lung", decision=accepted, truth="lung") for n in range(40)),
        *(case_of(40 + n, first_read="ovary", decision=accepted, truth="ovary") for n in range(25)),
        *(case_of(65 + n, first_read="ovary", decision=accepted, truth="lung") for n in range(5)),
        *(case_of(70 + n, first_read="ovary", decision=Decision.OVERRIDDEN) for n in range(10)),
    ]
    use = _measured(cases).use
    assert use.first_reads_agreeing == Share(count=40, of=80)
    assert use.switched == Share(count=30, of=40)
    assert use.misled == Share(count=25, of=30)
    assert use.corrected == Share(count=5, of=30)
    assert (
        len(use.signs_of_automation_bias()) == 2
    )  # nor is anything rejected, though much is wrong


def test_people_who_reject_what_is_wrong_show_no_sign() -> None:
    cases = [
        *(case_of(n, decision=Decision.ACCEPTED, truth="lung") for n in range(80)),
        *(case_of(80 + n, decision=Decision.OVERRIDDEN, truth="breast") for n in range(20)),
    ]
    assert _measured(cases).use.signs_of_automation_bias() == ()


# Through a real log


def test_a_report_tells_performance_and_holds_no_patient(ward: Ward) -> None:
    # Twenty of each origin on which the model does not abstain: all can be accepted.
    many = profiles(240, 1)
    answered = [
        ward.served.answer(ward.served.contract.profile(row.astype(np.float64))).abstention is None
        for row in many
    ]
    of_origin = [[row for row in range(start, 240, 3) if answered[row]] for start in range(3)]
    rows = many[[of_origin[place % 3][place // 3] for place in range(60)]]
    ward.ask(rows[:50], context=Context(hospital="H1"))
    ward.ask(rows[50:], first=50, context=Context(hospital="Ariane"), mode=Mode.WITHHELD)
    for place, index in enumerate(ward.indices):
        truth = ("breast", "lung", "ovary")[place % 3]
        ward.follow(index, truth=truth, first_read=None if place < 50 else truth)

    found = measure(ward.ledger, ward.served)
    assert found.cases == 60
    assert isinstance(found.truths, Against)
    assert found.truths.cases == 60
    assert found.truths.accuracy.value > 0.8
    assert isinstance(found.decisions, Against)
    assert found.decisions.accuracy == wilson(60, 60)  # every answer was accepted
    assert found.use.first_reads_agreeing.of == 10
    assert [group.name for group in found.truths.groups] == ["H1"]

    seen = report(ward.ledger, ward.home, NAME)
    assert isinstance(seen.report, Path)
    page = seen.report.read_text(encoding="utf-8")
    assert "against confirmed truths: 60 cases" in page
    assert "Ariane" not in page  # ten patients' hospital; a client may have sent a name
    for recorded in ward.ledger.page(0, 1000):
        assert recorded.id not in page
        assert recorded.header.actor not in page
    assert ward.information.pseudonym not in page
    numbers = {float(number) for number in re.findall(r"\d+\.\d{4,}", page)}
    assert numbers.isdisjoint(map(float, rows.ravel()))
    assert "ESSAI" not in page
