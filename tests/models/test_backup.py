"""What a backup holds for data scientists: MLflow and the shelf work in a restored house."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from guarantee import college, versions
from guarantee.backup import take_backup
from guarantee.home import Home
from guarantee.identity import Caller, Profession, Role
from guarantee.ledger import Ledger
from guarantee.pseudonyms import Actor
from guarantee.restore import restore
from guarantee.verify import verify_home
from models import bundle, registry, shelf
from models.promotion import lagging_aliases, promote_version, record_registration
from models.training import Training

NAME = "three-origins"


def actor(ledger: Ledger, role: Role, subject: str = "1") -> Actor:
    return ledger.people.actor(Caller(issuer="tests", subject=subject, role=role))


def test_versions_registered_before_a_backup_are_promoted_and_served_after_a_restore_elsewhere(
    training: Training, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A space and an accent, which addresses percent-encode.
    home, elsewhere = Home(tmp_path / "old hôme"), Home(tmp_path / "new hôme" / "deep")
    registry.register(home, registry.log(home, training))
    registry.register(home, registry.log(home, training))
    file = tmp_path / "garant.tar"
    with Ledger.open(home) as ledger:
        scientist = actor(ledger, Role.DATA_SCIENTIST)
        for version in ("1", "2"):
            record_registration(home, ledger, scientist, name=NAME, version=version)
        for seat in list(Profession)[:3]:
            member = actor(ledger, Role.COLLEGE, seat)
            college.appoint(ledger, member, member=member, profession=seat)
            for version in ("1", "2"):
                college.vote(ledger, member, name=NAME, version=version, in_favour=True)
        promote_version(home, ledger, scientist, name=NAME, version="1")
        take_backup(home, ledger, actor(ledger, Role.INTEGRATOR), file)
    shutil.rmtree(home.path)
    restore(elsewhere, file)
    for database in elsewhere.mlflow.rglob("*.db"):
        with sqlite3.connect(database) as connection:
            dump = "\n".join(connection.iterdump())
        connection.close()
        assert "old h" not in dump
    with Ledger.open(elsewhere) as ledger:
        # What answered goes on answering, from the shelf.
        serving = versions.standing(ledger, NAME).check_serving()
        shelf.load(elsewhere, name=NAME, version=serving.version, digest=serving.digest)
        assert lagging_aliases(elsewhere, ledger) == ()
        # What was registered and not promoted comes out of MLflow.
        fetched = registry.fetch(
            elsewhere, registry.registration(elsewhere, NAME, "2"), tmp_path / "fetched"
        )
        assert bundle.digest_of(fetched) == digest
        scientist = actor(ledger, Role.DATA_SCIENTIST)
        promote_version(elsewhere, ledger, scientist, name=NAME, version="2")
    # And data scientists go on: in MLflow itself, and with new versions.
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri(elsewhere))
    assert mlflow.xgboost.load_model(f"models:/{NAME}/1")
    assert registry.register(elsewhere, registry.log(elsewhere, training)).version == "3"
    assert not home.path.exists()
    assert verify_home(elsewhere).verified
