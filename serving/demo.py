"""`garant demo`: the main job from nothing, on a real tumour, each step said in plain words."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from guarantee import college
from guarantee.home import Home
from guarantee.identity import Caller, Profession, Role, ins_key
from guarantee.ledger import Ledger
from guarantee.refusals import AlreadyDone
from guarantee.succession import HomeInUse, succeeding
from guarantee.verify import verify_home
from models import committed, recipes, registry
from models.cohorts import Cohort
from models.promotion import promote_version, record_registration
from serving.auth import Issuer
from serving.errors import ServingError

MODEL: Final = "tumour-origin-microarray"
_LIFETIME: Final = timedelta(hours=12)
# In a home that a demo made, and only there: the service that the last demo started in it.
_MARK: Final = "demo.pid"
_SECONDS_TO_START: Final = 90
_RPPS: Final = "10000000001"
_MATRICULE: Final = "2690549588157"
_PATIENT: Final = {
    "matricule": _MATRICULE,
    "key": ins_key(_MATRICULE),
    "oid": "1.2.250.1.213.1.4.10",
    "birth_name": "NESSI",
    "given_names": "RUTH ISABELLE",
    "birth_date": "1969-05-12",
    "sex": "F",
    "birth_place": "49588",
    "qualified": True,
}
"""Nobody: a test OID, made-up traits."""

_SEATS: Final = {
    Profession.PHYSICIAN: "a physician",
    Profession.PARAMEDIC: "a nurse",
    Profession.PATIENT_REPRESENTATIVE: "a patient representative",
}


class DemoFailed(ServingError):
    """A step did not do what it should; names the step and where to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopFeature:
    """One feature's part in the answer, in log-odds; the value itself stays in the dossier."""

    feature: str
    contribution: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the demo did.

    Attributes:
        decision: What the clinician signed.
        records: How many the log holds now.
        truth: The origin that pathology had established.
        address: Where the service answers, if it was left running.
        process: Its process id.
        tokens: By role, for whoever wants to go on by hand.
    """

    inference_id: str
    model: str
    label: str
    probability: float
    top_features: tuple[TopFeature, ...]
    decision: str
    records: int
    ledger_verified: bool
    truth: str
    tokens: dict[str, str]
    address: str | None = None
    process: int | None = None

    def as_json(self) -> dict[str, object]:
        """The one JSON object; what only a running service has is left out without one."""
        facts = asdict(self)
        if self.address is None:
            for name in ("address", "process", "tokens"):
                del facts[name]
        return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """How the demo speaks: a heading for each step, words below it, a bar for long work."""

    step: Callable[[str], None]
    say: Callable[[str], None]
    bar: Callable[[str], AbstractContextManager[Callable[[int, int | None], None]]]


def clear(home: Home) -> None:
    """Delete the home that an earlier demo made; one that is not there is clear.

    Raises:
        DemoFailed: No demo made it, or a service runs on it; nothing is deleted.
        HomeUnavailable: It cannot be deleted.
    """
    if not home.path.exists() or not any(home.path.iterdir()):
        return
    mark = home.path / _MARK
    if not mark.exists():
        raise DemoFailed(f"{home.path} is not a demo's home: delete it yourself, or name another")
    process = mark.read_text().strip()
    try:
        with succeeding(home):
            shutil.rmtree(home.path)
    except HomeInUse as error:
        stop = f"kill {process}" if process and _runs(int(process)) else "stop it where it runs"
        raise DemoFailed(
            f"a service, or another command, uses {home.path}: nothing was deleted; "
            f"end it first ({stop}), then run the demo again"
        ) from error


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):  # gone, or its number is somebody else's now
        return False
    return True


def run(home: Home, teller: Teller, *, keep: bool) -> Outcome:
    """The main job, each part through the door that its user takes.

    1. The data scientist trains and registers.  2. The college votes.  3. Promotion.
    4. The service starts.  5. The patient is informed.  6. The tumour is scored and explained.
    7. The clinician decides and signs.  8. The patient is told, the truth confirmed.
    9. The ledger is verified.

    Raises:
        CohortUnavailable: There are no tumours: offline, and nothing fetched before.
        DemoFailed: A step did not do what it should.
    """
    if home.lacks_log:
        home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home.path / _MARK).touch()
    issuer = Issuer.open(home)
    tokens = {
        role.value: issuer.issue(role=role, subject=_subject(role), lifetime=_LIFETIME)
        for role in Role
    }
    with Ledger.open(home) as ledger:
        # 1.
        teller.step("A data scientist trains a model on real tumours")
        recipe = recipes.recipe(MODEL)
        teller.say("fetching the tumours of Ramaswamy et al. (PNAS 2001), checked by SHA-256")
        cohort = recipe.cohort(home)
        with teller.bar("training and cross-validating") as progress:
            training = recipe.train(cohort, recipe.parameters, progress)
        accuracy = training.bundle.evaluation.accuracy
        teller.say(
            f"{len(cohort.ids)} tumours of {len(recipe.card().labels)} origins; cross-validated, "
            f"{accuracy.value:.0%} are named right (95 % interval {accuracy.low:.0%} to "
            f"{accuracy.high:.0%}); {len(training.held_out)} tumours were kept aside"
        )
        scientist = issuer.verify_token(tokens[Role.DATA_SCIENTIST])
        registration = registry.register(home, registry.log(home, training))
        record_registration(
            home, ledger, ledger.people.actor(scientist), name=MODEL, version=registration.version
        )
        teller.say(f"registered in MLflow and in the ledger as version {registration.version}")
        for name in committed.names():
            found = registry.register(home, registry.run_to_register(home, name))
            # An earlier demo in this home has put it on record.
            with suppress(AlreadyDone):
                record_registration(
                    home, ledger, ledger.people.actor(scientist), name=name, version=found.version
                )
            teller.say(f"{name}, which comes with Garant, is registered beside it")
        # 2.
        teller.step("The college of human guarantee votes on it")
        for profession, words in _SEATS.items():
            member = _member(issuer, profession)
            _vote(ledger, member, profession, registration.version)
            teller.say(f"{words} votes for it")
        # 3.
        teller.step("The approved version is promoted: from here on it answers")
        promote_version(
            home, ledger, ledger.people.actor(scientist), name=MODEL, version=registration.version
        )
    # 4.
    teller.step("The service starts, on this machine alone")
    service = _start(home, tokens[Role.CLINICIAN])
    left_running = False
    try:
        teller.say(f"documentation of its interface: {service.address}/")
        outcome = _care(
            home,
            teller,
            cohort=cohort,
            held_out=training.held_out,
            address=service.address,
            tokens=tokens,
        )
        left_running = keep
    finally:
        if not left_running:
            service.stop()
    if not keep:
        return outcome
    return replace(outcome, address=service.address, process=service.process.pid)


def _care(
    home: Home,
    teller: Teller,
    *,
    cohort: Cohort,
    held_out: tuple[str, ...],
    address: str,
    tokens: dict[str, str],
) -> Outcome:
    # One of the tumours kept aside, whichever comes.
    tumour = secrets.choice(held_out)
    truth = cohort.labels[cohort.ids.index(tumour)]
    clinician = _Client(address, tokens[Role.CLINICIAN])
    with clinician.connection:
        # 5.
        teller.step("A clinician tells the patient, before anything else, that an AI will be used")
        information = clinician.post(
            "/v1/patients/information",
            {"patient": _PATIENT, "recipient": "patient", "models": [MODEL]},
        )
        teller.say("recorded: without this, the model refuses to answer (CSP L. 4001-3)")
        # 6.
        teller.step("The model reads a tumour that it has never seen")
        answer = clinician.post(
            f"/v1/models/{MODEL}/inferences",
            {
                "information_id": information["information_id"],
                "features": cohort.features_of(tumour),
            },
        )
        inference = str(answer["inference_id"])
        prediction, explanation = answer["prediction"], answer["explanation"]
        abstention, likeliest = prediction["abstention"], prediction["ranking"][0]
        label, probability = str(likeliest["label"]), float(likeliest["probability"])
        top = tuple(
            TopFeature(feature=part["feature"], contribution=part["contribution"])
            for part in explanation["top_features"]
        )
        suggested = f"{likeliest['words']['en']} (probability {probability:.1%})"
        if abstention is None:
            teller.say(f"suggested origin: {suggested}")
        else:
            teller.say(f"{abstention['words']['en']} Most probable: {suggested}")
        for part in top[:5]:
            speaks = "for" if part.contribution > 0 else "against"
            teller.say(f"  {part.feature} speaks {speaks} it ({part.contribution:+.3f} log-odds)")
        teller.say(f"{answer['notice']['en']} / {answer['notice']['fr']}")
        # 7.
        accepts = abstention is None and label == truth
        decision = "accepted" if accepts else "overridden"
        teller.step("The clinician decides, and signs")
        taken = {"decision": decision}
        if decision == "overridden":
            taken |= {"label": truth, "reason": "Pathology of the primary tumour says otherwise."}
        clinician.post(f"/v1/inferences/{inference}/decision", taken)
        known = recipes.recipe(MODEL).card().label(truth).words.en
        teller.say(
            "the suggestion is accepted"
            if decision == "accepted"
            else f"the suggestion is overridden: the origin is {known}"
        )
        # 8.
        teller.step("The patient is told, and later the truth is confirmed")
        clinician.post(
            f"/v1/inferences/{inference}/told",
            {
                "recipient": "patient",
                "interpretation": "L'origine de votre tumeur vous a été expliquée, et la part "
                "qu'un programme informatique y a prise.",
            },
        )
        clinician.post(
            f"/v1/inferences/{inference}/outcome", {"label": truth, "source": "pathology"}
        )
        teller.say(f"pathology had established: {known}")
    # 9.
    teller.step("The ledger is verified: every record, every body, every step")
    report = verify_home(home)
    teller.say(
        f"{report.size} records verified, {report.anchor}"
        if report.verified
        else "; ".join(str(finding) for finding in report.findings)
    )

    return Outcome(
        inference_id=inference,
        model=MODEL,
        label=label,
        probability=probability,
        top_features=top,
        decision=decision,
        records=report.size,
        ledger_verified=report.verified,
        truth=truth,
        tokens=tokens,
    )


def _subject(role: Role) -> str:
    return {
        Role.CLINICIAN: _RPPS,
        Role.COLLEGE: f"demo-{Profession.PHYSICIAN}",
    }.get(role, f"demo-{role}")


def _member(issuer: Issuer, profession: Profession) -> Caller:
    token = issuer.issue(role=Role.COLLEGE, subject=f"demo-{profession}", lifetime=_LIFETIME)
    return issuer.verify_token(token)


def _vote(ledger: Ledger, caller: Caller, profession: Profession, version: str) -> None:
    actor = ledger.people.actor(caller)
    # Seated already where an earlier demo ran in this home.
    with suppress(AlreadyDone):
        college.appoint(ledger, actor, member=actor, profession=profession)
    college.vote(ledger, actor, name=MODEL, version=version, in_favour=True)


class _Client:
    """A clinician's software: one token, and an idempotency key for every act."""

    def __init__(self, address: str, token: str) -> None:
        self.connection = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
            trust_env=False,
        )

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        reply = self.connection.post(
            path, json=body, headers={"Idempotency-Key": secrets.token_hex(16)}
        )
        if reply.status_code != httpx.codes.CREATED:
            problem = reply.json()
            raise DemoFailed(f"POST {path}: {reply.status_code} {problem.get('detail')}")
        answered: dict[str, Any] = reply.json()
        return answered


@dataclass(frozen=True, slots=True)
class _Service:
    address: str
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """End the service and its workers."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _start(home: Home, token: str) -> _Service:
    # Another program may take the port between our look and the service's: then the next one.
    for _ in range(3):
        service = _started(home, _free_port(), token)
        if service is not None:
            return service
    raise DemoFailed(f"the service ended at once; see {home.path / 'service.log'}")


def _started(home: Home, port: int, token: str) -> _Service | None:
    """The service once it is ready; none where it ended by itself.

    It alone knows `token`: what answers there may be another home's, and ours about to end.
    """
    ours = {"Authorization": f"Bearer {token}"}
    log = home.path / "service.log"
    # It starts in another folder.
    command = [sys.executable, "-m", "garant", "serve", "--home", str(home.path.resolve())]
    with open(log, "ab", opener=_for_its_owner) as written:  # a path has none
        process = subprocess.Popen(  # noqa: S603  # our own command, no shell
            [*command, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
            cwd=Path(__file__).parent.parent,
        )
    service = _Service(f"http://127.0.0.1:{port}", process)
    if (home.path / _MARK).exists():
        (home.path / _MARK).write_text(f"{process.pid}\n")
    for _ in _waiting(_SECONDS_TO_START):
        if process.poll() is not None:
            return None
        try:
            ready = httpx.get(f"{service.address}/readyz", trust_env=False)
            known = httpx.get(f"{service.address}/v1/models", headers=ours, trust_env=False)
            if ready.is_success and known.is_success:
                return service
        except httpx.TransportError:
            continue
    service.stop()
    raise DemoFailed(f"the service was not ready within {_SECONDS_TO_START} s; see {log}")


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _waiting(seconds: int) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.1)


def _free_port() -> int:
    for wanted in (3000, 0):
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port: int = candidate.getsockname()[1]
            return port
    raise DemoFailed("no port is free on this machine")
