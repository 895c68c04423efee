from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from guarantee.bodies import Context, DriftCleared, DriftDetected
from guarantee.identity import Role
from guarantee.records import RecordType
from guarantee.refusals import RoleRefused
from monitoring.drift import CONFIDENCE, LABEL
from monitoring.findings import Drifted, Stable, Undecided
from monitoring.sample import Expected
from monitoring.watch import NothingToWatch, look, report
from monitoring.window import Bounds, read
from tests.monitoring.conftest import NAME, Ward, profiles

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
    from guarantee.versions import register_model

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
