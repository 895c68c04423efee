"""One content of a home after another, where a server holds the log."""

import os
import shutil
import signal
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from guarantee.backup import take_backup
from guarantee.home import Home
from guarantee.identity import Caller, Role
from guarantee.ledger import Ledger
from guarantee.logged import ForeignLog, LedgerUnavailable
from guarantee.pen import KEPT_FILE
from guarantee.records import RecordType
from guarantee.restore import restore
from tests.guarantee.clinic import Clinic, caller, check_ledger

pytestmark = pytest.mark.slow

OPERATOR = caller("operator", Role.INTEGRATOR)
_PROCESSES = get_context("forkserver")


def by_operator(_: Home) -> Caller:
    return OPERATOR


def backed_up(clinic: Clinic, file: Path) -> Path:
    operator = clinic.ledger.people.actor(OPERATOR)
    take_backup(clinic.home, clinic.ledger, operator, file)
    return file


def test_a_machine_that_still_has_the_old_key_signs_nothing_after_a_restore(
    postgresql_home: Home, tmp_path: Path
) -> None:
    clinic = Clinic.founded(postgresql_home)
    information = clinic.inform()
    file = backed_up(clinic, tmp_path / "garant.tar")
    other = Home(tmp_path / "other machine", postgresql_home.server)
    shutil.copytree(postgresql_home.path, other.path)
    elsewhere = Clinic.opened(other)
    size = elsewhere.ledger.head().size
    clinic.ledger.close()
    restore(clinic.home, file, identify=by_operator, force=True)
    with pytest.raises(LedgerUnavailable, match="start again what serves"):
        elsewhere.infer(information)
    with pytest.raises(ForeignLog):
        elsewhere.ledger.checkpoint()
    elsewhere.ledger.close()
    with pytest.raises(ForeignLog):
        Ledger.open(other)
    check_ledger(clinic.home)
    with Ledger.open(clinic.home) as ledger:
        assert ledger.head().size == size  # LogOpened in the place of BackupTaken
        (opened,) = ledger.latest(RecordType.LOG_OPENED)
        assert opened.index == size - 1


def _restore_and_die(home: Home, file: Path, renames: int) -> None:
    """Restore, killed before the rename of that number."""
    left = iter(range(renames))

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        # What is kept beside the keys is renamed whenever a head is signed.
        switches = event == "os.rename" and KEPT_FILE not in str(arguments[0])
        if switches and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    restore(home, file, identify=by_operator, force=True)


def test_a_restore_onto_a_server_that_was_killed_is_finished_by_whoever_opens_the_home(
    postgresql_home: Home, tmp_path: Path
) -> None:
    _PROCESSES.set_forkserver_preload([__name__])
    clinic = Clinic.founded(postgresql_home)
    clinic.whole_dossier(1)
    file = backed_up(clinic, tmp_path / "garant.tar")
    clinic.whole_dossier(2)
    clinic.ledger.close()
    finished = 0
    for renames in range(20):
        with Ledger.open(clinic.home) as ledger:
            before = ledger.verifier_key.name
        process = _PROCESSES.Process(target=_restore_and_die, args=(clinic.home, file, renames))
        process.start()
        process.join()
        check_ledger(clinic.home)
        with Ledger.open(clinic.home) as ledger:
            assert (ledger.verifier_key.name != before) == (renames > 0)
            assert ledger.latest(RecordType.LOG_OPENED) or not renames
        finished += process.exitcode == 0
        if finished:
            break
    assert finished
    asides = sorted(clinic.home.path.glob("replaced-*"))
    assert len(asides) == renames
    for aside in asides:
        check_ledger(Home(aside))
