"""Lives of a log under struck system calls: run with faults.c loaded, by test_faults.py.

    LD_PRELOAD=faults.so python -m tests.guarantee.faulted FOLDER EVERY

One round is a log's life in which one call is struck, how that life ended, and a second life
without faults in which everything is checked. This plays one round in EVERY, and all those in
which a record might be signed before it is synced; it prints one JSON line a round.
"""

import ctypes
import errno
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from itertools import product
from pathlib import Path
from typing import TypeVar

from guarantee import ledger as ledgers
from guarantee.appending import Request
from guarantee.checkpoint import Signer, parse, verify_proof
from guarantee.databases import StoreUnavailable
from guarantee.home import Home
from guarantee.logged import LedgerUnavailable, read_head, tiles_of
from guarantee.merkle import leaf_hash
from guarantee.store import Reader
from guarantee.tiles import TileReader
from guarantee.vault import VaultError
from guarantee.verify import verify_home
from tests.guarantee.clinic import Clinic

T = TypeVar("T")
SHIM = ctypes.CDLL(None)
SHIM.fault_fired.restype = ctypes.c_char_p
SHIM.fault_call.restype = ctypes.c_char_p


class Kind(IntEnum):
    """What happens to the call that is struck; the numbers are those of faults.c."""

    FAILED = 1
    PERSISTED = 2
    TORN = 3
    KILLED = 4


class End(StrEnum):
    """What follows the first error that is answered."""

    GOES_ON = "goes on"
    STOPS = "stops"
    LOSES_POWER = "loses power"
    OPENS_THEN_LOSES_POWER = "stops, opens again, then loses power"


@dataclass(frozen=True)
class Round:
    """One fault, and what follows."""

    scene: str
    nth: int
    kind: Kind
    error: int
    lasting: bool
    end: End


@dataclass
class Life:
    """What a life said before it ended."""

    acknowledged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fired: str = ""
    ended: bool = False


class Stuck(AssertionError):
    """An error was answered although nothing was wrong any more."""


def arm(nth: int, kind: int = 0, error: int = 0, *, lasting: bool = False) -> None:
    SHIM.fault_arm(ctypes.c_long(nth), kind, error, int(lasting))


def live(home: Path, shadow: Path | None, this: Round, script: "Callable[[Teller], None]") -> Life:
    """Live in a child process; what it says comes back through a pipe, however it ends."""
    ear, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(ear)
            SHIM.fault_scope(str(home).encode(), str(shadow or "").encode())
            arm(this.nth, this.kind, this.error, lasting=this.lasting)
            script(Teller(mouth, stops=this.end is not End.GOES_ON))
            status = 0
        except BaseException:  # noqa: BLE001  # a forked child must not go on as its parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(mouth)
    life = Life()
    with open(ear) as said:  # noqa: PTH123  # a pipe has no path
        for line in said:
            what, value = json.loads(line)
            if what == "fired":
                life.fired = life.fired or value
            else:
                getattr(life, what).append(value)
    _, status = os.waitpid(child, 0)
    life.ended = status == 0
    # 3 is an end after an answered error, 9 the kill that was asked for.
    if os.waitstatus_to_exitcode(status) not in {0, 3, -9}:
        raise Stuck(f"the life broke off with status {status}: {life.errors}")
    return life


class Teller:
    """The mouth of a life; stops it at its first error, if so asked."""

    def __init__(self, pipe: int, *, stops: bool) -> None:
        self._pipe = pipe
        self._stops = stops

    def say(self, what: str, value: object) -> None:
        os.write(self._pipe, json.dumps([what, value]).encode() + b"\n")

    def attempt(self, step: Callable[[], T]) -> T:
        """Try until it succeeds; an error is answered while the fault lasts, and not after."""
        for tries in range(4):
            try:
                return step()
            except (LedgerUnavailable, StoreUnavailable, VaultError, OSError) as error:
                self.say("errors", f"{type(error).__name__}: {error}")
                if self._stops:
                    self._counted()
                    os._exit(3)
                if tries == 1:
                    self._counted()
                    arm(0)
        raise Stuck("errors are still answered after the fault is gone")

    def done(self) -> None:
        self._counted()

    def _counted(self) -> None:
        for nth in range(1, SHIM.fault_seen() + 1):
            self.say("calls", SHIM.fault_call(ctypes.c_long(nth)).decode())
        self.say("fired", SHIM.fault_fired().decode())


def recording(teller: Teller) -> None:
    class Recording(Signer):
        def sign(self, *, size: int, root: bytes) -> str:
            note = Signer.sign(self, size=size, root=root)
            teller.say("notes", note)
            return note

    # Every note that this process signs is told.
    setattr(ledgers, "Signer", Recording)  # noqa: B010  # the name is imported there, not exported


# Scenes


def birth(home: Path) -> "Callable[[Teller], None]":
    """A log is made from nothing."""

    def script(teller: Teller) -> None:
        recording(teller)
        clinic = teller.attempt(lambda: Clinic.opened(home))
        teller.say("acknowledged", teller.attempt(lambda: clinic.register("1")).id)
        clinic.ledger.checkpoint()
        teller.attempt(clinic.ledger.close)
        teller.done()

    return script


def practice(home: Path, information: str) -> "Callable[[Teller], None]":
    """A log is opened, records are appended, something is erased, the log is closed."""

    def script(teller: Teller) -> None:
        recording(teller)
        clinic = teller.attempt(lambda: Clinic.opened(home))

        def request(key: str) -> Request:
            return Request(actor="a", route="r", key=key, content=b"")

        made = teller.attempt(lambda: clinic.infer(information, request=request("infer")))
        teller.say("acknowledged", made.id)
        clinic.ledger.checkpoint()
        teller.say("acknowledged", teller.attempt(lambda: clinic.inform(2)))
        signed = teller.attempt(lambda: clinic.decide(made.id, request=request("decide")))
        teller.say("acknowledged", signed.id)
        clinic.ledger.checkpoint()
        teller.attempt(clinic.ledger.store.forget)
        teller.attempt(clinic.ledger.close)
        teller.done()

    return script


def glimpse(home: Path) -> "Callable[[Teller], None]":
    """The log is opened and its head is signed; then nothing more."""

    def script(teller: Teller) -> None:
        recording(teller)
        Clinic.opened(home).ledger.checkpoint()

    return script


def after(home: Path, before: Life) -> "Callable[[Teller], None]":
    """The second life: all that was acknowledged is there, and the log goes on."""

    def script(teller: Teller) -> None:
        recording(teller)
        clinic = Clinic.opened(home)
        ledger = clinic.ledger
        ledger.checkpoint()
        for record_id in before.acknowledged:
            receipt = ledger.receipt(record_id)
            leaf = leaf_hash(receipt.header.encode())
            verify_proof(receipt.proof, leaf=leaf, verifier_key=ledger.verifier_key)
        version = str(2 + ledger.head().size)
        teller.say("acknowledged", clinic.register(version).id)
        ledger.checkpoint()
        ledger.close()
        teller.done()

    return script


def check_notes(home: Home, notes: list[str]) -> None:
    """Every note ever signed is over a prefix of the log, so any two of them are consistent."""
    reader = Reader.open(home.url)
    with reader.reading() as connection:
        tree = TileReader(tiles_of(connection))
        origin = parse(notes[0]).origin
        size = read_head(connection, origin).size
        for note in notes:
            checkpoint = parse(note)
            assert checkpoint.origin == origin
            assert checkpoint.size <= size, "a signed checkpoint is over more than the log"
            assert tree.root(checkpoint.size) == checkpoint.root, "two checkpoints are inconsistent"
    reader.close()


# Rounds


@dataclass
class Stage:
    """The folders, and the scenes that start from them."""

    folder: Path

    def __post_init__(self) -> None:
        self.home, self.shadow = self.folder / "home", self.folder / "shadow"
        template = Clinic.founded(self.folder / "template")
        self.information = template.inform()
        template.ledger.close()

    def set(self, scene: str) -> "Callable[[Teller], None]":
        for folder in (self.home, self.shadow):
            shutil.rmtree(folder, ignore_errors=True)
            if scene == "birth":
                (folder / "keys").mkdir(parents=True)
            else:
                shutil.copytree(self.folder / "template", folder)
        return birth(self.home) if scene == "birth" else practice(self.home, self.information)

    def calls(self, scene: str) -> list[str]:
        """The calls that a life without faults makes."""
        quiet = Round(scene, 0, Kind.FAILED, 0, lasting=False, end=End.GOES_ON)
        return live(self.home, self.shadow, quiet, self.set(scene)).calls

    def play(self, this: Round) -> dict[str, object]:
        script = self.set(this.scene)
        first = live(self.home, self.shadow, this, script)
        notes = first.notes
        if this.end is End.OPENS_THEN_LOSES_POWER and not first.ended:
            notes += live(self.home, self.shadow, QUIET, glimpse(self.home)).notes
        if this.end in {End.LOSES_POWER, End.OPENS_THEN_LOSES_POWER} and not first.ended:
            self.lose_power()
        second = live(self.home, None, QUIET, after(self.home, first))
        assert second.ended, f"the second life failed: {second.errors}"
        if first.errors:
            assert first.fired, "an error was answered and nothing was struck"
        report = verify_home(Home(self.home))
        assert report.verified, [str(finding) for finding in report.findings]
        check_notes(Home(self.home), notes + second.notes)
        return {"fired": first.fired, "errors": first.errors[:1], "ended": first.ended}

    def lose_power(self) -> None:
        """Leave what was synced: the files as they were at their last sync."""
        for path in [*self.home.rglob("*")]:
            if path.is_file():
                path.unlink()
        # The index of the write-ahead log is memory; keys are linked whole, after their sync.
        shutil.copytree(self.shadow, self.home, dirs_exist_ok=True)


QUIET = Round("after", 0, Kind.FAILED, 0, lasting=False, end=End.GOES_ON)


def rounds(calls: dict[str, list[str]], every: int) -> Iterator[Round]:
    """Every call, struck in every way: one round in `every`, and the treacherous ones."""
    faults = [
        (Kind.FAILED, errno.EIO, False),
        (Kind.FAILED, errno.ENOSPC, True),
        (Kind.PERSISTED, errno.EIO, False),
        (Kind.TORN, errno.ENOSPC, False),
        (Kind.KILLED, 0, False),
    ]
    ways = [
        (fault, end)
        for fault, end in product(faults, End)
        if fault[0] is not Kind.KILLED or end is not End.GOES_ON
    ]
    number = 0
    for scene, made in calls.items():
        for nth, call in enumerate(made, 1):
            for (kind, error, lasting), end in ways:
                treacherous = (
                    scene == "practice"
                    and call == "fdatasync ledger.db-wal"
                    and kind in {Kind.FAILED, Kind.KILLED}
                    and end is End.OPENS_THEN_LOSES_POWER
                )
                if number % every == 0 or treacherous:
                    yield Round(scene, nth, kind, error, lasting, end)
                number += 1


def main() -> int:
    stage = Stage(Path(sys.argv[1]))
    calls = {scene: stage.calls(scene) for scene in ("birth", "practice")}
    failed = 0
    for this in rounds(calls, int(sys.argv[2])):
        try:
            found = stage.play(this)
        except AssertionError as wrong:
            found = {"wrong": f"{this}: {wrong}"}
            failed += 1
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
