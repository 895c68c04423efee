"""The figures that the log and the home give, by whichever worker, before and after a restart."""

import math
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from guarantee.backup import take_backup
from guarantee.bodies import Decision
from guarantee.card import Family, Mode, MonitoringPolicy, Response, Rule
from guarantee.dossier import sign_decision
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.versions import suspend
from monitoring.metrics import Figures
from monitoring.watch import look
from tests.guarantee.clinic import CLINICIAN
from tests.monitoring.conftest import NAME, POLICY, Ward, profiles

HOUR = 3_600_000


@pytest.fixture
def policy() -> MonitoringPolicy:
    return POLICY.model_copy(
        update={"rules": (Rule(family=Family.WATCHED, then=Response.SUSPEND, least_shift=1),)}
    )


def figures_text(figures: Figures) -> str:
    registry = CollectorRegistry()
    registry.register(figures)
    return generate_latest(registry).decode()


def _value(figures: Figures, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(figures)
    return registry.get_sample_value(name, labels)


def test_figures_say_what_the_log_says_to_every_worker_and_after_a_restart(ward: Ward) -> None:
    worker = Figures(ward.ledger, ward.home)
    assert _value(worker, "garant_monitoring_run_age_seconds", model=NAME) == math.inf
    assert _value(worker, "garant_backup_age_seconds") == math.inf
    assert _value(worker, "garant_pending_reviews", model=NAME) == 0
    ratio = _value(worker, "garant_override_ratio", model=NAME)
    assert ratio is not None
    assert math.isnan(ratio)

    ward.ask(profiles(5, 1))
    ward.ask(profiles(1, 2), first=5, mode=Mode.WITHHELD)
    for place, (decision, label) in enumerate(
        [(Decision.ACCEPTED, None)] * 3 + [(Decision.OVERRIDDEN, "lung")]
    ):
        sign_decision(
            ward.ledger,
            ward.actor(Role.CLINICIAN),
            CLINICIAN,
            dossier=ward.ledger.page(ward.indices[place], 1)[0].id,
            decision=decision,
            label=label,
            reason="histology" if label else None,
        )
    look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)
    version = {"version": "1"}
    expected: list[tuple[str, dict[str, str], float]] = [
        ("garant_inferences_total", version | {"outcome": "answered"}, 5),
        ("garant_inferences_total", version | {"outcome": "withheld"}, 1),
        ("garant_decisions_total", version | {"outcome": "accepted"}, 3),
        ("garant_decisions_total", version | {"outcome": "overridden"}, 1),
        ("garant_pending_reviews", {}, 2),
        ("garant_override_ratio", {}, 0.25),
        ("garant_model_suspended", {}, 0),
        ("garant_drift_standing", {}, 0),
        ("garant_monitoring_finding", {"finding": "undecided"}, 1),
        ("garant_monitoring_finding", {"finding": "stable"}, 0),
        ("garant_monitoring_finding", {"finding": "drift"}, 0),
    ]
    later = ward.ledger.now() + 73 * HOUR
    with Ledger.open(ward.home, lambda: later) as ledger:
        restarted = Figures(ledger, ward.home)
        for figures in (worker, restarted):
            for name, labels, value in expected:
                assert _value(figures, name, model=NAME, **labels) == value, (name, labels)
            assert _value(figures, "garant_ledger_records") == ward.ledger.head().size
        overdue = [_value(one, "garant_overdue_reviews", model=NAME) for one in (worker, restarted)]
        assert overdue == [0, 2]  # by the clock of each
        age = _value(restarted, "garant_monitoring_run_age_seconds", model=NAME)
        assert age is not None
        assert 73 * 3600 <= age < 74 * 3600
        signed = _value(restarted, "garant_checkpoint_age_seconds", checkpoint="signed")
        assert signed is not None
        assert 73 * 3600 <= signed < 74 * 3600
    kept = {"checkpoint": "kept"}
    assert _value(worker, "garant_checkpoint_age_seconds", **kept) == math.inf
    records = _value(worker, "garant_checkpoint_records_behind", **kept)
    assert records == ward.ledger.head().size


def test_a_suspension_by_policy_is_told_in_the_logs_words_and_a_persons_is_not(
    ward: Ward, tmp_path: Path
) -> None:
    figures = Figures(ward.ledger, ward.home)
    moved = profiles(60, 2)
    moved[:, 1] += 4
    ward.ask(moved)
    seen = look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)
    assert seen.recorded is not None
    assert seen.suspended is not None
    taken = take_backup(
        ward.home,
        ward.ledger,
        ward.actor(Role.INTEGRATOR),
        tmp_path / "backup",
        clock=lambda: datetime.now(UTC),
    )
    assert taken.recorded.index > seen.suspended.index
    said = figures_text(figures)
    assert f'garant_model_suspended{{model="{NAME}"}} 1.0' in said
    assert f'garant_drift_standing{{model="{NAME}"}} 1.0' in said
    (info,) = re.findall(r"garant_model_suspension_info\{(.*)\} 1\.0", said)
    assert f'record="{seen.suspended.id}"' in info
    assert 'role="monitor"' in info
    assert f'finding="{seen.recorded.id}"' in info
    assert f"(DriftDetected {seen.recorded.id})" in info.split('reason="')[1]
    backup = _value(figures, "garant_backup_age_seconds")
    assert backup is not None
    assert backup < 600
    everybody = [ward.information, *ward.others]
    secret = [one.pseudonym for one in everybody] + [one.recorded.id for one in everybody]
    secret += [actor.pseudonym for actor in ward.actors.values()]
    secret += ["ESSAI", "ANNE", "2850100000", "1985-01-01"]
    assert [one for one in secret if one in said] == []
    numbers = {float(number) for number in re.findall(r"\d+\.\d+", said)}
    assert numbers.isdisjoint(map(float, moved.ravel()))


class TestPeople:
    """A policy that stops nothing."""

    @pytest.fixture
    def policy(self) -> MonitoringPolicy:
        return POLICY

    def test_a_persons_words_stay_in_the_log(self, ward: Ward) -> None:
        stopped = suspend(
            ward.ledger, ward.actor(Role.CLINICIAN), name=NAME, reason="Mme ESSAI was misled"
        )
        said = figures_text(Figures(ward.ledger, ward.home))
        assert "ESSAI" not in said
        assert (
            f'finding="",model="{NAME}",reason="",record="{stopped.id}",role="clinician"'
            in "".join(sorted_labels(said))
        )


def sorted_labels(said: str) -> list[str]:
    """The suspension's labels, by name."""
    (info,) = re.findall(r"garant_model_suspension_info\{(.*)\} 1\.0", said)
    return [",".join(sorted(info.split(",")))]
