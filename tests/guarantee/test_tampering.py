"""One test an attack: the verifier names what was done, and says what it cannot see."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, select

from guarantee.bodies import PatientTold, Recipient
from guarantee.checkpoint import (
    COSIGNATURE_ED25519,
    Checkpoint,
    Signature,
    VerifierKey,
    parse,
    verify_cosignature,
)
from guarantee.export import write_export
from guarantee.home import Home
from guarantee.records import Header, RecordType
from guarantee.store import BODIES, KEYS, PEOPLE, RECORDS, Store
from guarantee.vault import CannotOpen, WrongCommitment, decrypt, digest_of, seal, unseal
from guarantee.verify import Anchors, Report, main, reading, verify_export, verify_home
from tests.guarantee.attacker import (
    Row,
    as_vector,
    commitment_to,
    log_key,
    master_key,
    opens_under_two_keys,
    patient_key,
    rewrite,
)
from tests.guarantee.clinic import Clinic

VECTORS = Path(__file__).parents[1] / "vectors"


@dataclass
class Attacked:
    """A log with two whole dossiers, what an outsider holds of it, and its verifications."""

    home: Home
    key: VerifierKey
    since: bytes
    folder: Path

    def reports(self) -> Iterator[Report]:
        """From the home with its keys; as an outsider with key and checkpoint, both ways."""
        yield verify_home(self.home)
        yield verify_home(self.home, anchors=self.anchors)
        yield self.exported()

    @property
    def anchors(self) -> Anchors:
        return Anchors(keys=(self.key,), since=self.since)

    def exported(self) -> Report:
        file = self.folder / "log.garant"
        with reading(self.home) as log:
            write_export(log, file)
        return verify_export(file, anchors=self.anchors)

    def sql(self, statement: str, *values: object) -> None:
        store = Store(self.home.database)
        with store.writing() as connection:
            assert connection.exec_driver_sql(statement, tuple(values)).rowcount != 0
        store.close()

    def rows(self, kind: RecordType) -> list[tuple[int, str]]:
        store = Store(self.home.database)
        with store.reading() as connection:
            statement = select(RECORDS.c.position, RECORDS.c.id).where(RECORDS.c.type == kind)
            found = [(row.position, row.id) for row in connection.execute(statement)]
        store.close()
        return found

    def one(self, kind: RecordType) -> str:
        return self.rows(kind)[0][1]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    folder = tmp_path_factory.mktemp("pristine")
    clinic = Clinic.founded(folder / "home")
    clinic.whole_dossier(1)
    since = clinic.ledger.checkpoint().encode()
    clinic.whole_dossier(2)
    key = clinic.ledger.verifier_key
    clinic.ledger.close()
    return Attacked(clinic.home, key, since, folder)


@pytest.fixture
def log(pristine: Attacked, tmp_path: Path) -> Attacked:
    shutil.copytree(pristine.home.path, tmp_path / "home")
    return Attacked(Home(tmp_path / "home"), pristine.key, pristine.since, tmp_path)


def test_an_untouched_log_verifies_every_way(log: Attacked) -> None:
    assert all(report.verified for report in log.reports())


def said(report: Report) -> str:
    return "\n".join(str(finding) for finding in report.findings)


def test_a_header_edited(log: Attacked) -> None:
    decision = log.one(RecordType.DECISION_SIGNED)
    log.sql(
        "UPDATE records SET header = CAST(replace(header, 'accepted', 'disregarded') AS BLOB)"
        " WHERE id = ?",
        decision,
    )
    for report in log.reports():
        assert decision in said(report)
        assert "the header is not the one that was logged" in said(report)


def test_a_header_edited_with_tiles_head_and_states(log: Attacked) -> None:
    def edit(rows: list[Row]) -> list[Row]:
        return [
            replace(row, header=replace(row.header, outcome="disregarded"))
            if row.header.type is RecordType.DECISION_SIGNED
            else row
            for row in rows
        ]

    rewrite(log.home, edit)
    for report in log.reports():
        assert "is over other records" in said(report)
    # Whoever can open bodies sees more: the signed decision says otherwise than its header.
    assert log.one(RecordType.DECISION_SIGNED) in said(verify_home(log.home))


def test_a_body_edited(log: Attacked) -> None:
    index, told = log.rows(RecordType.PATIENT_TOLD)[0]
    log.sql("UPDATE bodies SET stored = zeroblob(length(stored)) WHERE position = ?", index)
    for report in log.reports():
        assert [finding.record for finding in report.findings] == [told]
        assert "the body is not the one that was recorded" in said(report)


def test_a_body_deleted(log: Attacked) -> None:
    index, told = log.rows(RecordType.PATIENT_TOLD)[0]
    log.sql("DELETE FROM bodies WHERE position = ?", index)
    for report in log.reports():
        assert [finding.record for finding in report.findings] == [told]
        assert "missing, and nothing on record says why" in said(report)


def test_a_patient_s_key_deleted(log: Attacked) -> None:
    log.sql("DELETE FROM keys WHERE id = (SELECT key_id FROM bodies WHERE key_id NOT NULL)")
    assert "the key of its patient is missing or altered" in said(verify_home(log.home))
    # The sealed bytes are those recorded: without keys nobody can tell.
    assert log.exported().verified


def test_a_wrapped_key_altered(log: Attacked) -> None:
    log.sql("UPDATE keys SET wrapped = zeroblob(60) WHERE id NOT IN ('actors', 'requests')")
    assert "the key of its patient is missing or altered" in said(verify_home(log.home))


def test_a_row_deleted(log: Attacked) -> None:
    index, told = log.rows(RecordType.PATIENT_TOLD)[0]
    log.sql("DELETE FROM records WHERE id = ?", told)
    for report in (verify_home(log.home), verify_home(log.home, anchors=log.anchors)):
        assert f"index {index}: the record is missing" in said(report)


def test_a_row_deleted_with_tiles_head_and_states(log: Attacked) -> None:
    rewrite(log.home, lambda rows: [*rows[:-3], *rows[-2:]])
    for report in (verify_home(log.home), verify_home(log.home, anchors=log.anchors)):
        assert "rolled back or cut" in said(report)


def test_rows_swapped(log: Attacked) -> None:
    (first, one), (second, other) = log.rows(RecordType.PATIENT_TOLD)
    log.sql("UPDATE records SET position = -1 WHERE id = ?", one)
    log.sql("UPDATE records SET position = ? WHERE id = ?", first, other)
    log.sql("UPDATE records SET position = ? WHERE id = ?", second, one)
    for report in log.reports():
        assert {one, other} <= {finding.record for finding in report.findings}


def test_rows_swapped_with_tiles_head_and_states(log: Attacked) -> None:
    rewrite(log.home, lambda rows: [*rows[:-2], rows[-1], rows[-2]])
    for report in log.reports():
        assert "is over other records" in said(report)


def test_the_log_truncated(log: Attacked) -> None:
    rewrite(log.home, lambda rows: rows[:-1])
    for report in (verify_home(log.home), verify_home(log.home, anchors=log.anchors)):
        assert "rolled back or cut" in said(report)


def test_the_tail_replaced(log: Attacked) -> None:
    rewrite(log.home, lambda rows: [*rows[:-1], replace(rows[-1], header=_later(rows[-1]))])
    for report in log.reports():
        assert "is over other records" in said(report)


def _later(row: Row) -> Header:
    return replace(row.header, time=row.header.time + 1)


def test_the_checkpoint_re_signed_with_another_key(log: Attacked) -> None:
    other = Ed25519PrivateKey.generate()
    rewrite(log.home, lambda rows: rows, signer=other)
    report = verify_home(log.home)
    assert "the signed checkpoint" in said(report)
    # With the key replaced, too, the home agrees with itself, and the verifier says no more.
    (log.home.keys / "ledger.key").write_bytes(other.private_bytes_raw())
    report = verify_home(log.home)
    assert report.verified
    assert report.anchor == "consistent with the key in this same home"
    for report in (verify_home(log.home, anchors=log.anchors), log.exported()):
        assert "the checkpoint is of log" in said(report)
    since = verify_home(log.home, anchors=Anchors(since=log.since))
    assert "the kept checkpoint: it is of log" in said(since)


def test_a_fork(log: Attacked) -> None:
    """The house shows the college one history and keeps another, under the same key."""
    rewrite(
        log.home,
        lambda rows: [replace(rows[0], header=_later(rows[0])), *rows[1:]],
        signer=log_key(log.home),
    )
    assert verify_home(log.home).verified
    for report in (verify_home(log.home, anchors=log.anchors), log.exported()):
        assert "the kept checkpoint is over other records" in said(report)


def test_a_rollback_to_a_backup(log: Attacked) -> None:
    backup = log.folder / "backup"
    shutil.copytree(log.home.path, backup)
    clinic = Clinic.opened(log.home)
    clinic.whole_dossier(3)
    kept = clinic.ledger.checkpoint().encode()
    clinic.ledger.close()
    shutil.rmtree(log.home.path)
    shutil.copytree(backup, log.home.path)
    assert verify_home(log.home).verified
    log.since = kept
    for report in (verify_home(log.home, anchors=log.anchors), log.exported()):
        assert "the kept checkpoint covers" in said(report)
        assert "rolled back or cut" in said(report)


def test_a_digest_replaced_together_with_its_body(log: Attacked) -> None:
    """Whoever holds the master key can seal another body, and write its digest into the header."""
    told = log.one(RecordType.PATIENT_TOLD)
    other = PatientTold(recipient=Recipient.PATIENT, interpretation="Something else.").encode()

    def replace_body(rows: list[Row]) -> list[Row]:
        (at,) = (place for place, row in enumerate(rows) if row.header.id == told)
        sealed = seal(AESGCM(keys[rows[at].key_id or ""]), told, other)
        rows[at] = rows[at].with_body(sealed.stored, sealed.commitment)
        return rows

    keys = _keys(log.home)
    rewrite(log.home, replace_body)
    for report in log.reports():
        assert "is over other records" in said(report)


def _keys(home: Home) -> dict[str, bytes]:
    store = Store(home.database)
    with store.reading() as connection:
        ids = connection.scalars(select(PEOPLE.c.key_id).distinct()).all()
    store.close()
    return {key_id: patient_key(home, key_id) for key_id in ids}


def test_one_ciphertext_that_opens_under_two_keys(log: Attacked) -> None:
    """The house records a body sealed so that another key opens it, too, and swaps the keys later.

    Every digest, tile and signature is right; what the header committed to is not what opens.
    """
    told = log.one(RecordType.PATIENT_TOLD)
    store = Store(log.home.database)
    with store.reading() as connection:
        of_told = select(BODIES.c.key_id).join(RECORDS, RECORDS.c.position == BODIES.c.position)
        whose = connection.scalar(of_told.where(RECORDS.c.id == told)) or ""
    store.close()
    first, second = patient_key(log.home, whose), bytes(range(32))
    body = PatientTold(recipient=Recipient.PATIENT, interpretation="It began in the lung.").encode()
    stored = opens_under_two_keys(
        first, second, plain=bytes(32) + body, about=told.encode(), iv=bytes(12)
    )
    opening = decrypt(first, stored, about=told)
    assert opening[32:] == body
    assert decrypt(second, stored, about=told) != opening

    def plant(rows: list[Row]) -> list[Row]:
        return [
            row.with_body(stored, commitment_to(opening)) if row.header.id == told else row
            for row in rows
        ]

    rewrite(log.home, plant, signer=log_key(log.home))
    assert verify_home(log.home).verified

    wrapped = master_key(log.home).wrap(second, owner=whose)
    log.sql("UPDATE keys SET wrapped = ? WHERE id = ?", wrapped, whose)
    problems = {
        finding.problem for finding in verify_home(log.home).findings if finding.record == told
    }
    assert problems == {"the body opens, but the header committed to another"}


def test_the_published_ciphertext_of_two_keys_is_refused_by_its_commitment() -> None:
    vector = json.loads((VECTORS / "one_ciphertext_two_keys.json").read_text())
    first, second = (bytes.fromhex(vector[name]) for name in ("first_key", "second_key"))
    record, stored = vector["record"], bytes.fromhex(vector["stored"])
    made = opens_under_two_keys(
        first,
        second,
        plain=bytes.fromhex(vector["plain"]),
        about=record.encode(),
        iv=stored[:12],
    )
    assert made == stored
    opening = decrypt(first, stored, about=record)
    assert opening[32:] == bytes.fromhex(vector["plain"])[32:]
    commitment = commitment_to(opening)
    assert unseal(first, record, stored, commitment) == opening[32:]
    decrypt(second, stored, about=record)
    with pytest.raises(WrongCommitment):
        unseal(second, record, stored, commitment)
    with pytest.raises(CannotOpen):
        decrypt(bytes(32), stored, about=record)


def cosigned(note: bytes, witness: Ed25519PrivateKey, seconds: int = 1_764_000_000) -> Checkpoint:
    checkpoint = parse(note)
    key = witness_key(witness)
    message = f"cosignature/v1\ntime {seconds}\n{checkpoint.body}".encode()
    line = Signature(
        name=key.name,
        key_id=key.key_id,
        value=seconds.to_bytes(8) + witness.sign(message),
    )
    return replace(checkpoint, signatures=(*checkpoint.signatures, line))


def witness_key(witness: Ed25519PrivateKey) -> VerifierKey:
    return VerifierKey(
        name="witness.test/one",
        algorithm=COSIGNATURE_ED25519,
        public=witness.public_key().public_bytes_raw(),
    )


def test_a_cosignature_moved(log: Attacked) -> None:
    """A witness's line under one checkpoint is put under another that the witness never saw."""
    witness = Ed25519PrivateKey.generate()
    seen = cosigned(log.since, witness)
    verify_cosignature(seen, witness_key(witness))
    clinic = Clinic.opened(log.home)
    unseen = parse(clinic.ledger.checkpoint())
    clinic.ledger.close()
    moved = replace(unseen, signatures=(*unseen.signatures, seen.signatures[-1]))

    anchors = replace(log.anchors, witnesses=(witness_key(witness),))
    good = verify_home(log.home, anchors=replace(anchors, since=seen.text.encode()))
    assert good.verified
    assert any("witness.test/one cosigned the first" in remark for remark in good.remarks)
    forged = verify_home(log.home, anchors=replace(anchors, since=moved.text.encode()))
    assert "is not over this checkpoint" in said(forged)
    without = verify_home(log.home, anchors=replace(anchors, since=log.since))
    assert "has cosigned none of the checkpoints" in said(without)


def test_an_erasure_that_nobody_recorded(log: Attacked) -> None:
    """A patient's key, identity and bodies are gone, as after an erasure; no record says so."""
    store = Store(log.home.database)
    with store.writing() as connection:
        whose = connection.scalar(select(BODIES.c.key_id).where(BODIES.c.key_id.is_not(None)))
        sealed = select(BODIES.c.position).where(BODIES.c.key_id == whose)
        ids = select(RECORDS.c.id).where(RECORDS.c.position.in_(sealed))
        gone = set(connection.scalars(ids))
        connection.execute(delete(BODIES).where(BODIES.c.key_id == whose))
        connection.execute(delete(KEYS).where(KEYS.c.id == whose))
        connection.execute(delete(PEOPLE).where(PEOPLE.c.pseudonym == whose))
    store.close()
    assert len(gone) == 5
    for report in log.reports():
        assert {finding.record for finding in report.findings} == gone
        assert "missing, and nothing on record says why" in said(report)


def test_a_decision_moved_before_its_inference(log: Attacked) -> None:
    def move(rows: list[Row]) -> list[Row]:
        kinds = [row.header.type for row in rows]
        decision = rows.pop(kinds.index(RecordType.DECISION_SIGNED))
        rows.insert(kinds.index(RecordType.INFERENCE_MADE), decision)
        return rows

    decision = log.one(RecordType.DECISION_SIGNED)
    rewrite(log.home, move)
    for report in log.reports():
        assert "is over other records" in said(report)
    # Even signed by the house itself: the order of steps is checked, not believed.
    rewrite(log.home, lambda rows: rows, signer=log_key(log.home))
    for report in log.reports():
        assert f"{decision}" in said(report)
        assert "the log holds no such inference" in said(report)


def test_a_body_replaced_that_the_index_column_hides(log: Attacked) -> None:
    """The columns by which records are found repeat their headers; the verifier compares them."""
    suspended = log.one(RecordType.MODEL_PROMOTED)
    log.sql("UPDATE records SET type = 'CohortScored' WHERE id = ?", suspended)
    assert "the row names another record, type" in said(verify_home(log.home))


EXPORTS = VECTORS / "exports"
SEEN_SINCE = {"forked", "rolled_back"}


def test_the_untouched_export_among_the_attack_files_verifies() -> None:
    key, since = (EXPORTS / "key.txt").read_text().strip(), str(EXPORTS / "kept.txt")
    untouched = str(EXPORTS / "untouched.garant")
    assert main(["--export", untouched, "--key", key, "--since", since]) == 0


@pytest.mark.parametrize(
    "attack", sorted(path.stem for path in EXPORTS.glob("*.garant") if path.stem != "untouched")
)
def test_an_attack_file_is_found_out(attack: str) -> None:
    arguments = ["--export", str(EXPORTS / f"{attack}.garant")]
    arguments += ["--key", (EXPORTS / "key.txt").read_text().strip()]
    # The key alone cannot tell a fork or a rollback that the house signed itself.
    assert main(arguments) == (0 if attack in SEEN_SINCE else 1)
    assert main([*arguments, "--since", str(EXPORTS / "kept.txt")]) == 1


def _write_vector() -> None:
    """How `one_ciphertext_two_keys.json` was made: python -m tests.guarantee.test_tampering."""
    first, second, record = bytes([1] * 32), bytes([2] * 32), "019a8f3c-0000-7000-8000-000000000001"
    body = PatientTold(recipient=Recipient.PATIENT, interpretation="It began in the lung.").encode()
    plain = bytes(32) + body
    stored = opens_under_two_keys(
        first, second, plain=plain, about=record.encode(), iv=bytes([3] * 12)
    )
    text = json.loads(as_vector(first_key=first, second_key=second, plain=plain, stored=stored))
    origin = (
        "Ours: AES-256-GCM commits to no key. Method: Dodis, Grubbs, Ristenpart, Woodage, Fast "
        "Message Franking, CRYPTO 2018, section 3. `stored` is IV, ciphertext and tag, with "
        "`record` as additional data; both keys open it, the first to `plain` but for bytes 16-31."
    )
    vector = {"origin": origin, "record": record, **text, "sha256": digest_of(stored)}
    path = VECTORS / "one_ciphertext_two_keys.json"
    path.write_text(json.dumps(vector, indent=1) + "\n")


if __name__ == "__main__":
    _write_vector()
