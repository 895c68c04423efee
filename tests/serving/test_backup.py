"""`garant backup` and `garant restore`, as an operator uses them around a running service."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guarantee.home import Home
from guarantee.identity import Role
from tests.serving.conftest import GARANT_SERVE, ROOT, asked, check_ledger, establish, start, stop


def garant(home: Home, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "garant", *arguments],
        cwd=ROOT,
        env={**os.environ, "GARANT_HOME": str(home.path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def token(home: Home, role: Role) -> str:
    return garant(home, "token", "--role", role).stdout.strip()


@pytest.mark.slow
def test_an_operator_backs_up_a_house_that_serves_and_restores_it_elsewhere(
    tmp_path: Path,
) -> None:
    home, elsewhere = Home(tmp_path / "home"), Home(tmp_path / "elsewhere")
    establish(home, tmp_path / "versions")
    operator = {"GARANT_TOKEN": token(home, Role.INTEGRATOR)}
    file = str(tmp_path / "garant.tar")
    service = start(home, tmp_path / "service.log", *GARANT_SERVE, "--workers", "2")
    try:
        with service.client(Role.CLINICIAN) as clinician:
            inference = asked(clinician)["inference_id"]
        refused = garant(home, "backup", file, "--token", token(home, Role.DATA_SCIENTIST))
        assert (refused.returncode, Path(file).exists()) == (1, False)
        backed_up = garant(home, "backup", file, "--keep-days", "7", **operator)
        assert backed_up.returncode == 0, backed_up.stderr
        assert "delete it then" in backed_up.stdout
        assert "whoever has this file" in backed_up.stderr
        refused = garant(home, "restore", file, "--force", **operator)
        assert refused.returncode == 1
        assert "stop the service" in refused.stderr
    finally:
        stop(service)
    refused = garant(home, "restore", file, **operator)
    assert refused.returncode == 1
    assert "newer than the backup" in refused.stderr
    for printed in (refused.stderr, backed_up.stderr, backed_up.stdout):
        assert "Traceback" not in printed
    # The machine is lost: no issuer there could name the operator.
    shutil.rmtree(home.path)
    restored = garant(elsewhere, "restore", file)
    assert restored.returncode == 0, restored.stderr
    assert "give those who verify it this key" in restored.stdout
    verified = garant(elsewhere, "ledger", "verify")
    assert verified.returncode == 0, verified.stdout
    service = start(elsewhere, tmp_path / "again.log", *GARANT_SERVE, "--workers", "2")
    try:
        with service.client(Role.CLINICIAN) as clinician:
            assert clinician.get(f"/v1/inferences/{inference}").status_code == 200
            assert asked(clinician)["prediction"]
    finally:
        stop(service)
    again = garant(elsewhere, "restore", file, "--force", **operator)
    assert again.returncode == 0, again.stderr
    assert "kept aside" in again.stdout
    check_ledger(elsewhere)
