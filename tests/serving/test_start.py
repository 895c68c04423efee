"""What stops a start stops it before any worker is there, in one line that says what to do."""

import base64
import os
import subprocess
import sys
from pathlib import Path

from guarantee.home import Home
from guarantee.keyring import VARIABLE
from guarantee.ledger import Ledger
from tests.serving.conftest import ROOT, free_port

SECRET = base64.b64encode(b"m" * 32).decode()


def test_another_vault_s_master_key_stops_the_start_before_any_worker(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    Ledger.open(home).close()
    answered = subprocess.run(
        [sys.executable, "-m", "garant", "serve", "--port", str(free_port()), "--workers", "2"],
        cwd=ROOT,
        env={**os.environ, "GARANT_HOME": str(home.path), VARIABLE: SECRET},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answered.returncode == 1
    (line,) = [line for line in answered.stderr.splitlines() if line.startswith("refused")]
    assert "none of the master keys at hand opens the vault" in line
    assert VARIABLE in line
    assert "Traceback" not in answered.stderr
    assert "Starting production HTTP" not in answered.stdout + answered.stderr
    assert SECRET not in answered.stdout + answered.stderr
