"""The running service: what it prints, imports, shows, and how it starts and stops."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from guarantee.home import Home
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from tests.serving.conftest import (
    FEATURES,
    GARANT_SERVE,
    MODEL,
    ROOT,
    WITHHELD_MODEL,
    Service,
    a_patient,
    asked,
    check_ledger,
    establish,
    informed,
    start,
    stop,
    watched,
    watching,
)


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    """A home that the test may spoil."""
    home = Home(tmp_path / "home")
    establish(home, tmp_path / "versions")
    return home


# What it prints


def test_no_log_line_holds_what_was_sent(service: Service, clinician: httpx.Client) -> None:
    marks = ("DUPONT-MARK", "31415.9265", "27182818", "x-mark/mark")
    patient = {**a_patient(), "birth_name": "DUPONT-MARK"}
    wrong_patient = {**patient, "birth_date": "DUPONT-MARK", "sex": "DUPONT-MARK"}
    information = {"patient": patient, "recipient": "patient", "models": [MODEL]}
    question: dict[str, Any] = {"information_id": informed(clinician), "features": {}}
    for features in (
        {"gene 1": 31415.9265},
        {"gene 1": "DUPONT-MARK"},
        {"DUPONT-MARK": 1},
        FEATURES,
    ):
        question["features"] = features
        clinician.post(f"/v1/models/{MODEL}/inferences", json=question)
    clinician.post("/v1/patients/information", json=information)
    clinician.post("/v1/patients/information", json={**information, "patient": wrong_patient})
    clinician.post("/v1/patients/information", content=b'{"name": "DUPONT-MARK"')
    clinician.post(
        "/v1/patients/information", content=b"x", headers={"Content-Type": "x-mark/mark"}
    )
    clinician.get("/v1/models", params={"name": "DUPONT-MARK", "ins": "27182818"})
    clinician.get("/v1/patients/DUPONT-MARK/27182818")
    clinician.get("/DUPONT-MARK%0Aforged line")
    clinician.get("/v1/models/DUPONT-MARK", headers={"X-Name": "DUPONT-MARK"})
    clinician.get("/v1/inferences/DUPONT-MARK")
    clinician.request("DUPONT-MARK", "/v1/models")
    clinician.get("/v1/ledger/records", params={"start": "DUPONT-MARK"})
    printed = service.printed()
    assert "POST /v1/models/{name}/inferences 422" in printed
    for mark in (*marks, "forged line", "Traceback"):
        assert mark not in printed


def test_a_failure_of_the_service_is_a_problem_and_a_line_without_values(
    own_home: Home, tmp_path: Path
) -> None:
    service = start(own_home, tmp_path / "service.log", *GARANT_SERVE)
    try:
        with service.client(Role.CLINICIAN) as clinician:
            inference = asked(clinician)["inference_id"]
            with closing(sqlite3.connect(own_home.database)) as database, database:
                database.execute(
                    "UPDATE bodies SET stored = ?"
                    " WHERE position = (SELECT position FROM records WHERE id = ?)",
                    (b"SPOILED-MARK" * 5, inference),
                )
            given = clinician.get(f"/v1/inferences/{inference}")
            assert given.status_code == 500
            assert given.headers["content-type"] == "application/problem+json"
            assert "MARK" not in given.text
            # It goes on answering.
            assert asked(clinician)["prediction"]
    finally:
        stop(service)
    printed = service.printed()
    assert re.search(r"failed: \w+ at \w+\.py:\d+", printed)
    assert "Traceback" not in printed
    assert "MARK" not in printed


# What it imports, and whom it calls


_PRINT_WHAT_IS_LOADED = """
import sys, serving.service, serving.application, serving.house
print({"mlflow", "evidently", "shap"} & set(sys.modules))
"""


def test_the_service_imports_neither_mlflow_nor_evidently() -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            _PRINT_WHAT_IS_LOADED,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "command",
    [
        GARANT_SERVE,
        (str(Path(sys.executable).parent / "bentoml"), "serve", "serving.service:Garant"),
    ],
    ids=["garant", "bentoml"],
)
def test_started_either_way_it_answers_calls_nobody_and_stops_at_once(
    own_home: Home, tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As an operator starts it, who has not told the libraries to keep quiet.
    for name in ("BENTOML_DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.delenv(name)
    service = start(
        own_home,
        tmp_path / "service.log",
        *command,
        **watching(tmp_path),
        BENTOML_HOME=str(tmp_path / "bentoml"),
    )
    with service.client(Role.CLINICIAN) as clinician:
        assert asked(clinician)["prediction"]
    assert stop(service) < 10
    assert watched(tmp_path) == {"watching"}
    check_ledger(own_home)


@pytest.mark.slow
def test_a_bento_of_the_project_answers_over_the_home_of_the_environment(
    own_home: Home, tmp_path: Path
) -> None:
    bentoml = str(Path(sys.executable).parent / "bentoml")
    elsewhere = {**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml")}
    subprocess.run([bentoml, "build"], cwd=ROOT, env=elsewhere, check=True, capture_output=True)
    (built,) = (
        path for path in (tmp_path / "bentoml" / "bentos" / "garant").iterdir() if path.is_dir()
    )
    packed = {path.name for path in (built / "src").iterdir()}
    assert packed >= {"guarantee", "models", "monitoring", "serving", "garant.py"}
    assert not {"tests", ".venv", ".git"} & packed
    service = start(
        own_home,
        tmp_path / "service.log",
        bentoml,
        "serve",
        "garant:latest",
        BENTOML_HOME=str(tmp_path / "bentoml"),
    )
    try:
        with service.client(Role.CLINICIAN) as clinician:
            assert asked(clinician)["prediction"]
    finally:
        stop(service)
    check_ledger(own_home)


def test_settings_that_are_wrong_stop_the_start_with_a_word(tmp_path: Path) -> None:
    stopped = subprocess.run(
        [*GARANT_SERVE, "--home", str(tmp_path / "home")],
        cwd=ROOT,
        env={**os.environ, "GARANT_ENVIRONEMENT": "production"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert stopped.returncode == 1
    assert "GARANT_ENVIRONEMENT" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_a_port_that_is_taken_and_a_host_by_name_are_said_in_a_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = garant("serve", "--port", port, "--home", str(tmp_path))
    assert refused.returncode == 1
    assert "in use" in refused.stderr
    assert "Traceback" not in refused.stderr
    refused = garant("serve", "--host", "localhost", "--home", str(tmp_path))
    assert refused.returncode == 1
    assert "host IP address" in refused.stderr
    assert "Traceback" not in refused.stderr


# What it shows


def test_probes_need_no_token(service: Service) -> None:
    with service.client(None) as anonymous:
        for probe in ("/livez", "/readyz", "/healthz"):
            assert anonymous.get(probe).status_code == 200


def test_a_service_whose_log_cannot_be_read_is_not_ready(own_home: Home, tmp_path: Path) -> None:
    service = start(own_home, tmp_path / "service.log", *GARANT_SERVE)
    try:
        with service.client(None) as anonymous:
            assert anonymous.get("/readyz").status_code == 200
            with closing(sqlite3.connect(own_home.database)) as database, database:
                database.execute("ALTER TABLE head RENAME TO lost")
            assert anonymous.get("/readyz").status_code == 503
            assert anonymous.get("/livez").status_code == 200
    finally:
        stop(service)


def test_the_documentation_is_ours_and_loads_nothing_from_elsewhere(service: Service) -> None:
    with service.client(None) as anonymous:
        home = anonymous.get("/")
        assert home.headers["location"] == "/docs"
        page = anonymous.get("/docs")
        assert "https://" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert linked
        for path in linked:
            if not path.startswith("data:"):
                assert anonymous.get(path).status_code == 200, path


def test_the_openapi_describes_every_call_of_the_contract(service: Service) -> None:
    with service.client(None) as anonymous:
        described = anonymous.get("/docs.json").json()
    assert described["openapi"].startswith("3.1")
    assert described["info"]["title"] == "Garant"
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert {
        ("GET", "/v1/models"),
        ("GET", "/v1/models/{name}"),
        ("GET", "/v1/models/{name}/leaflet"),
        ("POST", "/v1/patients/information"),
        ("POST", "/v1/patients/objection"),
        ("POST", "/v1/patients/{pseudonym}/access"),
        ("POST", "/v1/patients/{pseudonym}/rectification"),
        ("POST", "/v1/patients/{pseudonym}/erasure"),
        ("POST", "/v1/patients/{pseudonym}/hold"),
        ("POST", "/v1/inferences/{inference_id}/break-glass"),
        ("POST", "/v1/models/{name}/inferences"),
        ("GET", "/v1/inferences/{inference_id}"),
        ("GET", "/v1/inferences/{inference_id}/receipt"),
        ("POST", "/v1/inferences/{inference_id}/replay"),
        ("POST", "/v1/inferences/{inference_id}/what-if"),
        ("POST", "/v1/inferences/{inference_id}/first-read"),
        ("POST", "/v1/inferences/{inference_id}/decision"),
        ("POST", "/v1/inferences/{inference_id}/told"),
        ("POST", "/v1/inferences/{inference_id}/outcome"),
        ("POST", "/v1/models/{name}/suspension"),
        ("DELETE", "/v1/models/{name}/suspension"),
        ("POST", "/v1/models/{name}/votes"),
        ("POST", "/v1/models/{name}/vote-payload"),
        ("POST", "/v1/inferences/{inference_id}/decision-payload"),
        ("POST", "/v1/college/draws"),
        ("POST", "/v1/college/draws/{draw_id}/sample"),
        ("POST", "/v1/college/reviews"),
        ("POST", "/v1/keys"),
        ("GET", "/v1/college"),
        ("GET", "/v1/worklist"),
        ("GET", "/v1/ledger/checkpoint"),
        ("GET", "/v1/ledger/records"),
        ("GET", "/metrics"),
    } <= set(operations)
    schemas = described["components"]["schemas"]
    for referred in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)):
        assert referred in schemas
    for (method, path), operation in operations.items():
        assert operation.get("summary"), (method, path)
        # Tiles are bytes, and anyone's.
        if path.startswith("/v1") and not path.startswith("/v1/ledger/tile/"):
            assert "application/problem+json" in operation["responses"]["401"]["content"]
            assert operation["description"], (method, path)
        if method == "POST" and not path.endswith(("/replay", "-payload")):
            names = {one["name"] for one in operation["parameters"]}
            assert "Idempotency-Key" in names, path


def test_figures_are_for_monitors_and_count_by_route(home: Home, tmp_path: Path) -> None:
    # A service of its own: of two over one home, the later begins the counts anew.
    service = start(home, tmp_path / "service.log", *GARANT_SERVE)
    try:
        with service.client(None) as anonymous, service.client(Role.MONITOR) as monitor:
            assert anonymous.get("/metrics").status_code == 401
            route, figures = 'route="/v1/models/{name}"', ""
            # A request is counted once it was answered, which its caller may know before.
            for _ in range(100):
                anonymous.get("/v1/models/secret-name-in-a-path")
                if route in (figures := monitor.get("/metrics").text):
                    break
                time.sleep(0.1)
    finally:
        stop(service)
    assert route in figures
    assert "secret-name" not in figures
    assert "bentoml" not in figures


# Two workers


def test_two_workers_sign_each_of_twenty_dossiers_once_under_two_hundred_decisions(
    service: Service, clinician: httpx.Client
) -> None:
    dossiers = [asked(clinician)["inference_id"] for _ in range(20)]

    def decide(inference: str) -> int:
        # A connection of its own each time, so that both workers take part.
        with service.client(Role.CLINICIAN) as client:
            path = f"/v1/inferences/{inference}/decision"
            return client.post(path, json={"decision": "accepted"}).status_code

    with ThreadPoolExecutor(16) as pool:
        given = list(pool.map(decide, dossiers * 10))
    assert sorted(given) == [201] * 20 + [409] * 180
    assert set(re.findall(r"Garant:(\d)\] POST \S+/decision", service.printed())) == {"1", "2"}
    with Ledger.open(service.home) as ledger:
        for inference in dossiers:
            types = [one.header.type for one in ledger.thread(inference)]
            assert types == [RecordType.INFERENCE_MADE, RecordType.DECISION_SIGNED]
    check_ledger(service.home)


def _outcome(given: httpx.Response) -> str:
    if given.status_code != 201:
        return str(given.json()["type"])
    return "answered" if "inference_id" in given.json() else "stopped"


def test_no_inference_follows_a_suspension_among_two_hundred(
    own_home: Home, tmp_path: Path
) -> None:
    service = start(own_home, tmp_path / "service.log", *GARANT_SERVE, "--workers", "2")
    try:
        with service.client(Role.CLINICIAN) as clinician:
            opened = informed(clinician, MODEL, WITHHELD_MODEL)
            question = {"information_id": opened, "features": FEATURES}

            def ask(number: int) -> str:
                if number == 100:
                    with service.client(Role.MONITOR) as monitor:
                        path = f"/v1/models/{MODEL}/suspension"
                        return _outcome(monitor.post(path, json={"reason": "drift"}))
                path = f"/v1/models/{MODEL}/inferences"
                with service.client(Role.CLINICIAN) as client:
                    return _outcome(client.post(path, json=question))

            with ThreadPoolExecutor(16) as pool:
                given = list(pool.map(ask, range(201)))
    finally:
        stop(service)
    assert set(given) == {"answered", "stopped", "urn:garant:problem:suspended"}
    with Ledger.open(own_home) as ledger:
        records = ledger.page(0, 1000)
    suspended = next(one.index for one in records if one.header.type is RecordType.MODEL_SUSPENDED)
    made = [one.index for one in records if one.header.type is RecordType.INFERENCE_MADE]
    assert len(made) == given.count("answered") >= 80
    assert max(made) < suspended
    check_ledger(own_home)


# In production


def test_in_production_test_identities_and_tokens_without_luhns_key_are_refused(
    home: Home, tmp_path: Path
) -> None:
    service = start(home, tmp_path / "service.log", *GARANT_SERVE, GARANT_ENVIRONMENT="production")
    try:
        information = {"patient": a_patient(), "recipient": "patient", "models": [MODEL]}
        with service.client(Role.CLINICIAN, "10000000009") as clinician:
            given = clinician.post("/v1/patients/information", json=information)
            assert given.status_code == 422
            assert [one["field"] for one in given.json()["errors"]] == ["patient.oid"]
        with service.client(Role.CLINICIAN, "10000000001") as nobody:
            assert nobody.get("/v1/models").status_code == 401
    finally:
        stop(service)


# The command line


def garant(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "garant", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_token_of_the_command_line_opens_the_service(service: Service) -> None:
    made = garant("token", "--role", "college", "--home", str(service.home.path))
    assert made.returncode == 0, made.stderr
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    given = httpx.get(f"{service.url}/v1/college", headers=headers, trust_env=False)
    assert given.status_code == 200


def test_no_token_is_issued_in_production_nor_for_a_number_that_is_no_rpps(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path))
    refused = garant("token", "--role", "dpo", *home, GARANT_ENVIRONMENT="production")
    assert (refused.returncode, refused.stdout) == (1, "")
    refused = garant("token", "--role", "clinician", "--subject", "12", *home)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "11 digits" in refused.stderr


def test_a_command_that_appends_checks_its_token_as_over_http(tmp_path: Path) -> None:
    appoint = ("college", "appoint", "--subject", "x", "--profession", "paramedic")
    refused = garant(*appoint, "--home", str(tmp_path), "--token", "forged")
    assert refused.returncode == 1
    assert "Unauthenticated" in refused.stderr
    assert "Traceback" not in refused.stderr


_ASK_FOR_HELP = """
import sys, garant
sys.argv = ["garant", "--help"]
try:
    garant.main()
except SystemExit:
    pass
heavy = {"bentoml", "mlflow", "evidently", "xgboost", "fastapi", "numpy", "pandas"}
print("imported", heavy & set(sys.modules))
"""


def test_help_lists_every_room_and_imports_none() -> None:
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            _ASK_FOR_HELP,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "imported set()" in shown.stdout
    for room in ("serve", "token", "models", "college", "monitor", "ledger"):
        assert re.search(rf"│ {room} ", shown.stdout)
