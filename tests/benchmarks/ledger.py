"""The ledger's figures: python tests/benchmarks/ledger.py [--quick] [--only FIGURE]

Appends are of vaulted records: a `PatientInformed`, sealed under its patient's key, with its
step of the protocol. Both sides of a figure run in turns in this one process.
"""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from guarantee.appending import Draft
from guarantee.bodies import PatientInformed, Recipient
from guarantee.findings import Report
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.rebuilt import rebuild
from guarantee.records import RecordType
from guarantee.replay import replay
from guarantee.verify import reading
from tests.benchmarks.figures import Figure, alternated, milliseconds, options, rate
from tests.guarantee.clinic import CARD, Clinic, patient
from tests.postgresql import Postgresql

APPENDERS = 8
HEADER_BYTES, BODY_BYTES = b"h" * 450, b"b" * 300


class Bench:
    """A clinic whose appenders each have a patient of their own."""

    def __init__(self, clinic: Clinic) -> None:
        self.clinic = clinic
        self.patients = [clinic.ledger.people.patient(patient(n)) for n in range(APPENDERS)]

    def draft(self, appender: int) -> Draft:
        return Draft(
            type=RecordType.PATIENT_INFORMED,
            actor=self.clinic.clinician,
            outcome="informed",
            body=PatientInformed(
                recipient=Recipient.PATIENT, leaflet_sha256={CARD.name: "ab" * 32}
            ),
            sealed_for=self.patients[appender],
            models=(CARD.name,),
        )

    def appended(self, seconds: float) -> float:
        """Durable records a second by all appenders together."""
        counts = [0] * APPENDERS
        end = time.perf_counter() + seconds

        def append(appender: int) -> None:
            while time.perf_counter() < end:
                self.clinic.ledger.record(self.draft(appender))
                counts[appender] += 1

        threads = [threading.Thread(target=append, args=(n,)) for n in range(APPENDERS)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - began)

    def grown(self, count: int) -> None:
        """Append so many records at once."""
        drafts = (self.draft(number % APPENDERS) for number in range(count))
        for _ in self.clinic.ledger.record_all(drafts):
            pass


@contextmanager
def bench(folder: Path, url: URL | None = None) -> Iterator[Bench]:
    clinic = Clinic.founded(Home(folder) if url is None else Home(folder, url))
    try:
        yield Bench(clinic)
    finally:
        clinic.ledger.close()


class BareSqlite:
    """One row a transaction, WAL, synchronous=FULL."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, header BLOB, body BLOB)")

    def append(self) -> None:
        self.connection.execute("BEGIN")
        self.connection.execute(
            "INSERT INTO log (header, body) VALUES (?, ?)", (HEADER_BYTES, BODY_BYTES)
        )
        self.connection.execute("COMMIT")


class BarePostgresql:
    """The same loop on the same server."""

    def __init__(self, url: URL) -> None:
        self.connection = create_engine(url).connect()
        self.connection.execute(
            text("CREATE TABLE bare (id BIGSERIAL PRIMARY KEY, header BYTEA, body BYTEA)")
        )
        self.connection.commit()

    def append(self) -> None:
        self.connection.execute(
            text("INSERT INTO bare (header, body) VALUES (:header, :body)"),
            {"header": HEADER_BYTES, "body": BODY_BYTES},
        )
        self.connection.commit()


def durable_appends_sqlite(folder: Path, slices: int, seconds: float) -> Figure:
    with bench(folder / "home") as ours:
        bare = BareSqlite(folder / "bare.db")
        median, reference, ratio = alternated(
            lambda: ours.appended(seconds), lambda: rate(bare.append, seconds), slices
        )
    return Figure(
        figure="durable_appends_sqlite",
        ours=median,
        reference=reference,
        ratio=ratio,
        unit="records/s",
        goal=">= 1.0 x a bare sqlite3 loop",
        holds=ratio >= 1.0,
    )


def durable_appends_postgresql(folder: Path, slices: int, seconds: float) -> Figure:
    server = Postgresql.started()
    try:
        with bench(folder / "home", server.database()) as ours:
            bare = BarePostgresql(server.database())
            median, reference, ratio = alternated(
                lambda: ours.appended(seconds), lambda: rate(bare.append, seconds), slices
            )
            bare.connection.close()
    finally:
        server.stop()
    return Figure(
        figure="durable_appends_postgresql",
        ours=median,
        reference=reference,
        ratio=ratio,
        unit="records/s",
        goal=">= 0.8 x the same loop on the same server",
        holds=ratio >= 0.8,
    )


def durable_appends_vs_pymerkle(folder: Path, slices: int, seconds: float) -> Figure:
    from pymerkle import SqliteTree

    with bench(folder / "home") as ours:
        tree = SqliteTree(str(folder / "pymerkle.db"))
        median, reference, ratio = alternated(
            lambda: ours.appended(seconds),
            lambda: rate(lambda: tree.append_entry(HEADER_BYTES), seconds),
            slices,
        )
        tree.con.close()
    return Figure(
        figure="durable_appends_vs_pymerkle",
        ours=median,
        reference=reference,
        ratio=ratio,
        unit="records/s",
        goal=">= 4 x pymerkle's append_entry",
        holds=ratio >= 4,
    )


def bulk_append(folder: Path, count: int) -> Figure:
    with bench(folder / "home") as ours:
        rates = []
        for _ in range(3):
            began = time.perf_counter()
            ours.grown(count)
            rates.append(count / (time.perf_counter() - began))
    median = sorted(rates)[1]
    return Figure(
        figure="bulk_append",
        ours=median,
        reference=None,
        ratio=median / 20_000,
        unit="records/s",
        goal=">= 20000",
        holds=median >= 20_000,
    )


def verification(home: Home, size: int) -> Iterator[Figure]:
    """Each pass of the verifier by itself, in a process of its own that tells its memory."""
    told = subprocess.run(
        [sys.executable, __file__, "--measure-verification", str(home.path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    measured = json.loads(told.stdout)
    yield Figure(
        figure="verify_tree",
        ours=size / measured["tree"],
        reference=None,
        ratio=size / measured["tree"] / 100_000,
        unit="records/s on one core",
        goal=">= 100000",
        holds=size / measured["tree"] >= 100_000,
    )
    for name in ("protocol", "signatures"):
        yield Figure(
            figure=f"verify_{name}",
            ours=size / measured[name],
            reference=None,
            ratio=1.0,
            unit=f"records/s on one core, {measured['notes'][name]}",
            goal="a figure of its own",
            holds=True,
        )
    yield Figure(
        figure="verify_memory",
        ours=measured["memory"],
        reference=None,
        ratio=measured["memory"] / 400,
        unit=f"MB at {size} records",
        goal="< 400 at 1000000 records",
        holds=measured["memory"] < 400,
    )


def measure_verification(home: Home) -> None:
    """What `verification` reads: seconds of each pass and megabytes of the whole."""
    quiet = lambda _done, _all: None  # noqa: E731
    seconds: dict[str, object] = {}
    with reading(home) as log:
        report = Report(anchor="benchmark")
        began = time.process_time()
        tree = rebuild(log, report, quiet)
        seconds["tree"] = time.process_time() - began
        began = time.process_time()
        replay(log, tree, report, quiet)
        seconds["protocol"] = time.process_time() - began
    from guarantee.verify import verify_home

    began = time.process_time()
    whole = verify_home(home)
    rest = time.process_time() - began - float(str(seconds["tree"]))
    seconds["signatures"] = max(rest - float(str(seconds["protocol"])), 1e-9)
    seconds["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds["notes"] = {
        "protocol": "headers read and steps replayed",
        "signatures": "bodies opened, commitments and signatures checked",
    }
    if not whole.verified or not report.verified:
        raise SystemExit("the benchmark's log does not verify")
    sys.stdout.write(json.dumps(seconds))


def proofs(home: Home, size: int) -> Iterator[Figure]:
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1]);"
        "from pathlib import Path; from guarantee.home import Home; from guarantee.ledger import"
        " Ledger\n"
        "ledger = Ledger.open(Home(Path(sys.argv[2])));"
        "record = ledger.page(int(sys.argv[3]), 1)[0].id\n"
        "began = time.perf_counter(); ledger.receipt(record);"
        "print((time.perf_counter() - began) * 1000); ledger.close()"
    )
    cold = []
    for number in range(5):
        told = subprocess.run(
            [
                sys.executable,
                "-c",
                program,
                str(Path(__file__).parents[2]),
                str(home.path),
                str(size * (number + 1) // 7),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        cold.append(float(told.stdout))
    first = sorted(cold)[2]
    yield Figure(
        figure="proof_cold",
        ours=first,
        reference=None,
        ratio=first / 5,
        unit=f"ms at {size} records, first after import",
        goal="<= 5",
        holds=first <= 5,
    )
    with Ledger.open(home) as ledger:
        ids = [ledger.page(size * number // 101, 1)[0].id for number in range(100)]
        source = iter(ids * 3)
        warm = milliseconds(lambda: ledger.receipt(next(source)), 300)
    yield Figure(
        figure="proof_warm",
        ours=warm,
        reference=None,
        ratio=warm,
        unit=f"ms at {size} records",
        goal="<= 1",
        holds=warm <= 1,
    )


def append_growth(folder: Path, large: Bench, size: int, slices: int, seconds: float) -> Figure:
    with bench(folder / "small") as small:
        small.grown(1000)
        median, reference, ratio = alternated(
            lambda: 1e6 / large.appended(seconds), lambda: 1e6 / small.appended(seconds), slices
        )
    return Figure(
        figure="append_growth",
        ours=median,
        reference=reference,
        ratio=ratio,
        unit=f"us a record at {size} records, beside 1000",
        goal="<= 1.2 x",
        holds=ratio <= 1.2,
    )


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--measure-verification":
        measure_verification(Home(Path(sys.argv[2])))
        return
    chosen = options(__doc__ or "")
    size = 20_000 if chosen.quick else 1_000_000
    slices, seconds = (3, 0.6) if chosen.quick else (9, 2.0)

    def wanted(*figures: str) -> bool:
        return not chosen.only or any(figure in chosen.only for figure in figures)

    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def folder(name: str) -> Path:
            (root / name).mkdir()
            return root / name

        for figure in (
            durable_appends_sqlite,
            durable_appends_postgresql,
            durable_appends_vs_pymerkle,
        ):
            if wanted(figure.__name__):
                figure(folder(figure.__name__), slices, seconds).print()
        if wanted("bulk_append"):
            bulk_append(folder("bulk"), 10_000 if chosen.quick else 100_000).print()
            shutil.rmtree(root / "bulk")
        later = ("verify_tree", "verify_protocol", "verify_signatures", "verify_memory")
        if wanted(*later, "proof_cold", "proof_warm", "append_growth"):
            large = folder("large")
            with bench(large / "home") as grown:
                grown.grown(size)
                if wanted("append_growth"):
                    append_growth(large, grown, size, slices, seconds).print()
            home = Home(large / "home")
            with Ledger.open(home) as ledger:
                size = ledger.head().size
            for measured in (*verification(home, size), *proofs(home, size)):
                if wanted(measured.figure):
                    measured.print()


if __name__ == "__main__":
    main()
