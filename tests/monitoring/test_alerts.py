"""What the card's policy makes of drift: an alert at a real address, a suspension in the log."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from guarantee import versions
from guarantee.bodies import DriftDetected, FeatureDrift, ModelSuspended
from guarantee.card import Family, MonitoringPolicy, Response, Rule
from guarantee.college_thread import QUORUM
from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.records import RecordType
from guarantee.refusals import Suspended
from guarantee.verify import verify_home
from models.served import ServedModel
from monitoring import standing
from monitoring.alerts import SIGNATURE, Alert, InvalidWebhook, Outbox, Webhook, signature
from monitoring.commands import app
from monitoring.drift import CONFIDENCE, LABEL, UNLIKE
from monitoring.findings import Drifted
from monitoring.policy import Judge
from monitoring.standing import DRIFT
from monitoring.suspension import finding_of
from monitoring.watch import Look, look
from monitoring.window import Bounds
from tests.monitoring.conftest import NAME, POLICY, Ward, caller, profiles

SECRET = "a secret of this test alone"
STOPS = Rule(family=Family.WATCHED, then=Response.SUSPEND, least_shift=1)


@pytest.fixture
def policy() -> MonitoringPolicy:
    return POLICY.model_copy(update={"rules": (*POLICY.rules, STOPS)})


class Receiver:
    """A real address on loopback; what it was sent, and what it answers, the last for good."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses = [204]
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(receiver._status())
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts?room=4"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _status(self) -> int:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def _webhook(receiver: Receiver) -> Webhook:
    return Webhook(url=receiver.url, secret=SECRET, pauses=(0, 0, 0))


def _shifted(cases: int, seed: int) -> NDArray[np.float32]:
    found = profiles(cases, seed)
    found[:, 1] += 4  # a gene that matters: it tells the second origin
    return found


def _look(ward: Ward) -> Look:
    return look(ward.ledger, ward.home, ward.actor(Role.MONITOR), NAME)


def _sent(receiver: Receiver) -> list[Alert]:
    return [Alert.model_validate_json(body) for _, body in receiver.got]


def test_an_alert_that_is_refused_twice_is_taken_the_third_time_signed_and_only_once(
    ward: Ward, receiver: Receiver
) -> None:
    receiver.statuses = [503, 500, 204]
    ward.ask(_shifted(60, 2))
    seen = _look(ward)
    assert seen.recorded is not None
    outbox = Outbox(ward.home)
    outbox.put(seen.alerts)
    assert outbox.count() == 1
    taken, undelivered = outbox.deliver(_webhook(receiver))
    assert ([one.id for one in taken], undelivered) == ([seen.recorded.id], [])
    assert len(receiver.got) == 3
    for headers, body in receiver.got:
        assert headers["Idempotency-Key"] == seen.recorded.id
        assert headers[SIGNATURE] == signature(SECRET, body)
        assert body == receiver.got[0][1]
    again = _look(ward)
    outbox.put(again.alerts)
    assert outbox.deliver(_webhook(receiver)) == ([], [])
    assert len(receiver.got) == 3


def test_an_alert_that_nobody_takes_waits_and_other_alerts_wait_behind_an_address_that_is_down(
    ward: Ward, receiver: Receiver
) -> None:
    ward.ask(_shifted(60, 2))
    (alert,) = _look(ward).alerts
    other = alert.model_copy(update={"id": f"{alert.id[:-1]}x"})
    outbox = Outbox(ward.home)
    outbox.put([alert, other])
    receiver.statuses = [503]
    taken, undelivered = outbox.deliver(_webhook(receiver))
    assert taken == []
    assert [one.problem for one in undelivered] == ["HTTP 503", "HTTP 503"]
    assert len(receiver.got) == 4
    receiver.statuses = [400, 204]
    taken, undelivered = Outbox(ward.home).deliver(_webhook(receiver))
    # What the address does not understand is not said again at once, and hides nothing.
    assert [one.id for one in taken] == [max(alert.id, other.id)]
    assert [one.problem for one in undelivered] == ["HTTP 400"]
    assert len(receiver.got) == 6
    assert Outbox(ward.home).count() == 1
    nobody = Webhook(url="http://127.0.0.1:9", pauses=())
    assert [one.problem for one in outbox.deliver(nobody)[1]] == ["ConnectionRefusedError"]


def test_an_address_that_hangs_keeps_no_run_waiting_and_no_model_from_being_stopped(
    ward: Ward,
) -> None:
    ward.ask(_shifted(60, 2))
    seen = _look(ward)
    assert seen.suspended is not None  # before anybody is told
    outbox = Outbox(ward.home)
    outbox.put(seen.alerts)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        hangs = Webhook(url=url, seconds=0.2, pauses=(0, 0))
        began = time.monotonic()
        taken, undelivered = outbox.deliver(hangs)
        assert time.monotonic() - began < 5
    assert (taken, [one.problem for one in undelivered]) == ([], ["TimeoutError"])
    assert outbox.count() == 1


def test_a_redirection_is_not_followed(ward: Ward, receiver: Receiver) -> None:
    ward.ask(_shifted(60, 2))
    receiver.statuses = [307]
    outbox = Outbox(ward.home)
    outbox.put(_look(ward).alerts)
    assert [one.problem for one in outbox.deliver(_webhook(receiver))[1]] == ["HTTP 307"]
    assert [headers["Host"] for headers, _ in receiver.got] == [receiver.url.split("/")[2]]


def test_drift_that_the_card_says_so_stops_the_model_until_the_college_resumes_it(
    ward: Ward,
) -> None:
    ward.ask(_shifted(60, 2))
    seen = _look(ward)
    assert isinstance(seen.finding, Drifted)
    assert seen.recorded is not None
    assert seen.suspended is not None
    assert seen.suspended.header.actor == ward.actor(Role.MONITOR).pseudonym
    said = ward.ledger.open_as(seen.suspended, ModelSuspended).reason
    assert seen.recorded.id in said
    assert "gene 1" in said
    with pytest.raises(Suspended, match=seen.recorded.id):
        versions.standing(ward.ledger, NAME).check_serving()
    with pytest.raises(Suspended):
        ward.ask(profiles(1, 3), first=60)
    (alert,) = seen.alerts
    assert (alert.response, alert.suspension) == (Response.SUSPEND, seen.suspended.id)
    assert finding_of(ward.ledger, seen.suspended) == seen.recorded
    assert _look(ward).suspended is None

    member = ward.ledger.people.actor(caller(Role.COLLEGE, next(iter(QUORUM))))
    versions.resume(ward.ledger, member, name=NAME, reason="the new machine was calibrated")
    # It knew of this drift; what it has not seen stops the model again.
    assert _look(ward).suspended is None
    versions.standing(ward.ledger, NAME).check_serving()
    moved = _shifted(60, 5)
    moved[:, 2] -= 4
    ward.ask(moved, first=60)
    again = _look(ward)
    assert again.recorded is not None
    assert again.suspended is not None
    report = verify_home(ward.home)
    assert not report.findings, report.findings


def test_a_look_that_was_cut_short_after_its_finding_is_made_up_for(ward: Ward) -> None:
    ward.ask(_shifted(60, 2))
    monitor = ward.actor(Role.MONITOR)
    # A look whose window ends somewhere records its finding and follows no policy.
    cut = look(ward.ledger, ward.home, monitor, NAME, Bounds(until=ward.ledger.now() + 1))
    assert cut.recorded is not None
    assert cut.suspended is None
    versions.standing(ward.ledger, NAME).check_serving()
    seen = _look(ward)
    assert seen.recorded is None
    assert seen.suspended is not None
    assert finding_of(ward.ledger, seen.suspended) == cut.recorded


def test_a_persons_suspension_is_no_policys_whatever_its_words(ward: Ward) -> None:
    ward.ask(_shifted(60, 2))
    found = _look(ward).recorded
    assert found is not None
    member = ward.ledger.people.actor(caller(Role.COLLEGE, next(iter(QUORUM))))
    versions.resume(ward.ledger, member, name=NAME, reason="looked at")
    words = f"Mme ESSAI does not like it (DriftDetected {found.id})"
    stopped = versions.suspend(ward.ledger, ward.actor(Role.CLINICIAN), name=NAME, reason=words)
    assert finding_of(ward.ledger, stopped) is None
    seen = _look(ward)
    assert (seen.suspended, [one.suspension for one in seen.alerts]) == (None, [stopped.id])


def _drifted(*columns: tuple[str, float | None]) -> DriftDetected:
    return DriftDetected(
        cases=60,
        first_index=0,
        last_index=60,
        features=tuple(
            FeatureDrift(feature=name, test="ks", p_value=0.001, threshold=0.01, shift=shift)
            for name, shift in columns
        ),
    )


def _with_rules(served: ServedModel, *rules: Rule) -> Judge:
    monitoring = served.card.monitoring.model_copy(update={"rules": rules})
    return Judge(replace(served, card=served.card.model_copy(update={"monitoring": monitoring})))


def test_the_sternest_rule_that_holds_is_followed_and_none_is_a_record_alone(ward: Ward) -> None:
    judge = Judge(ward.served)
    watched, *_ = (ward.served.contract.names[one] for one in ward.served.reference.important(6))
    other = ward.served.contract.names[int(ward.served.reference.important(12)[-1])]
    assert judge.family(watched) is Family.WATCHED
    assert judge.family(other) is judge.family(f"missing: {other}") is Family.SCREENED
    assert judge.family(LABEL) is judge.family(CONFIDENCE) is Family.ANSWERS
    assert judge.family(UNLIKE) is Family.LIKENESS
    assert judge.family(f"{watched}, hospital QZ") is Family.SUBGROUPS
    assert judge.response(_drifted((watched, -1.5))) is Response.SUSPEND
    assert judge.response(_drifted((watched, 0.5))) is Response.ALERT
    assert judge.response(_drifted((other, 9))) is Response.ALERT
    assert _with_rules(ward.served).response(_drifted((watched, 9))) is Response.RECORD
    two = _with_rules(ward.served, STOPS.model_copy(update={"least_columns": 2}))
    assert two.response(_drifted((watched, 9), (other, 9))) is Response.RECORD
    any_shift = _with_rules(ward.served, Rule(family=Family.WATCHED, then=Response.ALERT))
    assert any_shift.response(_drifted((watched, None))) is Response.ALERT


def test_an_alert_holds_columns_and_nobody(ward: Ward, receiver: Receiver) -> None:
    given = _shifted(60, 2)
    ward.ask(given)
    outbox = Outbox(ward.home)
    outbox.put(_look(ward).alerts)
    outbox.deliver(_webhook(receiver))
    ((headers, body),) = receiver.got
    said = f"{headers} {body.decode()}"
    facts = json.loads(body)
    assert {one["feature"] for one in facts["columns"]} >= {"gene 1"}
    everybody = [ward.information, *ward.others]
    secret = [one.pseudonym for one in everybody] + [one.recorded.id for one in everybody]
    secret += [actor.pseudonym for actor in ward.actors.values()]
    secret += ["ESSAI", "ANNE", "2850100000", "1985-01-01", SECRET]
    assert [one for one in secret if one in said] == []
    numbers = {float(number) for number in re.findall(r"-?\d+\.\d{4,}", said)}
    assert len(numbers) > 1
    assert numbers.isdisjoint(map(float, given.ravel()))
    assert numbers.isdisjoint(float(str(value)) for value in given.ravel())


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("http://alerts.example/x", None),
        ("ftp://alerts.example/x", None),
        ("https:///x", None),
        ("https://alerts.example:port/x", None),
        ("https://alerts.example/x", "short"),
    ],
)
def test_an_address_in_the_clear_or_a_short_secret_is_refused_and_not_repeated(
    url: str, secret: str | None
) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        Webhook(url=url, secret=secret)
    assert "example" not in str(refused.value)
    assert "example" not in repr(Webhook(url="https://alerts.example/token", secret=SECRET))


def _monitor(home: Home, token: str) -> Caller:
    return caller(Role.MONITOR)


def _run(ward: Ward, *arguments: str) -> tuple[int, str]:
    door = typer.Typer()
    door.add_typer(app, name="monitor")
    asked = ["monitor", "run", "--home", str(ward.home.path), "--token", "a token", *arguments]
    result = CliRunner().invoke(door, asked, obj=_monitor)
    return result.exit_code, result.output


class TestWithoutSuspension:
    """A policy that alerts alone: the model goes on answering."""

    @pytest.fixture
    def policy(self) -> MonitoringPolicy:
        return POLICY

    def test_whoever_was_told_of_drift_is_told_of_its_end(
        self, ward: Ward, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GARANT_ALERT_SECRET", SECRET)
        ward.ask(profiles(60, 1))
        ward.ask(_shifted(60, 2), first=60)
        # Nobody is told of this one: there is no address yet.
        assert _run(ward)[0] == 0
        ward.ask(profiles(60, 3), first=120)
        assert "recorded: DriftCleared" in _run(ward, "--alert-url", receiver.url)[1]
        assert receiver.got == []
        ward.ask(_shifted(60, 2), first=180)
        receiver.statuses = [410]
        code, said = _run(ward, "--alert-url", receiver.url)
        assert code == 1
        assert "alert not taken, the next run tries again" in said
        assert "HTTP 410" in said
        receiver.statuses = [204]
        ward.ask(profiles(60, 3), first=240)
        code, said = _run(ward, "--alert-url", receiver.url)
        assert code == 0
        assert said.count("alert taken") == 2
        first, drift, end = _sent(receiver)
        assert first == drift
        assert (drift.type, end.type) == (RecordType.DRIFT_DETECTED, RecordType.DRIFT_CLEARED)
        assert end.ends == (drift.id,)
        assert _run(ward, "--alert-url", receiver.url)[0] == 0
        assert len(receiver.got) == 3
        # Nor is the end of one version's drift told of the next version.
        assert standing.ended(ward.ledger, ward.served, DRIFT) is not None
        assert standing.ended(ward.ledger, replace(ward.served, version="2"), DRIFT) is None

    def test_a_look_at_the_past_alerts_nobody_and_is_no_run_of_today(self, ward: Ward) -> None:
        ward.ask(_shifted(60, 2))
        assert _run(ward, "--until", "2999-01-01")[0] == 0
        assert not (ward.home.monitoring / "runs").exists()
        seen = _look(ward)
        assert isinstance(seen.finding, Drifted)
        assert len(seen.alerts) == 1
