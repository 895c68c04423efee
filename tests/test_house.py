"""The house keeps to its design: what stands where, what is locked, which way the arrows run."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("guarantee", "models", "monitoring", "serving")
DESIGNED = {*PACKAGES, "garant.py", "notebooks", "tests", "pyproject.toml", "README.md"}
REQUIRED_BY_TOOLS = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "requirements.lock",
}


def run(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def files_of_the_clone() -> set[str]:
    """Paths that git tracks or would add, as long as they exist."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    return {path for path in listed.stdout.splitlines() if (ROOT / path).exists()}


def project() -> dict[str, list[str]]:
    """Requirements by extra; those of the base under "", of the build under "build"."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {
        "": read["project"]["dependencies"],
        "build": read["build-system"]["requires"],
        **read["project"]["optional-dependencies"],
    }


def with_all_they_need(requirements: list[str]) -> Iterator[str]:
    """Names of the distributions that `requirements` bring to this platform."""
    waiting = [Requirement(line) for line in requirements]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        extras = {"", *requirement.extras}
        if (requirement.name, *sorted(extras)) in seen:
            continue
        seen.add((requirement.name, *sorted(extras)))
        yield requirement.name
        waiting += [
            needed
            for needed in map(Requirement, distribution(requirement.name).requires or [])
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras)
        ]


def test_the_top_level_holds_only_what_the_design_names() -> None:
    top = {path.partition("/")[0] for path in files_of_the_clone()}
    assert top - DESIGNED - REQUIRED_BY_TOOLS == set()


def test_the_wheel_holds_the_four_packages_and_the_door(tmp_path: Path) -> None:
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == {
        path for path in files_of_the_clone() if path.partition("/")[0] in (*PACKAGES, "garant.py")
    }


class TestTheLock:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.]+)( ; (?P<marker>[^\\]+))? \\")
    hashed = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

    def test_each_line_is_an_exact_version_or_a_hash(self) -> None:
        held = [line for line in self.lines if not line.lstrip().startswith("#")]
        assert [
            line
            for line in held
            if not self.pinned.fullmatch(line) and not self.hashed.fullmatch(line)
        ] == []
        for line, following in pairwise(held):
            assert not self.pinned.fullmatch(line) or self.hashed.fullmatch(following), line

    def test_no_index_and_no_path_is_named(self) -> None:
        assert [line for line in self.lines if "/" in line or "index" in line] == []

    def test_all_that_the_project_asks_for_is_locked_within_its_bounds(self) -> None:
        locked: dict[str, list[str]] = {}
        for found in filter(None, map(self.pinned.fullmatch, self.lines)):
            locked.setdefault(found["name"], []).append(found["version"])
        for requirement in (Requirement(line) for lines in project().values() for line in lines):
            versions = locked[canonicalize_name(requirement.name)]
            assert all(requirement.specifier.contains(version) for version in versions), requirement


@pytest.fixture(scope="module")
def base_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds what the base dependencies bring, and nothing else."""
    site = tmp_path_factory.mktemp("base")
    for name in with_all_they_need(project()[""]):
        found = distribution(name)
        for top in {path.parts[0] for path in found.files or [] if ".." not in path.parts}:
            link = site / top
            if top != "__pycache__" and not link.exists():
                link.symlink_to(str(found.locate_file(top)))
    return site


def run_on_the_base(base: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -S leaves out the installed packages, so the path is all there is.
    return run(sys.executable, "-S", *arguments, PYTHONPATH=os.pathsep.join([str(base), str(ROOT)]))


def test_the_base_lacks_what_the_extras_bring(base_only: Path) -> None:
    assert run_on_the_base(base_only, "-c", "import cryptography").returncode == 0
    assert "No module named 'numpy'" in run_on_the_base(base_only, "-c", "import numpy").stderr


def test_the_ground_stands_on_the_base_dependencies_alone(base_only: Path) -> None:
    names = {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in files_of_the_clone()
        if path.startswith("guarantee/")
        and path.endswith(".py")
        # alembic alone runs it
        and path != "guarantee/migrations/env.py"
    }
    imported = run_on_the_base(base_only, "-W", "error", "-c", f"import {', '.join(sorted(names))}")
    assert imported.returncode == 0, imported.stderr


def test_the_verifier_starts_on_the_base_dependencies_alone(base_only: Path) -> None:
    started = run_on_the_base(base_only, "-m", "guarantee.verify", "--help")
    assert started.returncode == 0, started.stderr
    assert "usage" in started.stdout.lower()


@pytest.mark.parametrize(("export", "status"), [("untouched", 0), ("body_edited", 1)])
def test_an_export_is_verified_on_the_base_dependencies_alone(
    base_only: Path, export: str, status: int
) -> None:
    attacks = ROOT / "tests" / "vectors" / "exports"
    arguments = (
        "--export",
        str(attacks / f"{export}.garant"),
        "--since",
        str(attacks / "kept.txt"),
    )
    key = (attacks / "key.txt").read_text().strip()
    checked = run_on_the_base(base_only, "-m", "guarantee.verify", *arguments, "--key", key)
    assert (checked.returncode, checked.stderr) == (status, "")


def test_what_answers_loads_neither_mlflow_nor_evidently(tmp_path: Path) -> None:
    # The import contract sees our own imports; this sees those of what we import, too.
    loaded = run(
        sys.executable,
        "-c",
        "import sys, serving.service; print({'evidently', 'mlflow'} & sys.modules.keys())",
        GARANT_HOME=str(tmp_path),
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.endswith("set()\n")


@pytest.mark.parametrize(
    ("contract", "wrong"),
    [
        ("Arrows run down only", {"guarantee/wrong.py": "import models"}),
        ("Arrows run down only", {"models/wrong.py": "import serving.service"}),
        ("No room opens the door", {"serving/wrong.py": "import garant"}),
        ("The ground knows no ML library", {"guarantee/wrong.py": "def f():\n    import numpy"}),
        (
            "What answers loads neither",
            {"models/wrong.py": "import mlflow", "serving/service.py": "import models.wrong"},
        ),
    ],
)
def test_a_wrong_import_breaks_its_contract(
    tmp_path: Path, contract: str, wrong: dict[str, str]
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path, line in wrong.items():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    lint = str(Path(sys.executable).with_name("lint-imports"))
    checked = run(lint, "--no-cache", "--no-logo", cwd=tmp_path)
    assert checked.returncode == 1
    assert re.search(f"{contract}.* BROKEN", checked.stdout), checked.stdout
