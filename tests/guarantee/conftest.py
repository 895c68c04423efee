"""A clinic for each test, verified whole when the test is over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guarantee.home import Home
from tests.guarantee.clinic import Clinic, check_ledger
from tests.postgresql import Postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server; started when the first test asks for it."""
    server = Postgresql.started()
    yield server
    server.stop()


@pytest.fixture
def postgresql_home(tmp_path: Path, postgresql: Postgresql) -> Iterator[Home]:
    """An empty home whose log is in a PostgreSQL database."""
    url = postgresql.database()
    yield Home(tmp_path / "home", url)
    postgresql.drop(url)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty_home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """An empty home: with SQLite, then with PostgreSQL."""
    if request.param == "sqlite":
        return Home(tmp_path / "home")
    home: Home = request.getfixturevalue("postgresql_home")
    return home


@pytest.fixture
def clinic(empty_home: Home) -> Iterator[Clinic]:
    """A founded clinic on either database; whatever a test does, its log must verify."""
    yield from _founded(empty_home)


@pytest.fixture
def file_clinic(tmp_path: Path) -> Iterator[Clinic]:
    """A founded clinic whose log is a SQLite file, for tests that reach into the file."""
    yield from _founded(Home(tmp_path / "home"))


def _founded(home: Home) -> Iterator[Clinic]:
    founded = Clinic.founded(home)
    yield founded
    founded.ledger.close()
    check_ledger(founded.home)
