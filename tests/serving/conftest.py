"""A real service over a real home: one model promoted, two workers, loopback only."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from guarantee import college, versions
from guarantee.card import Card
from guarantee.home import Home
from guarantee.identity import Caller, Profession, Role
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.verify import verify_home
from models import bundle, shelf
from models.contract import FeatureContract
from models.training import Learn, Parameters, train
from serving.auth import Issuer
from tests.guarantee.clinic import patient
from tests.models.conftest import card_of, cohort_of, learn_with_likeness

ROOT = Path(__file__).parents[2]
LABELS = ("breast", "colon", "lung")
MODEL = "three-origins"
WITHHELD_MODEL = "three-withheld"
NEEDING_MODEL = "three-needing"
NEEDED = ("gene 0", "gene 2")
"""Without these, that model abstains."""
LIKENESS_MODEL = "three-likeness"
"""It tells a profile like nothing from others, and abstains on that and on fewer than half."""
CHANGING_MODEL = "three-changing"
"""Its version 2 is approved, and one test promotes it."""
UNDECIDED = {f"gene {number}": 5.0 + number / 8 for number in range(6)}
"""Speaks for no label: the models abstain."""
FEATURES = {**UNDECIDED, "gene 0": 9.0}
"""Speaks for the first label."""
NOBODYS = dict(zip(UNDECIDED, (30.0, -9.0, 30.0, -9.0, 30.0, -9.0), strict=True))
"""Like nobody's."""


def check_ledger(home: Home) -> None:
    """Reread and recheck everything; every scenario ends with it."""
    report = verify_home(home)
    assert not report.findings, report.findings


def token(issuer: Issuer, role: Role, subject: str | None = None) -> str:
    subject = subject or ("10000000001" if role is Role.CLINICIAN else f"the-{role}")
    return issuer.issue(role=role, subject=subject, lifetime=timedelta(hours=1))


def establish(home: Home, folder: Path) -> None:
    """Two models in the home, approved and promoted: one that shows, one that withholds."""
    with Ledger.open(home) as ledger:
        for seat, member in _members(home, ledger).items():
            college.appoint(ledger, member, member=member, profession=seat)
    for name in (MODEL, WITHHELD_MODEL):
        card = card_of(LABELS, name)
        if name == WITHHELD_MODEL:
            card = card.model_validate({**card.model_dump(), "least_mode": "withheld"})
        approved(home, folder, card)
        promote(home, name)


def approved(
    home: Home,
    folder: Path,
    card: Card,
    *,
    version: str = "1",
    rounds: int = 10,
    required: Container[str] = (),
    learn: Learn | None = None,
) -> None:
    """One more version in the home, trained, registered, laid out and approved.

    It abstains without the required features.
    """
    cohort = cohort_of(LABELS)
    features = tuple(
        one.model_copy(update={"required": one.name in required})
        for one in cohort.contract.features
    )
    cohort = replace(cohort, contract=FeatureContract(features=features))
    training = train(cohort, card, Parameters(rounds=rounds, threads=1), learn=learn)
    files = folder / f"{card.name}-{version}"
    digest = bundle.write(training.bundle, files)
    with Ledger.open(home) as ledger:
        scientist = _actor(home, ledger, "scientist", Role.DATA_SCIENTIST)
        versions.register_model(
            ledger, scientist, card=card, version=version, digest=digest, run="run"
        )
        shelf.lay(home, files, name=card.name, version=version, digest=digest)
        for member in _members(home, ledger).values():
            college.vote(ledger, member, name=card.name, version=version, in_favour=True)


def promote(home: Home, name: str, version: str = "1") -> None:
    with Ledger.open(home) as ledger:
        scientist = _actor(home, ledger, "scientist", Role.DATA_SCIENTIST)
        versions.promote(ledger, scientist, name=name, version=version)


def _members(home: Home, ledger: Ledger) -> dict[Profession, Actor]:
    return {
        seat: _actor(home, ledger, f"member-{seat}", Role.COLLEGE) for seat in list(Profession)[:3]
    }


def _actor(home: Home, ledger: Ledger, subject: str, role: Role) -> Actor:
    issuer = Issuer.open(home)
    return ledger.people.actor(Caller(issuer=issuer.name, subject=subject, role=role))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# No TLS on loopback, and loading the roots would take longer than most requests.
_NO_ROOTS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Service:
    """A running service, and what it has printed."""

    home: Home
    issuer: Issuer
    url: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def client(self, role: Role | None, subject: str | None = None) -> httpx.Client:
        headers = {}
        if role is not None:
            headers["Authorization"] = f"Bearer {token(self.issuer, role, subject)}"
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=60, trust_env=False, verify=_NO_ROOTS
        )

    def printed(self) -> str:
        return self.log.read_text()


def start(home: Home, log: Path, *command: str, **environment: str) -> Service:
    port = free_port()
    printed = log.open("wb")
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "GARANT_HOME": str(home.path), **environment},
        stdout=printed,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    printed.close()
    service = Service(
        home=home,
        issuer=Issuer.open(home),
        url=f"http://127.0.0.1:{port}",
        log=log,
        process=process,
    )
    deadline = time.monotonic() + 60
    while not _is_ready(service):
        if process.poll() is not None or time.monotonic() > deadline:
            stop(service)
            pytest.fail(f"the service did not start:\n{service.printed()}")
        time.sleep(0.05)
    return service


def _is_ready(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def stop(service: Service) -> float:
    """Stop the service as an operator does; seconds until all its processes have gone."""
    began = time.monotonic()
    service.process.terminate()
    try:
        service.process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(service.process.pid, signal.SIGKILL)
        service.process.wait()
        raise
    return time.monotonic() - began


GARANT_SERVE = (sys.executable, "-m", "garant", "serve")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("served") / "home")
    folder = tmp_path_factory.mktemp("versions")
    establish(home, folder)
    # Approved now, since tests give the members keys, which their votes then need.
    approved(home, folder, card_of(LABELS, NEEDING_MODEL), required=NEEDED)
    promote(home, NEEDING_MODEL)
    likened = card_of(LABELS, LIKENESS_MODEL).model_copy(update={"least_known_share": 0.5})
    approved(home, folder, likened, learn=learn_with_likeness)
    promote(home, LIKENESS_MODEL)
    for version, rounds in (("1", 10), ("2", 3)):
        approved(home, folder, card_of(LABELS, CHANGING_MODEL), version=version, rounds=rounds)
    promote(home, CHANGING_MODEL)
    return home


@pytest.fixture(scope="session")
def service(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = start(
        home, tmp_path_factory.mktemp("log") / "service.log", *GARANT_SERVE, "--workers", "2"
    )
    yield service
    stop(service)
    check_ledger(home)


@pytest.fixture(scope="session")
def clinician(service: Service) -> Iterator[httpx.Client]:
    with service.client(Role.CLINICIAN) as client:
        yield client


_numbers = iter(range(10_000, 99_999))


def a_patient() -> dict[str, Any]:
    """Somebody who was not met before."""
    return patient(next(_numbers)).model_dump(mode="json")


def informed(clinician: httpx.Client, *models: str) -> str:
    given = clinician.post(
        "/v1/patients/information",
        json={"patient": a_patient(), "recipient": "patient", "models": list(models or [MODEL])},
    )
    assert given.status_code == 201, given.text
    return str(given.json()["information_id"])


def asked(
    clinician: httpx.Client, model: str = MODEL, features: dict[str, float] = FEATURES
) -> dict[str, Any]:
    given = clinician.post(
        f"/v1/models/{model}/inferences",
        json={"information_id": informed(clinician, model), "features": features},
    )
    assert given.status_code == 201, given.text
    answer: dict[str, Any] = given.json()
    return answer


def size(service: Service) -> int:
    """Records in the log."""
    with service.client(None) as anonymous:
        return int(anonymous.get("/v1/ledger/checkpoint").text.split("\n")[1])


_WATCH = """
import os, sys

def watch(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            print("CALLS OUT", address, file=open(os.environ["WATCHED"], "a"))
    elif event == "socket.getaddrinfo" and arguments[0] not in (None, "127.0.0.1", "localhost"):
        print("LOOKS UP", arguments[0], file=open(os.environ["WATCHED"], "a"))
    elif event == "socket.bind":
        print("watching", file=open(os.environ["WATCHED"], "a"))

sys.addaudithook(watch)
"""


def watching(folder: Path) -> dict[str, str]:
    """The environment in which every Python process notes what it calls; see `watched`."""
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(_WATCH)
    return {
        "PYTHONPATH": os.pathsep.join([str(folder / "watch"), str(ROOT)]),
        "WATCHED": str(folder / "watched"),
    }


def watched(folder: Path) -> set[str]:
    """What those processes noted: calls out of this machine, and that they were watched."""
    return set((folder / "watched").read_text().splitlines())
