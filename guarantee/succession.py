"""One content of a home after another: prepared aside, switched by one rename, then moved in.

The rename decides: before it the home is the old one, after it the new one. A stop in the middle
of the moves that follow is finished by whoever opens the home next.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guarantee.errors import GuaranteeError
from guarantee.home import Home
from guarantee.transfer import copy_in

_LOCK: Final = "home.lock"
_PREPARED: Final = ".restoring"
_DECIDED: Final = ".restored"
_ASIDE: Final = "aside"
_REPLACED: Final = "replaced.db"
FOLDERS: Final = ("keys", "mlflow", "bentoml", "monitoring")
"""What a home holds beside its log, and a successor brings; cohorts can be fetched again."""

# The write-ahead log goes out before its database: it must never meet another one.
_BESIDE: Final = ("ledger.db-wal", "ledger.db-shm")
_DATABASE: Final = "ledger.db"


class HomeUnavailable(GuaranteeError):
    """The home cannot be written."""


class HomeInUse(GuaranteeError):
    """Somebody has the home's log open: stop the service, then try again."""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """That the home stays what it is as long as this is held; the system ends it with us."""

    _lock: int

    def leave(self) -> None:
        """Give the home free."""
        os.close(self._lock)


def enter(home: Home) -> Tenancy:
    """Use the home, with others; a switch that was cut short is finished first.

    Raises:
        HomeUnavailable: The home cannot be written.
    """
    lock = _lock(home)
    try:
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not (home.path / _DECIDED).exists():
                return Tenancy(lock)
            # Nobody else can be inside: they, too, would finish first.
            fcntl.flock(lock, fcntl.LOCK_EX)
            _move_in(home)
    except OSError as error:
        os.close(lock)
        raise HomeUnavailable(f"{home.path} cannot be written: {error}") from error


def settle(home: Home) -> None:
    """Finish a switch that was cut short, for whoever reads the home without opening its log.

    Raises:
        HomeUnavailable: There is one, and the home cannot be written.
    """
    if (home.path / _DECIDED).exists():
        enter(home).leave()


@contextmanager
def succeeding(home: Home) -> Iterator["Succession"]:
    """Have the home alone, to prepare what comes after it.

    Raises:
        HomeInUse: Somebody has its log open.
        HomeUnavailable: It cannot be written.
    """
    lock = _lock(home)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HomeInUse(
                f"somebody has the log in {home.path} open: stop the service first"
            ) from error
        _move_in(home)
        prepared = Home(home.path / _PREPARED)
        # What an earlier attempt left was never the home.
        shutil.rmtree(prepared.path, ignore_errors=True)
        prepared.path.mkdir(mode=0o700)
        try:
            yield Succession(home, prepared)
        finally:
            shutil.rmtree(prepared.path, ignore_errors=True)
    except OSError as error:
        raise HomeUnavailable(f"{home.path} cannot be written: {error}") from error
    finally:
        os.close(lock)


@dataclass(frozen=True, slots=True)
class Succession:
    """A home that one process has alone, and the content prepared for it.

    Attributes:
        prepared: Laid out like a home, inside the home, on the same file system.
    """

    home: Home
    prepared: Home

    @property
    def replaced(self) -> Path:
        """Where to copy the log that a server holds: it is kept aside as `ledger.db`."""
        return self.prepared.path / _REPLACED

    def switch(self, aside: str) -> Path | None:
        """Make the prepared content the home's; return the folder where the old one is kept.

        1. Sync what was prepared.  2. Decide, by one rename.  3. Move the old out, the new in.

        Args:
            aside: Name of a folder for the old content, which the home does not have yet.
        """
        # 1.
        for name in FOLDERS:
            (self.prepared.path / name).mkdir(mode=0o700, exist_ok=True)
        (self.prepared.path / _ASIDE).write_text(aside)
        sync_tree(self.prepared.path)
        # 2.
        self.prepared.path.rename(self.home.path / _DECIDED)
        sync_file(self.home.path)
        # 3.
        _move_in(self.home)
        kept = self.home.path / aside
        return kept if kept.exists() else None


def _move_in(home: Home) -> None:
    """Finish a switch, from wherever it stopped.

    A server's log is replaced in one transaction, which a second time changes nothing.
    """
    decided = home.path / _DECIDED
    if not decided.exists():
        return
    note = decided / _ASIDE
    if note.exists():
        aside = home.path / note.read_text()
        if home.server is not None and (decided / _DATABASE).exists():
            copy_in(decided / _DATABASE, home.server)
            (decided / _DATABASE).unlink()
        # Where the new one is not there any more, it is in, and the old one went out before.
        ready = [name for name in (_DATABASE, *FOLDERS) if (decided / name).exists()]
        for name in (*_BESIDE, *ready):
            if (home.path / name).exists():
                aside.mkdir(mode=0o700, exist_ok=True)
                (home.path / name).rename(aside / name)
            if name in ready:
                (decided / name).rename(home.path / name)
        if (decided / _REPLACED).exists():
            aside.mkdir(mode=0o700, exist_ok=True)
            (decided / _REPLACED).rename(aside / _DATABASE)
        if aside.exists():
            sync_file(aside)
        sync_file(home.path)
        note.unlink()
    shutil.rmtree(decided)
    sync_file(home.path)


def sync_tree(folder: Path) -> None:
    """Make every file and folder below durable, and the folder itself."""
    for path in folder.rglob("*"):
        sync_file(path)
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Make one file, or the names in one folder, durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(home: Home) -> int:
    try:
        home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(home.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HomeUnavailable(f"{home.path} cannot be written: {error}") from error
