"""BentoML's model store, a real one under home."""

import shutil
from pathlib import Path

import bentoml
import pytest
from bentoml._internal.models import ModelStore

from guarantee.home import Home
from models import shelf
from models.bundle import DigestMismatch
from models.shelf import NotOnTheShelf

NAME = "three-origins"


def lay(home: Home, folder: Path, digest: str, version: str = "1") -> Path:
    return shelf.lay(home, folder, name=NAME, version=version, digest=digest)


def test_a_version_laid_out_is_bentomls_model_under_home_and_loads(
    home: Home, folder: Path, digest: str
) -> None:
    laid = lay(home, folder, digest)
    assert laid.is_relative_to(home.bentoml)
    model = bentoml.models.get(f"{NAME}:1", _model_store=ModelStore(home.bentoml / "models"))
    assert model.info.labels == {"digest": digest}
    assert Path(model.path_of("bundle")) == laid
    served = shelf.load(home, name=NAME, version="1", digest=digest)
    assert (served.name, served.version, served.digest) == (NAME, "1", digest)


def test_laying_out_twice_changes_nothing(home: Home, folder: Path, digest: str) -> None:
    laid = lay(home, folder, digest)
    times = {path: path.stat().st_mtime_ns for path in laid.iterdir()}
    assert lay(home, folder, digest) == laid
    assert {path: path.stat().st_mtime_ns for path in laid.iterdir()} == times


def test_two_versions_stand_side_by_side(home: Home, folder: Path, digest: str) -> None:
    lay(home, folder, digest)
    lay(home, folder, digest, "2")
    assert {shelf.load(home, name=NAME, version=v, digest=digest).version for v in "12"} == {
        "1",
        "2",
    }


def test_a_version_altered_on_the_shelf_does_not_load_until_laid_out_again(
    home: Home, folder: Path, digest: str
) -> None:
    card = lay(home, folder, digest) / "card.json"
    card.write_bytes(card.read_bytes().replace(b"words", b"wards"))
    with pytest.raises(DigestMismatch, match=r"card\.json"):
        shelf.load(home, name=NAME, version="1", digest=digest)
    lay(home, folder, digest)
    shelf.load(home, name=NAME, version="1", digest=digest)


def test_what_a_crash_left_half_laid_is_laid_out_again(
    home: Home, folder: Path, digest: str
) -> None:
    laid = lay(home, folder, digest)
    shutil.rmtree(laid)
    (laid.parent / "model.yaml").unlink()
    with pytest.raises(NotOnTheShelf):
        shelf.load(home, name=NAME, version="1", digest=digest)
    lay(home, folder, digest)
    shelf.load(home, name=NAME, version="1", digest=digest)


def test_files_that_are_not_the_version_registered_are_not_laid_out(
    home: Home, folder: Path
) -> None:
    with pytest.raises(DigestMismatch):
        lay(home, folder, "0" * 64)
    assert not (home.bentoml / "models" / NAME).exists()
