"""What is kept beside the log, searched: MLflow's files, the shelf, reports, the workspace."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from guarantee.identity import Role
from guarantee.records import pack_floats, unpack_floats
from guarantee.seen import inferences
from monitoring.watch import look, report
from tests.monitoring.conftest import NAME, caller
from tests.monitoring.test_learning import House, house

__all__ = ["house"]  # a fixture

_MOST_TOLD = 3
"""Of a patient's twelve values, so many may stand in one file by chance."""


def _files(house: House) -> Iterator[tuple[Path, bytes]]:
    """Every file, and every member of an archive."""
    for folder in (house.home.mlflow, house.home.bentoml, house.home.monitoring):
        assert folder.is_dir()
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                found = path.read_bytes()
                yield path, found
                if zipfile.is_zipfile(io.BytesIO(found)):
                    with zipfile.ZipFile(io.BytesIO(found)) as archive:
                        for member in archive.namelist():
                            yield path / member, archive.read(member)


def _written(values: NDArray[np.float32]) -> list[bytes]:
    """A profile as files might hold it, whole."""
    return [values.astype(kind).tobytes() for kind in ("<f4", ">f4", "<f8", ">f8")] + [
        pack_floats(values).encode()
    ]


def _numbers(found: bytes) -> set[float]:
    """What the file says with four decimals or more, to four."""
    return {round(float(text), 4) for text in re.findall(rb"-?\d+\.\d{4,}", found)}


def _told(values: NDArray[np.float32], numbers: set[float]) -> int:
    return len({round(float(value), 4) for value in values} & numbers)


def test_a_profile_would_be_found() -> None:
    values = np.random.default_rng(0).normal(7, 1, 12).astype(np.float32)
    assert _told(values, _numbers(str(values.tolist()).encode())) == 12
    assert all(one in b"ab" + one for one in _written(values))


@pytest.mark.slow
def test_no_file_beside_the_log_names_a_patient_or_holds_a_profile(house: House) -> None:
    house.go_through(("breast", "lung", "ovary") * 20, seed=1)
    monitor = house.ledger.people.actor(caller(Role.MONITOR))
    look(house.ledger, house.home, monitor, NAME)
    assert report(house.ledger, house.home, NAME).report is not None
    house.update()

    found = inferences(house.ledger, model=NAME, version="1")
    profiles = [np.array(unpack_floats(one.profile), dtype=np.float32) for one in found]
    assert len(profiles) == 60
    identities = [b"ESSAI", b"1985-01-01", b"28501000"]
    identities += [
        one.id.encode() for one in house.ledger.page(0, 5000) if one.header.dossier is not None
    ]
    for information in house.informations:
        pseudonym = house.ledger.sealed_for(information)
        assert pseudonym is not None
        identities += [information.encode(), pseudonym.encode()]
    whole = [one for values in profiles for one in _written(values)]
    searched = 0
    for path, kept in _files(house):
        searched += 1
        assert [one for one in identities if one in kept] == [], path
        assert not any(one in kept for one in whole), path
        numbers = _numbers(kept)
        assert max(_told(values, numbers) for values in profiles) <= _MOST_TOLD, path
    assert searched > 20
