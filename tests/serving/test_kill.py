"""The whole service under SIGKILL: what it answered is on record, and a retry records once."""

import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from guarantee.checkpoint import verify_proof
from guarantee.home import Home
from guarantee.identity import Role
from guarantee.ledger import Ledger
from guarantee.merkle import leaf_hash
from guarantee.records import RecordType
from tests.serving.conftest import (
    FEATURES,
    GARANT_SERVE,
    MODEL,
    Service,
    a_patient,
    check_ledger,
    establish,
    informed,
    start,
    stop,
)

ROUNDS = int(os.environ.get("KILL_ROUNDS_OF_THE_SERVICE", "5"))
THREADS = 6


@dataclass
class Asked:
    """One question, under its idempotency key, and the inference that answered it."""

    key: str
    question: dict[str, Any]
    inference: str | None = None


@dataclass
class Load:
    """Clinicians who ask until the service is gone."""

    service: Service
    information: str
    asked: list[Asked] = field(default_factory=list)

    def run(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        return threads

    def _ask(self) -> None:
        with self.service.client(Role.CLINICIAN) as client:
            while True:
                question = {"information_id": self.information, "features": FEATURES}
                asked = Asked(uuid4().hex, question)
                self.asked.append(asked)
                try:
                    given = ask(client, asked)
                except httpx.TransportError:
                    return
                assert given.status_code == 201, given.text
                asked.inference = given.json()["inference_id"]


def ask(client: httpx.Client, asked: Asked) -> httpx.Response:
    return client.post(
        f"/v1/models/{MODEL}/inferences",
        json=asked.question,
        headers={"Idempotency-Key": asked.key},
    )


def kill(service: Service) -> None:
    """End every process of the service at once, as a machine that stops does."""
    for process in family(service.process.pid):
        os.kill(process, signal.SIGKILL)
    service.process.wait()


def family(process: int) -> list[int]:
    """The process and all that it started: BentoML's workers have sessions of their own."""
    children = [
        int(child)
        for listed in Path(f"/proc/{process}/task").glob("*/children")
        for child in listed.read_text().split()
    ]
    return [process, *(one for child in children for one in family(child))]


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    establish(home, tmp_path / "versions")
    return home


@pytest.mark.slow
def test_a_killed_service_lost_nothing_that_it_answered_and_a_retry_records_once(
    own_home: Home, tmp_path: Path
) -> None:
    draw = random.Random(5)
    answers, questions, opened_in = 0, 0, []
    for number in range(ROUNDS):
        service = start(own_home, tmp_path / f"{number}.log", *GARANT_SERVE, "--workers", "2")
        with service.client(Role.CLINICIAN) as client:
            load = Load(service, informed(client))
        threads = load.run()
        while sum(asked.inference is not None for asked in load.asked) < 10:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1))
        kill(service)
        for thread in threads:
            thread.join()
        began = time.perf_counter()
        with Ledger.open(own_home) as ledger:
            opened_in.append(time.perf_counter() - began)
        check_ledger(own_home)
        answers += sum(asked.inference is not None for asked in load.asked)
        service = start(own_home, tmp_path / f"{number}-again.log", *GARANT_SERVE, "--workers", "2")
        try:
            with service.client(Role.CLINICIAN) as client:
                for asked in load.asked:
                    first, second = ask(client, asked), ask(client, asked)
                    assert first.status_code == second.status_code == 201, first.text
                    inference = first.json()["inference_id"]
                    assert inference == second.json()["inference_id"]
                    assert inference == (asked.inference or inference)
                    asked.inference = inference
        finally:
            stop(service)
        with Ledger.open(own_home) as ledger:
            check_receipts(ledger, [asked.inference or "" for asked in load.asked])
            # Each question once, whatever was killed and retried.
            questions += len(load.asked)
            assert ledger.counts()[RecordType.INFERENCE_MADE] == questions
    check_ledger(own_home)
    sys.stdout.write(
        f"\n{ROUNDS} rounds of the whole service: {answers} answers on record, "
        f"{questions - answers} retried, opened in {max(opened_in):.3f} s at most\n"
    )


def check_receipts(ledger: Ledger, records: list[str]) -> None:
    assert len(set(records)) == len(records)
    for record in records:
        receipt = ledger.receipt(record)
        leaf = leaf_hash(receipt.header.encode())
        verify_proof(receipt.proof, leaf=leaf, verifier_key=ledger.verifier_key)


def test_a_decision_retried_after_a_kill_and_a_restart_is_recorded_once(
    own_home: Home, tmp_path: Path
) -> None:
    service = start(own_home, tmp_path / "first.log", *GARANT_SERVE)
    with service.client(Role.CLINICIAN) as client:
        given = client.post(
            "/v1/patients/information",
            json={"patient": a_patient(), "recipient": "patient", "models": [MODEL]},
            headers={"Idempotency-Key": "informed"},
        ).json()
        asked = Asked("asked", {"information_id": given["information_id"], "features": FEATURES})
        inference = ask(client, asked).json()["inference_id"]
        path, headers = f"/v1/inferences/{inference}/decision", {"Idempotency-Key": "decided"}
        first = client.post(path, json={"decision": "accepted"}, headers=headers)
        assert first.status_code == 201
    kill(service)
    with Ledger.open(own_home) as ledger:
        size = ledger.head().size
    service = start(own_home, tmp_path / "second.log", *GARANT_SERVE)
    try:
        with service.client(Role.CLINICIAN) as client:
            assert ask(client, asked).json()["inference_id"] == inference
            again = client.post(path, json={"decision": "accepted"}, headers=headers)
            assert again.json()["record_id"] == first.json()["record_id"]
            other = client.post(path, json={"decision": "disregarded"}, headers=headers)
            assert other.status_code == 422
    finally:
        stop(service)
    with Ledger.open(own_home) as ledger:
        assert ledger.head().size == size
    check_ledger(own_home)
