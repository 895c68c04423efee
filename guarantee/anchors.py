"""What a log is held against: its key, kept checkpoints, witnesses, timestamps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from guarantee.checkpoint import (
    Checkpoint,
    ForgedNote,
    MalformedNote,
    NoteError,
    UnsignedNote,
    VerifierKey,
    parse,
    verify,
    verify_cosignature,
)
from guarantee.findings import CouldNotCheck, Report
from guarantee.ledger import origin_under
from guarantee.rebuilt import Rebuilt
from guarantee.replay import Opened, Replayed
from guarantee.source import Kept, Source
from guarantee.timestamp import TimestampRefused, check_imprint, verify_timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """What whoever verifies brings along; the more, the more is proven.

    Attributes:
        keys: The log's verifier key as its holder was given it; further ones are of earlier
            logs, which this one goes on from.
        since: A checkpoint kept outside the house, a note.
        witnesses: Keys of cosigners, each of whom must have cosigned a checkpoint.
        authorities: Root certificates of timestamping authorities.
        beside: The checkpoint that the house keeps beside its keys, outside the database.
    """

    keys: tuple[VerifierKey, ...] = ()
    since: bytes | None = None
    witnesses: tuple[VerifierKey, ...] = ()
    authorities: tuple[x509.Certificate, ...] = ()
    beside: bytes | None = None


def check_anchors(
    source: Source,
    tree: Rebuilt,
    replayed: Replayed,
    *,
    keys: Sequence[VerifierKey],
    anchors: Anchors,
    report: Report,
) -> None:
    """Compare the rebuilt tree with every checkpoint at hand.

    1. The last signed checkpoint.
    2. Earlier logs that this one goes on from.
    3. Checkpoints that the house kept, and their timestamps.
    4. The checkpoint kept outside the house.
    5. Witnesses: each has cosigned one of these, and none of their lines is false.

    Args:
        keys: The log's own key first; others are of earlier logs.

    Raises:
        CouldNotCheck: The checkpoint kept outside is no checkpoint.
    """
    held = _Held(tree, replayed.opened, keys, report)
    # 1.
    if source.note is None:
        report.found("the signed checkpoint is missing")
    else:
        held.check(source.note, "the signed checkpoint", own=True)
    if anchors.beside is not None:
        held.check_beside(anchors.beside)
    # 2.
    for opened in replayed.opened:
        held.check_opening(opened)
    # 3.
    untimed = sum(
        not _check_kept(kept, held, anchors.authorities, report) for kept in source.kept()
    )
    if untimed:
        report.remark(
            f"{untimed} timestamps were not checked: name their authority's root with --tsa-root"
        )
    # 4.
    if anchors.since is not None:
        try:
            parse(anchors.since)
        except MalformedNote as error:
            raise CouldNotCheck(f"the kept checkpoint: {error}") from error
        held.check(anchors.since, "the kept checkpoint")
    # 5.
    for witness in anchors.witnesses:
        _check_witness(witness, held.checkpoints, report)


class _Held:
    """Checkpoints held against the tree, one after the other."""

    def __init__(
        self,
        tree: Rebuilt,
        opened: Sequence[Opened],
        keys: Sequence[VerifierKey],
        report: Report,
    ) -> None:
        self.checkpoints: list[Checkpoint] = []
        self._tree = tree
        self._opened = {one.body.origin: one for one in opened}
        self._keys = {key.name: key for key in (*map(_cited_key, opened), *keys) if key}
        self._own = keys[0].name
        self._report = report

    def check(self, note: bytes, what: str, *, own: bool = False) -> None:
        """Check who signed a note, and that the log had that root at that size.

        Args:
            own: Whether it must be this log's; others may be of a log that this one goes on from.
        """
        try:
            checkpoint = self._signed(note, what, own=own)
        except NoteError as error:
            self._report.found(f"{what}: {error}")
            return
        self.checkpoints.append(checkpoint)
        opened = self._opened.get(checkpoint.origin)
        if checkpoint.origin != self._own and opened is not None:
            if checkpoint.size > opened.body.shared:
                self._report.found(
                    f"{what} covers {checkpoint.size} records of {checkpoint.origin}; this log, "
                    f"after a restore, goes on from the first {opened.body.shared} of them: it "
                    "holds the others no longer, as its LogOpened says"
                )
                return
            self._report.remark(
                f"{what} is of {checkpoint.origin}, which this log goes on from after a restore"
            )
        if checkpoint.size > self._tree.size:
            self._report.found(
                f"{what} covers {checkpoint.size} records, the log has {self._tree.size}: "
                "the log was rolled back or cut"
            )
        elif self._tree.root_at(checkpoint.size) != checkpoint.root:
            self._report.found(
                f"{what} is over other records: at {checkpoint.size} records it has root "
                f"{checkpoint.root.hex()}, the log another"
            )
        elif own and checkpoint.size < self._tree.size:
            self._report.remark(
                f"the last {self._tree.size - checkpoint.size} records stand behind the signed "
                "checkpoint, and nobody signed them: the service stopped in between and signs "
                "when it opens, or somebody else wrote them"
            )

    def check_beside(self, note: bytes) -> None:
        """Hold the house's own file against the log; of an earlier log it says nothing."""
        try:
            ours = parse(note).origin == self._own
        except NoteError as error:
            self._report.found(f"the checkpoint beside the keys: {error}")
            return
        if ours:
            self.check(note, "the checkpoint beside the keys")

    def _signed(self, note: bytes, what: str, *, own: bool) -> Checkpoint:
        origin = parse(note).origin
        if origin == self._own or own:
            return verify(note, self._keys[self._own])
        if origin not in self._opened:
            raise UnsignedNote(
                f"it is of log {origin!r}; this is {self._own!r}, and no record says that the "
                "one goes on from the other"
            )
        if origin in self._keys:
            return verify(note, self._keys[origin])
        self._report.remark(
            f"{what} is of an earlier log, whose signature was not checked: give its key, too"
        )
        return parse(note)

    def check_opening(self, opened: Opened) -> None:
        """Check that this log does go on from the one that a `LogOpened` cites."""
        body, at = opened.body, opened.index
        self._report.remark(
            f"index {at}: this log goes on from the first {body.shared} records of {body.origin}, "
            f"which had {body.size}, after a restore: {body.reason}"
        )
        same = body.size != body.shared or self._tree.root_at(body.shared).hex() == body.root
        if body.shared > at or not same:
            self._report.found(f"the log does not go on from {body.origin}", index=at)
        if body.checkpoint is None:
            return
        try:
            cited = self._signed(body.checkpoint.encode(), "the cited checkpoint", own=False)
        except NoteError as error:
            self._report.found(f"the cited checkpoint: {error}", index=at)
            return
        if cited.size <= body.shared and self._tree.root_at(cited.size) != cited.root:
            self._report.found("the cited checkpoint is over other records", index=at)


def _cited_key(opened: Opened) -> VerifierKey | None:
    """The key of the log that ended; none where it is not the one that its origin names."""
    try:
        key = VerifierKey.parse(opened.body.verifier_key or "")
    except MalformedNote:
        return None
    return key if key.name == opened.body.origin == origin_under(key.public) else None


def _check_kept(
    kept: Kept, held: _Held, authorities: Sequence[x509.Certificate], report: Report
) -> bool:
    """Check a kept checkpoint; whether its timestamp, if any, could be checked."""
    what = "a checkpoint that the house kept"
    held.check(kept.note, what)
    if kept.timestamp is None:
        return True
    try:
        if not authorities:
            check_imprint(kept.timestamp, kept.note)
            return False
        at = verify_timestamp(kept.timestamp, kept.note, authorities)
    except TimestampRefused as error:
        report.found(f"{what}: {error}")
        return True
    report.remark(f"{_first_records(kept.note)} stood by {_moment(at)}, says a timestamp")
    return True


def _first_records(note: bytes) -> str:
    try:
        return f"the first {parse(note).size} records"
    except MalformedNote:
        return "a note that is no checkpoint"


def _check_witness(witness: VerifierKey, checkpoints: Sequence[Checkpoint], report: Report) -> None:
    latest: tuple[int, int] | None = None
    for checkpoint in checkpoints:
        try:
            seconds = verify_cosignature(checkpoint, witness)
        except UnsignedNote:
            continue
        except (ForgedNote, MalformedNote) as error:
            report.found(f"the cosignature under {checkpoint.size} records: {error}")
            continue
        latest = max(latest or (0, 0), (checkpoint.size, seconds))
    if latest is None:
        report.found(f"{witness.name} has cosigned none of the checkpoints")
        return
    at = datetime.fromtimestamp(latest[1], UTC)
    report.remark(f"{witness.name} cosigned the first {latest[0]} records on {_moment(at)}")


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
