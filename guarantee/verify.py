"""The verifier: reads a whole log, believes nothing, and names what is wrong.

    python -m guarantee.verify --home DIR

It needs the base dependencies alone, and changes nothing.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, LargeBinary, cast, select

from guarantee.bodies import BODY_TYPES, SEALED_TYPES
from guarantee.checkpoint import NoteError, Signer, VerifierKey, verify
from guarantee.errors import GuaranteeError
from guarantee.home import Home
from guarantee.ledger import Entry, entries, origin_of, read_head, tiles_of
from guarantee.merkle import Frontier, Hash, leaf_hash
from guarantee.protocol import advance
from guarantee.records import Header, MalformedRecord
from guarantee.refusals import ProtocolError
from guarantee.situations import Remembered
from guarantee.state import stored_situations
from guarantee.store import BODIES, KEYS, PEOPLE, RECORDS, SIGNED, Reader, StoreUnavailable
from guarantee.tiles import WIDTH
from guarantee.vault import (
    CannotOpen,
    KeyUnavailable,
    MasterKey,
    VaultError,
    decrypt,
    digest_of,
    secret_file,
    signing_key,
    unseal,
)

VERIFIED, TAMPERED, COULD_NOT_CHECK = 0, 1, 2
_HASH = 32

CLOCK_TOLERANCE_MS = 1000
"""Records that wait for the same commit may stand in another order than their clocks."""


class CouldNotCheck(GuaranteeError):
    """Something that the verification needs is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        record: The record's id, where one is to blame and its id is known.
        index: Its zero-based place in the log, where that is known.
    """

    problem: str
    record: str | None = None
    index: int | None = None

    def __str__(self) -> str:
        place = [] if self.index is None else [f"index {self.index}"]
        if self.record is not None:
            place.insert(0, f"record {self.record}")
        return f"{', '.join(place)}: {self.problem}" if place else self.problem


@dataclass(slots=True)
class Report:
    """What a verification found.

    Attributes:
        anchor: What the log was compared with.
        size: Records in the log, as its head says.
        findings: What is wrong; none where all is verified.
        remarks: What a reader should know, though nothing is wrong.
    """

    anchor: str
    size: int = 0
    root: Hash = b""
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def found(self, problem: str, *, record: str | None = None, index: int | None = None) -> None:
        """Add a finding."""
        self.findings.append(Finding(problem=problem, record=record, index=index))


Progress = Callable[[int, int], None]
"""Told how many records of how many were read."""


def verify_home(home: Home, progress: Progress = lambda _done, _all: None) -> Report:
    """Verify the log under `home` with the keys that are there.

    Raises:
        CouldNotCheck: There is no log, or its key is missing.
    """
    if home.lacks_log:
        raise CouldNotCheck(f"{home.database} does not exist: name a home with --home")
    key_file = home.keys / "ledger.key"
    if not key_file.exists():
        raise CouldNotCheck(f"{key_file} does not exist: the checkpoint cannot be checked")
    private = signing_key(key_file)
    key = Signer(name=origin_of(private), private=private).verifier_key
    master = _master_key(home)
    report = Report(anchor="consistent with the key in this same home")
    if master is None:
        report.remarks.append("no master key here: bodies' digests were checked, not opened")
    with _reading(home) as connection:
        _Verification(connection, key, master, report, progress).run()
    return report


def _master_key(home: Home) -> MasterKey | None:
    path = home.keys / "master.key"
    return MasterKey(secret_file(path, 32)) if path.exists() else None


@contextmanager
def _reading(home: Home) -> Iterator[Connection]:
    store = Reader.open(home.url)
    try:
        with store.reading() as connection:
            yield connection
    except StoreUnavailable as error:
        raise CouldNotCheck(str(error)) from error
    finally:
        store.close()


class _Verification:
    """One pass over one log.

    1. Re-hash every header; where its leaf is not the tile's, name the record.
    2. Re-hash every body; open what the keys open and check its commitment.
    3. Rebuild the tree; compare every tile, the head and the signed checkpoint.
    4. Find bodies that no record owns, and people whose identity does not open.
    5. Replay the protocol and compare where it led with the stored state.
    """

    def __init__(
        self,
        connection: Connection,
        key: VerifierKey,
        master: MasterKey | None,
        report: Report,
        progress: Progress,
    ) -> None:
        self.connection = connection
        self.key = key
        self.master = master
        self.report = report
        self.progress = progress
        self.state = Remembered()
        self.frontier = Frontier.empty()
        self.roots: dict[int, Hash] = {}
        self.order: list[Finding] = []
        self.read_tile = tiles_of(connection)
        self.tile: list[Hash] = []
        self.data_keys: dict[str, bytes | None] = {}
        self.latest_time = 0

    def run(self) -> None:
        head = read_head(self.connection)
        self.report.size, self.report.root = head.size, head.root
        signed = self._signed_size()
        # 1. and 2.
        for entry in entries(self.connection):
            if entry.index >= head.size:
                self.report.found("stands beyond the head", record=entry.id, index=entry.index)
                continue
            while self.frontier.size < entry.index:
                self._skip_missing()
            self._check(entry)
            if self.frontier.size == signed:
                self.roots[signed] = self.frontier.root
            if entry.index % 1000 == 0:
                self.progress(entry.index, head.size)
        while self.frontier.size < head.size:
            self._skip_missing()
        # 3.
        if self.frontier.root != head.root:
            self.report.found(
                f"the records lead to root {self.frontier.root.hex()}, "
                f"the head says {head.root.hex()}"
            )
        self._check_upper_tiles()
        self._check_signature(signed)
        # 4.
        self._check_orphans()
        self._check_people()
        # 5.
        if self.report.findings:
            if self.order:
                self.report.remarks.append(
                    "the order of steps was not judged, because records were altered"
                )
        else:
            self.report.findings += self.order
            self._check_state()
        self.progress(head.size, head.size)

    def _stored_leaf(self, index: int) -> Hash | None:
        tile, offset = divmod(index, WIDTH)
        if offset == 0 or not self.tile:
            hashes = self.read_tile(0, tile)
            self.tile = [hashes[place : place + _HASH] for place in range(0, len(hashes), _HASH)]
        return self.tile[offset] if offset < len(self.tile) else None

    def _skip_missing(self) -> None:
        index = self.frontier.size
        self.report.found("the record is missing", index=index)
        self.frontier.append(self._stored_leaf(index) or bytes(_HASH))

    def _check(self, entry: Entry) -> None:
        leaf = leaf_hash(entry.header)
        stored_leaf = self._stored_leaf(entry.index)
        # The tile's hash goes on into the tree, so that one altered header is one finding.
        self.frontier.append(stored_leaf or leaf)
        if stored_leaf is None:
            self._blame(entry, "its hash is missing from the tiles")
        elif stored_leaf != leaf:
            self._blame(entry, "the header is not the one that was logged")
        try:
            header = Header.decode(entry.header)
        except MalformedRecord as error:
            if stored_leaf == leaf:
                self._blame(entry, str(error))
            return
        if header.id != entry.id:
            self._blame(entry, "the row names another record than its header")
        if stored_leaf != leaf:
            return
        self._check_body(entry, header)
        if header.time < self.latest_time - CLOCK_TOLERANCE_MS:
            self.report.remarks.append(
                f"record {entry.id}, index {entry.index}: its clock stands "
                f"{self.latest_time - header.time} ms before an earlier record's"
            )
        self.latest_time = max(self.latest_time, header.time)
        try:
            advance(header, self.state)
        except ProtocolError as error:
            self.order.append(Finding(problem=str(error), record=entry.id, index=entry.index))

    def _blame(self, entry: Entry, problem: str) -> None:
        self.report.found(problem, record=entry.id, index=entry.index)

    def _check_body(self, entry: Entry, header: Header) -> None:
        if entry.stored is None:
            self._blame(entry, "the body is missing, and nothing on record says why")
        elif digest_of(entry.stored) != header.vaulted_digest:
            self._blame(entry, "the body is not the one that was recorded")
        elif (header.commitment is None) == (header.type in SEALED_TYPES):
            self._blame(entry, "the body is clear where it should be sealed, or the reverse")
        elif (entry.key_id is None) != (header.commitment is None):
            self._blame(entry, "the row names no key for a sealed body, or one for a clear body")
        elif entry.key_id is None:
            self._check_form(entry, header, entry.stored)
        elif self.master is not None and header.commitment is not None:
            self._check_commitment(entry, header, entry.key_id, entry.stored)

    def _check_commitment(self, entry: Entry, header: Header, key_id: str, stored: bytes) -> None:
        key = self._data_key(key_id)
        if key is None:
            self._blame(entry, "the key of its patient is missing or altered")
            return
        try:
            body = unseal(key, entry.id, stored, header.commitment or "")
        except VaultError as error:
            self._blame(entry, str(error))
            return
        self._check_form(entry, header, body)

    def _check_form(self, entry: Entry, header: Header, body: bytes) -> None:
        try:
            BODY_TYPES[header.type].model_validate_json(body)
        except ValueError:
            self._blame(entry, f"the body is not that of a {header.type}")

    def _data_key(self, key_id: str) -> bytes | None:
        if key_id not in self.data_keys:
            wrapped = self.connection.scalar(
                select(cast(KEYS.c.wrapped, LargeBinary)).where(KEYS.c.id == key_id)
            )
            try:
                opened = (
                    self.master.unwrap(wrapped, owner=key_id)
                    if wrapped is not None and self.master is not None
                    else None
                )
            except CannotOpen:
                opened = None
            self.data_keys[key_id] = opened
        return self.data_keys[key_id]

    def _check_upper_tiles(self) -> None:
        level, count = 0, self.report.size
        below: Callable[[int, int], bytes] = self.read_tile
        while count:
            for tile in range((count + WIDTH - 1) // WIDTH):
                expected = min(WIDTH, count - tile * WIDTH) * _HASH
                hashes = below(level, tile)
                if len(hashes) != expected:
                    self.report.found(f"tile {level}/{tile} holds {len(hashes)} bytes")
                elif expected == WIDTH * _HASH and not self._carried(level, tile, hashes):
                    self.report.found(
                        f"tile {level + 1}/{tile // WIDTH} is not over {level}/{tile}"
                    )
            level, count = level + 1, count // WIDTH

    def _carried(self, level: int, tile: int, hashes: bytes) -> bool:
        root = _root(hashes)
        above = self.read_tile(level + 1, tile // WIDTH)
        offset = tile % WIDTH * _HASH
        return above[offset : offset + _HASH] == root

    def _signed_size(self) -> int:
        rows = self.connection.execute(
            select(SIGNED.c.size, cast(SIGNED.c.note, LargeBinary).label("note"))
        ).all()
        if len(rows) != 1:
            self.report.found("the signed checkpoint is missing")
            return 0
        self.note: bytes = rows[0].note
        size: int = rows[0].size
        return size

    def _check_signature(self, signed: int) -> None:
        if not hasattr(self, "note"):
            return
        try:
            checkpoint = verify(self.note, self.key)
        except NoteError as error:
            self.report.found(f"the signed checkpoint: {error}")
            return
        root = self.roots.get(signed, Frontier.empty().root)
        if checkpoint.size != signed or checkpoint.size > self.report.size:
            self.report.found(
                f"the checkpoint was signed over {checkpoint.size} records, "
                f"the log holds {self.report.size}"
            )
        elif checkpoint.root != root:
            self.report.found("the signed checkpoint is over other records than these")
        elif checkpoint.size < self.report.size:
            self.report.remarks.append(
                f"the last {self.report.size - checkpoint.size} records are committed and not "
                "signed yet: the service stopped in between, and signs when it opens again"
            )

    def _check_orphans(self) -> None:
        owned = select(RECORDS.c.id)
        statement = select(BODIES.c.record_id).where(BODIES.c.record_id.not_in(owned))
        for record_id in self.connection.scalars(statement):
            self.report.found("a body is left, but its record is missing", record=record_id)

    def _check_people(self) -> None:
        if self.master is None:
            return
        for row in self.connection.execute(
            select(
                PEOPLE.c.pseudonym,
                PEOPLE.c.key_id,
                cast(PEOPLE.c.stored, LargeBinary).label("stored"),
            )
        ):
            key = self._data_key(row.key_id)
            try:
                decrypt(key or b"", row.stored, about=f"identity {row.pseudonym}")
            except CannotOpen as error:
                self.report.found(f"the identity of pseudonym {row.pseudonym}: {error}")

    def _check_state(self) -> None:
        stored = dict(stored_situations(self.connection))
        for place in sorted(stored.keys() | self.state.situations.keys(), key=str):
            if stored.get(place) != self.state.situations.get(place):
                kind, key = place
                self.report.found(
                    f"the stored {kind.__name__.lower()} {key} is not where the records led",
                    record=key if kind.__name__ in {"Dossier", "Information"} else None,
                )


def _root(hashes: bytes) -> Hash:
    frontier = Frontier.empty()
    for place in range(0, len(hashes), _HASH):
        frontier.append(hashes[place : place + _HASH])
    return frontier.root


def print_report(report: Report, write: Callable[[str], None] = print) -> int:
    """Write what was found; returns the exit status that says it."""
    for remark in report.remarks:
        write(f"remark: {remark}")
    for finding in report.findings:
        write(f"TAMPERING: {finding}")
    if report.findings:
        write(f"{len(report.findings)} findings in a log of {report.size} records")
        return TAMPERED
    write(f"verified: {report.size} records, root {report.root.hex()}")
    write(f"{report.anchor}: for more, compare with a checkpoint kept outside the house")
    return VERIFIED


def main(arguments: list[str] | None = None) -> int:
    """Verify from the command line; see the module's first lines."""
    parser = argparse.ArgumentParser(
        prog="python -m guarantee.verify",
        description="Verify a log: exit 0 verified, 1 tampering found, 2 could not check.",
        epilog="example: python -m guarantee.verify --home ~/.garant",
    )
    parser.add_argument("--home", type=Path, required=True, help="the home that holds the log")
    options = parser.parse_args(arguments)
    try:
        return print_report(verify_home(Home(options.home)))
    except (CouldNotCheck, KeyUnavailable, StoreUnavailable) as error:
        print(f"could not check: {error}", file=sys.stderr)  # noqa: T201  # the command's answer
        return COULD_NOT_CHECK


if __name__ == "__main__":
    sys.exit(main())
