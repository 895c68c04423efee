"""The house signs nothing that does not extend what it signed, whoever wrote the database."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guarantee.checkpoint import Signer, parse
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.logged import LedgerUnavailable
from guarantee.merkle import leaf_hash
from guarantee.pen import KEPT_FILE
from guarantee.vault import signing_key
from guarantee.verify import verify_home
from tests.guarantee.attacker import rewrite
from tests.guarantee.clinic import Clinic, check_ledger


def alter(home: Home, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(home.database)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def without_a_dossier(home: Home, dossier: str) -> None:
    """Rows, tiles, head and states as if the dossier had never been; without the log's key."""
    rewrite(home, lambda rows: [row for row in rows if row.header.dossier != dossier])


def test_a_head_that_somebody_wrote_gets_no_signature(file_clinic: Clinic) -> None:
    ledger = file_clinic.ledger
    head = ledger.head()
    note = parse(ledger.checkpoint())
    for size, root in ((1, leaf_hash(b"forged")), (head.size, bytes(32)), (500, bytes(32))):
        alter(file_clinic.home, "UPDATE head SET size = ?, root = ?", size, root)
        with pytest.raises(LedgerUnavailable, match="verify the log"):
            ledger.checkpoint()
        with pytest.raises(LedgerUnavailable, match="verify the log"):
            ledger.receipt(ledger.page(0, 1)[0].id)
    alter(file_clinic.home, "UPDATE head SET size = ?, root = ?", head.size, head.root)
    assert parse(ledger.checkpoint()) == note


def test_a_log_rewritten_under_a_running_house_is_not_gone_on_with(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    removed, kept = clinic.whole_dossier(1), clinic.infer(clinic.inform(2)).id
    clinic.ledger.checkpoint()
    without_a_dossier(clinic.home, removed)
    with pytest.raises(LedgerUnavailable, match="verify the log"):
        clinic.decide(kept)
    with pytest.raises(LedgerUnavailable, match="verify the log"):
        clinic.ledger.checkpoint()
    clinic.ledger.close()
    assert not verify_home(clinic.home).verified


def test_a_log_rewritten_while_it_was_closed_does_not_open(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    removed = clinic.whole_dossier(1)
    clinic.whole_dossier(2)
    clinic.ledger.close()
    without_a_dossier(clinic.home, removed)
    with pytest.raises(LedgerUnavailable, match="verify the log"):
        Ledger.open(clinic.home)
    assert not verify_home(clinic.home).verified


def test_an_old_note_put_back_hides_nothing(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    early = clinic.ledger.checkpoint()
    removed = clinic.whole_dossier(1)
    clinic.whole_dossier(2)
    clinic.ledger.close()
    without_a_dossier(clinic.home, removed)
    alter(clinic.home, "UPDATE signed SET note = ?, size = ?", early.encode(), parse(early).size)
    found = [str(finding) for finding in verify_home(clinic.home).findings]
    assert any("beside the keys" in finding for finding in found)
    with pytest.raises(LedgerUnavailable, match="verify the log"):
        Ledger.open(clinic.home)


def test_a_database_of_an_earlier_day_is_not_gone_on_with(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    clinic.ledger.close()
    earlier = clinic.home.database.read_bytes()
    clinic = Clinic.opened(clinic.home)
    clinic.whole_dossier(1)
    clinic.ledger.close()
    for beside in clinic.home.path.glob("ledger.db-*"):
        beside.unlink()
    clinic.home.database.write_bytes(earlier)
    with pytest.raises(LedgerUnavailable, match="verify the log"):
        Ledger.open(clinic.home)
    report = verify_home(clinic.home)
    assert any("rolled back or cut" in str(finding) for finding in report.findings)


def test_a_database_that_vanished_is_no_new_log(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    clinic.ledger.close()
    for file in clinic.home.path.glob("ledger.db*"):
        file.unlink()
    with pytest.raises(LedgerUnavailable, match="verify the log"):
        Ledger.open(clinic.home)


def test_records_that_nobody_signed_are_remarked(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    early = parse(clinic.ledger.checkpoint())
    clinic.whole_dossier(1)
    clinic.ledger.close()
    note = Signer(name=early.origin, private=_key(clinic.home)).sign(
        size=early.size, root=early.root
    )
    alter(clinic.home, "UPDATE signed SET note = ?, size = ?", note.encode(), early.size)
    (clinic.home.keys / KEPT_FILE).unlink()
    report = verify_home(clinic.home)
    assert report.verified
    assert any("nobody signed them" in remark for remark in report.remarks)
    Ledger.open(clinic.home).close()
    check_ledger(clinic.home)


def _key(home: Home) -> Ed25519PrivateKey:
    return signing_key(home.keys / "ledger.key")
