"""Figures of a running service: the same from each worker, and taken by a real Prometheus."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from guarantee.bodies import ModelSuspended
from guarantee.card import Family, MonitoringPolicy, Response, Rule
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from tests.models.conftest import card_of
from tests.serving.conftest import (
    FEATURES,
    GARANT_SERVE,
    LABELS,
    MODEL,
    ROOT,
    Service,
    approved,
    asked,
    check_ledger,
    establish,
    free_port,
    promote,
    start,
    stop,
    token,
)

DASHBOARDS = ROOT / "monitoring" / "dashboards"
WATCHED = "three-watched"
POLICY = MonitoringPolicy(
    watched_features=6,
    least_cases=20,
    window_cases=20,
    rules=(Rule(family=Family.WATCHED, then=Response.SUSPEND, least_shift=1),),
)
_OURS = re.compile(r"\bgarant_[a-z_]+")


def _names(expressions: list[str]) -> set[str]:
    return {name for one in expressions for name in _OURS.findall(one)}


def _rules() -> list[str]:
    """The expressions, over one line or several."""
    text = (DASHBOARDS / "alerts.yml").read_text()
    found = re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n +(?:for|labels):", text)
    assert len(found) == text.count("- alert:")
    return found


def _panels() -> list[str]:
    board = json.loads((DASHBOARDS / "garant.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [
        *asked,
        *(one["definition"] for one in board["templating"]["list"] if "definition" in one),
    ]


def test_no_two_panels_share_an_id_or_a_place() -> None:
    board = json.loads((DASHBOARDS / "garant.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) > 10
    cells = [
        (column, row)
        for panel in board["panels"]
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert {column for column, _ in cells} <= set(range(24))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of two workers whose policy has stopped one model for drift."""
    folder = tmp_path_factory.mktemp("watched")
    home = Home(folder / "home")
    establish(home, folder)
    card = card_of(LABELS, WATCHED)
    approved(home, folder, card.model_copy(update={"monitoring": POLICY}))
    promote(home, WATCHED)
    service = start(home, folder / "service.log", *GARANT_SERVE, "--workers", "2")
    try:
        with service.client(Role.CLINICIAN) as clinician:
            given = [
                asked(clinician, WATCHED, dict.fromkeys(FEATURES, 9 + number / 40))
                for number in range(20)
            ]
            for one in given[:5]:
                path = f"/v1/inferences/{one['inference_id']}/decision"
                decided = clinician.post(path, json={"decision": "accepted"})
                assert decided.status_code == 201, decided.text
        run = subprocess.run(
            [sys.executable, "-m", "garant", "monitor", "run", WATCHED],
            cwd=ROOT,
            env={
                **os.environ,
                "GARANT_HOME": str(home.path),
                "GARANT_TOKEN": token(service.issuer, Role.MONITOR),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert "the card's policy suspended the model" in run.stdout
        yield service
    finally:
        stop(service)
    check_ledger(home)


@pytest.mark.slow
def test_a_suspension_by_policy_is_explained_alike_in_log_metrics_and_refused_call(
    watched: Service,
) -> None:
    with Ledger.open(watched.home) as ledger:
        (suspended,) = ledger.latest(RecordType.MODEL_SUSPENDED)
        (found,) = ledger.latest(RecordType.DRIFT_DETECTED)
        reason = ledger.open_as(suspended, ModelSuspended).reason
        information = ledger.latest(RecordType.PATIENT_INFORMED, count=1)[0].id
    assert found.id in reason
    with watched.client(Role.CLINICIAN) as clinician:
        question = {"information_id": information, "features": FEATURES}
        refused = clinician.post(f"/v1/models/{WATCHED}/inferences", json=question)
        assert asked(clinician, MODEL)["prediction"]
        shown = clinician.get(f"/v1/models/{WATCHED}").json()
    assert refused.status_code == 503
    assert refused.json()["detail"] == f"the model is suspended: {reason}"
    assert shown["suspension"] == reason
    with watched.client(Role.MONITOR) as monitor:
        figures = monitor.get("/metrics").text
    (info,) = re.findall(r"garant_model_suspension_info\{(.*)\} 1\.0", figures)
    assert f'reason="{reason}"' in info
    assert f'record="{suspended.id}"' in info


@pytest.mark.slow
def test_each_worker_gives_the_same_figures_to_those_who_may_have_them(watched: Service) -> None:
    settled = re.compile(
        r"^garant_(?!http|checkpoint|backup_age|monitoring_run_age).*", re.MULTILINE
    )

    def read(_: int) -> list[str]:
        # A connection of its own each time, so that both workers take part.
        with watched.client(Role.INTEGRATOR) as integrator:
            return settled.findall(integrator.get("/metrics").text)

    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(read, range(100)))
    assert len(seen[0]) > 15
    assert all(one == seen[0] for one in seen)
    assert set(re.findall(r"Garant:(\d)\] GET /metrics 200", watched.printed())) == {"1", "2"}
    with watched.client(Role.CLINICIAN) as clinician:
        assert clinician.get("/metrics").status_code == 403


class Prometheus:
    """Debian's, over one service, by the configuration that the project shows."""

    def __init__(self, service: Service, folder: Path) -> None:
        command = shutil.which("prometheus")
        assert command, "needs Debian's prometheus"
        self.url = f"http://127.0.0.1:{free_port()}"
        shutil.copy(DASHBOARDS / "alerts.yml", folder)
        (folder / "garant.token").write_text(token(service.issuer, Role.MONITOR))
        shown = (DASHBOARDS / "prometheus.yml").read_text()
        config = shown.replace("127.0.0.1:3000", service.url.removeprefix("http://"))
        config = config.replace(": 15s", ": 1s")
        (folder / "prometheus.yml").write_text(config)
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                command,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401  # JSON, to look into
        given = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False)
        return given.json()["data"]

    def waits(self, query: str) -> None:
        """Until the query finds something; a minute at most."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if self.get("query", query=query)["result"]:
                    return
            except httpx.TransportError:
                assert self._process.poll() is None, "Prometheus did not start"
            time.sleep(0.2)
        pytest.fail(f"{query} found nothing: {self.get('targets')}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()


@pytest.mark.slow
def test_prometheus_finds_every_name_of_the_rules_and_the_dashboard(
    watched: Service, tmp_path: Path
) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "needs Debian's prometheus"
    checked = subprocess.run(
        [promtool, "check", "rules", DASHBOARDS / "alerts.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    prometheus = Prometheus(watched, tmp_path)
    try:
        prometheus.waits('ALERTS{alertname="GarantModelSuspended",alertstate="firing"}')
        scraped = set(prometheus.get("label/__name__/values"))
        wanted = _names([*_rules(), *_panels()])
        assert len(wanted) > 12
        assert wanted - scraped == set()
        for expression in _panels():
            # What Grafana puts in the place of its own words.
            if not expression.startswith("label_values"):
                query = expression.replace("$model", ".*").replace("$__rate_interval", "1m")
                assert "$" not in query
                prometheus.get("query", query=query)["result"]
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        assert len(rules) == len(_rules())
        prometheus.waits('ALERTS{alertname="GarantDrift",alertstate="firing"}')
        health = {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in rules}
        assert set(health.values()) <= {("ok", ""), ("unknown", "")}, health
        firing = prometheus.get("query", query='ALERTS{alertstate="firing"}')["result"]
        models = {one["metric"]["model"] for one in firing}
        assert models == {WATCHED}
        (up,) = prometheus.get("query", query='up{job="garant"}')["result"]
        assert up["value"][1] == "1"
    finally:
        prometheus.stop()
