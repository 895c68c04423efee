"""The home directory: where a Garant keeps its log, its keys and its models."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The layout under one directory; nothing is created by naming it."""

    path: Path

    @property
    def database(self) -> Path:
        """The embedded SQLite file of the ledger and the vault."""
        return self.path / "ledger.db"

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
    def cohorts(self) -> Path:
        """Cohorts fetched from a package index."""
        return self.path / "cohorts"
