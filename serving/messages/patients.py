"""Messages about patients: informed, or refusing; their data read, put right, kept, erased."""

from datetime import date
from typing import Any, Self

from pydantic import ConfigDict, Field, StrictBool, field_validator, model_validator

from guarantee.bodies import (
    ErasureGround,
    HoldReason,
    InformationDeferred,
    Purpose,
    Recipient,
    Words,
)
from guarantee.card import Language, ModelName
from guarantee.identity import Day, Patient
from serving.messages.parts import Given, Instant, Pseudonym, RecordId, Taken

_PATIENT: dict[str, Any] = {
    "matricule": "2690549588157",
    "key": "80",
    "oid": "1.2.250.1.213.1.4.10",
    "birth_name": "NESSI",
    "given_names": "RUTH ISABELLE",
    "birth_date": "1969-05-12",
    "sex": "F",
    "birth_place": "49588",
    "qualified": True,
}


class InformationGiven(Taken):
    """That a patient was told, or why that had to wait."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "patient": _PATIENT,
                    "recipient": "patient",
                    "language": "fr",
                    "models": ["tumour-origin"],
                    "valid_until": "2027-11-24T00:00:00Z",
                }
            ]
        }
    )

    patient: Patient
    models: list[ModelName] = Field(min_length=1, max_length=100)
    recipient: Recipient | None = Field(default=None, description="Who was told")
    recipient_name: Words | None = Field(default=None, max_length=200)
    language: Language = Language.FRENCH
    valid_until: Instant | None = Field(
        default=None, description="When the information ends; never, where it is left out"
    )
    reuse: StrictBool = Field(
        default=False,
        description="Whether they were told that the models may be trained again on what is "
        "recorded, which is another purpose, and that they may refuse it",
    )
    deferred: InformationDeferred | None = Field(
        default=None, description="Instead of `recipient`: why nobody could be told beforehand"
    )

    @field_validator("models")
    @classmethod
    def _models_are_distinct(cls, models: list[ModelName]) -> list[ModelName]:
        if len(set(models)) < len(models):
            raise ValueError("a model is named twice; name it once")
        return models

    @model_validator(mode="after")
    def _is_given_or_deferred(self) -> Self:
        if (self.recipient is None) == (self.deferred is None):
            raise ValueError("send either recipient, who was told, or deferred, why nobody was")
        if self.reuse and self.deferred is not None:
            raise ValueError("reuse is told to somebody: leave it out where nobody was informed")
        return self


class InformationRecorded(Given):
    """A patient's information or objection, now in the log."""

    information_id: RecordId
    pseudonym: Pseudonym


class Objection(Taken):
    """That a patient refuses the AI from now on, or training on their records alone."""

    information_id: RecordId
    recipient: Recipient = Field(description="Who refuses, on behalf of the patient or as one")
    reuse_only: StrictBool = Field(
        default=False,
        description="Whether only training on what is recorded is refused; answers may go on",
    )
    statement: Words | None = Field(default=None, max_length=2000)


class AccessAsked(Taken):
    """Why all that is held on a patient is read."""

    purpose: Purpose = Purpose.PATIENT_REQUEST


class Rectification(Taken):
    """A patient's identity as it should be, whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"patient": _PATIENT}]})

    patient: Patient


class ErasureAsked(Taken):
    """Why a patient's records may be erased."""

    ground: ErasureGround
    died: Day | None = Field(
        default=None, description="The day of death, where it is known: it ends retention earlier"
    )


class ErasureRecorded(Given):
    """An erasure, done: the headers stay, and name nobody."""

    record_id: RecordId
    index: int = Field(description="Its zero-based place in the log")
    records: tuple[RecordId, ...] = Field(description="Those whose bodies are gone")
    backups_expire: date | None = Field(
        description="The last day on which a backup may still hold them"
    )


class HoldAsked(Taken):
    """That a patient's records may not be erased, or may be again."""

    reason: HoldReason
    lifted: StrictBool = Field(default=False, description="Whether the hold ends")
