"""Backups and restores: whole while serving, believed only when verified, one home or the other."""

import hashlib
import io
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import SimpleQueue as Queue
from pathlib import Path

import pytest
from sqlalchemy import select

from guarantee import custody, erasure, informing, versions
from guarantee.backup import (
    BackupRefused,
    ErasedMeanwhile,
    MalformedBackup,
    Taken,
    read_manifest,
    take_backup,
    unpack,
)
from guarantee.bodies import (
    BackupTaken,
    ErasureGround,
    HoldReason,
    LogOpened,
    PatientErased,
    PatientObjected,
    Recipient,
)
from guarantee.checkpoint import parse, verify, verify_proof
from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger
from guarantee.logged import BodyMissing
from guarantee.merkle import leaf_hash
from guarantee.pen import KEPT_FILE
from guarantee.pseudonyms import UnknownPerson
from guarantee.records import RecordType
from guarantee.refusals import Objected, RoleRefused, Suspended
from guarantee.restore import (
    BackupExpired,
    BackupNotVerified,
    RestoreRefused,
    WouldLose,
    restore,
)
from guarantee.store import BODIES, RECORDS
from guarantee.succession import HomeInUse
from guarantee.verify import Anchors, verify_home
from tests.guarantee.attacker import Row, rewrite
from tests.guarantee.clinic import CARD, Clinic, caller, check_ledger

OPERATOR = caller("operator", Role.INTEGRATOR)


def by_operator(_: Home) -> Caller:
    return OPERATOR


def backed_up(clinic: Clinic, file: Path, **options: bool | int) -> Taken:
    operator = clinic.ledger.people.actor(OPERATOR)
    return take_backup(clinic.home, clinic.ledger, operator, file, **options)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "garant.tar"


def names(file: Path) -> list[str]:
    with tarfile.open(file) as tar:
        return tar.getnames()


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        # Locks, and what a reader leaves beside a database, say nothing.
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm"))
    }


# Taking a backup


def test_a_backup_taken_while_records_arrive_holds_a_log_that_verifies(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    information = clinic.inform()
    going = threading.Event()
    acknowledged: list[str] = []

    def append() -> None:
        while not going.is_set():
            acknowledged.append(clinic.infer(information).id)

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 50:
        time.sleep(0.01)
    before = list(acknowledged)
    taken = backed_up(clinic, file)
    going.set()
    for thread in threads:
        thread.join()
    assert taken.manifest.size < clinic.ledger.head().size
    restored = Home(tmp_path / "restored")
    restore(restored, file)
    check_ledger(restored)
    with Ledger.open(restored) as ledger:
        assert ledger.root(taken.manifest.size).hex() == taken.manifest.root
        for record in before:
            ledger.open_body(ledger.find(record))


def test_a_backup_is_on_record_with_its_digest_before_it_has_its_name(
    clinic: Clinic, file: Path
) -> None:
    size = clinic.ledger.head().size
    taken = backed_up(clinic, file, keep_days=10)
    body = clinic.ledger.open_as(taken.recorded, BackupTaken)
    assert body.sha256 == taken.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (body.size, body.root) == (size, clinic.ledger.root(size).hex())
    assert body.expires == datetime.now(UTC).date() + timedelta(days=10)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert read_manifest(file) == taken.manifest


def test_keys_are_in_a_backup_unless_they_are_to_be_left_out(clinic: Clinic, file: Path) -> None:
    backed_up(clinic, file)
    assert {"keys/ledger.key", "keys/master.key"} <= set(names(file))
    backed_up(clinic, file.with_name("bare.tar"), with_keys=False)
    assert not any(name.startswith("keys") for name in names(file.with_name("bare.tar")))


def test_only_an_operator_takes_a_backup_and_never_over_a_file(clinic: Clinic, file: Path) -> None:
    with pytest.raises(RoleRefused):
        take_backup(clinic.home, clinic.ledger, clinic.clinician, file)
    assert list(file.parent.iterdir()) == []
    file.write_text("somebody else's")
    with pytest.raises(BackupRefused, match="exists"):
        backed_up(clinic, file)
    assert file.read_text() == "somebody else's"
    with pytest.raises(BackupRefused, match="cannot be written"):
        backed_up(clinic, file.parent / "nowhere" / "garant.tar")


def test_an_erasure_knows_until_when_backups_hold_the_patient(clinic: Clinic, file: Path) -> None:
    clinic.whole_dossier()
    taken = backed_up(clinic, file, keep_days=12)
    erased = erase(clinic, 1)
    assert erased.backups_expire == taken.manifest.expires


def test_no_backup_stands_that_holds_a_patient_erased_while_it_was_taken(
    clinic: Clinic, file: Path
) -> None:
    clinic.whole_dossier()

    def erase_meanwhile() -> datetime:
        erase(clinic, 1)
        return datetime.now(UTC)

    operator = clinic.ledger.people.actor(OPERATOR)
    with pytest.raises(ErasedMeanwhile):
        take_backup(clinic.home, clinic.ledger, operator, file, clock=erase_meanwhile)
    assert list(file.parent.iterdir()) == []
    assert not clinic.ledger.latest(RecordType.BACKUP_TAKEN)


# Restoring


def test_a_restored_house_opens_every_body_and_proves_every_receipt_given_before(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    inference = clinic.whole_dossier()
    before = clinic.ledger.receipt(inference)
    old = clinic.ledger.verifier_key
    backed_up(clinic, file)
    home = Home(tmp_path / "restored")
    restored = restore(home, file)
    check_ledger(home)
    again = Clinic.opened(home)
    again.ledger.open_body(again.ledger.find(inference))
    after = again.ledger.receipt(inference)
    assert after.header == before.header
    leaf = leaf_hash(before.header.encode())
    verify_proof(before.proof, leaf=leaf, verifier_key=old)
    verify_proof(after.proof, leaf=leaf, verifier_key=restored.verifier_key)
    again.whole_dossier(2)
    again.ledger.close()
    check_ledger(home)


def test_every_restored_log_goes_on_under_a_key_of_its_own_and_cites_the_old_one(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    clinic.whole_dossier()
    kept = clinic.ledger.checkpoint()
    old = clinic.ledger.verifier_key
    taken = backed_up(clinic, file)
    later = clinic.ledger.checkpoint()
    home = Home(tmp_path / "restored")
    restored = restore(home, file)
    assert restored.origin != old.name
    with Ledger.open(home) as ledger:
        (opened,) = ledger.latest(RecordType.LOG_OPENED)
        body = ledger.open_as(opened, LogOpened)
        assert verify(ledger.checkpoint(), restored.verifier_key).size == opened.index + 1
    assert opened.index == taken.manifest.size
    assert (body.origin, body.size, body.shared) == (old.name, opened.index, opened.index)
    assert body.verifier_key == str(old)
    assert parse(body.checkpoint or "").size == body.size
    # Who kept a checkpoint of the old log can hold it against the new one.
    assert verify_home(home, anchors=Anchors(since=kept.encode())).verified
    lost = verify_home(home, anchors=Anchors(since=later.encode()))
    assert "LogOpened" in str(lost.findings[0])


def test_a_newer_log_is_not_replaced_unless_forced_and_is_then_kept_aside(
    clinic: Clinic, file: Path
) -> None:
    clinic.whole_dossier(1)
    backed_up(clinic, file)
    clinic.whole_dossier(2)
    lost, old = clinic.ledger.head(), clinic.ledger.verifier_key
    clinic.ledger.close()
    before = everything(clinic.home.path)
    with pytest.raises(WouldLose, match=r"is newer .*1 BackupTaken, .*1 InferenceMade"):
        restore(clinic.home, file, identify=by_operator)
    with pytest.raises(RestoreRefused, match="token"):
        restore(clinic.home, file, force=True)
    assert everything(clinic.home.path) == before
    check_ledger(clinic.home)
    restored = restore(clinic.home, file, identify=by_operator, force=True, reason="Disk lost.")
    check_ledger(clinic.home)
    with Ledger.open(clinic.home) as ledger:
        (opened,) = ledger.latest(RecordType.LOG_OPENED)
        body = ledger.open_as(opened, LogOpened)
        assert ledger.people.actor_named(opened.header.actor).subject == OPERATOR.subject
    assert (body.origin, body.size, body.root) == (old.name, lost.size, lost.root.hex())
    assert body.shared == opened.index
    assert body.reason == "Disk lost."
    assert restored.lost[RecordType.INFERENCE_MADE] == 1
    assert restored.aside is not None
    check_ledger(Home(restored.aside))
    with Ledger.open(Home(restored.aside)) as aside:
        assert (aside.head(), aside.verifier_key) == (lost, old)


def test_another_house_s_log_is_not_replaced_unless_forced(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    backed_up(clinic, file)
    other = Clinic.founded(Home(tmp_path / "other"))
    other.ledger.close()
    with pytest.raises(WouldLose, match="another log"):
        restore(other.home, file, identify=by_operator)
    check_ledger(other.home)
    restore(other.home, file, identify=by_operator, force=True)
    check_ledger(other.home)
    with Ledger.open(other.home) as ledger:
        bodies = [ledger.open_as(one, LogOpened) for one in ledger.latest(RecordType.LOG_OPENED)]
    assert [body.origin for body in bodies] == [
        clinic.ledger.verifier_key.name,
        other.ledger.verifier_key.name,
    ]
    assert bodies[1].shared == 0


def test_a_house_is_restored_from_a_backup_of_a_restored_house(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    inference = clinic.whole_dossier()
    kept = clinic.ledger.checkpoint()
    backed_up(clinic, file)
    first = Home(tmp_path / "first")
    restore(first, file)
    again = Clinic.opened(first)
    backed_up(again, file.with_name("second.tar"))
    again.ledger.close()
    second = Home(tmp_path / "second")
    restore(second, file.with_name("second.tar"))
    assert verify_home(second, anchors=Anchors(since=kept.encode())).verified
    # The first backup holds less than the second house: that is seen by the roots, whatever
    # the logs are called.
    with pytest.raises(WouldLose, match="newer"):
        restore(second, file, identify=by_operator)
    with Ledger.open(second) as ledger:
        ledger.open_body(ledger.find(inference))
        assert len(ledger.latest(RecordType.LOG_OPENED)) == 2


def test_a_log_that_cannot_be_read_is_replaced_when_forced(
    file_clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    clinic = file_clinic
    backed_up(clinic, file)
    home = Home(tmp_path / "broken")
    shutil.copytree(clinic.home.path, home.path)
    home.database.write_bytes(b"nothing that a database could be read from" * 1000)
    with pytest.raises(WouldLose, match="cannot be read"):
        restore(home, file, identify=by_operator)
    restored = restore(home, file, identify=by_operator, force=True)
    assert restored.aside is not None
    assert (restored.aside / "ledger.db").read_bytes().startswith(b"nothing")
    check_ledger(home)


def test_an_expired_backup_is_not_restored_unless_forced(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    taken = backed_up(clinic, file, keep_days=1)
    home = Home(tmp_path / "late")

    def late() -> datetime:
        return taken.manifest.taken + timedelta(days=2)

    with pytest.raises(BackupExpired, match=str(taken.manifest.expires)):
        restore(home, file, clock=late)
    assert not home.path.exists()
    restore(home, file, clock=late, force=True)
    check_ledger(home)


def test_nobody_restores_under_a_service_that_runs(clinic: Clinic, file: Path) -> None:
    backed_up(clinic, file)
    with pytest.raises(HomeInUse):
        restore(clinic.home, file, identify=by_operator, force=True)
    clinic.inform()


def test_a_backup_without_keys_needs_those_that_the_house_had(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    inference = clinic.whole_dossier()
    backed_up(clinic, file, with_keys=False)
    home = Home(tmp_path / "restored")
    with pytest.raises(RestoreRefused, match="keys"):
        restore(home, file)
    shutil.copytree(clinic.home.keys, home.keys)
    restore(home, file)
    check_ledger(home)
    with Ledger.open(home) as ledger:
        ledger.open_body(ledger.find(inference))


# Believing a backup


def rewritten(file: Path, change: Callable[[str, bytes], bytes | None], *, digests: bool) -> Path:
    """The backup with its members changed; with digests made to match, if asked."""
    changed = file.with_name("changed.tar")
    kept: dict[str, bytes] = {}
    with tarfile.open(file) as source:
        for member in source:
            opened = source.extractfile(member)
            assert opened is not None
            data = change(member.name, opened.read())
            if data is not None:
                kept[member.name] = data
    if digests:
        kept["digests.json"] = (
            repr(
                {
                    name: hashlib.sha256(data).hexdigest()
                    for name, data in kept.items()
                    if name != "digests.json"
                }
            )
            .replace("'", '"')
            .encode()
        )
    with tarfile.open(changed, "w") as target:
        for name, data in kept.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
    return changed


def test_a_backup_cut_short_or_altered_is_refused_and_changes_nothing(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    clinic.whole_dossier()
    backed_up(clinic, file)
    clinic.ledger.close()
    before = everything(clinic.home.path)
    whole = file.read_bytes()
    cut = file.with_name("cut.tar")
    draw = random.Random(7)
    for size in [0, 1, 511, 512, 5000, *(draw.randrange(len(whole)) for _ in range(10))]:
        # The end of a tar is zeros, which mean nothing.
        cut.write_bytes(whole[:size])
        if b"digests.json" not in whole[:size]:
            with pytest.raises(MalformedBackup):
                restore(clinic.home, cut, identify=by_operator, force=True)
    altered = rewritten(
        file, lambda name, data: data + b" " if name.startswith("keys") else data, digests=False
    )
    with pytest.raises(MalformedBackup, match="keys"):
        restore(clinic.home, altered, identify=by_operator, force=True)
    missing = rewritten(
        file, lambda name, data: None if name == "keys/master.key" else data, digests=False
    )
    with pytest.raises(MalformedBackup, match="missing"):
        restore(clinic.home, missing, identify=by_operator, force=True)
    for name in ("../outside", "/outside", "keys/../../outside", "unknown", "ledger.db-wal"):
        strange = rewritten(
            file,
            lambda member, data, name=name: data,  # type: ignore[misc]
            digests=True,
        )
        with tarfile.open(strange, "a") as tar:
            member = tarfile.TarInfo(name)
            tar.addfile(member, io.BytesIO())
        with pytest.raises(MalformedBackup):
            restore(clinic.home, strange, identify=by_operator, force=True)
    assert not (tmp_path / "outside").exists()
    assert everything(clinic.home.path) == before


def _member(name: str, data: bytes = b"", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for fact, value in facts.items():
        setattr(member, fact, value)
    return member, data


_ELSEWHERE = "/tmp/outside-of-every-home"  # noqa: S108  # must never be made
ODD_MEMBERS: dict[str, list[tuple[tarfile.TarInfo, bytes]]] = {
    "an absolute path": [_member("/keys/master.key", b"x")],
    "a path upwards": [_member("keys/../../outside", b"x")],
    "a path that goes up and comes back": [_member("keys/../keys/more", b"x")],
    "a symbolic link": [_member("keys/link", type=tarfile.SYMTYPE, linkname=_ELSEWHERE)],
    "a link, and a file through it": [
        _member("mlflow/link", type=tarfile.SYMTYPE, linkname="/tmp"),  # noqa: S108
        _member("mlflow/link/outside-of-every-home", b"x"),
    ],
    "a hard link": [_member("keys/link", type=tarfile.LNKTYPE, linkname="keys/master.key")],
    "a character device": [_member("keys/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "a block device": [_member("keys/disk", type=tarfile.BLKTYPE, devmajor=8)],
    "a pipe": [_member("keys/pipe", type=tarfile.FIFOTYPE)],
    "a folder": [_member("keys/more", type=tarfile.DIRTYPE)],
    "a contiguous file": [_member("keys/more", b"x", type=tarfile.CONTTYPE)],
    "a file with holes, of an exabyte": [
        _member(
            "keys/more",
            b"1\n0\n0\n".ljust(512, b"\0"),
            pax_headers={
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": "keys/more",
                "GNU.sparse.realsize": str(1 << 60),
            },
        )
    ],
    "a size that the archive does not have": [_member("keys/more", size=1 << 40)],
    "a size below zero": [_member("keys/more", size=-512)],
    "the same file twice": [_member("mlflow/a", b"x"), _member("mlflow/a", b"x")],
    "the database twice": [_member("ledger.db", b"x")],
    "a file where a folder is": [_member("mlflow/a/b", b"x"), _member("mlflow/a", b"x")],
    "a folder where a file is": [_member("mlflow/a", b"x"), _member("mlflow/a/b", b"x")],
    "a folder's name for a file": [_member("mlflow", b"x")],
    "another name for the same file": [_member("mlflow/./a", b"x")],
    "slashes enough": [_member("mlflow//a", b"x")],
    "an unknown file": [_member("home.lock", b"x")],
    "a log beside the database": [_member("ledger.db-wal", b"x")],
    "what was signed": [_member("keys/ledger.signed", b"x")],
    "no name": [_member("", b"x")],
    "a name too long for any disk": [_member("mlflow/" + "n" * 300, b"x")],
    "a second manifest": [_member("backup.json", b"{}")],
}


@pytest.fixture(scope="module")
def taken_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taken")
    clinic = Clinic.founded(folder / "home")
    backed_up(clinic, folder / "garant.tar")
    clinic.ledger.close()
    return folder / "garant.tar"


def with_members(taken: Path, changed: Path, odd: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """Write a backup with more members, and their digests."""
    with tarfile.open(taken) as source:
        members = [(one, (source.extractfile(one) or io.BytesIO()).read()) for one in source]
    stated = json.loads(members[-1][1])
    for member, data in odd:
        stated[member.name] = hashlib.sha256(data).hexdigest()
    end = _member("digests.json", json.dumps(stated).encode())
    with changed.open("wb") as out:
        for member, data in [*members[:-1], *odd, end]:
            # By hand: `addfile` would write as many bytes as the size says.
            blocks = -(-len(data) // 512) * 512
            out.write(member.tobuf(tarfile.PAX_FORMAT) + data.ljust(blocks, b"\0"))
        out.write(bytes(10240))


def test_a_plain_file_more_in_a_folder_of_the_home_is_restored(
    taken_once: Path, tmp_path: Path
) -> None:
    with_members(taken_once, tmp_path / "changed.tar", [_member("mlflow/a/b", b"x")])
    restore(Home(tmp_path / "home"), tmp_path / "changed.tar")
    assert (tmp_path / "home/mlflow/a/b").read_bytes() == b"x"


@pytest.mark.parametrize("odd", ODD_MEMBERS.values(), ids=ODD_MEMBERS.keys())
def test_an_archive_with_an_odd_member_is_no_backup_and_writes_nothing(
    taken_once: Path, tmp_path: Path, odd: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    changed = tmp_path / "changed.tar"
    with_members(taken_once, changed, odd)
    home = Home(tmp_path / "home")
    with pytest.raises(MalformedBackup):
        restore(home, changed)
    assert everything(home.path) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"home", "changed.tar"}
    assert not Path(_ELSEWHERE).exists()


def test_any_byte_of_a_tar_s_headers_may_be_altered_and_nothing_else_is_raised(
    taken_once: Path, tmp_path: Path
) -> None:
    whole = taken_once.read_bytes()
    with tarfile.open(taken_once) as tar:
        headers = [member.offset for member in tar]
    draw = random.Random(11)
    altered = tmp_path / "altered.tar"
    for turn in range(300):
        changed = bytearray(whole)
        for _ in range(1 + turn % 3):
            at = draw.choice(headers) + draw.randrange(512)
            changed[at] = draw.choice((0, 0x20, 0x30, 0x78, 0x80, 0xFF, draw.randrange(256)))
        for header in headers if turn % 2 else ():
            # With a checksum that fits, so that the field itself is what is odd.
            block = changed[header : header + 512]
            total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
            changed[header + 148 : header + 156] = b"%06o\0 " % total
        altered.write_bytes(changed)
        folder = tmp_path / f"unpacked-{turn}"
        folder.mkdir()
        with suppress(MalformedBackup):
            unpack(altered, folder, lambda _done, _all: None)
        shutil.rmtree(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["altered.tar"]


@pytest.mark.parametrize(
    ("fact", "value", "error"),
    [
        ("origin", "garant.local/another", BackupNotVerified),
        ("size", 3, BackupNotVerified),
        ("root", "ab" * 32, BackupNotVerified),
        ("verifier_key", "garant.local/another+00000000+AAAA", BackupNotVerified),
        ("keys", False, MalformedBackup),
        ("keys", "yes", MalformedBackup),
        ("size", -1, MalformedBackup),
        ("size", 3.5, MalformedBackup),
        ("mlflow", "somewhere", MalformedBackup),
        ("format", "garant backup 2", MalformedBackup),
        ("taken", "yesterday", MalformedBackup),
        ("more", 1, MalformedBackup),
    ],
)
def test_what_a_backup_says_of_itself_is_held_against_the_log_inside(
    taken_once: Path, tmp_path: Path, fact: str, value: object, error: type[Exception]
) -> None:
    copied = tmp_path / "garant.tar"
    shutil.copy(taken_once, copied)

    def change(name: str, data: bytes) -> bytes:
        if name != "backup.json":
            return data
        return json.dumps({**json.loads(data), fact: value}).encode()

    home = Home(tmp_path / "home")
    with pytest.raises(error):
        restore(home, rewritten(copied, change, digests=True))
    assert everything(home.path) == {}


def test_one_backup_restored_twice_makes_two_houses_that_both_cite_it(
    taken_once: Path, tmp_path: Path
) -> None:
    restored = [restore(Home(tmp_path / name), taken_once) for name in ("one", "other")]
    assert restored[0].origin != restored[1].origin
    for name, one in zip(("one", "other"), restored, strict=True):
        check_ledger(Home(tmp_path / name))
        with Ledger.open(Home(tmp_path / name)) as ledger:
            (opened,) = ledger.latest(RecordType.LOG_OPENED)
            assert ledger.open_as(opened, LogOpened).origin == one.manifest.origin
    with pytest.raises(WouldLose, match="newer"):
        restore(Home(tmp_path / "one"), taken_once, identify=by_operator)


def test_a_backup_whose_log_does_not_verify_never_becomes_the_house(
    clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    inference = clinic.whole_dossier()
    backed_up(clinic, file)

    def tamper(name: str, data: bytes) -> bytes:
        if name != "ledger.db":
            return data
        database = tmp_path / "tampered.db"
        database.write_bytes(data)
        with sqlite3.connect(database) as connection:
            connection.execute(
                "UPDATE bodies SET stored = zeroblob(80)"
                " WHERE position = (SELECT position FROM records WHERE id = ?)",
                (inference,),
            )
        connection.close()
        return database.read_bytes()

    altered = rewritten(file, tamper, digests=True)
    home = Home(tmp_path / "restored")
    with pytest.raises(BackupNotVerified, match=inference):
        restore(home, altered)
    assert everything(home.path) == {}


# What a restore must not undo


def erase(clinic: Clinic, number: int) -> PatientErased:
    (pseudonym,) = {
        clinic.ledger.sealed_for(one.id)
        for one in clinic.ledger.latest(RecordType.PATIENT_INFORMED)
        if clinic.ledger.people.patient_named(clinic.ledger.sealed_for(one.id) or "").matricule
        == f"27505751{number:05d}"
    }
    officer = clinic.actor("officer", Role.DPO)
    done = erasure.erase(
        clinic.ledger,
        officer,
        pseudonym=pseudonym or "",
        ground=ErasureGround.COURT_ORDER,
    )
    return clinic.ledger.open_as(done.recorded, PatientErased)


def test_a_patient_erased_since_the_backup_is_erased_again_before_the_house_serves(
    clinic: Clinic, file: Path
) -> None:
    erased, other = clinic.whole_dossier(1), clinic.whole_dossier(2)
    pseudonym = clinic.ledger.sealed_for(erased) or ""
    sealed = bodies_of(clinic, erased)
    backed_up(clinic, file)
    erase(clinic, 1)
    clinic.ledger.close()
    restored = restore(clinic.home, file, identify=by_operator, force=True)
    check_ledger(clinic.home)
    assert restored.repeated == {RecordType.PATIENT_ERASED: 1}
    with Ledger.open(clinic.home) as ledger:
        (again,) = ledger.latest(RecordType.PATIENT_ERASED)
        assert ledger.people.actor_named(again.header.actor).subject == "officer"
        assert ledger.open_as(again, PatientErased).backups_expire == restored.copies_expire
        with pytest.raises(BodyMissing):
            ledger.open_body(ledger.find(erased))
        with pytest.raises(UnknownPerson):
            ledger.people.key(pseudonym)
        ledger.open_body(ledger.find(other))
    if clinic.home.server is None:
        for name, data in everything(clinic.home.path).items():
            assert sealed not in data, name


def bodies_of(clinic: Clinic, record: str) -> bytes:
    with clinic.ledger.store.reading() as connection:
        stored: bytes = connection.execute(
            select(BODIES.c.stored)
            .join(RECORDS, RECORDS.c.position == BODIES.c.position)
            .where(RECORDS.c.id == record)
        ).scalar_one()
    return stored


def test_holds_objections_and_suspensions_since_the_backup_stand_after_it(
    clinic: Clinic, file: Path
) -> None:
    information, held = clinic.inform(1), clinic.inform(2)
    backed_up(clinic, file)
    officer = clinic.actor("officer", Role.DPO)
    pseudonym = clinic.ledger.sealed_for(held) or ""
    custody.hold(clinic.ledger, officer, pseudonym=pseudonym, reason=HoldReason.LITIGATION)
    informing.object_to_use(
        clinic.ledger,
        clinic.clinician,
        information_id=information,
        objection=PatientObjected(recipient=Recipient.PATIENT, statement="No."),
    )
    monitor = clinic.actor("watcher", Role.MONITOR)
    college = clinic.actor("member-physician", Role.COLLEGE)
    clinic.inform(3)
    versions.suspend(clinic.ledger, monitor, name=CARD.name, reason="First.")
    versions.resume(clinic.ledger, college, name=CARD.name, reason="Looked at.")
    versions.suspend(clinic.ledger, monitor, name=CARD.name, reason="Second.")
    clinic.ledger.close()
    restored = restore(clinic.home, file, identify=by_operator, force=True)
    check_ledger(clinic.home)
    assert restored.repeated == {
        RecordType.HOLD_PLACED: 1,
        RecordType.PATIENT_OBJECTED: 1,
        RecordType.MODEL_SUSPENDED: 1,
    }
    again = Clinic.opened(clinic.home)
    with pytest.raises(Objected):
        again.infer(information)
    with pytest.raises(Suspended):
        again.infer(held)
    again.ledger.close()


DAMAGES = {
    "a hold's body": "UPDATE bodies SET stored = zeroblob(80) WHERE position IN"
    " (SELECT position FROM records WHERE type = 'HoldPlaced')",
    "an objection's body": "UPDATE bodies SET stored = zeroblob(80) WHERE position IN"
    " (SELECT position FROM records WHERE type = 'PatientObjected')",
    "every header": "UPDATE records SET header = zeroblob(80)",
    "headers turned into text": "UPDATE records SET header = 'text'",
    "a type": "UPDATE records SET type = 'Nothing' WHERE type = 'HoldPlaced'",
    "the date of a backup": "UPDATE bodies SET stored = zeroblob(80) WHERE position IN"
    " (SELECT position FROM records WHERE type = 'BackupTaken')",
    "people": "UPDATE people SET stored = zeroblob(80)",
    "tiles": "UPDATE tiles SET hashes = zeroblob(7)",
    "the note": "UPDATE signed SET note = x'ff'",
    "a note that nobody signed": "UPDATE signed SET note = replace(note, 'garant', 'granat')",
    "no note": "DELETE FROM signed",
    "the head's root": "UPDATE head SET root = 'text'",
    "the head's size": "UPDATE head SET size = 1 << 62",
    "the head's size, below zero": "UPDATE head SET size = -1",
    "the head's size, in words": "UPDATE head SET size = 'many'",
    "the head's name": "UPDATE head SET origin = x'ff'",
    "no head": "DELETE FROM head",
    "two heads": "INSERT INTO head VALUES ('other', 1, zeroblob(32))",
    "no table": "DROP TABLE records",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_log_that_was_altered_is_replaced_when_forced_and_what_stands_is_repeated(
    taken_of_two: Path, tmp_path: Path, damage: str
) -> None:
    """Whoever can write to the database must not keep the house from being restored."""
    shutil.copytree(taken_of_two, tmp_path / "copy")
    home, file = Home(tmp_path / "copy/home"), tmp_path / "copy/garant.tar"
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute(damage)
    with pytest.raises((WouldLose, RestoreRefused)):
        restore(home, file)
    restored = restore(home, file, identify=by_operator, force=True)
    assert restored.aside is not None
    check_ledger(home)
    with Ledger.open(home) as ledger:
        assert len(ledger.latest(RecordType.INFERENCE_MADE)) == 2
    repeated, doubted = sum(restored.repeated.values()), sum(restored.doubted.values())
    if damage in UNPROVEN:
        assert (repeated, doubted) == UNPROVEN[damage]
    else:
        assert (repeated, doubted) == (3, 0)


UNPROVEN = {
    DAMAGES["a hold's body"]: (2, 1),
    DAMAGES["an objection's body"]: (2, 1),
    DAMAGES["every header"]: (0, 3),
    DAMAGES["headers turned into text"]: (0, 3),
    DAMAGES["a type"]: (2, 0),
    DAMAGES["tiles"]: (0, 3),
    DAMAGES["no table"]: (0, 0),
}
"""Acts repeated, and acts that no signed checkpoint proves any more."""


def test_an_erasure_that_the_house_never_signed_is_not_repeated(
    taken_of_two: Path, tmp_path: Path
) -> None:
    """Whoever can write to the database would else destroy what the backup had saved."""
    shutil.copytree(taken_of_two, tmp_path / "copy")
    home, file = Home(tmp_path / "copy/home"), tmp_path / "copy/garant.tar"

    def forge(rows: list[Row]) -> list[Row]:
        erasure = next(row for row in rows if row.header.type is RecordType.PATIENT_ERASED)
        other = [row for row in rows if row.header.type is RecordType.PATIENT_INFORMED][2]
        forged = erasure.with_body(
            PatientErased(
                ground=ErasureGround.COURT_ORDER, records=(other.header.id,), backups_expire=None
            ).encode()
        )
        header = replace(
            forged.header,
            id=f"{forged.header.id[:-1]}x",
            subject=other.key_id,
            follows=(other.header.id,),
        )
        return [*rows, replace(forged, header=header)]

    rewrite(home, forge)
    restored = restore(home, file, identify=by_operator, force=True)
    assert restored.doubted == {RecordType.PATIENT_ERASED: 1}
    assert restored.repeated[RecordType.PATIENT_ERASED] == 1
    check_ledger(home)
    with Ledger.open(home) as ledger:
        informed = ledger.latest(RecordType.PATIENT_INFORMED)
        assert len(informed) == 3
        ledger.open_body(informed[1])
        ledger.open_body(informed[2])


@pytest.fixture(scope="module")
def taken_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, and a backup of before its last erasure, hold and objection."""
    folder = tmp_path_factory.mktemp("two")
    clinic = Clinic.founded(folder / "home")
    informations = [clinic.inform(number) for number in (1, 2, 3)]
    for information in informations[:2]:
        clinic.infer(information)
    backed_up(clinic, folder / "garant.tar")
    officer = clinic.actor("officer", Role.DPO)
    held = clinic.ledger.sealed_for(informations[1]) or ""
    custody.hold(clinic.ledger, officer, pseudonym=held, reason=HoldReason.LITIGATION)
    informing.object_to_use(
        clinic.ledger,
        clinic.clinician,
        information_id=informations[2],
        objection=PatientObjected(recipient=Recipient.PATIENT),
    )
    erase(clinic, 1)
    clinic.ledger.close()
    return folder


# Killed in the middle


_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "sqlite3.connect"}
_PROCESSES = multiprocessing.get_context("forkserver")


def _restore_and_die(home: Home, file: Path, before: int, changes: "Queue[str]") -> None:
    """Restore, killed before the change of that number; tells each change that it lived to."""
    count = itertools.count()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        # What is kept beside the keys is renamed whenever a head is signed.
        if event in _CHANGES and KEPT_FILE not in str(arguments[:1]):
            if next(count) == before:
                os.kill(os.getpid(), signal.SIGKILL)
            changes.put(event)

    sys.addaudithook(watch)
    restore(home, file, identify=by_operator, force=True)


def _killed(home: Home, file: Path, before: int) -> list[str]:
    changes: Queue[str] = _PROCESSES.SimpleQueue()
    process = _PROCESSES.Process(target=_restore_and_die, args=(home, file, before, changes))
    process.start()
    process.join()
    assert process.exitcode in {0, -signal.SIGKILL}
    told = []
    while not changes.empty():
        told.append(changes.get())
    return told


@pytest.mark.slow
def test_a_restore_killed_at_any_moment_leaves_the_old_house_or_the_new_one(
    file_clinic: Clinic, file: Path, tmp_path: Path
) -> None:
    clinic = file_clinic
    clinic.whole_dossier(1)
    backed_up(clinic, file)
    clinic.whole_dossier(2)
    head, old = clinic.ledger.head(), clinic.ledger.verifier_key.name
    clinic.ledger.close()
    _PROCESSES.set_forkserver_preload([__name__])
    whole = Home(tmp_path / "whole")
    shutil.copytree(clinic.home.path, whole.path)
    changes = _killed(whole, file, -1)
    decided = changes.index("os.rename")
    moments = [*range(0, decided, 5), *range(decided, len(changes))]
    outcomes = []
    for moment in moments:
        home = Home(tmp_path / f"killed-{moment}")
        shutil.copytree(clinic.home.path, home.path)
        assert len(_killed(home, file, moment)) == moment
        half = (home.path / ".restored").exists()
        check_ledger(home)
        with Ledger.open(home) as ledger:
            is_new = ledger.verifier_key.name != old
            assert is_new == bool(ledger.latest(RecordType.LOG_OPENED))
            assert is_new or ledger.head() == head
        outcomes.append((is_new, half))
        # Another attempt goes through, whatever the first one left.
        restore(home, file, identify=by_operator, force=True)
        check_ledger(home)
        shutil.rmtree(home.path)
    assert outcomes == sorted(outcomes, key=lambda outcome: outcome[0])
    assert {(False, False), (True, True), (True, False)} == set(outcomes)
