"""Messages that tell why an answer was given."""

from pydantic import Field

from guarantee.card import Language
from serving.messages.parts import Given, RecordId


class ReasonGiven(Given):
    """One feature's part, with its value, in words."""

    feature: str
    value: float | None = Field(description="None where it is missing")
    unit: str
    contribution: float = Field(description="In log-odds; positive speaks for the label")
    weight: float = Field(description="Its share of all contributions without their sign")
    sentence: str


class AccountGiven(Given):
    """Why: what speaks for and against a label, or for it rather than another."""

    inference_id: RecordId
    language: Language
    label: str
    rather_than: str | None
    start: float = Field(
        description="The label's margin, or the log-odds of the two labels, when nothing is known "
        "of the patient; before calibration"
    )
    total: float = Field(
        description="The same for this patient: start, reasons and rest add up to it"
    )
    reasons_for: tuple[ReasonGiven, ...] = Field(description="The ten strongest")
    reasons_against: tuple[ReasonGiven, ...] = Field(description="The ten strongest")
    rest: float = Field(description="What all other features contribute together")
    sentences: tuple[str, ...] = Field(description="All of it, to be read in this order")
