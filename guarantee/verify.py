"""The verifier: reads a whole log, believes nothing, and names what is wrong.

    python -m guarantee.verify --home DIR
    python -m guarantee.verify --export FILE --key VKEY --since CHECKPOINT_FILE

It needs the base dependencies alone, and changes nothing, but that it finishes a restore which was
cut short. Three passes over the log, each of which can be called alone: `rebuild` hashes, `replay`
follows the protocol, `check_sealed` opens what the keys at hand open and checks signatures.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from guarantee.anchors import Anchors, check_anchors
from guarantee.checkpoint import (
    COSIGNATURE_ED25519,
    ED25519,
    MOST_NOTE_BYTES,
    MalformedNote,
    VerifierKey,
    parse,
)
from guarantee.errors import GuaranteeError
from guarantee.export import ExportedLog, MalformedExport
from guarantee.findings import (
    COULD_NOT_CHECK,
    TAMPERED,
    VERIFIED,
    CouldNotCheck,
    Finding,
    Progress,
    Report,
    print_report,
)
from guarantee.home import Home
from guarantee.keyring import VARIABLE, GivenKeys, keyring_of, opening
from guarantee.ledger import signer_in
from guarantee.pen import KEPT_FILE
from guarantee.rebuilt import rebuild
from guarantee.replay import Replayed, check_registrations, replay
from guarantee.sealed import Custody, check_sealed
from guarantee.source import Source, StoredLog
from guarantee.state import stored_situations
from guarantee.store import Reader, StoreUnavailable
from guarantee.succession import settle
from guarantee.tables import check_copies, check_tables
from guarantee.timestamp import TimestampError, authorities_in
from guarantee.vault import KeyUnavailable, MasterKey

__all__ = [
    "COULD_NOT_CHECK",
    "TAMPERED",
    "VERIFIED",
    "Anchors",
    "CouldNotCheck",
    "Finding",
    "Report",
    "anchors_of",
    "exit_status",
    "main",
    "print_report",
    "verify_export",
    "verify_home",
]

_PASSES = 3
_EXITS = """exit 0 verified; 1 tampering found, which a log that the key given did not sign is, too;
2 could not check: a key, file or database that is missing, unreadable or malformed"""


def verify_home(
    home: Home,
    progress: Progress = lambda _done, _all: None,
    *,
    anchors: Anchors | None = None,
    masters: tuple[MasterKey, ...] | None = None,
) -> Report:
    """Verify the log under `home`; with the keys that are there, unless others are given.

    Args:
        anchors: What else the log is held against.
        masters: Master keys to open bodies with; by default those of the home's keyring.

    Raises:
        CouldNotCheck: There is no log, or no key to check its checkpoint with.
    """
    anchors = anchors or Anchors()
    settle(home)
    if home.lacks_log:
        raise CouldNotCheck(f"{home.database} does not exist: name a home with --home")
    keys = anchors.keys or (_key_in(home),)
    masters = _masters_in(home) if masters is None else masters
    beside = home.keys / KEPT_FILE
    if beside.exists():
        # Before the database: what was signed is never ahead of what was committed.
        anchors = replace(anchors, beside=_small(beside))
    report = _report(anchors)
    try:
        with _connected(home) as connection:
            _verify_database(
                connection,
                keys=keys,
                anchors=anchors,
                masters=masters,
                report=report,
                progress=progress,
            )
    except CouldNotCheck as error:
        if report.verified:
            raise
        report.remark(f"the rest was not checked: {error}")
    return report


def _verify_database(
    connection: Connection,
    *,
    keys: tuple[VerifierKey, ...],
    anchors: Anchors,
    masters: tuple[MasterKey, ...],
    report: Report,
    progress: Progress,
) -> None:
    """Verify a database.

    1. Its pages, tables and cells are what they should be.
    2. The log that it holds.
    3. What stands beside the log: people, keys, idempotency keys, copies of the head.
    4. The stored state; after other findings it would only repeat them.

    Raises:
        CouldNotCheck: There is no log, or the master keys are another vault's.
    """
    # 1.
    check_tables(connection, report)
    # 2.
    log = StoredLog(connection, doubting=True)
    foreign = _foreign(masters, connection)
    masters = () if foreign else masters
    custody = Custody(connection, masters)
    replayed = _verify(
        log,
        keys=keys,
        anchors=anchors,
        custody=custody if masters else None,
        report=report,
        progress=progress,
    )
    if not masters:
        report.remark("no master key here: bodies' digests were checked, not opened")
    # 3.
    custody.check(replayed, report, size=log.size)
    check_copies(log, keys[0].name, report)
    # 4.
    if report.verified:
        _check_state(log, replayed, report)
    if foreign:
        raise CouldNotCheck(foreign)


def _foreign(masters: tuple[MasterKey, ...], connection: Connection) -> str | None:
    """That the variable's master keys are not this vault's, if so.

    Somebody's slip, as likely as not, while a key in the home's own files that opens nothing is
    what was altered, or its vault.
    """
    if not masters or not os.environ.get(VARIABLE):
        return None
    try:
        opening(GivenKeys(masters), connection)
    except KeyUnavailable:
        return f"{VARIABLE} opens nothing in this vault: it holds another one's key"
    return None


def verify_export(
    path: Path,
    progress: Progress = lambda _done, _all: None,
    *,
    anchors: Anchors,
    home: Home | None = None,
) -> Report:
    """Verify an export with a key that its holder was given beforehand.

    Args:
        path: As `guarantee.export.write_export` wrote it.
        anchors: With the log's key; without one, that in `home` is taken.

    Raises:
        CouldNotCheck: The file is no export, or there is no key.
    """
    if not anchors.keys and (home is None or not _key_file(home).exists()):
        raise CouldNotCheck("an export is checked with the log's key: give it with --key")
    keys = anchors.keys or ((_key_in(home),) if home else ())
    with ExportedLog(path) as log:
        report = _report(anchors)
        try:
            _verify(log, keys=keys, anchors=anchors, custody=None, report=report, progress=progress)
        except MalformedExport as error:
            report = Report(anchor="", size=log.size)
            report.found(f"{path.name}: {error}")
        return report


@contextmanager
def reading(home: Home) -> Iterator[StoredLog]:
    """The log under `home`, in one consistent view.

    Raises:
        CouldNotCheck: The database cannot be read.
    """
    with _connected(home) as connection:
        yield StoredLog(connection)


@contextmanager
def _connected(home: Home) -> Iterator[Connection]:
    try:
        store = Reader.open(home.url)
        try:
            with store.reading() as connection:
                yield connection
        finally:
            store.close()
    except StoreUnavailable as error:
        raise CouldNotCheck(str(error)) from error


def _verify(
    source: Source,
    *,
    keys: tuple[VerifierKey, ...],
    anchors: Anchors,
    custody: Custody | None,
    report: Report,
    progress: Progress,
) -> Replayed:
    """Verify what every source holds.

    1. Hash the records and rebuild the tree.
    2. Replay the protocol.
    3. Hold the tree against checkpoints, and people's keys against the log's own name.
    4. Open sealed bodies, and check signatures.
    """

    def part(number: int) -> Progress:
        return lambda done, size: progress(number * size + done, _PASSES * size)

    # 1.
    tree = rebuild(source, report, part(0))
    # 2.
    replayed = replay(source, tree, report, part(1))
    # 3.
    check_anchors(source, tree, replayed, keys=keys, anchors=anchors, report=report)
    check_registrations(replayed, keys[0].name, report)
    # 4.
    check_sealed(source, tree, replayed, custody=custody, report=report, progress=part(2))
    progress(_PASSES * tree.size, _PASSES * tree.size)
    return replayed


def _report(anchors: Anchors) -> Report:
    """What a report says of its anchors where nothing is wrong.

    Raises:
        CouldNotCheck: The kept checkpoint is no checkpoint.
    """
    words = (
        "signed by the key given" if anchors.keys else "consistent with the key in this same home"
    )
    if anchors.since is None:
        return Report(anchor=words)
    try:
        size = parse(anchors.since).size
    except MalformedNote as error:
        raise CouldNotCheck(f"the kept checkpoint: {error}") from error
    if not size:
        empty = "the kept checkpoint is of an empty log, which says nothing of any record"
        return Report(anchor=f"{words}; {empty}")
    grew = f"the log only grew since the kept checkpoint of {size}"
    return Report(anchor=f"{words}; {grew}", kept=True)


def _key_file(home: Home) -> Path:
    return home.keys / "ledger.key"


def _key_in(home: Home) -> VerifierKey:
    path = _key_file(home)
    if not path.exists():
        raise CouldNotCheck(f"{path} does not exist: give the log's key with --key")
    return signer_in(home).verifier_key


def _masters_in(home: Home) -> tuple[MasterKey, ...]:
    return tuple(keyring_of(home.keys, os.environ).keys())


def _check_state(log: StoredLog, replayed: Replayed, report: Report) -> None:
    """Compare the stored state with where the records led; takes the replayed state apart."""
    for (kind, key), situation in stored_situations(log.connection):
        if situation is None or replayed.state.take(kind, key) != situation:
            _misplaced(kind.__name__, key, report)
    for kind, key in replayed.state.places():
        _misplaced(kind.__name__, key, report)


def _misplaced(kind: str, key: str, report: Report) -> None:
    report.found(
        f"the stored {kind.lower()} {key} is not where the records led",
        record=key if kind in {"Dossier", "Information"} else None,
    )


def anchors_of(
    *,
    keys: tuple[str, ...] = (),
    since: Path | None = None,
    witnesses: tuple[str, ...] = (),
    authorities: Path | None = None,
) -> Anchors:
    """Anchors as they stand in files and on the command line.

    Args:
        keys: vkeys of the log, the present one first.
        since: A checkpoint's file.
        witnesses: vkeys of cosigners.
        authorities: A PEM file of timestamping authorities' roots.

    Raises:
        CouldNotCheck: One of them is not what it should be.
    """
    try:
        return Anchors(
            keys=tuple(_parsed(key, ED25519, "a log's") for key in keys),
            since=_small(since) if since is not None else None,
            witnesses=tuple(_parsed(key, COSIGNATURE_ED25519, "a cosigner's") for key in witnesses),
            authorities=tuple(authorities_in(authorities)) if authorities is not None else (),
        )
    except (MalformedNote, TimestampError, OSError) as error:
        raise CouldNotCheck(str(error)) from error


def _small(path: Path) -> bytes:
    """A note's file, as far as a note can be long."""
    with path.open("rb") as file:
        return file.read(MOST_NOTE_BYTES + 1)


def _parsed(text: str, algorithm: int, whose: str) -> VerifierKey:
    key = VerifierKey.parse(text)
    if key.algorithm != algorithm:
        raise CouldNotCheck(f"{key.name}: {whose} key is of type {algorithm}")
    return key


def exit_status(
    verification: Callable[[], Report],
    *,
    say: Callable[[str], None],
    complain: Callable[[str], None],
) -> int:
    """Verify, say what was found, and give the exit status: 1 for what was found, and only then."""
    try:
        return print_report(verification(), say)
    except (GuaranteeError, OSError) as error:
        complain(f"could not check: {error}")
    except Exception:  # noqa: BLE001  # Python's own status would say that tampering was found
        complain(f"could not check, because of a defect of the verifier:\n{traceback.format_exc()}")
    return COULD_NOT_CHECK


def main(arguments: list[str] | None = None) -> int:
    """Verify from the command line; see the module's first lines."""
    parser = argparse.ArgumentParser(
        prog="python -m guarantee.verify",
        description=f"Verify a log: {_EXITS}.",
        epilog="example: python -m guarantee.verify --export log.garant --key VKEY --since kept",
    )
    parser.add_argument("--home", type=Path, help="the home that holds the log or its key")
    parser.add_argument("--export", type=Path, help="an export to verify, instead of a home")
    parser.add_argument("--key", action="append", default=[], help="the log's verifier key")
    parser.add_argument("--since", type=Path, help="a checkpoint kept outside the house")
    parser.add_argument("--cosigner", action="append", default=[], help="a witness's key")
    parser.add_argument("--tsa-root", type=Path, help="roots of timestamping authorities, PEM")
    options = parser.parse_args(arguments)
    if options.home is None and options.export is None:
        parser.error("name a home with --home, or an export with --export")

    def verification() -> Report:
        server = os.environ.get("GARANT_DATABASE_URL")
        home = Home.named(options.home, server) if options.home is not None else None
        anchors = anchors_of(
            keys=tuple(options.key),
            since=options.since,
            witnesses=tuple(options.cosigner),
            authorities=options.tsa_root,
        )
        if options.export is not None:
            return verify_export(options.export, anchors=anchors, home=home)
        return verify_home(home or Home(Path()), anchors=anchors)

    return exit_status(
        verification,
        say=print,
        complain=lambda words: print(words, file=sys.stderr),  # noqa: T201  # the command's answer
    )


if __name__ == "__main__":
    sys.exit(main())
