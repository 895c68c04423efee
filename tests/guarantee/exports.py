"""Makes `tests/vectors/exports`: one export of a small log, and one file an attack on it.

python -m tests.guarantee.exports
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guarantee.export import write_export
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.records import RecordType
from guarantee.verify import reading
from tests.guarantee.attacker import Row, log_key, rewrite
from tests.guarantee.clinic import Clinic

FOLDER = Path(__file__).parents[1] / "vectors" / "exports"

Lines = list[bytes]
"""Of an export: the heading, a line of hashes, then two lines a record."""


def _edit_header(lines: Lines) -> Lines:
    return b"\n".join(lines).replace(b'"accepted"', b'"overridden"', 1).split(b"\n")


def _edit_body(lines: Lines) -> Lines:
    return b"\n".join(lines).replace(b'"run":"run"', b'"run":"fun"', 1).split(b"\n")


def _delete_body(lines: Lines) -> Lines:
    return [*lines[:-2], b"null", b""]


def _delete_row(lines: Lines) -> Lines:
    return [*lines[:8], *lines[10:]]


def _swap_rows(lines: Lines) -> Lines:
    return [*lines[:4], *lines[6:8], *lines[4:6], *lines[8:]]


def _truncate(lines: Lines) -> Lines:
    return [*lines[:-3], b""]


ON_THE_FILE: dict[str, Callable[[Lines], Lines]] = {
    "header_edited": _edit_header,
    "body_edited": _edit_body,
    "body_deleted": _delete_body,
    "row_deleted": _delete_row,
    "rows_swapped": _swap_rows,
    "truncated": _truncate,
}


def _later(row: Row) -> Row:
    return replace(row, header=replace(row.header, time=row.header.time + 1))


def _decide_first(rows: list[Row]) -> list[Row]:
    kinds = [row.header.type for row in rows]
    decision = rows.pop(kinds.index(RecordType.DECISION_SIGNED))
    rows.insert(kinds.index(RecordType.INFERENCE_MADE), decision)
    return rows


def make() -> None:
    """Write every file anew; keys, times and ids differ each time."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        _make(Path(temporary))


def _make(folder: Path) -> None:
    clinic = Clinic.founded(folder / "home")
    early = folder / "early"
    clinic.ledger.close()
    shutil.copytree(clinic.home.path, early)
    clinic = Clinic.opened(folder / "home")
    clinic.whole_dossier()
    (FOLDER / "kept.txt").write_text(clinic.ledger.checkpoint())
    clinic.whole_dossier(2)
    (FOLDER / "key.txt").write_text(f"{clinic.ledger.verifier_key}\n")
    clinic.ledger.close()

    lines = _export(clinic.home, "untouched").read_bytes().split(b"\n")
    for name, attack in ON_THE_FILE.items():
        (FOLDER / f"{name}.garant").write_bytes(b"\n".join(attack(list(lines))))
    key = log_key(clinic.home)
    attacks: dict[str, tuple[Callable[[list[Row]], list[Row]], Ed25519PrivateKey | None]] = {
        "tail_replaced": (lambda rows: [*rows[:-1], _later(rows[-1])], None),
        "resigned_with_another_key": (lambda rows: rows, Ed25519PrivateKey.generate()),
        "forked": (lambda rows: [_later(rows[0]), *rows[1:]], key),
        "decision_before_its_inference": (_decide_first, key),
    }
    for name, (change, signer) in attacks.items():
        shutil.copytree(clinic.home.path, folder / name)
        rewrite(Home(folder / name), change, signer=signer)
        _export(Home(folder / name), name)
    _export(Home(early), "rolled_back")


def _export(home: Home, name: str) -> Path:
    if name in {"untouched", "rolled_back"}:
        Ledger.open(home).close()  # signs the head
    file = FOLDER / f"{name}.garant"
    with reading(home) as log:
        write_export(log, file)
    return file


if __name__ == "__main__":
    make()
