"""When each model was last watched, and what was found: known to the service, too.

A run that finds nothing new tells the log nothing, so each leaves a note in the home.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from guarantee.home import Home
from guarantee.ledger import Ledger
from models.served import ServedModel
from monitoring.findings import Drifted, Finding, Stable, Undecided


class Found(StrEnum):
    """What a run found."""

    DRIFT = "drift"
    STABLE = "stable"
    UNDECIDED = "undecided"


_FOUND: Final = {Drifted: Found.DRIFT, Stable: Found.STABLE, Undecided: Found.UNDECIDED}


class Run(BaseModel):
    """The last look at a model whose window reached the present.

    Attributes:
        at: Milliseconds since 1970, UTC.
        cases: In its window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    at: int
    found: Found
    cases: int


def note(home: Home, ledger: Ledger, served: ServedModel, finding: Finding) -> None:
    """Leave a note of a run; it takes the place of the one before."""
    run = Run(
        version=served.version,
        at=ledger.now(),
        found=_FOUND[type(finding)],
        cases=finding.cases,
    )
    file = _file(home, served.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(run.model_dump_json())
    draft.replace(file)


def last(home: Home, name: str) -> Run | None:
    """The last run's note; none where there is none that can be read."""
    try:
        return Run.model_validate_json(_file(home, name).read_bytes())
    except (OSError, ValidationError):
        return None


def _file(home: Home, name: str) -> Path:
    return home.monitoring / "runs" / f"{name}.json"
