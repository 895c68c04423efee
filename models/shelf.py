"""BentoML's model store under home: the versions laid out for serving."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from guarantee.home import Home
from models import bundle
from models.errors import ModelsError
from models.served import ServedModel

if TYPE_CHECKING:
    from bentoml._internal.models import ModelStore

# Beside it BentoML writes its own model.yaml, which is no part of the version.
_FOLDER: Final = "bundle"


class NotOnTheShelf(ModelsError):
    """The version is not laid out here; promote it again, or lay it out from the registry."""


def lay(home: Home, folder: Path, *, name: str, version: str, digest: str) -> Path:
    """Lay a version's files out as BentoML's model `name:version`; return where they are.

    A second time changes nothing; a version that was cut short or altered is laid anew.

    Raises:
        DigestMismatch: `folder` does not hold the version registered under `digest`.
    """
    import bentoml

    bundle.verify(folder, digest)
    tag, store = f"{name}:{version}", _store(home)
    laid = _place(home, name, version)
    if laid.is_dir():
        try:
            bundle.verify(laid, digest)
            bentoml.models.get(tag, _model_store=store)
        except (bundle.DigestMismatch, bentoml.exceptions.BentoMLException):
            bentoml.models.delete(tag, _model_store=store)
        else:
            return laid
    elif laid.parent.is_dir():
        bentoml.models.delete(tag, _model_store=store)
    with bentoml.models.create(
        tag,
        labels={"digest": digest},
        # Loaded by `bundle.load` alone, whatever library trained it.
        context=bentoml.models.ModelContext(framework_name="garant", framework_versions={}),
        _model_store=store,
    ) as model:
        # The bytes alone: permissions are this store's.
        shutil.copytree(folder, model.path_of(_FOLDER), copy_function=shutil.copyfile)
    return laid


def load(home: Home, *, name: str, version: str, digest: str) -> ServedModel:
    """The version, checked against the ledger's digest and ready to answer.

    Raises:
        NotOnTheShelf: It was never laid out in this home.
        DigestMismatch: Its files were changed.
        MalformedBundle: Its files do not make a version.
    """
    laid = _place(home, name, version)
    if not laid.is_dir():
        raise NotOnTheShelf(
            f"{name}:{version} is not in {home.bentoml}; `garant models promote {name}` lays it out"
        )
    return bundle.load(laid, name=name, version=version, digest=digest)


def _store(home: Home) -> "ModelStore":
    """The store of this home, whatever BENTOML_HOME was when BentoML was imported."""
    from bentoml._internal.models import ModelStore

    base = home.bentoml / "models"
    base.mkdir(parents=True, exist_ok=True)
    return ModelStore(base)


def _place(home: Home, name: str, version: str) -> Path:
    # BentoML's own layout; read directly, so that loading needs no import of it.
    return home.bentoml / "models" / name / version / _FOLDER
