"""A version's files: their digest, and that no change of them is missed."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models import bundle
from models.bundle import DigestMismatch, MalformedBundle
from models.cohorts import Cohort
from models.training import Training, train

NAMES = (
    "model.ubj",
    "predictor.json",
    "card.json",
    "contract.json",
    "calibration.json",
    "reference.npz",
)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def load(folder: Path, digest: str) -> None:
    bundle.load(folder, name="three-origins", version="1", digest=digest)


def test_the_digest_is_that_of_the_canonical_json_of_the_files_digests(
    folder: Path, digest: str
) -> None:
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    canonical = json.dumps(hashes, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical).hexdigest() == digest
    assert (folder / "manifest.json").read_bytes() == canonical


@pytest.mark.parametrize("name", NAMES)
def test_one_byte_changed_in_any_file_is_found_and_the_file_named(
    copy: Path, digest: str, name: str
) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(DigestMismatch) as refusal:
        load(copy, digest)
    assert refusal.value.files == (name,)


def test_a_file_removed_or_added_is_found_and_named(copy: Path, digest: str) -> None:
    (copy / "metrics.json").unlink()
    (copy / "extra.pkl").write_bytes(b"")
    with pytest.raises(DigestMismatch) as refusal:
        load(copy, digest)
    assert refusal.value.files == ("extra.pkl", "metrics.json")


def test_a_manifest_rewritten_to_hide_a_change_is_not_believed(copy: Path, digest: str) -> None:
    (copy / "card.json").write_bytes(b"{}")
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in copy.iterdir()
        if path.name != "manifest.json"
    }
    (copy / "manifest.json").write_text(json.dumps(hashes, sort_keys=True))
    with pytest.raises(DigestMismatch, match=r"manifest\.json"):
        load(copy, digest)


def test_files_that_were_registered_but_make_no_version_are_refused(copy: Path) -> None:
    (copy / "model.ubj").write_bytes(b"no booster")
    with pytest.raises(MalformedBundle):
        load(copy, bundle.digest_of(copy))


def test_training_again_with_the_same_seed_gives_the_same_digest(
    cohort: Cohort, training: Training, digest: str, tmp_path: Path
) -> None:
    again = train(cohort, training.bundle.card, training.parameters)
    assert bundle.write(again.bundle, tmp_path / "again") == digest


def test_loading_and_answering_imports_no_data_scientists_tool(folder: Path, digest: str) -> None:
    code = (
        "import sys; from pathlib import Path; from models import bundle, shelf\n"
        f"model = bundle.load(Path({str(folder)!r}), name='n', version='1', digest={digest!r})\n"
        "model.answer(model.contract.vector({'gene 0': 5.0}))\n"
        "heavy = {'mlflow', 'evidently', 'shap', 'sklearn.ensemble', 'bentoml'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
