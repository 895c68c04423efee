"""A log in one file that a college takes home and verifies alone: see `guarantee.verify`.

The file is text, UTF-8, one thing a line, each line ended by a newline:

1. The heading, RFC 8785 JSON: `format` ("garant-export"), `version` (1), `checkpoint` (the signed
   note that the file goes up to, as text) and `kept`, a list of earlier checkpoints, each with
   `note` and, where an authority gave one, `timestamp` (its RFC 3161 answer, base64); in the order
   of both, none twice.
2. For each 256 records, or as many as are left, a line with the log's own hashes of them: a JSON
   string, the base64 of the C2SP tile of level 0. Then two lines for each record:
   the header, the very bytes that the log hashes, which are JSON; and the body as the vault
   stores it: a JSON object, the very bytes, where it is in clear; a JSON string, base64, where it
   is sealed; `null` where it was erased.

No key leaves the house with it: neither patients' keys nor their pseudonyms, which would tell
which records are of one person, nor anybody's identity. Sealed bodies stay sealed: their digests
and order can be checked, their content is opened case by case with `guarantee.disclosure`.

One content has one file: what reads a line writes it again, and takes no other than that.
"""

import base64
import binascii
import contextlib
import json
import os
import secrets
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, Self

import rfc8785

from guarantee.checkpoint import NoteError, parse
from guarantee.errors import GuaranteeError
from guarantee.findings import CouldNotCheck, Progress
from guarantee.merkle import EMPTY_ROOT, Hash
from guarantee.source import Entry, Kept, Source
from guarantee.tiles import WIDTH

FORMAT: Final = "garant-export"
VERSION: Final = 1
_HASH: Final = len(EMPTY_ROOT)
_MOST_IN_A_LINE: Final = 64 << 20
"""Bytes; more than any body has."""


class ExportError(GuaranteeError):
    """The log cannot be exported as it is."""


class MalformedExport(GuaranteeError):
    """The file was altered or cut; names the line."""


def write_export(source: Source, file: Path, progress: Progress = lambda _done, _all: None) -> int:
    """Write the log up to its last signed checkpoint; returns how many records that are.

    The file appears whole under its name, or not at all. Nothing is verified here: whoever reads
    the export does that, and finds what was altered before.

    Args:
        source: In one consistent view.
        file: Replaced where it exists.

    Raises:
        ExportError: There is no checkpoint, a record is missing, or the file cannot be written.
    """
    if source.note is None:
        raise ExportError("there is no signed checkpoint to export: verify the log")
    try:
        size = parse(source.note).size
        heading = _heading(source.note, source.kept())
    except (NoteError, UnicodeDecodeError) as error:
        raise ExportError(f"a signed checkpoint: {error}; verify the log") from error
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as out:
            out.write(heading)
            _write(source, size, out, progress)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except OSError as error:
        raise ExportError(f"{file} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return size


def _write(source: Source, size: int, out: BinaryIO, progress: Progress) -> None:
    expected = 0
    for entry in source.entries(0, size, rows=False):
        if entry.place != expected:
            break
        if entry.place % WIDTH == 0:
            out.write(_tile(source, entry.place // WIDTH, size) + b"\n")
            progress(entry.place, size)
        if b"\n" in entry.header:
            raise ExportError(f"record {entry.place} was altered: verify the log")
        out.write(entry.header + b"\n" + _body(entry.header, entry.stored) + b"\n")
        expected += 1
    if expected != size:
        raise ExportError(f"record {expected} is missing: verify the log")
    progress(size, size)


def _heading(note: bytes, kept: Iterable[Kept]) -> bytes:
    # A note that was altered to no text stays a note that nobody signed.
    notes = {(one.note.decode("utf-8", "replace"), one.timestamp) for one in kept}
    heading = rfc8785.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "checkpoint": note.decode(),
            "kept": [
                {"note": text, **({} if timestamp is None else {"timestamp": _text(timestamp)})}
                for text, timestamp in sorted(notes, key=lambda one: (one[0], one[1] or b""))
            ],
        }
    )
    return heading + b"\n"


def _tile(source: Source, index: int, size: int) -> bytes:
    hashes = source.tile(0, index) or b""
    return _quoted(hashes[: (size - index * WIDTH) * _HASH])


def _body(header: bytes, stored: bytes | None) -> bytes:
    if stored is None:
        return b"null"
    in_clear = b'"commitment":"' not in header
    if in_clear and stored[:1] == b"{" and b"\n" not in stored:
        return stored
    return _quoted(stored)


def _quoted(value: bytes) -> bytes:
    return b'"' + base64.b64encode(value) + b'"'


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


class ExportedLog:
    """A log in an export, read line by line; memory does not grow with it."""

    root: Hash | None = None

    def __init__(self, path: Path) -> None:
        """Read the heading.

        Raises:
            CouldNotCheck: There is no such file, or it is no export.
        """
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CouldNotCheck(f"{path} cannot be read: {error}") from error
        try:
            heading = self._file.readline(_MOST_IN_A_LINE)
            self.note, self._kept = _read_heading(heading)
            self.size = parse(self.note).size
        except (MalformedExport, NoteError) as error:
            self.close()
            raise CouldNotCheck(f"{path} is no export that can be read: {error}") from error
        self._tiles: dict[int, bytes] = {}
        # Where in the file each group of 256 records begins, as far as it was read.
        self._groups = array("Q", [len(heading)])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def kept(self) -> list[Kept]:
        """Earlier checkpoints."""
        return self._kept

    def tile(self, level: int, index: int) -> bytes | None:
        """The log's own hashes of 256 records; tiles above are not exported."""
        if level:
            return None
        if index not in self._tiles:
            for _ in self.entries(index * WIDTH, index * WIDTH + 1):
                pass
        return self._tiles.get(index)

    def entries(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        rows: bool = True,  # noqa: ARG002  # an export has none
    ) -> Iterator[Entry]:
        """The records from index `start` to `stop`, excluded, in the order of their index.

        Raises:
            MalformedExport: A line is not what its place asks for.
        """
        end = self.size if stop is None else min(stop, self.size)
        group = min(start // WIDTH, len(self._groups) - 1)
        at = self._groups[group]
        for place in range(group * WIDTH, end):
            self._file.seek(at)
            if place % WIDTH == 0:
                if place // WIDTH == len(self._groups):
                    self._groups.append(at)
                line = self._line(place)
                # The tile of the records that are read, and no other: memory does not grow.
                self._tiles = {place // WIDTH: _unquoted(line, place)}
                at += len(line) + 1
            header = self._line(place)
            body = self._line(place)
            at += len(header) + len(body) + 2
            if place >= start:
                yield Entry(place, header, _unbodied(body, header, place))
        if stop is None:
            self._file.seek(at)
            if self._file.read(1):
                raise MalformedExport("something stands behind the last record")

    def _line(self, place: int) -> bytes:
        line = self._file.readline(_MOST_IN_A_LINE)
        if not line.endswith(b"\n"):
            raise MalformedExport(f"the file ends in record {place} of {self.size}")
        return line[:-1]


def _read_heading(line: bytes) -> tuple[bytes, list[Kept]]:
    try:
        heading = json.loads(line)
        if not isinstance(heading, dict) or heading.get("format") != FORMAT:
            _refuse("its first line is not an export's")
        version = heading["version"]
        if type(version) is int and version > VERSION:
            _refuse("it is of a later version: update the verifier")
        note = heading["checkpoint"].encode()
        kept = [
            Kept(
                one["note"].encode(),
                base64.b64decode(one["timestamp"], validate=True) if "timestamp" in one else None,
            )
            for one in heading["kept"]
        ]
        again = _heading(note, kept)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedExport("its first line is not an export's") from error
    if again != line:
        _refuse("its first line is not in the one form that says what it says")
    return note, kept


def _refuse(problem: str) -> NoReturn:
    raise MalformedExport(problem)


def _unquoted(line: bytes, place: int) -> bytes:
    with contextlib.suppress(binascii.Error, ValueError):
        value = base64.b64decode(line[1:-1], validate=True)
        if line == _quoted(value):
            return value
    raise MalformedExport(f"record {place}: a line is not base64 in quotation marks")


def _unbodied(line: bytes, header: bytes, place: int) -> bytes | None:
    if line == b"null":
        return None
    stored = line if line[:1] == b"{" else _unquoted(line, place)
    if _body(header, stored) != line:
        raise MalformedExport(f"record {place}: the body is written as another kind of body is")
    return stored
