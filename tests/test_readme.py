"""What the README says to paste works, in the order that it says it in."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from models import cohorts
from tests.serving.conftest import free_port

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(
    r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_every_block_is_found() -> None:
    assert len(BLOCKS) == (ROOT / "README.md").read_text().count("\n```bash\n") >= 5


@pytest.mark.slow
def test_the_blocks_run_one_after_another(tmp_path: Path, gcm_folder: Path) -> None:
    cohorts.gcm(gcm_folder)
    for name in ("demo", "mine"):
        shutil.copytree(gcm_folder, tmp_path / ".garant" / name / "cohorts")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    commands = tmp_path / "bin"
    commands.mkdir()
    # The command of this clone, whatever is installed.
    (commands / "garant").write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m garant "$@"\n'
    )
    (commands / "garant").chmod(0o755)
    # The first line stands for `make demo`.
    script = "\n".join(["garant demo --home .garant/demo", *BLOCKS])
    script = script.replace("3000", str(free_port()))
    bash = shutil.which("bash")
    assert bash is not None
    ran = subprocess.Popen(
        [bash, "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = ran.communicate(timeout=400)
    finally:
        with suppress(ProcessLookupError):  # all of it has ended
            os.killpg(ran.pid, signal.SIGKILL)
    assert ran.returncode == 0, said
