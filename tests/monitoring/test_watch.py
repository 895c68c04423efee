from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from guarantee import college
from guarantee.appending import Draft
from guarantee.bodies import CohortScored, Context, DriftCleared, DriftDetected, WhatIfMade
from guarantee.college_thread import QUORUM
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.opened import open_dossier
from guarantee.records import RecordType, pack_floats
from guarantee.refusals import RoleRefused
from guarantee.simulation import record_what_if
from guarantee.situations import Model
from guarantee.versions import promote, register_model
from models import shelf
from monitoring.drift import CONFIDENCE, LABEL
from monitoring.findings import Drifted, Stable, Undecided
from monitoring.sample import Expected
from monitoring.watch import NothingToWatch, look, report
from monitoring.window import Bounds, read
from tests.monitoring.conftest import NAME, Ward, caller, erase, profiles

MOVED = 1  # a gene that matters: it tells the second origin


def _shifted(cases: int, seed: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    found = profiles(cases, seed)
    found[:, MOVED] += 4
    return found


def test_before_enough_cases_a_look_is_undecided_and_records_nothing(ward: Ward) -> None:
    before = ward.ledger.head()
    seen = look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)
    assert seen.finding == Undecided(cases=0, needed=40)
    ward.ask(profiles(12, 1))
    seen = look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)
    assert seen.finding == Undecided(cases=12, needed=40)
    assert seen.recorded is None
    assert ward.ledger.head().size == before.size + 11 + 12  # eleven more patients were informed


def test_drift_is_recorded_once_with_its_window_and_cleared_once_it_is_over(ward: Ward) -> None:
    monitor = ward.actor(Role.MONITOR)
    ward.ask(profiles(60, 1))
    calm = look(ward.ledger, ward.home, monitor, NAME)
    assert isinstance(calm.finding, Stable)
    assert calm.recorded is None

    ward.ask(_shifted(60, 2))
    found = look(ward.ledger, ward.home, monitor, NAME)
    assert isinstance(found.finding, Drifted)
    assert f"gene {MOVED}" in {column.name for column in found.finding.drifted}
    assert found.recorded is not None
    body = ward.ledger.open_as(found.recorded, DriftDetected)
    assert (body.first_index, body.last_index) == (ward.indices[60], ward.indices[-1])
    assert {feature.feature for feature in body.features} == {
        column.name for column in found.finding.drifted
    }
    assert found.report is not None
    assert sha256(found.report.read_bytes()).hexdigest() == body.report_sha256

    again = look(ward.ledger, ward.home, monitor, NAME)
    assert again.finding == found.finding
    assert again.recorded is None

    ward.ask(profiles(60, 3))
    over = look(ward.ledger, ward.home, monitor, NAME)
    assert isinstance(over.finding, Stable)
    assert over.recorded is not None
    assert ward.ledger.open_as(over.recorded, DriftCleared).first_index == ward.indices[120]
    assert look(ward.ledger, ward.home, monitor, NAME).recorded is None


def test_many_inferences_on_one_patient_are_one_case_and_no_drift(ward: Ward) -> None:
    ward.ask(_shifted(60, 2), of_first_patient=True)
    seen = look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)
    assert seen.finding == Undecided(cases=1, needed=40)
    assert seen.recorded is None


def test_of_a_patient_the_latest_inference_is_the_case(ward: Ward) -> None:
    given = profiles(15, 1)
    ward.ask(given[:12])
    ward.ask(given[12:])
    window = read(ward.ledger, ward.served)
    assert window.indices == tuple(ward.indices[3:])
    assert (window.sample.features == given[:2:-1]).all()


def test_a_clinician_cannot_record_drift(ward: Ward) -> None:
    ward.ask(_shifted(60, 2))
    with pytest.raises(RoleRefused):
        look(ward.ledger, ward.home, ward.actor(Role.CLINICIAN), NAME)
    assert ward.ledger.latest(RecordType.DRIFT_DETECTED) == []


def test_a_report_tells_the_log_nothing(ward: Ward) -> None:
    ward.ask(_shifted(60, 2))
    before = ward.ledger.head()
    seen = report(ward.ledger, ward.home, NAME)
    assert isinstance(seen.finding, Drifted)
    assert isinstance(seen.report, Path)
    assert ward.ledger.head() == before


def test_the_reference_claims_no_more_cases_than_it_had(ward: Ward) -> None:
    reference = Expected.of_version(ward.served)
    assert reference.rows == ward.served.reference.profiles
    assert reference.watched == tuple(ward.served.reference.important(6))
    values = reference.values(0, profiles(60, 1)[:, 0].astype(np.float64))
    assert len(values) == ward.served.reference.profiles
    answered = reference.answered()
    shares = [answered.count(label) / len(answered) for label in ward.served.labels]
    assert shares == pytest.approx(ward.served.reference.answered, abs=1 / len(answered))


def test_the_window_holds_the_latest_cases_alone(ward: Ward) -> None:
    given = profiles(70, 1)
    ward.ask(given)
    window = read(ward.ledger, ward.served)
    assert window.indices == tuple(ward.indices[10:])
    assert (window.sample.features == given[:9:-1]).all()
    assert (window.earlier.features == given[:10]).all()


def test_a_window_by_count_or_by_time_holds_what_its_bounds_say(ward: Ward) -> None:
    ward.ask(profiles(20, 1))
    times = [ward.ledger.page(index, 1)[0].header.time for index in ward.indices]
    last = read(ward.ledger, ward.served, Bounds(last=5))
    assert last.indices == tuple(ward.indices[15:])
    since = read(ward.ledger, ward.served, Bounds(since=times[12]))
    assert since.indices == tuple(
        index for index, at in zip(ward.indices, times, strict=True) if at >= times[12]
    )
    until = read(ward.ledger, ward.served, Bounds(until=times[12]))
    assert until.indices == tuple(
        index for index, at in zip(ward.indices, times, strict=True) if at < times[12]
    )
    assert read(ward.ledger, ward.served, Bounds(days=1)).indices == tuple(ward.indices)
    week_ago = Bounds(days=1, until=times[0] - 7 * 86_400_000)
    assert read(ward.ledger, ward.served, week_ago).indices == ()


def test_what_was_stable_once_clears_no_drift_of_now(ward: Ward) -> None:
    monitor = ward.actor(Role.MONITOR)
    ward.ask(profiles(60, 1))
    ward.ask(_shifted(60, 2), first=60)
    shifted_from = ward.ledger.page(ward.indices[60], 1)[0].header.time
    assert look(ward.ledger, ward.home, monitor, NAME).recorded is not None
    then = look(ward.ledger, ward.home, monitor, NAME, Bounds(until=shifted_from))
    assert isinstance(then.finding, Stable)
    assert then.recorded is None


def test_a_case_carries_where_it_comes_from_and_no_header_does(ward: Ward) -> None:
    ward.ask(profiles(3, 1), context=Context(hospital="QZ-77", machine="HiSeq", sex="F"))
    groups = read(ward.ledger, ward.served).sample.groups
    assert groups["hospital"] == ("QZ-77",) * 3
    assert groups["sex"] == ("F",) * 3
    assert groups["age_band"] == (None,) * 3
    assert not any(b"QZ-77" in one.header.encode() for one in ward.ledger.page(0, 1000))


def test_a_finding_names_columns_and_no_patient(ward: Ward) -> None:
    ward.ask(_shifted(60, 2))
    seen = look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)
    assert seen.recorded is not None
    said = ward.ledger.open_as(seen.recorded, DriftDetected).encode().decode()
    assert ward.information.pseudonym not in said
    header = seen.recorded.header.encode().decode()
    assert ward.information.pseudonym not in header
    body = ward.ledger.open_as(seen.recorded, DriftDetected)
    watched = {*ward.served.contract.names, LABEL, CONFIDENCE}
    assert {feature.feature for feature in body.features} <= watched


def test_a_model_without_a_promoted_version_is_no_silence(ward: Ward) -> None:
    other = ward.served.card.model_copy(update={"name": "never-promoted"})
    register_model(
        ward.ledger,
        ward.actor(Role.DATA_SCIENTIST),
        card=other,
        version="1",
        digest=ward.served.digest,
        run="1",
    )
    with pytest.raises(NothingToWatch, match="never-promoted"):
        look(ward.ledger, ward.home, ward.actor(Role.MONITOR), "never-promoted")


def test_of_two_looks_at_once_one_is_on_record_and_neither_fails(ward: Ward) -> None:
    ward.ask(_shifted(60, 2))
    monitor = ward.actor(Role.MONITOR)

    def looked(_: int) -> bool:
        with Ledger.open(ward.home) as ledger:
            return look(ledger, ward.home, monitor, NAME).recorded is not None

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(looked, range(2))) == [False, True]
        assert len(ward.ledger.latest(RecordType.DRIFT_DETECTED)) == 1
        ward.ask(profiles(60, 3))
        assert sorted(pool.map(looked, range(2))) == [False, True]
    assert len(ward.ledger.latest(RecordType.DRIFT_CLEARED)) == 1
    # What comes again in the same window after its end is news again.
    assert not looked(0)
    before = ward.ledger.page(ward.indices[60], 1)[0].header.time
    then = Bounds(until=before)
    assert look(ward.ledger, ward.home, monitor, NAME, then).recorded is not None
    assert look(ward.ledger, ward.home, monitor, NAME, then).recorded is None


def test_drift_of_a_version_that_answers_no_more_is_not_the_next_ones(ward: Ward) -> None:
    monitor, scientist = ward.actor(Role.MONITOR), ward.actor(Role.DATA_SCIENTIST)
    ward.ask(_shifted(60, 2))
    register_model(
        ward.ledger,
        scientist,
        card=ward.served.card,
        version="2",
        digest=ward.served.digest,
        run="2",
    )
    for profession in QUORUM:
        member = ward.ledger.people.actor(caller(Role.COLLEGE, profession))
        college.vote(ward.ledger, member, name=NAME, version="2", in_favour=True)
    body = DriftDetected(cases=60, first_index=0, last_index=60, features=())
    promote(ward.ledger, scientist, name=NAME, version="2")
    # A look at the version before that was not quick enough.
    draft = Draft(
        type=RecordType.DRIFT_DETECTED,
        actor=monitor,
        outcome="drifted",
        body=body,
        model=NAME,
        model_version="1",
    )
    ward.ledger.record(draft)
    model = ward.ledger.get(Model, NAME)
    assert model is not None
    assert not model.drifting
    folder = ward.home.path.parent / "bundle"
    shelf.lay(ward.home, folder, name=NAME, version="2", digest=ward.served.digest)
    assert look(ward.ledger, ward.home, monitor, NAME).finding == Undecided(cases=0, needed=40)


def test_what_no_patient_s_care_rests_on_is_in_no_window(ward: Ward) -> None:
    """Questions of what if, a cohort's scores, and who was erased."""
    ward.ask(profiles(45, 1))
    view = open_dossier(ward.ledger, ward.ledger.page(ward.indices[0], 1)[0].id)
    assert view.inference is not None
    for row in _shifted(60, 2):
        what_if = WhatIfMade(
            profile=pack_floats(row),
            version_digest=ward.served.digest,
            platform="test",
            answer=view.inference.answer,
            label=view.inference.answer.label,
            contributions=view.inference.answer.contributions,
        )
        record_what_if(ward.ledger, ward.actor(Role.CLINICIAN), view=view, what_if=what_if)
    scored = Draft(
        type=RecordType.COHORT_SCORED,
        actor=ward.actor(Role.DATA_SCIENTIST),
        outcome="scored",
        body=CohortScored(cases=500, input_sha256="ab" * 32, output_sha256="cd" * 32),
        model=NAME,
        model_version="1",
    )
    ward.ledger.record(scored)
    assert len(read(ward.ledger, ward.served).indices) == 45
    for other in ward.others[:6]:
        erase(ward, other.pseudonym)
    assert len(read(ward.ledger, ward.served).indices) == 39
    seen = look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)
    assert seen.finding == Undecided(cases=39, needed=40)
