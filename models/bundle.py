"""A version on disk: the folder that is registered, shelved and loaded, and its digest."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import rfc8785

from guarantee.card import Card
from models import predictor
from models.contract import FeatureContract
from models.errors import ModelsError
from models.evaluation import Evaluation
from models.evaluation_page import page
from models.predictor import MalformedPredictor, Predictor
from models.reference import Reference
from models.served import ServedModel
from models.uncertainty import Calibration

MANIFEST: Final = "manifest.json"
PAGE: Final = "evaluation.html"


class DigestMismatch(ModelsError):
    """A version's files are not those that were registered; it must not answer.

    Attributes:
        files: Names of the files that differ, are missing or were added; the manifest's own name
            where it differs too and cannot tell.
    """

    def __init__(self, folder: Path, files: tuple[str, ...]) -> None:
        self.files = files
        super().__init__(
            f"{', '.join(files)} in {folder} differ from what was registered; "
            "do not use this version, and promote it again from the registry"
        )


class MalformedBundle(ModelsError):
    """A folder does not hold a version; its files cannot be read as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Everything a version is made of.

    The predictor's class k is the card's k-th label.
    """

    card: Card
    contract: FeatureContract
    predictor: Predictor
    calibration: Calibration
    reference: Reference
    evaluation: Evaluation


def write(bundle: Bundle, folder: Path) -> str:
    """Write the version's files into `folder`, which is created, and return its digest."""
    folder.mkdir(parents=True)
    bundle.predictor.write(folder)
    _write_text(folder / "card.json", bundle.card.model_dump_json(indent=1))
    _write_text(folder / "contract.json", bundle.contract.to_json())
    _write_text(folder / "calibration.json", bundle.calibration.model_dump_json(indent=1))
    bundle.reference.write(folder / "reference.npz")
    _write_text(folder / "metrics.json", bundle.evaluation.model_dump_json())
    _write_text(
        folder / PAGE, page(bundle.card, bundle.contract, bundle.reference, bundle.evaluation)
    )
    (folder / MANIFEST).write_bytes(rfc8785.dumps(dict(_hashes(folder))))
    return digest_of(folder)


def read_card(folder: Path) -> Card:
    """The card of a version's folder, whose digest the caller checks.

    Raises:
        MalformedBundle: There is no readable card.
    """
    try:
        return Card.model_validate_json((folder / "card.json").read_bytes())
    except (OSError, ValueError) as cause:
        raise MalformedBundle(f"{folder} holds no readable card") from cause


def read_evaluation(folder: Path) -> Evaluation:
    """The figures of a version's folder, whose digest the caller checks.

    Raises:
        MalformedBundle: There are no readable figures.
    """
    try:
        return Evaluation.model_validate_json((folder / "metrics.json").read_bytes())
    except (OSError, ValueError) as cause:
        raise MalformedBundle(f"{folder} holds no readable figures") from cause


def read_page(folder: Path) -> str:
    """The page of a version's folder, whose digest the caller checks.

    Raises:
        MalformedBundle: There is none.
    """
    try:
        return (folder / PAGE).read_text(encoding="utf-8")
    except (OSError, ValueError) as cause:
        raise MalformedBundle(f"{folder} holds no page of its evaluation") from cause


def load(folder: Path, *, name: str, version: str, digest: str) -> ServedModel:
    """Check the folder against the digest, then load it, ready to answer.

    Args:
        digest: The one that the ledger holds for this version, hexadecimal.

    Raises:
        DigestMismatch: A file was changed, added or removed.
        MalformedBundle: The files are those registered, but they do not make a version.
    """
    verify(folder, digest)
    try:
        served = ServedModel(
            name=name,
            version=version,
            digest=digest,
            card=read_card(folder),
            contract=FeatureContract.from_json((folder / "contract.json").read_bytes()),
            predictor=predictor.read(folder),
            calibration=Calibration.model_validate_json((folder / "calibration.json").read_bytes()),
            reference=Reference.read(folder / "reference.npz"),
        )
    except (OSError, ValueError, KeyError, MalformedPredictor) as cause:
        raise MalformedBundle(f"{folder} does not hold a version: {cause}") from cause
    shape = (served.predictor.classes, served.predictor.features)
    if shape != (len(served.labels), len(served.contract.features)):
        raise MalformedBundle(f"in {folder} the predictor, the card and the contract disagree")
    return served


def verify(folder: Path, digest: str) -> None:
    """Check that the folder holds the files registered under `digest`, and no other.

    Raises:
        DigestMismatch: It does not; the error names the files.
    """
    if digest_of(folder) != digest:
        raise DigestMismatch(folder, _differing(folder, digest))


def digest_of(folder: Path) -> str:
    """SHA-256 of the RFC 8785 JSON of {relative file name: SHA-256}, the manifest left out."""
    return hashlib.sha256(rfc8785.dumps(dict(_hashes(folder)))).hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }


def _differing(folder: Path, digest: str) -> tuple[str, ...]:
    manifest = folder / MANIFEST
    # The manifest is believed only where it is itself what was registered.
    if not manifest.is_file() or hashlib.sha256(manifest.read_bytes()).hexdigest() != digest:
        return (MANIFEST, *_hashes(folder))
    registered, present = json.loads(manifest.read_bytes()), _hashes(folder)
    return tuple(
        name
        for name in sorted(registered.keys() | present.keys())
        if registered.get(name) != present.get(name)
    )


def _write_text(path: Path, text: str) -> None:
    # Bytes, so that the digest is the same on every platform.
    path.write_bytes(text.encode())
