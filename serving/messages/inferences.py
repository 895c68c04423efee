"""Messages about inferences: asked, answered, decided on, read back."""

from datetime import datetime
from typing import Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from guarantee.abstention import Abstention
from guarantee.bodies import (
    AccessRecorded,
    BreakGlass,
    CareShared,
    CaseReviewed,
    Context,
    Corrected,
    Decision,
    FirstRead,
    OutcomeConfirmed,
    PatientTold,
    ReviewLapsed,
    Sharing,
    Words,
)
from guarantee.card import Code, Mode, Text
from guarantee.identity import Assurance
from guarantee.records import RecordType
from guarantee.situations import Step
from serving.messages.parts import (
    Given,
    PayloadGiven,
    Pseudonym,
    ReceiptGiven,
    RecordId,
    Signature,
    Taken,
)

_SIMULATION: Final = Text(
    fr="Simulation, pas une inférence : aucune décision ne se prend sur elle.",
    en="A simulation, not an inference: nothing is decided on it.",
)


class Question(Taken):
    """One profile for a model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "information_id": "01941f29-7c00-7000-8000-000000000000",
                    "features": {"hsa-mir-122": 3.25, "hsa-mir-200c": 11.5},
                }
            ]
        }
    )

    information_id: RecordId = Field(description="Of the information that opens the gate")
    features: dict[str, Any] = Field(
        description="Numbers by feature name, in the units of the contract; "
        "those left out are missing, and said to be",
        json_schema_extra={"additionalProperties": {"type": "number"}},
    )
    mode: Mode | None = Field(
        default=None, description="May only tighten what the card asks: withheld"
    )
    context: Context | None = Field(
        default=None,
        description="Where the case comes from: what monitoring compares groups by. Vaulted with "
        "the inference; the model does not see it",
    )


class WhatIf(Taken):
    """Which features of an inference's input to change, for a simulation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"features": {"hsa-mir-122": 9.5}, "removed": ["hsa-mir-200c"]}]
        }
    )

    features: dict[str, Any] = Field(
        default={},
        description="Numbers by feature name, in the units of the contract, to take instead of "
        "those of the inference",
        json_schema_extra={"additionalProperties": {"type": "number"}},
    )
    removed: list[str] = Field(
        default=[], max_length=100_000, description="Features to take as missing"
    )

    @model_validator(mode="after")
    def _something_changes(self) -> Self:
        if not self.features and not self.removed:
            raise ValueError("nothing changes; name a feature in features or in removed")
        return self


class DecisionTaken(Taken):
    """What the clinician decides."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"decision": "accepted"},
                {
                    "decision": "overridden",
                    "label": "lung",
                    "reason": "TTF-1 positive on immunohistochemistry.",
                },
            ]
        }
    )

    decision: Decision
    label: str | None = Field(
        default=None, max_length=200, description="The label decided on; for overridden alone"
    )
    reason: Words | None = Field(default=None, max_length=4000, description="Needed to override")
    signature: Signature | None = Field(
        default=None,
        description="By the clinician's registered key, over the payload that "
        "`decision-payload` gives for this same body; without it the issuer alone attests",
    )


class DecisionPayloadGiven(PayloadGiven):
    """What to sign, and what shows that it is your decision."""

    label: str | None = Field(description="What is decided; of an acceptance, the answer's label")
    salt: str = Field(
        description="32 bytes, hexadecimal: `statement` in the payload is SHA-256 over "
        '"garant signed statement v1", a zero byte, the salt, and the RFC 8785 JSON of label and '
        "reason"
    )


class ModelNamed(Given):
    """What answered."""

    name: str
    version: str
    digest: str
    title: Text


class Ranked(Given):
    """One label of the ranking."""

    label: str
    words: Text
    probability: float


class AbstentionGiven(Given):
    """That the model does not know, and why: an answer of its own, which nobody can accept."""

    reason: Abstention
    words: Text
    needed: tuple[str, ...] = Field(
        description="The features that it needs and was not given: send these, and ask again; "
        "empty where any would do, and the contract's `least_features` says how many"
    )


class Prediction(Given):
    """The answer: help for a decision, never the decision; no label where the model abstains."""

    label: str | None = Field(description="None where the model abstains, and so below")
    words: Text | None
    codes: tuple[Code, ...]
    probability: float | None = Field(description="Of the label, calibrated")
    abstention: AbstentionGiven | None = Field(description="None where the model answers")
    prediction_set: tuple[str, ...] = Field(
        description="Labels that stay possible at 90 %, most probable first"
    )
    ranking: tuple[Ranked, ...] = Field(
        description="Every label, most probable first; where the model abstains for want of "
        "features or likeness, no probability is high, and every label is in the set"
    )


class FeatureWeight(Given):
    """One feature's part in the answer."""

    feature: str
    value: float | None = Field(description="None where it is missing")
    contribution: float = Field(description="To the label's margin; positive speaks for it")


class ExplanationGiven(Given):
    """Why: parts that add up to the answer's margin, exactly."""

    label: str = Field(description="The answer's; where the model abstains, the most probable one")
    margin: float = Field(description="Of the label, before calibration, in log-odds")
    base_value: float = Field(description="The margin when nothing is known of the patient")
    top_features: tuple[FeatureWeight, ...] = Field(
        description="The twenty that weigh most, for or against"
    )
    rest: float = Field(description="What all other features contribute together")
    speaks_for: tuple[FeatureWeight, ...] = Field(
        description="The ten that speak most for the label, strongest first"
    )
    speaks_against: tuple[FeatureWeight, ...] = Field(
        description="The ten that speak most against it, strongest first"
    )


class Review(Given):
    """What the clinician has to do."""

    mode: Mode
    step: Step
    next: Literal["first-read", "decision", "told", "outcome"] | None
    lapses: datetime = Field(description="When an answer without a decision is recorded as such")


class InferenceGiven(Given):
    """An answer whose record is durable; no prediction while it is withheld."""

    inference_id: RecordId
    model: ModelNamed
    prediction: Prediction | None
    explanation: ExplanationGiven | None
    flags: tuple[str, ...] | None = Field(
        description="`out_of_distribution`, `missing_features`, `implausible_features`, "
        "`abstained`, where each is so"
    )
    missing_features: tuple[str, ...] | None
    notice: Text | None = Field(description="Without CE marking: research, not for care")
    review: Review
    receipt: ReceiptGiven


class FeatureChange(Given):
    """One feature whose value a simulation changed."""

    feature: str
    before: float | None = Field(description="None where it was missing")
    after: float | None = Field(description="None where it is taken as missing")


class FeatureShift(Given):
    """One feature's part in the label's margin, before and after."""

    feature: str
    before: float
    after: float
    difference: float


class Simulated(Given):
    """One side of a simulation: the inference as it is on record, or the changed input."""

    prediction: Prediction
    explanation: ExplanationGiven = Field(description="Of the side's own label")
    flags: tuple[str, ...]
    missing_features: tuple[str, ...]


class SimulationGiven(Given):
    """What the same version says once features are changed; never an inference."""

    simulation: Text = Field(default=_SIMULATION, description="What this is, and is not")
    changed: tuple[FeatureChange, ...]
    before: Simulated
    after: Simulated
    label: str = Field(description="The inference's, towards which both are compared below")
    margin_before: float
    margin_after: float
    differences: tuple[FeatureShift, ...] = Field(
        description="The twenty largest; they and `rest` add up to the margins' difference"
    )
    rest: float = Field(description="What all other features differ by together")


class WhatIfGiven(SimulationGiven):
    """A simulation whose record is durable."""

    record_id: RecordId
    index: int = Field(description="Its zero-based place in the log")
    inference_id: RecordId
    model: ModelNamed = Field(description="The version of the inference")
    superseded_by: str | None = Field(
        description="The version that answers now, where another was promoted since"
    )
    notice: Text | None = Field(description="Without CE marking: research, not for care")


class DecisionGiven(Given):
    """A decision as it was signed; the token that attests it stays in the vault."""

    decision: Decision
    label: str | None
    reason: str | None
    assurance: Assurance
    signature: str | None


Followed = (
    FirstRead
    | DecisionGiven
    | PatientTold
    | OutcomeConfirmed
    | ReviewLapsed
    | SimulationGiven
    | Corrected
    | CaseReviewed
    | AccessRecorded
    | BreakGlass
    | CareShared
)


class EventGiven(Given):
    """One record of a dossier."""

    record_id: RecordId
    index: int
    type: RecordType
    at: datetime = Field(description="As the record claims; the order is the index")
    actor: Pseudonym
    outcome: str
    body: Followed | None = Field(
        description="None of the inference itself, which stands beside the events"
    )


class CareBroughtIn(Taken):
    """A colleague who cares for the patient from here on, and why."""

    number: str = Field(pattern=r"^[0-9]{11}$", description="Their RPPS number")
    reason: Sharing


class DossierGiven(InferenceGiven):
    """An inference, its input, and what followed."""

    information_id: RecordId
    input: dict[str, float | None] | None = Field(description="By feature, in its unit")
    lapsed: bool
    events: tuple[EventGiven, ...]


class ReplayGiven(Given):
    """The same version on the stored input, once more."""

    identical: bool = Field(description="Margins agree bit for bit")
    largest_difference: float = Field(description="Between margins")
    recorded_platform: str
    platform: str


class Waiting(Given):
    """One dossier that waits for a clinician."""

    inference_id: RecordId
    model: str
    version: str
    next: Literal["first-read", "decision"]
    lapsed: bool
    asked: datetime
