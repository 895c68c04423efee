"""Checkpoints timestamped by an authority: asked over HTTP, kept, exported, verified offline."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from guarantee.commands import ledger_app
from guarantee.export import write_export
from guarantee.store import CHECKPOINTS
from guarantee.timestamp import (
    AuthorityUnavailable,
    TimestampError,
    TimestampRefused,
    authorities_in,
    fetch_timestamp,
    verify_timestamp,
)
from guarantee.verify import anchors_of, main, reading, verify_export, verify_home
from tests.guarantee.authority import Authority
from tests.guarantee.clinic import Clinic

NOTE = b"a checkpoint\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with Authority.made(tmp_path_factory.mktemp("tsa") / "one").serving() as serving:
        yield serving


def test_a_timestamp_proves_when_at_the_latest_the_bytes_stood(authority: Authority) -> None:
    answer = fetch_timestamp(authority.url, NOTE)
    at = verify_timestamp(answer, NOTE, authorities_in(authority.root))
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)


def test_a_timestamp_of_other_bytes_or_another_authority_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    answer = fetch_timestamp(authority.url, NOTE)
    roots = authorities_in(authority.root)
    stranger = authorities_in(Authority.made(tmp_path / "other").root)
    with pytest.raises(TimestampRefused):
        verify_timestamp(answer, b"another checkpoint\n", roots)
    with pytest.raises(TimestampRefused):
        verify_timestamp(answer, NOTE, stranger)
    verify_timestamp(answer, NOTE, [*stranger, *roots])
    with pytest.raises(TimestampRefused):
        verify_timestamp(answer, NOTE, [])
    for at in range(40, len(answer), 97):
        altered = bytearray(answer)
        altered[at] ^= 1
        try:
            when = verify_timestamp(bytes(altered), NOTE, roots)
        except TimestampRefused:
            continue
        # What no signature covers may differ: never the bytes, nor the time.
        assert when == verify_timestamp(answer, NOTE, roots)


def test_what_an_authority_answers_is_checked_at_once(authority: Authority) -> None:
    earlier = authority.answer((authority.folder / "query.tsq").read_bytes())
    for broken in (b"", b"no timestamp", b"\x30\x05\x30\x03\x02\x01\x02", earlier):
        authority.broken = broken
        with pytest.raises(AuthorityUnavailable):
            fetch_timestamp(authority.url, NOTE)
    authority.broken = None
    for nowhere in ("http://127.0.0.1:9/", "file:///etc/hostname", "nonsense"):
        with pytest.raises(AuthorityUnavailable, match=nowhere.rstrip("/")):
            fetch_timestamp(nowhere, NOTE, timeout_seconds=5)


def test_a_file_without_certificates_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for path in (tmp_path / "empty.pem", tmp_path / "nowhere.pem"):
        with pytest.raises(TimestampError, match="no certificate"):
            authorities_in(path)


def test_a_timestamped_checkpoint_is_kept_exported_and_verified(
    tmp_path: Path, authority: Authority
) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    home = ["--home", str(tmp_path / "home")]
    stamped = CliRunner().invoke(ledger_app, ["checkpoint", "--timestamp", authority.url, *home])
    assert stamped.exit_code == 0, stamped.output
    size = clinic.ledger.head().size
    clinic.whole_dossier()
    clinic.ledger.close()
    export = tmp_path / "log.garant"
    with reading(clinic.home) as log:
        write_export(log, export)

    key = str(clinic.ledger.verifier_key)
    with_root = anchors_of(keys=(key,), authorities=authority.root)
    for report in (
        verify_home(clinic.home, anchors=with_root),
        verify_export(export, anchors=with_root),
    ):
        assert report.verified, report.findings
        assert any(f"the first {size} records stood by" in said for said in report.remarks)
    without = verify_export(export, anchors=anchors_of(keys=(key,)))
    assert without.verified
    assert any("--tsa-root" in remark for remark in without.remarks)
    strangers = Authority.made(tmp_path / "strangers").root
    assert main(["--export", str(export), "--key", key, "--tsa-root", str(strangers)]) == 1


def test_a_timestamp_moved_to_another_checkpoint_is_a_finding(
    tmp_path: Path, authority: Authority
) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    home = ["--home", str(tmp_path / "home")]
    run = CliRunner().invoke
    assert run(ledger_app, ["checkpoint", "--timestamp", authority.url, *home]).exit_code == 0
    clinic.whole_dossier()
    later, size = clinic.ledger.checkpoint().encode(), clinic.ledger.head().size
    with clinic.ledger.store.writing() as connection:
        connection.execute(update(CHECKPOINTS).values(note=later, size=size))
    clinic.ledger.close()
    for authorities in (authority.root, None):
        report = verify_home(clinic.home, anchors=anchors_of(authorities=authorities))
        assert ["timestamp" in finding.problem for finding in report.findings] == [True]


def test_an_authority_out_of_reach_is_said_and_nothing_is_kept(tmp_path: Path) -> None:
    Clinic.founded(tmp_path / "home").ledger.close()
    home = ["--home", str(tmp_path / "home")]
    failed = CliRunner().invoke(
        ledger_app, ["checkpoint", "--timestamp", "http://127.0.0.1:9/", *home]
    )
    assert failed.exit_code == 1
    assert "gave no timestamp" in failed.output
    assert "Traceback" not in failed.output


def test_a_cosigned_checkpoint_is_kept_and_another_log_s_is_not(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    other = Clinic.founded(tmp_path / "other")
    (tmp_path / "note").write_text(clinic.ledger.checkpoint())
    (tmp_path / "foreign").write_text(other.ledger.checkpoint())
    other.ledger.close()
    clinic.ledger.close()
    home = ["--home", str(tmp_path / "home")]
    run = CliRunner().invoke
    assert (
        run(ledger_app, ["checkpoint", "--cosigned", str(tmp_path / "note"), *home]).exit_code == 0
    )
    refused = run(ledger_app, ["checkpoint", "--cosigned", str(tmp_path / "foreign"), *home])
    assert refused.exit_code == 1
    assert "the checkpoint is of log" in refused.output
    with reading(clinic.home) as log:
        assert [kept.note for kept in log.kept()] == [(tmp_path / "note").read_bytes()]
    assert verify_home(clinic.home).verified
