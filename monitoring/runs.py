"""When each model was last watched, and what was found: known to the service, too.

A run that finds nothing new tells the log nothing, so each leaves a note in the home.
"""

import secrets
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guarantee.card import Measure
from guarantee.home import Home
from guarantee.ledger import Ledger
from models.served import ServedModel
from monitoring.bounds import Judged
from monitoring.findings import Drifted, Finding, Stable, Undecided


class Found(StrEnum):
    """What a run found."""

    DRIFT = "drift"
    STABLE = "stable"
    UNDECIDED = "undecided"


class Held(StrEnum):
    """What a run found of a measure that the card bounds, from the best to the worst."""

    KEPT = "kept"
    UNDECIDED = "undecided"
    MISSED = "missed"


_FOUND: Final = {Drifted: Found.DRIFT, Stable: Found.STABLE, Undecided: Found.UNDECIDED}


class Run(BaseModel):
    """The last look at a model whose window reached the present.

    Attributes:
        at: Milliseconds since 1970, UTC.
        cases: In its window.
        measures: What the card bounds, to what was found of it, the worst of its bounds and groups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    at: int
    found: Found
    cases: int
    measures: dict[Measure, Held] = Field(default_factory=dict)


def note(
    home: Home,
    ledger: Ledger,
    served: ServedModel,
    finding: Finding,
    judged: Sequence[Judged] = (),
) -> None:
    """Leave a note of a run; it takes the place of the one before."""
    worst: dict[Measure, Held] = {}
    for one in judged:
        held = [worst.get(one.bound.measure, Held.KEPT), _held(one)]
        worst[one.bound.measure] = max(held, key=tuple(Held).index)
    run = Run(
        version=served.version,
        at=ledger.now(),
        found=_FOUND[type(finding)],
        cases=finding.cases,
        measures=worst,
    )
    file = _file(home, served.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    draft.write_text(run.model_dump_json())
    draft.replace(file)


def _held(judged: Judged) -> Held:
    if isinstance(judged.found, Undecided):
        return Held.UNDECIDED
    return Held.MISSED if judged.is_missed else Held.KEPT


def last(home: Home, name: str) -> Run | None:
    """The last run's note; none where there is none that can be read."""
    try:
        return Run.model_validate_json(_file(home, name).read_bytes())
    except (OSError, ValidationError):
        return None


def _file(home: Home, name: str) -> Path:
    return home.monitoring / "runs" / f"{name}.json"
