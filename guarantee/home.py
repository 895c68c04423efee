"""The home directory: where a Garant keeps its log, its keys and its models."""

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL

from guarantee.databases import file_url, parse_url


@dataclass(frozen=True, slots=True)
class Home:
    """The layout under one directory; nothing is created by naming it.

    Attributes:
        server: The PostgreSQL database that holds the ledger and the vault, from
            `databases.parse_url`; without one, the file `database` holds them. May hold a
            password, so it is never printed.
    """

    path: Path
    server: URL | None = field(default=None, repr=False)

    @classmethod
    def named(cls, path: Path, server: str | None) -> "Home":
        """The home at a path, its log in the database of that URL, if any.

        Raises:
            UnsupportedDatabase: Not a PostgreSQL database's URL; never says it.
        """
        return cls(path, parse_url(server) if server else None)

    @property
    def database(self) -> Path:
        """The embedded SQLite file of the ledger and the vault, where no server holds them."""
        return self.path / "ledger.db"

    @property
    def url(self) -> URL:
        """The database that holds the ledger and the vault."""
        return self.server or file_url(self.database)

    @property
    def lacks_log(self) -> bool:
        """Whether there is no log yet, as far as can be told without connecting to a server."""
        return self.server is None and not self.database.is_file()

    @property
    def keys(self) -> Path:
        """The folder of private keys, readable by its owner alone."""
        return self.path / "keys"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.path / "mlflow"

    @property
    def bentoml(self) -> Path:
        """BentoML's home; its model store holds the promoted versions."""
        return self.path / "bentoml"

    @property
    def monitoring(self) -> Path:
        """Reports on what the models met."""
        return self.path / "monitoring"

    @property
    def cohorts(self) -> Path:
        """Cohorts fetched from a package index."""
        return self.path / "cohorts"
