"""The monitoring's figures: python tests/benchmarks/monitoring.py [--quick] [--only FIGURE]

`garant monitor run` as cron starts it, a process of its own: its imports count. It reads vaulted
inferences of a real log, one a patient; of their answers, the explanations alone are made up.
"""

import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from numpy.typing import NDArray

from guarantee import college, versions
from guarantee.appending import Draft
from guarantee.bodies import Answer, InferenceMade, PatientInformed, Recipient
from guarantee.card import Mode
from guarantee.home import Home
from guarantee.identity import Caller, Profession, Role
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import RecordType, pack_floats
from guarantee.situations import Gate, Step
from guarantee.statements import insert_all
from guarantee.store import KEYS
from guarantee.vault import new_key
from models import bundle, shelf
from models.served import ServedModel
from models.training import Parameters, train
from monitoring import window
from monitoring.window import Bounds
from serving.auth import Issuer
from tests.benchmarks.figures import Figure, options
from tests.models.conftest import card_of, cohort_of
from tests.serving.conftest import GARANT_SERVE, informed, start, stop, token

MODEL = "ten-origins"
LABELS = tuple(f"origin {number}" for number in range(10))
FEATURES = 680
ROOT = Path(__file__).parents[2]


def establish(home: Home, folder: Path) -> ServedModel:
    """A home whose model of 680 features is promoted."""
    cohort = cohort_of(LABELS, each=60, features=FEATURES)
    training = train(cohort, card_of(LABELS, MODEL), Parameters(rounds=20, threads=2))
    digest = bundle.write(training.bundle, folder / "bundle")
    with Ledger.open(home) as ledger:
        scientist = actor(home, ledger, Role.DATA_SCIENTIST)
        versions.register_model(
            ledger, scientist, card=training.bundle.card, version="1", digest=digest, run="run"
        )
        shelf.lay(home, folder / "bundle", name=MODEL, version="1", digest=digest)
        for seat in list(Profession)[:3]:
            member = actor(home, ledger, Role.COLLEGE, f"member-{seat}")
            college.appoint(ledger, member, member=member, profession=seat)
            college.vote(ledger, member, name=MODEL, version="1", in_favour=True)
        versions.promote(ledger, scientist, name=MODEL, version="1")
    return shelf.load(home, name=MODEL, version="1", digest=digest)


def actor(home: Home, ledger: Ledger, role: Role, subject: str = "1") -> Actor:
    issuer = Issuer.open(home)
    return ledger.people.actor(Caller(issuer=issuer.name, subject=subject, role=role))


def met(cases: int, seed: int) -> NDArray[np.float32]:
    """Profiles like those that the model was trained on."""
    draw = np.random.default_rng(seed)
    found = draw.normal(5, 1, (cases, FEATURES)).astype(np.float32)
    found[np.arange(cases), np.arange(cases) % len(LABELS)] += 3
    found[draw.random(found.shape, dtype=np.float32) < 0.1] = np.nan
    return found


def answered(home: Home, served: ServedModel, cases: int) -> None:
    """Record so many inferences, each on a patient of its own."""
    with Ledger.open(home) as ledger:
        clinician = actor(home, ledger, Role.CLINICIAN)
        for start in range(0, cases, 5000):
            some = min(5000, cases - start)
            # Their keys alone: naming each of them would take an hour, and monitoring reads none.
            patients = [secrets.token_hex(16) for _ in range(some)]
            master = ledger.people.master
            with ledger.store.writing() as connection:
                insert_all(
                    connection, KEYS, [(one, master.wrap(new_key(), owner=one)) for one in patients]
                )
            told = ledger.record_all(
                Draft(
                    type=RecordType.PATIENT_INFORMED,
                    actor=clinician,
                    outcome=Gate.INFORMED,
                    body=PatientInformed(
                        recipient=Recipient.PATIENT, leaflet_sha256={MODEL: "ab" * 32}
                    ),
                    sealed_for=one,
                    models=(MODEL,),
                )
                for one in patients
            )
            ids = [one.id for one in told if isinstance(one, Recorded)]
            for outcome in ledger.record_all(
                drafts(served, clinician, patients, ids, met(some, start))
            ):
                if not isinstance(outcome, Recorded):
                    raise outcome


def drafts(
    served: ServedModel,
    clinician: Actor,
    patients: list[str],
    ids: list[str],
    profiles: NDArray[np.float32],
) -> Iterator[Draft]:
    margins = served.margins(profiles)
    probabilities = served.calibration.probabilities(margins)
    for place, (patient, information) in enumerate(zip(patients, ids, strict=True)):
        best = int(probabilities[place].argmax())
        missing = np.flatnonzero(np.isnan(profiles[place]))
        yield Draft(
            type=RecordType.INFERENCE_MADE,
            actor=clinician,
            outcome=Step.ANSWERED,
            body=InferenceMade(
                information_id=information,
                mode=Mode.SHOWN,
                profile=pack_floats(profiles[place]),
                version_digest=served.digest,
                platform="benchmark",
                answer=Answer(
                    label=served.labels[best],
                    probability=float(probabilities[place, best]),
                    probabilities=pack_floats(probabilities[place]),
                    margins=pack_floats(margins[place]),
                    base_values=pack_floats(margins[place]),
                    contributions=pack_floats(np.nan_to_num(profiles[place])),
                    prediction_set=(served.labels[best],),
                    flags=(),
                    missing_features=tuple(served.contract.names[one] for one in missing),
                ),
            ),
            sealed_for=patient,
            opens_dossier=True,
            follows=(information,),
            model=served.name,
            model_version=served.version,
        )


def run(home: Home, cases: int) -> tuple[float, float]:
    """Seconds of one `garant monitor run` over so many cases, and its megabytes at most."""
    program = (
        "import resource, subprocess, sys;"
        "ended = subprocess.run(sys.argv[1:], stdout=sys.stderr);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024);"
        "sys.exit(ended.returncode)"
    )
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", program, *monitor_run(home, cases)],
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.perf_counter() - began
    if ended.returncode or f": {cases} cases" not in ended.stderr:
        raise SystemExit(f"the run failed: {ended.stderr}")
    return taken, float(ended.stdout)


def monitor_run(home: Home, cases: int) -> list[str]:
    command = [sys.executable, "-m", "garant", "monitor", "run", MODEL]
    return [*command, "--last", str(cases), "--home", str(home.path)]


def environment(home: Home) -> dict[str, str]:
    return {**os.environ, "GARANT_TOKEN": token(Issuer.open(home), Role.MONITOR)}


def plainly(home: Home, served: ServedModel, cases: int) -> float:
    """Seconds that Evidently takes over all columns of the same cases, read beforehand."""
    program = """
import sys, time, warnings
import pandas as pd
warnings.simplefilter("ignore")
names, columns = sys.argv[1], sys.argv[2]
began = time.perf_counter()
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
both = [pd.read_pickle(name) for name in (names, columns)]
kinds = DataDefinition(numerical_columns=list(both[0].columns))
expected, met = (Dataset.from_pandas(one, data_definition=kinds) for one in both)
Report([DataDriftPreset(method="ks")], include_tests=True).run(met, expected).get_html_str(
    as_iframe=False
)
print(time.perf_counter() - began)
"""
    import pandas as pd

    with Ledger.open(home) as ledger:
        read = window.read(ledger, served, Bounds(last=cases))
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, rows in (("expected", met(600, 7)), ("met", read.sample.features)):
            files.append(f"{folder}/{name}.pickle")
            pd.DataFrame(rows, columns=list(served.contract.names)).to_pickle(files[-1])
        told = subprocess.run(
            [sys.executable, "-c", program, *files], capture_output=True, text=True, check=True
        )
    return float(told.stdout)


def window_1000x680(home: Home, served: ServedModel, times: int, *, beside: bool) -> Figure:
    seconds = statistics.median(run(home, 1000)[0] for _ in range(times))
    plain = plainly(home, served, 1000) if beside else None
    return Figure(
        figure="window_1000x680",
        ours=seconds,
        reference=plain,
        ratio=seconds / (plain or 15),
        unit="s, imports included; beside Evidently on all columns of cases already read",
        goal="<= 15",
        holds=seconds <= 15,
    )


def memory(home: Home) -> Figure:
    megabytes = run(home, 1000)[1]
    return Figure(
        figure="memory",
        ours=megabytes,
        reference=None,
        ratio=megabytes / 1024,
        unit="MB at most, 1000 cases of 680 features",
        goal="<= 1024",
        holds=megabytes <= 1024,
    )


def window_100000(home: Home, cases: int) -> Figure:
    seconds, megabytes = run(home, cases)
    return Figure(
        figure="window_100000",
        ours=seconds,
        reference=None,
        ratio=seconds / 60,
        unit=f"s at {cases} cases of 680 features, {megabytes:.0f} MB at most",
        goal="<= 60 at 100000",
        holds=seconds <= 60,
    )


def interference(home: Home, served: ServedModel, slices: int, cases: int) -> Figure:
    """Inferences over HTTP, one after another, while runs go on and while none does, in turns."""
    service = start(home, home.path / "service.log", *GARANT_SERVE, "--workers", "1")
    try:
        with service.client(Role.CLINICIAN) as client:
            information = informed(client, MODEL)
            profile = dict(zip(served.contract.names, met(1, 3)[0].tolist(), strict=True))
            asked = {
                "information_id": information,
                "features": {name: value for name, value in profile.items() if np.isfinite(value)},
            }

            def median_until(done: threading.Event, seconds: float) -> float:
                taken = []
                began = time.perf_counter()
                while not done.is_set() and time.perf_counter() - began < seconds:
                    sent = time.perf_counter()
                    client.post(f"/v1/models/{MODEL}/inferences", json=asked).raise_for_status()
                    taken.append(time.perf_counter() - sent)
                return statistics.median(taken)

            never = threading.Event()
            median_until(never, 2)
            pairs = []
            for _ in range(slices):
                done = threading.Event()
                began = time.perf_counter()
                with subprocess.Popen(
                    monitor_run(home, cases),
                    cwd=ROOT,
                    env=environment(home),
                    stdout=subprocess.DEVNULL,
                ) as running:
                    waiting = threading.Thread(target=_told_when_over, args=(running, done))
                    waiting.start()
                    during = median_until(done, 600)
                    waiting.join()
                pairs.append((during, median_until(never, time.perf_counter() - began)))
    finally:
        stop(service)
    ratios = sorted(during / alone for during, alone in pairs)
    draw = np.random.default_rng(0)
    low, high = np.quantile(
        np.median(draw.choice(ratios, (10_000, len(ratios))), axis=1), [0.025, 0.975]
    )
    ratio = statistics.median(ratios)
    return Figure(
        figure="interference",
        ours=1000 * statistics.median(during for during, _ in pairs),
        reference=1000 * statistics.median(alone for _, alone in pairs),
        ratio=ratio,
        unit=f"ms at p50 during runs beside without, ratio's 95 % interval {low:.3f} to {high:.3f}",
        goal="<= 1.15 x",
        holds=ratio <= 1.15,
    )


def _told_when_over(running: "subprocess.Popen[bytes]", done: threading.Event) -> None:
    running.wait()
    done.set()


def main() -> None:
    chosen = options(__doc__ or "")
    cases = 5_000 if chosen.quick else 100_000

    def wanted(figure: str) -> bool:
        return not chosen.only or figure in chosen.only

    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home = Home(root / "home")
        served = establish(home, root)
        answered(home, served, 2000)
        if wanted("window_1000x680"):
            window_1000x680(home, served, 1 if chosen.quick else 3, beside=not chosen.quick).print()
        if wanted("memory"):
            memory(home).print()
        if wanted("interference"):
            interference(home, served, 2 if chosen.quick else 9, 1000).print()
        if wanted("window_100000"):
            answered(home, served, cases)
            window_100000(home, cases).print()


if __name__ == "__main__":
    main()
