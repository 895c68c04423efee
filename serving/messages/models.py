"""Messages about models: their cards, contracts and leaflets, and stopping them."""

from datetime import datetime

from pydantic import Field

from guarantee.bodies import Words
from guarantee.card import Card, Language, Text
from guarantee.situations import Standing, Verdict
from models.contract import Feature
from serving.messages.parts import Given, Signature, Taken


class Stop(Taken):
    """Why a model is stopped."""

    reason: Words = Field(max_length=2000, examples=["Answers differ between the two scanners."])


class Resumption(Stop):
    """Why a model may answer again."""

    signature: Signature | None = Field(
        default=None, description="By the member's registered key, over the payload of the refusal"
    )


class ModelSummary(Given):
    """A model in the list."""

    name: str
    title: Text | None
    standing: Standing
    version: str | None = Field(description="The one that answers")
    suspension: str | None = Field(description="Why it was stopped")


class VersionGiven(Given):
    """A registered version."""

    version: str
    digest: str = Field(description="SHA-256 over its files, hexadecimal")
    verdict: Verdict
    missing_votes: tuple[str, ...]
    registered: datetime
    card: Card


class ModelGiven(ModelSummary):
    """A model with its versions."""

    versions: tuple[VersionGiven, ...]


class ContractGiven(Given):
    """What the version that answers takes."""

    model: str
    version: str
    least_features: int = Field(
        description="Given fewer of them than so many, or not all that are `required`, the model "
        "abstains: `too_few_features`"
    )
    features: tuple[Feature, ...] = Field(
        description="By name, with the unit to send; outside `possible` a value is refused, "
        "outside `plausible` it is taken and flagged, unless the model reads ranks, to which any "
        "scale is as good"
    )


class LeafletGiven(Given):
    """What a patient is given to read."""

    model: str
    version: str
    language: Language
    text: str
    sha256: str = Field(description="Of the text in UTF-8, as the information records it")
