"""Performance against the card's bounds: an interval beyond one is an incident, few cases none."""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pytest

from guarantee import versions
from guarantee.bodies import Context, Decision, IncidentReported, ModelSuspended
from guarantee.card import Bound, Measure, MonitoringPolicy, Response
from guarantee.college_thread import QUORUM
from guarantee.identity import Role
from guarantee.records import RecordType
from guarantee.refusals import Suspended
from guarantee.verify import verify_home
from models.evaluation import wilson
from monitoring import runs
from monitoring.bounds import Judged, judge
from monitoring.findings import Undecided
from monitoring.metrics import Figures
from monitoring.performance import Case, Cases, measure, performance
from monitoring.runs import Held
from monitoring.standing import INCIDENT, standing
from monitoring.suspension import finding_of
from monitoring.watch import Look, look, report
from tests.monitoring.conftest import NAME, POLICY, Ward, caller, erase
from tests.monitoring.test_metrics import figures_text
from tests.monitoring.test_performance import CARD, case_of

STOPS: Final = Bound(measure=Measure.ACCURACY, least=0.8, then=Response.SUSPEND)
OTHERS: Final = ("breast", "lung", "ovary")


@pytest.fixture
def policy() -> MonitoringPolicy:
    return POLICY.model_copy(update={"bounds": (STOPS, *POLICY.bounds)})


def _judged(cases: Cases, *bounds: Bound) -> tuple[Judged, ...]:
    monitoring = CARD.monitoring.model_copy(update={"bounds": bounds})
    card = CARD.model_copy(update={"monitoring": monitoring})
    return judge(performance(cases, card), monitoring)


def _known(right: int, wrong: int, hospital: str | None = None) -> list[Case]:
    where = Context(hospital=hospital)
    return [
        case_of(place, truth="lung" if place < right else "ovary", context=where)
        for place in range(right + wrong)
    ]


def _of(cases: Sequence[Case]) -> Cases:
    return Cases(latest=cases, known=cases)


def test_a_bound_is_missed_only_where_the_whole_interval_is_beyond_it() -> None:
    low = wilson(60, 100)
    for least, missed in ((low.high + 0.001, True), (low.high - 0.001, False), (0.6, False)):
        (one,) = _judged(_of(_known(60, 40)), Bound(measure=Measure.ACCURACY, least=least))
        assert one.is_missed == missed
        assert one.found == low
    for most, missed in ((low.low - 0.001, True), (low.low + 0.001, False)):
        (one,) = _judged(_of(_known(60, 40)), Bound(measure=Measure.ACCURACY, most=most))
        assert one.is_missed == missed


def test_too_few_cases_keep_no_bound_and_miss_none() -> None:
    cases = _of(_known(0, 39))
    for one in _judged(cases, *(Bound(measure=one, least=0.99) for one in Measure)):
        if one.bound.measure is Measure.ESTIMATED_ACCURACY:
            continue
        assert isinstance(one.found, Undecided)
        assert not one.is_missed
        assert one.missed() is None
        assert "needed" in str(one)


def test_answers_surer_than_right_are_overconfident() -> None:
    bound = Bound(measure=Measure.OVERCONFIDENCE, most=0.1)
    assert _judged(_of(_known(60, 40)), bound)[0].is_missed  # sure of 90 %
    assert not _judged(_of(_known(88, 12)), bound)[0].is_missed
    # That all of few were right is chance, not modesty.
    modest = Bound(measure=Measure.OVERCONFIDENCE, least=-0.05)
    assert not _judged(_of(_known(40, 0)), modest)[0].is_missed


def test_one_hospital_that_is_worse_is_found_among_others_and_groups_share_chance() -> None:
    cases = [*_known(380, 20, "H1"), *_known(20, 40, "H2"), *_known(1, 3, "Ariane")]
    everybody, first, second = _judged(_of(cases), Bound(measure=Measure.ACCURACY, least=0.8))
    assert [one.group for one in (everybody, first, second)] == [None, "hospital H1", "hospital H2"]
    assert [one.is_missed for one in (everybody, first, second)] == [False, False, True]
    alone = wilson(20, 60)
    assert not isinstance(second.found, Undecided)
    assert second.found.value == alone.value
    assert second.found.low < alone.low < alone.high < second.found.high
    assert "Ariane" not in " ".join(map(str, (everybody, first, second)))
    for bound in (
        Bound(measure=Measure.OVERCONFIDENCE, most=0.1),
        Bound(measure=Measure.COVERAGE, least=0.99),
    ):
        assert [one.group for one in _judged(_of(cases), bound)][1:] == [
            "hospital H1",
            "hospital H2",
        ]


def test_before_outcomes_an_estimate_is_held_with_its_past_error() -> None:
    unsure = [case_of(place, confidence=0.6) for place in range(400)]
    bound = Bound(measure=Measure.ESTIMATED_ACCURACY, least=0.7)
    (one,) = _judged(Cases(latest=unsure), bound)
    assert one.is_missed
    # In the past such estimates were off by thirty points.
    past = [case_of(n, confidence=0.6, truth="lung" if n % 10 else "ovary") for n in range(400)]
    (off,) = _judged(Cases(latest=unsure, past=past), bound)
    assert not off.is_missed


def test_how_people_use_answers_is_bounded_too() -> None:
    decided = [
        case_of(n, decision=Decision.OVERRIDDEN if n < 60 else Decision.ACCEPTED)
        for n in range(100)
    ]
    late = [case_of(n) for n in range(50)]
    read = [
        case_of(n, first_read="ovary", decision=Decision.ACCEPTED, truth="ovary") for n in range(50)
    ]
    cases = Cases(latest=decided, decided=decided, due=late, known=read)
    found = {one.bound.measure: one.is_missed for one in _judged(cases, *MonitoringPolicy().bounds)}
    assert found == {
        Measure.OVERCONFIDENCE: True,
        Measure.COVERAGE: False,
        Measure.OVERRIDDEN: True,
        Measure.DISREGARDED: False,
        Measure.LAPSED: True,
        Measure.MISLED: True,
    }


@pytest.mark.parametrize("bound", [{}, {"least": 0.9, "most": 0.8}, {"least": 7}])
def test_a_bound_that_nothing_or_everything_keeps_is_refused(bound: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="least"):
        Bound.model_validate({"measure": "accuracy", **bound})


# Through a real log


def _look(ward: Ward) -> Look:
    return look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)


def _confirmed(ward: Ward, cases: int, *, first: int, wrong: int) -> None:
    """So many cases with outcomes, of which so many first ones are not what was answered."""
    rows, labels = ward.answered(cases, seed=first)
    ward.ask(rows, first=first, context=Context(hospital="H1"))
    for place, (index, label) in enumerate(zip(ward.indices[-cases:], labels, strict=True)):
        other = OTHERS[(OTHERS.index(label) + 1) % 3]
        ward.follow(index, truth=other if place < wrong else label)


def test_answers_that_prove_wrong_stop_the_model_and_are_over_once_they_prove_right(
    ward: Ward,
) -> None:
    _confirmed(ward, 50, first=0, wrong=30)
    # The latest cases of a busy ward have no outcome yet: the latest that have one tell.
    rows, _ = ward.answered(60, 99)
    ward.ask(rows, first=50)
    assert measure(ward.ledger, ward.served).truths.cases == 50

    seen = _look(ward)
    assert seen.incident is not None
    body = ward.ledger.open_as(seen.incident, IncidentReported)
    stopping = {
        one.group: (one.cases, one.value) for one in body.missed if one.measure is Measure.ACCURACY
    }
    assert stopping == {None: (50, 0.4), "hospital H1": (50, 0.4)}
    assert {one.measure for one in body.missed} >= {Measure.ACCURACY, Measure.OVERCONFIDENCE}
    assert ward.indices[0] == body.first_index
    assert ward.indices[-1] == body.last_index

    # In the log, the refused call, the alert and the figures alike.
    assert seen.suspended is not None
    reason = ward.ledger.open_as(seen.suspended, ModelSuspended).reason
    assert f"(IncidentReported {seen.incident.id})" in reason
    assert "accuracy 40.0% of 50, below 80.0%" in reason
    assert finding_of(ward.ledger, seen.suspended) == seen.incident
    with pytest.raises(Suspended, match=re.escape(reason)):
        versions.standing(ward.ledger, NAME).check_serving()
    (alert,) = [one for one in seen.alerts if one.id == seen.incident.id]
    assert (alert.type, alert.response, alert.suspension, alert.missed) == (
        RecordType.INCIDENT_REPORTED,
        Response.SUSPEND,
        seen.suspended.id,
        body.missed,
    )
    told = figures_text(Figures(ward.ledger, ward.home))
    assert f'garant_incident_standing{{model="{NAME}"}} 1.0' in told
    assert f'reason="{reason}"' in told
    wrong = f'garant_monitoring_measure{{found="missed",measure="accuracy",model="{NAME}"}} 1.0'
    assert wrong in told
    page = report(ward.ledger, ward.home, NAME).report
    assert page is not None
    assert "accuracy: at least 80.0% asked, missed: 40.0%" in page.read_text()

    # Nobody is in any of it.
    everybody = [ward.information, *ward.others]
    secret = [one.pseudonym for one in everybody] + [one.recorded.id for one in everybody]
    secret += [one.id for one in ward.ledger.page(0, 1000) if one.header.dossier]
    for said in (body.encode().decode(), alert.model_dump_json(), told, page.read_text()):
        assert [one for one in (*secret, "ESSAI", "2850100000") if one in said] == []

    again = _look(ward)
    assert (again.incident, again.suspended) == (None, None)
    assert [one.id for one in again.alerts if one.missed] == [seen.incident.id]

    member = ward.ledger.people.actor(caller(Role.COLLEGE, next(iter(QUORUM))))
    versions.resume(ward.ledger, member, name=NAME, reason="the assay was calibrated")
    assert _look(ward).suspended is None
    _confirmed(ward, 60, first=110, wrong=0)
    over = _look(ward)
    assert over.incident is not None
    assert over.incident.header.type is RecordType.INCIDENT_ENDED
    assert [one.ends for one in over.alerts if one.ends] == [(seen.incident.id,)]
    last = runs.last(ward.home, NAME)
    assert last is not None
    assert last.measures[Measure.ACCURACY] is Held.KEPT
    assert last.measures[Measure.MISLED] is Held.UNDECIDED
    assert _look(ward).incident is None
    # The clinician's attestations are of a made-up issuer.
    findings = [one for one in verify_home(ward.home).findings if "attestation" not in one.problem]
    assert findings == []


def test_an_incident_of_which_too_few_cases_are_left_is_not_over(ward: Ward) -> None:
    _confirmed(ward, 40, first=0, wrong=30)
    assert _look(ward).incident is not None
    erase(ward, ward.others[5].pseudonym)
    truths = measure(ward.ledger, ward.served).truths
    assert truths == Undecided(cases=39, needed=40)
    again = _look(ward)
    # That nothing is known any more is no proof that the bound is kept.
    assert (again.incident, len(again.alerts)) == (None, 1)
    (known,) = standing(ward.ledger, ward.served, INCIDENT)
    assert known[0].header.type is RecordType.INCIDENT_REPORTED


def test_where_the_model_abstains_no_other_case_loses_its_place(ward: Ward) -> None:
    _confirmed(ward, 50, first=0, wrong=0)
    unsure = np.full((20, 12), 7, dtype=np.float32)
    assert ward.served.answer(ward.served.contract.profile(unsure[0].astype(float))).abstention
    ward.ask(unsure, first=50)
    for index in ward.indices[50:]:
        ward.follow(index, truth="lung", decision=Decision.DISREGARDED)
    found = measure(ward.ledger, ward.served)
    assert (found.cases, found.abstained, found.truths.cases) == (60, 20, 50)
    assert found.use.disregarded.count == 0
