"""An export verifies alone, away from the house, and no byte of it can be changed unseen."""

import base64
import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from typer.testing import CliRunner

from guarantee.checkpoint import VerifierKey
from guarantee.commands import ledger_app
from guarantee.export import ExportedLog, ExportError, write_export
from guarantee.findings import CouldNotCheck, Report
from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.verify import anchors_of, main, reading, verify_export
from tests.guarantee.clinic import Clinic

ACROSS_TILES = 70


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> "Taken":
    return Taken.home_of(tmp_path_factory.mktemp("taken"), dossiers=3)


class Taken:
    """What a college takes home: an export, the log's key, a checkpoint kept before."""

    def __init__(self, home: Home, export: Path, key: str, since: Path) -> None:
        self.home, self.export, self.key, self.since = home, export, key, since

    @classmethod
    def home_of(cls, folder: Path, *, dossiers: int) -> "Taken":
        clinic = Clinic.founded(folder / "home")
        since = folder / "kept.txt"
        for number in range(dossiers):
            clinic.whole_dossier(number)
            if number == 0:
                since.write_text(clinic.ledger.checkpoint())
        key = str(clinic.ledger.verifier_key)
        clinic.ledger.close()
        export = folder / "log.garant"
        with reading(clinic.home) as log:
            write_export(log, export)
        return cls(clinic.home, export, key, since)

    def verify(self, export: Path | None = None) -> Report:
        anchors = anchors_of(keys=(self.key,), since=self.since)
        return verify_export(export or self.export, anchors=anchors)


def test_an_export_verifies_with_the_key_and_a_kept_checkpoint_alone(taken: Taken) -> None:
    command = [sys.executable, "-m", "guarantee.verify", "--export", str(taken.export)]
    command += ["--key", taken.key, "--since", str(taken.since)]
    answered = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answered.returncode == 0, answered.stdout + answered.stderr
    assert "the log only grew since the kept checkpoint" in answered.stdout
    assert "same home" not in answered.stdout


def test_the_command_line_exports_and_verifies(tmp_path: Path) -> None:
    clinic = Clinic.founded(tmp_path / "home")
    clinic.whole_dossier()
    clinic.ledger.close()
    home, export = ["--home", str(tmp_path / "home")], str(tmp_path / "log.garant")
    run = CliRunner().invoke
    assert run(ledger_app, ["export", export, *home]).exit_code == 0
    key = str(clinic.ledger.verifier_key)
    verified = run(ledger_app, ["verify", "--export", export, "--key", key])
    assert verified.exit_code == 0, verified.output
    assert "signed by the key given" in verified.output
    beside = run(ledger_app, ["verify", "--export", export, *home])
    assert "the key in this same home" in beside.output


def test_no_key_no_pseudonym_of_a_patient_and_nobody_s_name_leaves_with_it(taken: Taken) -> None:
    text = taken.export.read_text()
    with reading(taken.home) as log:
        keys = {entry.key_id for entry in log.entries()} - {None}
    assert len(keys) == 3
    assert not any(str(key) in text for key in keys)
    assert "ZÉNITH" not in text
    assert "wrapped" not in text


def test_every_line_of_it_matters(taken: Taken, tmp_path: Path) -> None:
    """One bit anywhere: most places, each line at least once."""
    content = taken.export.read_bytes()
    starts = [0, *(at + 1 for at, byte in enumerate(content[:-1]) if byte == 10)]
    places = {*starts, *(at - 1 for at in starts[1:]), len(content) - 1}
    places |= set(random.Random(1).sample(range(len(content)), 400))
    altered = tmp_path / "altered.garant"
    for at in sorted(places):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 7
        altered.write_bytes(changed)
        arguments = ["--export", str(altered), "--key", taken.key, "--since", str(taken.since)]
        assert main(arguments) in {1, 2}, (at, content[max(0, at - 30) : at + 30])


def test_an_altered_record_is_named(taken: Taken, tmp_path: Path) -> None:
    lines = taken.export.read_bytes().split(b"\n")
    altered = tmp_path / "altered.garant"
    altered.write_bytes(b"\n".join(lines).replace(b'"accepted"', b'"overridden"', 1))
    with ExportedLog(taken.export) as log:
        decision = next(entry for entry in log.entries() if b'"accepted"' in entry.header)
    report = taken.verify(altered)
    assert any(
        finding.index == decision.place and "header" in finding.problem
        for finding in report.findings
    )


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 5, -1])
def test_a_cut_export_is_no_whole_one(taken: Taken, tmp_path: Path, kept: int) -> None:
    lines = taken.export.read_bytes().split(b"\n")
    cut = tmp_path / "cut.garant"
    cut.write_bytes(b"\n".join(lines[: kept or len(lines)][: len(lines) - 2]))
    assert main(["--export", str(cut), "--key", taken.key]) in {1, 2}


def test_lines_behind_the_last_record_are_a_finding(taken: Taken, tmp_path: Path) -> None:
    longer = tmp_path / "longer.garant"
    longer.write_bytes(taken.export.read_bytes() + b"\n")
    assert not taken.verify(longer).verified


def test_an_export_needs_the_log_s_key(taken: Taken, tmp_path: Path) -> None:
    assert main(["--export", str(taken.export)]) == 2
    assert main(["--export", str(taken.export), "--key", "no+key"]) == 2
    assert main(["--export", str(tmp_path / "nothing"), "--key", taken.key]) == 2
    other = Taken.home_of(tmp_path, dossiers=1)
    assert main(["--export", str(taken.export), "--key", other.key]) == 1
    (tmp_path / "text").write_text("no export\n")
    assert main(["--export", str(tmp_path / "text"), "--key", taken.key]) == 2


def test_what_was_altered_before_is_found_after(taken: Taken, tmp_path: Path) -> None:
    """An export of an altered log is an altered export: writing it believes nothing."""
    clinic = Clinic.founded(tmp_path / "home")
    inference = clinic.whole_dossier()
    key = str(clinic.ledger.verifier_key)
    clinic.ledger.close()
    with sqlite3.connect(clinic.home.database) as connection:
        connection.execute(
            "UPDATE bodies SET stored = zeroblob(90)"
            " WHERE position = (SELECT position FROM records WHERE id = ?)",
            (inference,),
        )
    connection.close()
    export = tmp_path / "log.garant"
    with reading(clinic.home) as log:
        write_export(log, export)
    report = verify_export(export, anchors=anchors_of(keys=(key,)))
    assert [finding.record for finding in report.findings] == [inference]
    with sqlite3.connect(clinic.home.database) as connection:
        connection.execute("DELETE FROM records WHERE id = ?", (inference,))
    connection.close()
    with reading(clinic.home) as log, pytest.raises(ExportError, match="missing"):
        write_export(log, export)
    assert verify_export(export, anchors=anchors_of(keys=(key,))).findings == report.findings
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".garant"] == ["log.garant"]


def test_a_log_of_more_than_a_tile_is_read_from_anywhere(tmp_path: Path) -> None:
    taken = Taken.home_of(tmp_path, dossiers=ACROSS_TILES)
    with ExportedLog(taken.export) as log, reading(taken.home) as stored:
        assert log.size > 256
        assert [entry.place for entry in log.entries(250, 260)] == list(range(250, 260))
        assert [entry.header for entry in log.entries(255, 258)] == [
            entry.header for entry in stored.entries(255, 258)
        ]
        assert log.tile(0, 1) == stored.tile(0, 1)
        assert log.tile(0, 0) == stored.tile(0, 0)
    assert taken.verify().verified


def test_an_empty_log_is_exported_and_verified(tmp_path: Path) -> None:
    with Ledger.open(Home(tmp_path / "home")) as ledger:
        key = str(ledger.verifier_key)
    with reading(Home(tmp_path / "home")) as log:
        assert write_export(log, tmp_path / "log.garant") == 0
    assert verify_export(tmp_path / "log.garant", anchors=anchors_of(keys=(key,))).verified


def test_a_malformed_kept_checkpoint_cannot_be_compared_with(taken: Taken, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("nonsense")
    with pytest.raises(CouldNotCheck, match="kept checkpoint"):
        verify_export(taken.export, anchors=anchors_of(keys=(taken.key,), since=tmp_path / "kept"))


# One content, one file


def heading_of(export: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(export.read_bytes().split(b"\n", 1)[0])
    return facts


def with_heading(taken: "Taken", file: Path, facts: object) -> int:
    """What the verifier's status is where the export's first line says `facts`."""
    rest = taken.export.read_bytes().split(b"\n", 1)[1]
    file.write_bytes(rfc8785.dumps(facts) + b"\n" + rest)  # type: ignore[arg-type]  # odd, on purpose
    return main(["--export", str(file), "--key", taken.key])


def test_the_heading_has_one_form_and_every_other_one_is_malformed(
    taken: Taken, tmp_path: Path
) -> None:
    file = tmp_path / "odd.garant"
    right = heading_of(taken.export)
    earlier, later = taken.since.read_text(), right["checkpoint"]
    answer = "dGltZQ=="
    assert with_heading(taken, file, right) == 0
    assert with_heading(taken, file, {**right, "kept": [{"note": earlier}, {"note": later}]}) == 0
    kept: list[object] = [
        [earlier],
        [{"note": earlier, "more": 1}],
        [{"note": earlier, "timestamp": None}],
        [{"note": earlier, "timestamp": True}],
        [{"note": earlier, "timestamp": answer.rstrip("=")}],
        [{"note": earlier, "timestamp": "dGltZR=="}],
        [{"note": earlier, "timestamp": f" {answer}"}],
        [{"timestamp": answer}],
        [{"note": earlier}, {"note": earlier}],
        [{"note": later}, {"note": earlier}],
        [{"note": True}],
        [[]],
        {},
        None,
        "x",
    ]
    odd: list[object] = [
        {**right, "version": True},
        {**right, "version": 1.5},
        {**right, "version": "1"},
        {**right, "version": 2},
        {**right, "more": 1},
        {**right, "format": "garant-export "},
        {**right, "checkpoint": [later]},
        {key: value for key, value in right.items() if key != "kept"},
        *({**right, "kept": one} for one in kept),
        [],
        True,
    ]
    for facts in odd:
        assert with_heading(taken, file, facts) == 2, facts
    first, rest = taken.export.read_bytes().split(b"\n", 1)
    for line in (b" " + first, first + b" ", first + b"\r", first.replace(b":1}", b":1.0}")):
        file.write_bytes(line + b"\n" + rest)
        assert main(["--export", str(file), "--key", taken.key]) == 2, line


def test_each_line_has_one_form_and_every_other_one_is_a_finding(
    taken: Taken, tmp_path: Path
) -> None:
    """The same bytes, told in another way: an export is compared by its SHA-256."""
    file = tmp_path / "odd.garant"
    lines = taken.export.read_bytes().split(b"\n")
    clear = next(at for at in range(3, len(lines), 2) if lines[at].startswith(b"{"))
    sealed = next(at for at in range(3, len(lines), 2) if lines[at].startswith(b'"'))
    tile = 1
    odd = {
        clear: [b'"' + base64.b64encode(lines[clear]) + b'"', lines[clear] + b" "],
        sealed: [lines[sealed][:-1] + b'\\n"', lines[sealed].replace(b'"', b"'"), b"null"],
        tile: [lines[tile].replace(b'"', b""), lines[tile][:-1] + b'AAAA"', b'""', b"null"],
    }
    for at, forms in odd.items():
        for form in forms:
            file.write_bytes(b"\n".join([*lines[:at], form, *lines[at + 1 :]]))
            assert not taken.verify(file).verified, (at, form[:40])
            assert main(["--export", str(file), "--key", taken.key]) == 1


def test_the_same_log_is_exported_to_the_same_bytes(taken: Taken, tmp_path: Path) -> None:
    again = tmp_path / "again.garant"
    with reading(taken.home) as log:
        write_export(log, again)
    assert again.read_bytes() == taken.export.read_bytes()


# What the statuses mean


def test_a_key_that_is_none_is_not_checked_with_and_one_that_did_not_sign_is_a_finding(
    taken: Taken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, key_id, public = taken.key.split("+", 2)
    raw = base64.b64decode(public)
    malformed = [
        "",
        name,
        taken.key[:-4],
        f"{name}+00000000+{public}",
        f"{name}+{key_id}+{base64.b64encode(bytes([4]) + raw[1:]).decode()}",
        f"{name}x+{key_id}+{public}",
        f"{name}+{key_id}+{base64.b64encode(raw[:-1]).decode()}",
    ]
    for key in malformed:
        assert main(["--export", str(taken.export), "--key", key]) == 2, key
        assert main(["--home", str(taken.home.path), "--key", key]) == 2, key
        assert main(["--export", str(taken.export), "--key", taken.key, "--key", key]) == 2, key
    assert main(["--export", str(taken.export), "--cosigner", taken.key, "--key", taken.key]) == 2
    # A log that somebody put in the place of the one whose key its holder was given.
    other = str(VerifierKey(name=name, algorithm=1, public=bytes(32)))
    for stranger in (other, str(VerifierKey(name="elsewhere", algorithm=1, public=raw[1:]))):
        assert main(["--export", str(taken.export), "--key", stranger]) == 1
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "1 tampering found, which a log that the key given did not sign is, too" in told


def test_a_kept_checkpoint_of_an_empty_log_is_not_called_an_anchor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, kept = Home(tmp_path / "home"), tmp_path / "kept"
    with Ledger.open(home) as ledger:
        kept.write_text(ledger.checkpoint())
        key = str(ledger.verifier_key)
    Clinic.founded(home).ledger.close()
    assert main(["--home", str(home.path), "--key", key, "--since", str(kept)]) == 0
    told = capsys.readouterr().out
    assert "of an empty log, which says nothing of any record" in told
    assert "compare with a checkpoint kept outside the house" in told
    assert "only grew" not in told
    kept.write_text(kept.read_text().replace("\n0\n", "\n1\n"))
    assert main(["--home", str(home.path), "--key", key, "--since", str(kept)]) == 1
