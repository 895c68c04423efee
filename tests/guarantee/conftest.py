"""A clinic for each test, verified whole when the test is over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarantee.clinic import Clinic, check_ledger


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    """A founded clinic; whatever a test does, its log must verify."""
    founded = Clinic.founded(tmp_path / "home")
    yield founded
    founded.ledger.close()
    check_ledger(founded.home)
