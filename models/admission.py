"""What a version must have before it can be registered; what is missing, and how to add it."""

import json
from pathlib import Path

from pydantic import ValidationError

from guarantee.card import Card
from models import bundle
from models.errors import ModelsError
from models.evaluation import Evaluation

_REMEDIES = {
    "card.json": "the card: `garant models card NAME` prints one to start from, `--card` gives it",
    "contract.json": "the feature contract, which `garant models train` makes of the cohort",
    "calibration.json": "the calibration, which `garant models train` fits",
    "reference.npz": "the reference for monitoring, which `garant models train` makes",
    "metrics.json": "the evaluation, which `garant models train` makes",
    "evaluation.html": "the evaluation's page, which `garant models train` makes",
    "predictor.json": "the model itself, which `garant models train` makes",
}


class Inadmissible(ModelsError):
    """A version lacks what it must have to be registered; the message says what, line by line.

    Attributes:
        missing: Each thing that is missing or wrong, and how to add it.
    """

    def __init__(self, missing: tuple[str, ...]) -> None:
        self.missing = missing
        super().__init__("\n".join(["it cannot be registered yet:", *(f"  {m}" for m in missing)]))


def check_admissible(folder: Path, *, name: str) -> None:
    """Check that a version's files are all that a college, a clinician and a patient are owed.

    A card, with its leaflet, responsibilities, kind, regulatory status, lapse time, labels in two
    languages with their codes and, where it learns, its change protocol; a feature contract; a
    reference; an evaluation of every label; a model that they describe.

    Args:
        folder: The version's files, whose digest the caller checks.
        name: Of the model under which it is to be registered.

    Raises:
        Inadmissible: Something is missing.
    """
    missing = [remedy for file, remedy in _REMEDIES.items() if not (folder / file).is_file()]
    if (folder / "card.json").is_file():
        missing += _of_card((folder / "card.json").read_bytes(), name)
    if not missing:
        missing += _of_the_whole(folder, name)
    if missing:
        raise Inadmissible(tuple(missing))


def problems_of_card(error: ValidationError) -> list[str]:
    """Each field of a card at fault and what is wrong with it; never its value."""
    return [
        f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}"
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _of_card(content: bytes, name: str) -> list[str]:
    try:
        card = Card.model_validate_json(content)
    except ValidationError as error:
        return [
            f"card: {problem}; write it on the card, and train again"
            for problem in problems_of_card(error)
        ]
    if card.name != name:
        return [f"card: it is that of {card.name}, not of {name}; train with {name}'s own card"]
    return []


def _of_the_whole(folder: Path, name: str) -> list[str]:
    try:
        model = bundle.load(folder, name=name, version="", digest=bundle.digest_of(folder))
        evaluation = Evaluation.model_validate_json((folder / "metrics.json").read_bytes())
    except bundle.MalformedBundle as cause:
        return [f"{cause}; train again"]
    except (ValidationError, json.JSONDecodeError):
        return [f"{_REMEDIES['metrics.json']}: its figures cannot be read; train again"]
    missing = []
    if set(evaluation.labels) != set(model.labels):
        missing.append("evaluation: it judges other labels than the card's; train again")
    if not evaluation.cases:
        missing.append("evaluation: it judges no case; train on a cohort with cases to judge")
    if model.reference.profiles < 1:
        missing.append("reference: it was made of no profile; train again")
    return missing
