"""Checkpoints that the house keeps, since outsiders vouch for them: cosigned, or timestamped."""

from pathlib import Path

from sqlalchemy import insert

from guarantee.checkpoint import MOST_NOTE_BYTES, MalformedNote, verify
from guarantee.ledger import Ledger
from guarantee.logged import UnknownRecord
from guarantee.merkle import RootMismatch
from guarantee.store import CHECKPOINTS


def keep_checkpoint(ledger: Ledger, note: str, timestamp: bytes | None = None) -> None:
    """Keep a checkpoint of this log; every later verification and export holds it.

    Args:
        note: With cosignatures, where witnesses gave them.
        timestamp: An authority's answer over the note's bytes: see `guarantee.timestamp`.

    Raises:
        NoteError: This log did not sign it.
        UnknownRecord: It covers more records than the log has.
        RootMismatch: The log signed it over other records.
    """
    checkpoint = verify(note, ledger.verifier_key)
    size = checkpoint.size
    if size > ledger.head().size:
        raise UnknownRecord(f"the checkpoint covers {size} records, the log has fewer: verify it")
    root = ledger.root(size)
    if root != checkpoint.root:
        raise RootMismatch(expected=checkpoint.root, computed=root)
    with ledger.store.writing() as connection:
        row = {"size": size, "note": note.encode(), "timestamp": timestamp}
        connection.execute(insert(CHECKPOINTS).values(**row))


def read_note(path: Path) -> str:
    """A note in a file.

    Raises:
        MalformedNote: It cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            return file.read(MOST_NOTE_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedNote(f"{path} holds no checkpoint: {error}") from error
