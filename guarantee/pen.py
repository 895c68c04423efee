"""The log's key in use: it signs a head only if that extends the last head that it signed.

Whoever can write the database could otherwise have any history signed by the house itself. The
last signed checkpoint is kept beside the keys, outside the database, so that a database that was
put back to an earlier day is seen, too.
"""

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from guarantee.checkpoint import Checkpoint, NoteError, Signer, VerifierKey, verify
from guarantee.logged import Head, LedgerUnavailable
from guarantee.merkle import EMPTY_ROOT
from guarantee.tiles import TileReader

KEPT_FILE: Final = "ledger.signed"
"""In the folder of the keys."""


class Rewritten(LedgerUnavailable):
    """The log no longer is what was signed: nothing is signed or appended; verify it."""


class Behind(LedgerUnavailable):
    """The view is older than what was signed meanwhile: read again."""


class Pen:
    """Signs for one process; several threads may share it."""

    def __init__(self, signer: Signer, kept: Path | None) -> None:
        self._signer = signer
        self._kept = kept
        self._lock = threading.Lock()
        self._keeping = threading.Lock()
        self._last = Head(0, EMPTY_ROOT)
        if kept is not None and (checkpoint := read_kept(kept, signer.verifier_key)):
            self._last = Head(checkpoint.size, checkpoint.root)

    @property
    def name(self) -> str:
        """The log's name."""
        return self._signer.name

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half of the key."""
        return self._signer.verifier_key

    def recall(self, note: bytes) -> None:
        """Take a note that the database holds as signed, where it is one and says more.

        Raises:
            Rewritten: The log's key did not sign it.
        """
        try:
            checkpoint = verify(note, self.verifier_key)
        except NoteError as error:
            raise Rewritten(
                f"the database's signed checkpoint is not this log's ({error}): verify the log"
            ) from error
        with self._lock:
            if checkpoint.size > self._last.size:
                self._last = Head(checkpoint.size, checkpoint.root)

    def check(self, head: Head, tiles: TileReader) -> None:
        """Check that a head is what the tiles lead to, and extends what was signed last.

        Args:
            tiles: Of the same view of the database as the head.

        Raises:
            Behind: Another thread signed a later head since the view was taken.
            Rewritten: The log was cut or changed.
        """
        with self._lock:
            last = self._last
        if head == last:
            return
        if head.size < last.size:
            raise Behind(
                f"the log holds {head.size} records, and {last.size} were signed: verify the log"
            )
        try:
            extends = tiles.root(head.size) == head.root and tiles.root(last.size) == last.root
        except IndexError:
            extends = False
        if not extends:
            raise Rewritten(
                f"the log no longer holds the {last.size} records that were signed: verify the log"
            )

    def sign(self, head: Head, tiles: TileReader) -> str:
        """The note over a head; errors as for `check`."""
        self.check(head, tiles)
        note = self._signer.sign(size=head.size, root=head.root)
        with self._lock:
            if head.size > self._last.size:
                self._last = head
        return note

    def keep(self, note: str) -> None:
        """Keep a signed note outside the database, if it says more than the one there.

        It is no condition of an answer: after a power cut the file may be a little behind.
        """
        if self._kept is not None:
            with self._keeping:
                self._write(note, self._kept)

    def _write(self, note: str, kept: Path) -> None:
        present = read_kept(kept, self.verifier_key)
        if present is not None and present.size >= verify(note, self.verifier_key).size:
            return
        draft = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}")
        content = note.encode()
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                whole = os.write(handle, content) == len(content)
            finally:
                os.close(handle)
            if whole:
                draft.replace(kept)
        except OSError:
            # The disk is full, or read-only: the note in the database says as much, and the next
            # one is kept here again.
            whole = False
        if not whole:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def read_kept(path: Path, key: VerifierKey) -> Checkpoint | None:
    """The checkpoint kept in a file; none where there is none of this key's."""
    try:
        return verify(path.read_bytes(), key)
    except (OSError, NoteError):
        return None
