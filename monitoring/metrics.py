"""Figures for Prometheus, read from the log and the home whenever they are asked for.

So every worker gives the same, and a restart changes none. Labels are models, versions and words
of the protocol: nobody's name, and no free text but a policy's own.
"""

import math
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from guarantee import tally
from guarantee.bodies import Decision, ModelSuspended
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.records import RecordType
from guarantee.situations import Model, Standing
from guarantee.tally import Counted, Counts, Tally
from guarantee.versions import RegisteredVersion, standing
from monitoring import runs
from monitoring.alerts import Outbox
from monitoring.runs import Found, Held
from monitoring.suspension import finding_of

DECISIONS: Final = 100
"""The override ratio is over so many decisions, the latest."""


class Figures(Collector):
    """One house's figures; one object a process, since it remembers what it has counted."""

    def __init__(self, ledger: Ledger, home: Home) -> None:
        self._ledger = ledger
        self._home = home
        self._tally = Tally()

    def collect(self) -> Iterator[Metric]:
        """All figures, as they stand.

        Raises:
            StoreUnavailable: The log cannot be read.
        """
        now = self._ledger.now()
        counts = self._tally.counts(self._ledger)
        models = self._ledger.situations(Model, Standing)
        serving = {
            name: version
            for name, _ in models
            if (version := standing(self._ledger, name).serving) is not None
        }
        yield _answers(counts)
        yield _decisions(counts)
        yield from self._waiting(serving, now)
        yield self._overridden(list(serving))
        yield from self._suspensions(models)
        yield from _standing(models, serving)
        yield from self._runs(serving, now)
        yield self._alerts()
        yield from self._log(now)

    def _waiting(self, serving: dict[str, RegisteredVersion], now: int) -> Iterator[Metric]:
        lapses = {name: one.card.lapse_hours * 3_600_000 for name, one in serving.items()}
        found = tally.waiting(self._ledger, lapses, at=now)
        pending = GaugeMetricFamily(
            "garant_pending_reviews",
            "Answers that no clinician has decided on yet.",
            labels=["model"],
        )
        overdue = GaugeMetricFamily(
            "garant_overdue_reviews",
            "Of these, older than the time for review on the card.",
            labels=["model"],
        )
        for name in sorted(found.keys() | serving.keys()):
            pending.add_metric([name], found[name].answers if name in found else 0)
            overdue.add_metric([name], found[name].overdue if name in found else 0)
        yield from (pending, overdue)

    def _overridden(self, names: list[str]) -> Metric:
        ratio = GaugeMetricFamily(
            "garant_override_ratio",
            f"Of a model's latest decisions, {DECISIONS} at most, those that override the answer; "
            "NaN before the first.",
            labels=["model"],
        )
        for name in names:
            latest = self._ledger.latest(RecordType.DECISION_SIGNED, model=name, count=DECISIONS)
            against = sum(one.header.outcome == Decision.OVERRIDDEN for one in latest)
            ratio.add_metric([name], against / len(latest) if latest else math.nan)
        return ratio

    def _suspensions(self, models: list[tuple[str, Model]]) -> Iterator[Metric]:
        stopped = GaugeMetricFamily(
            "garant_model_suspended", "1 where the model is suspended, else 0.", labels=["model"]
        )
        cause = GaugeMetricFamily(
            "garant_model_suspension_info",
            "Why a model is suspended: the record and whose it is; of one by policy, the finding "
            "and the reason as the log and the refused call have it. A person's reason is in the "
            "log alone.",
            labels=["model", "record", "role", "finding", "reason"],
        )
        for name, model in models:
            stopped.add_metric([name], model.step is Standing.SUSPENDED)
            if model.cause is not None:
                suspended = self._ledger.find(model.cause)
                role = suspended.header.role.value
                cause.add_metric([name, suspended.id, role, *self._by_policy(suspended)], 1)
        yield from (stopped, cause)

    def _by_policy(self, suspended: Recorded) -> tuple[str, str]:
        """The finding and the reason; blank where a person suspended."""
        finding = finding_of(self._ledger, suspended)
        if finding is None:
            return "", ""
        return finding.id, self._ledger.open_as(suspended, ModelSuspended).reason

    def _runs(self, serving: dict[str, RegisteredVersion], now: int) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "garant_monitoring_run_age_seconds",
            "Since the version that answers was last watched; +Inf if it never was.",
            labels=["model"],
        )
        found = GaugeMetricFamily(
            "garant_monitoring_finding",
            "1 for what that run found, else 0; undecided is too few cases, not no drift.",
            labels=["model", "finding"],
        )
        measures = GaugeMetricFamily(
            "garant_monitoring_measure",
            "1 for what that run found of a figure that the card bounds, else 0.",
            labels=["model", "measure", "found"],
        )
        for name, version in serving.items():
            run = runs.last(self._home, name)
            if run is not None and run.version != version.version:
                run = None
            age.add_metric([name], _age(run.at if run else None, now))
            for one in Found:
                found.add_metric([name, one.value], run is not None and run.found is one)
            for measure in sorted({bound.measure for bound in version.card.monitoring.bounds}):
                for held in Held:
                    is_so = run is not None and run.measures.get(measure) is held
                    measures.add_metric([name, measure.value, held.value], is_so)
        yield from (age, found, measures)

    def _alerts(self) -> Metric:
        return GaugeMetricFamily(
            "garant_alerts_waiting",
            "Alerts that their address has not taken.",
            value=Outbox(self._home).count(),
        )

    def _log(self, now: int) -> Iterator[Metric]:
        size = self._ledger.head().size
        yield GaugeMetricFamily("garant_ledger_records", "Records in the log.", value=size)
        age = GaugeMetricFamily(
            "garant_checkpoint_age_seconds",
            "Since the last record that a checkpoint covers: the log's own, and the last one kept "
            "that an outsider vouched for; +Inf where there is none.",
            labels=["checkpoint"],
        )
        behind = GaugeMetricFamily(
            "garant_checkpoint_records_behind",
            "Records that the checkpoint does not cover.",
            labels=["checkpoint"],
        )
        for name, signed in zip(("signed", "kept"), tally.signed(self._ledger), strict=True):
            age.add_metric([name], _age(signed.at, now))
            behind.add_metric([name], max(size - signed.size, 0))
        yield from (age, behind)
        backups = self._ledger.latest(RecordType.BACKUP_TAKEN, count=1)
        yield GaugeMetricFamily(
            "garant_backup_age_seconds",
            "Since the last backup on record; +Inf if there is none.",
            value=_age(backups[-1].header.time if backups else None, now),
        )


def _answers(counts: Counts) -> Metric:
    family = CounterMetricFamily(
        "garant_inferences",
        "Answers on record: shown (answered), withheld until a first read, or abstained.",
        labels=["model", "version", "outcome"],
    )
    return _counted(family, counts, RecordType.INFERENCE_MADE)


def _decisions(counts: Counts) -> Metric:
    family = CounterMetricFamily(
        "garant_decisions",
        "Clinicians' signed decisions: accepted, overridden or disregarded.",
        labels=["model", "version", "outcome"],
    )
    return _counted(family, counts, RecordType.DECISION_SIGNED)


def _counted(family: CounterMetricFamily, counts: Counts, kind: RecordType) -> CounterMetricFamily:
    for one, count in sorted(counts.items(), key=_place):
        if one.type is kind:
            family.add_metric([one.model, one.version, one.outcome], count)
    return family


def _place(item: tuple[Counted, int]) -> tuple[str, str, str]:
    return item[0].model, item[0].version, item[0].outcome


def _standing(
    models: list[tuple[str, Model]], serving: dict[str, RegisteredVersion]
) -> tuple[Metric, Metric]:
    drift = GaugeMetricFamily(
        "garant_drift_standing",
        "1 where drift of the version that answers is on record and not cleared, else 0.",
        labels=["model"],
    )
    incident = GaugeMetricFamily(
        "garant_incident_standing",
        "1 where performance or use beyond the card's bounds is on record and not over, else 0.",
        labels=["model"],
    )
    for name, model in models:
        if name in serving:
            drift.add_metric([name], model.drifting)
            incident.add_metric([name], model.failing)
    return drift, incident


def _age(at: int | None, now: int) -> float:
    return math.inf if at is None else max(now - at, 0) / 1000
