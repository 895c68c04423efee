"""Versions that come with Garant, each in a folder of its name, made by its recipe."""

from pathlib import Path
from typing import Final

from models import bundle
from models.bundle import Bundle
from models.errors import ModelsError
from models.recipes import recipe
from models.training import Training

_HERE: Final = Path(__file__).parent


class NotCommitted(ModelsError):
    """No version of this name comes with Garant; train one."""


def folder_of(name: str) -> Path:
    """Where the files of the version of that name are.

    Raises:
        NotCommitted: There is none.
    """
    folder = _HERE / name
    if name not in names():
        raise NotCommitted(f"no version of {name} comes with Garant; train one")
    return folder


def names() -> tuple[str, ...]:
    """The models of which a version comes with Garant."""
    return tuple(sorted(path.parent.name for path in _HERE.glob(f"*/{bundle.MANIFEST}")))


def training(name: str) -> Training:
    """The version of that name as its training left it; the cohort is not needed.

    Raises:
        NotCommitted: There is none.
        MalformedBundle: Its files are damaged.
    """
    folder = folder_of(name)
    digest = bundle.digest_of(folder)
    served = bundle.load(folder, name=name, version="committed", digest=digest)
    return Training(
        bundle=Bundle(
            card=served.card,
            contract=served.contract,
            predictor=served.predictor,
            calibration=served.calibration,
            reference=served.reference,
            evaluation=bundle.read_evaluation(folder),
        ),
        parameters=recipe(name).parameters,
        held_out=(),
    )
