"""Backups: one file with the log, the vault, the keys and the models, taken while serving.

The file is a tar, so that it can be looked into: `backup.json` says what it is, `ledger.db` is
the log as a SQLite file whatever database it came from, folders of the home follow, and
`digests.json` at the end holds the SHA-256 of each. A file that is cut short has no such end.
"""

import errno
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy import Connection, func, select

from guarantee.appending import Draft
from guarantee.bodies import BackupTaken
from guarantee.errors import GuaranteeError
from guarantee.home import Home
from guarantee.keyring import KeyFiles, opening
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.pen import KEPT_FILE
from guarantee.pseudonyms import Actor
from guarantee.records import Header, RecordType
from guarantee.refusals import ProtocolError
from guarantee.store import RECORDS, Reader
from guarantee.succession import FOLDERS, sync_file
from guarantee.transfer import Progress, Standing, copy_out
from guarantee.vault import KeyUnavailable

KEEP_DAYS: Final = 30
_FORMAT: Final = "garant backup 1"
_MANIFEST: Final = "backup.json"
_DATABASE: Final = "ledger.db"
_DIGESTS: Final = "digests.json"
_SQLITE: Final = b"SQLite format 3\x00"
_CHUNK: Final = 1 << 20
_MOST_DIGESTS: Final = 256 << 20
"""Bytes; each file of the home takes about 150."""
_NAMES_AT_FAULT: Final = {
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
}

Bar = Callable[[str], AbstractContextManager[Progress]]
"""A progress bar with that title; told how many of how many are done."""


class BackupError(GuaranteeError):
    """A backup cannot be taken or used."""


class BackupRefused(BackupError):
    """The backup cannot be written as asked; nothing was recorded."""


class MalformedBackup(BackupError):
    """The file is no backup, was cut short, or holds other bytes than were written."""


class ErasedMeanwhile(ProtocolError):
    """A patient was erased while the backup was taken: take it again."""


class Manifest(BaseModel):
    """What a backup is.

    Attributes:
        size: Records in the log; `root` is over them.
        verifier_key: The log's public key; to be believed as far as the file is.
        expires: The last day on which it may be restored.
        mlflow: Where MLflow's folder was; its database holds absolute addresses.
        keys: Whether the home's keys are inside.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["garant backup 1"] = _FORMAT
    origin: str
    size: int = Field(ge=0)
    root: str = Field(pattern=r"^[0-9a-f]{64}$")
    verifier_key: str
    taken: datetime
    expires: date
    mlflow: str = Field(pattern=r"^/[^\x00]*$")
    keys: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A backup that is durable and on record."""

    recorded: Recorded
    manifest: Manifest
    sha256: str


@contextmanager
def no_bar(_title: str) -> Iterator[Progress]:
    """Progress that nobody looks at."""
    yield lambda _done, _all: None


def take_backup(
    home: Home,
    ledger: Ledger,
    actor: Actor,
    file: Path,
    *,
    keep_days: int = KEEP_DAYS,
    with_keys: bool = True,
    bar: Bar = no_bar,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Taken:
    """Write a consistent copy of the house while it serves, and put it on record.

    1. Copy the keys, and the log in one view.  2. Write the file beside its name, and sync it.
    3. Record `BackupTaken`.  4. Give the file its name.
    A stop before 3 leaves a folder named `.NAME.part`, which is no backup; after 3, the whole
    file is in that folder and on record. So every backup that has its name is on record, and an
    erasure knows until when copies stay.

    Args:
        file: Must not exist; readable by its owner alone afterwards.
        keep_days: After so many days it may no longer be restored, and must be deleted.
        with_keys: Without them the file opens nothing; keep the folder of keys elsewhere.

    Raises:
        BackupRefused: The file exists or cannot be written.
        ErasedMeanwhile: A patient was erased between 1 and 3; the file was removed.
        RoleRefused: Backups are taken by integrators.
        LedgerUnavailable: Whether it is on record is unknown; the file was removed.
    """
    if keep_days < 1:
        raise BackupRefused("a backup is kept for a day at least")
    if file.exists():
        raise BackupRefused(f"{file} exists: name another file")
    scratch = file.parent / f".{file.name}.part"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            # 1.
            with bar("copying the log") as progress:
                log = _copy(home, ledger, scratch, progress)
            now = clock()
            manifest = Manifest(
                origin=log.origin,
                size=log.size,
                root=log.root.hex(),
                verifier_key=str(ledger.verifier_key),
                taken=now,
                expires=now.date() + timedelta(days=keep_days),
                mlflow=str(home.mlflow.resolve()),
                keys=with_keys,
            )
            # 2.
            written = scratch / file.name
            with bar("writing the backup") as progress:
                digest = _write(written, home, manifest, scratch, progress)
            # 3.
            recorded = _record(ledger, actor, manifest, digest)
            # 4.
            written.rename(file)
            sync_file(file.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise BackupRefused(f"{file} cannot be written: {error}") from error
    return Taken(recorded=recorded, manifest=manifest, sha256=digest)


def _copy(home: Home, ledger: Ledger, scratch: Path, progress: Progress) -> Standing:
    """Copy the keys, then the log under them; once more where they were rotated in between."""
    try:
        return _copy_once(home, ledger, scratch, progress)
    except KeyUnavailable:
        return _copy_once(home, ledger, scratch, progress)


def _copy_once(home: Home, ledger: Ledger, scratch: Path, progress: Progress) -> Standing:
    shutil.rmtree(scratch / "keys", ignore_errors=True)
    # What was signed by now says nothing of a log as it was: each restore opens another one.
    shutil.copytree(home.keys, scratch / "keys", ignore=shutil.ignore_patterns(f"*{KEPT_FILE}*"))
    (scratch / _DATABASE).unlink(missing_ok=True)
    # What a restore cites of this log is the note in the copy.
    ledger.settle()
    log = copy_out(ledger.store, scratch / _DATABASE, progress)
    keyring = KeyFiles(scratch / "keys")
    # Without any file the master key comes from the environment, and goes into no backup.
    if keyring.keys():
        with closing(Reader.open(scratch / _DATABASE)) as copy, copy.reading() as connection:
            opening(keyring, connection)
    return log


def _record(ledger: Ledger, actor: Actor, manifest: Manifest, digest: str) -> Recorded:
    def nobody_erased(connection: Connection, _: Header) -> None:
        # An erasure states until when backups hold the patient: it must know of this one.
        erased = connection.scalar(
            select(func.count())
            .select_from(RECORDS)
            .where(
                RECORDS.c.position >= manifest.size,
                RECORDS.c.type == RecordType.PATIENT_ERASED.value,
            )
        )
        if erased:
            raise ErasedMeanwhile("a patient was erased while the backup was taken: take it again")

    return ledger.record(
        Draft(
            type=RecordType.BACKUP_TAKEN,
            actor=actor,
            outcome="taken",
            body=BackupTaken(
                size=manifest.size,
                root=manifest.root,
                sha256=digest,
                expires=manifest.expires,
            ),
            act=nobody_erased,
        )
    )


# The file


class _Digested(io.RawIOBase):
    """A file to write, and the SHA-256 of what was written; durable once it is closed."""

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(handle, "wb")
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:  # type: ignore[override]  # tarfile gives bytes
        """Write all of it."""
        self.digest.update(data)
        return self._file.write(data)

    def close(self) -> None:
        """Sync and close."""
        if self.closed:
            return
        super().close()
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


class _Archive:
    """A tar being written; each member's digest is kept for the last one."""

    def __init__(self, tar: tarfile.TarFile, progress: Callable[[int], None]) -> None:
        self._tar = tar
        self._progress = progress
        self.digests: dict[str, str] = {}

    def add_bytes(self, name: str, data: bytes) -> None:
        self._add(name, io.BytesIO(data), len(data))

    def add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as opened:
            self._add(name, opened, os.fstat(opened.fileno()).st_size)

    def _add(self, name: str, source: IO[bytes], size: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        reader = _Reading(source, self._progress)
        self._tar.addfile(member, reader)
        self.digests[name] = reader.digest.hexdigest()


class _Reading(io.RawIOBase):
    """What is read passes by here, once, to be digested and counted."""

    def __init__(self, source: IO[bytes], progress: Callable[[int], None]) -> None:
        self._source = source
        self._progress = progress
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        self._progress(len(data))
        return data


def _write(
    file: Path,
    home: Home,
    manifest: Manifest,
    scratch: Path,
    progress: Progress,
) -> str:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, None)

    with (
        closing(_Digested(file)) as written,
        tarfile.open(fileobj=written, mode="w|", bufsize=_CHUNK) as tar,
    ):
        archive = _Archive(tar, count)
        archive.add_bytes(_MANIFEST, manifest.model_dump_json(indent=1).encode())
        archive.add_file(_DATABASE, scratch / _DATABASE)
        if manifest.keys:
            for path in _files_below(scratch / "keys"):
                archive.add_file(path.relative_to(scratch).as_posix(), path)
        # Of BentoML's home, only its store of models: the rest is made anew.
        for folder in (home.mlflow, home.bentoml / "models", home.monitoring):
            for path in _files_below(folder):
                _add_live(archive, path.relative_to(home.path).as_posix(), path, scratch)
        digests = TypeAdapter(dict[str, str]).dump_json(archive.digests, indent=1)
        archive.add_bytes(_DIGESTS, digests)
    return written.digest.hexdigest()


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _add_live(archive: _Archive, name: str, path: Path, scratch: Path) -> None:
    """Add a file that others may be writing; one that went meanwhile is left out."""
    try:
        with path.open("rb") as opened:
            is_database = opened.read(len(_SQLITE)) == _SQLITE
        if not is_database:
            if not name.endswith(("-wal", "-shm", "-journal")):
                archive.add_file(name, path)
            return
    except FileNotFoundError:
        return
    # MLflow's, which data scientists use meanwhile.
    copied = scratch / "copied.db"
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copied)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        raise BackupRefused(f"{path} cannot be copied: {error}") from error
    archive.add_file(name, copied)
    copied.unlink()


def unpack(file: Path, folder: Path, progress: Progress) -> Manifest:
    """Lay a backup's content out in an empty folder, each file checked against its digest.

    Whatever the archive says, nothing is written outside the folder, nor over a file in it, nor
    more bytes than the archive has. That the content is what was written says nothing yet of
    whether its log can be believed: that is `guarantee.verify`'s to say.

    Raises:
        MalformedBackup: The file is no backup, or was cut short or altered.
        OSError: The folder cannot be written.
    """
    with _archive(file) as tar:
        manifest = Manifest.model_validate_json(_small(tar, _MANIFEST))
        total = file.stat().st_size
        found: dict[str, str] = {}
        stated: dict[str, str] | None = None
        while (member := tar.next()) is not None:
            if stated is not None:
                raise MalformedBackup(f"{file}: {member.name!r} follows the end")
            if member.name == _DIGESTS:
                digests = _content(tar, member, most=_MOST_DIGESTS).read()
                stated = TypeAdapter(dict[str, str]).validate_json(digests)
            else:
                place = _place(folder, member.name)
                found[member.name] = _lay(_content(tar, member), place)
            progress(member.offset_data + member.size, total)
    if stated is None or stated.keys() - {_MANIFEST} != found.keys() or _DATABASE not in found:
        raise MalformedBackup(f"{file} was cut short or altered: files are missing")
    if manifest.keys != any(name.startswith("keys/") for name in found):
        raise MalformedBackup(f"{file} was altered: it says otherwise whether keys are inside")
    altered = sorted(name for name, digest in found.items() if stated[name] != digest)
    if altered:
        raise MalformedBackup(f"{file} was altered: {', '.join(altered[:5])}")
    return manifest


def read_manifest(file: Path) -> Manifest:
    """What a backup says of itself.

    Raises:
        MalformedBackup: The file is no backup.
    """
    with _archive(file) as tar:
        return Manifest.model_validate_json(_small(tar, _MANIFEST))


@contextmanager
def _archive(file: Path) -> Iterator[tarfile.TarFile]:
    """A backup's tar, read from its start to its end.

    Raises:
        MalformedBackup: It cannot be read, or what is in it is not what is expected.
    """
    try:
        opened = file.open("rb")
    except OSError as error:
        raise MalformedBackup(f"{file} cannot be read: {error.strerror}") from error
    with opened:
        try:
            with tarfile.open(fileobj=opened, mode="r|") as tar:
                yield tar
        # tarfile lets through what int() and decode() say of a header's fields.
        except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
            raise MalformedBackup(f"{file} is no backup, or was cut short or altered") from error


def _small(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.next()
    if member is None or member.name != name:
        raise MalformedBackup(f"this is no backup: it does not begin with {name}")
    return _content(tar, member, most=_CHUNK).read()


def _content(
    tar: tarfile.TarFile, member: tarfile.TarInfo, *, most: int | None = None
) -> IO[bytes]:
    """A member's bytes, which it must have as a plain file: no link, device, or file with holes."""
    source = tar.extractfile(member) if member.type == tarfile.REGTYPE else None
    if source is None or member.issparse():
        raise MalformedBackup(f"a backup holds plain files, and {member.name!r} is none")
    if member.size < 0 or (most is not None and member.size > most):
        raise MalformedBackup(f"no backup's {member.name!r} has {member.size} bytes")
    return source


def _place(folder: Path, name: str) -> Path:
    """Where a file goes: the database, or a file somewhere in one of the home's folders.

    What was signed of a log that ended is in no backup, and would be held against the new one.
    """
    path = PurePosixPath(name)
    plain = str(path) == name and ".." not in path.parts
    inside = path.parts[1:] and path.parts[0] in FOLDERS
    if name != _DATABASE and not (plain and inside and not name.startswith(f"keys/{KEPT_FILE}")):
        raise MalformedBackup(f"a backup holds no {name!r}")
    return folder / path


def _lay(source: IO[bytes], path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _NAMES_AT_FAULT:
            raise MalformedBackup(
                f"{path.name!r}, or its folder, is in the backup twice, or cannot be"
            ) from error
        raise
    digest = hashlib.sha256()
    with os.fdopen(handle, "wb") as target:
        while data := source.read(_CHUNK):
            digest.update(data)
            target.write(data)
    return digest.hexdigest()
