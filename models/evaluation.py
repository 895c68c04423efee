"""How good a model is on cases it was not trained on, each figure with its interval."""

from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from guarantee.card import Text

# Fewer cases than this and a group says that it is small.
SMALL: Final = 30

Z95: Final = 1.959963984540054


class _Figure(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Figure):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Undefined(_Figure):
    """A figure that has no meaning here, and why."""

    reason: str


class OfLabel(_Figure):
    """What became of the cases of one label, and of the answers that named it.

    Attributes:
        precision: Share of the answers naming the label that were right.
        coverage: Share of its cases whose prediction set holds it.
    """

    cases: int
    recall: Estimate
    precision: Estimate | Undefined
    coverage: Estimate


class ReliabilityBin(_Figure):
    """Cases of like confidence; where calibrated, `confidence` lies within the interval."""

    cases: int
    confidence: float
    accuracy: Estimate


class RiskPoint(_Figure):
    """What errors remain where only the surest cases are answered.

    Attributes:
        coverage: Share of cases answered.
        confidence: The least among them.
        risk: Share of them that are wrong.
    """

    coverage: float
    confidence: float
    risk: Estimate


class Subgroup(_Figure):
    """The cases that share a trait.

    Attributes:
        trait: What is grouped by, such as `site`.
        value: In the cohort's words; empty where not known.
        pooled: Over how many values these cases are pooled, each of them small; else 1.
        small: Whether there are fewer than `SMALL` cases, or every pooled value has.
        expected: The accuracy that its labels would lead to expect, had each label's cases been
            recognised as often as in the whole: what a group's mix of labels explains.
        confidence: Mean, to set beside the accuracy.
    """

    trait: str
    value: str
    pooled: int = 1
    cases: int
    patients: int | None
    small: bool
    accuracy: Estimate
    expected: float
    confidence: Estimate
    coverage: Estimate


class Part(_Figure):
    """Cases judged by one model, fitted on cases kept apart from them.

    Attributes:
        accuracy: Over the cases whose label was among those trained on.
        unseen: Cases of a label that was not.
    """

    name: str
    trained: int
    cases: int
    unseen: int
    accuracy: Estimate | Undefined


class Judged(_Figure):
    """Figures on cases each judged by a model that had not seen their patient.

    Abstentions count as errors, but in the risk against coverage, where they are not answered.
    Cases of a label that the model judging them was never taught are counted apart.

    Attributes:
        patients: None where patients are not identified: then a patient may count twice.
        accuracy: Interval of Wilson, as for every share but `top_3`; the others come from
            resampled patients, or hospitals where these were left out.
        balanced_accuracy: Mean of the labels' recalls.
        top_3: Share of cases whose truth is among the three most probable labels.
        log_loss: In nats, lower is better.
        calibration_error: Mean |confidence − accuracy| over ten bins of as many cases.
        coverage: Share of cases whose prediction set, fitted on other cases, holds the truth.
        set_size: Mean number of labels in a prediction set.
        abstained: Share of cases on which the model abstained.
        answered: Share of right answers among those given: accuracy, abstentions left out.
        confidence: Mean probability of the answers given, to set beside `answered`.
        flagged: Share of cases flagged as unlike those learned from, answered or not.
        risk_area: Mean risk over all coverages, lower is better.
        confusion: Cases by truth, then by answer, in the order of `labels`.
        unseen: Cases of a label that was not trained on, in no other figure.
        unseen_confidence: Their mean confidence: high is wrong and sure of it.
        unseen_abstained: Share of them on which the model abstained.
    """

    cases: int
    patients: int | None
    accuracy: Estimate
    balanced_accuracy: Estimate
    top_3: Estimate | Undefined
    log_loss: Estimate
    calibration_error: Estimate
    coverage: Estimate
    set_size: Estimate
    abstained: Estimate
    risk_area: Estimate | Undefined
    labels: tuple[str, ...]
    by_label: dict[str, OfLabel]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    risk: tuple[RiskPoint, ...]
    subgroups: tuple[Subgroup, ...]
    parts: tuple[Part, ...]
    unseen: int
    unseen_confidence: Estimate | Undefined
    unseen_abstained: Estimate | Undefined
    confidence: Estimate | Undefined = Undefined(reason="it was not measured")
    answered: Estimate | Undefined = Undefined(reason="it was not measured")
    flagged: Estimate | Undefined = Undefined(reason="it was not measured")

    def figures(self) -> dict[str, float]:
        """The defined figures and their intervals' ends, flat, by name."""
        flat = {"cases": float(self.cases), "unseen": float(self.unseen)}
        for name in HEADLINES:
            figure = getattr(self, name)
            if isinstance(figure, Estimate):
                flat |= {
                    name: figure.value,
                    f"{name}_low": figure.low,
                    f"{name}_high": figure.high,
                }
        return flat


HEADLINES: Final = (
    "accuracy",
    "balanced_accuracy",
    "top_3",
    "log_loss",
    "calibration_error",
    "coverage",
    "set_size",
    "abstained",
    "answered",
    "confidence",
    "flagged",
    "risk_area",
)


class Hardship(_Figure):
    """Cases of a cohort altered to what the cohort has none of, each judged as it was unaltered.

    Attributes:
        what: How they were altered, as a caption.
    """

    what: Text
    judged: Judged | Undefined


class Evaluation(Judged):
    """A version's figures: of cross-validation by patient, and of harder questions beside it.

    Attributes:
        method: How the cases were kept apart from training.
        by_site: Each hospital judged by a model that had not seen it.
        forward: Each case judged by a model that had seen only earlier ones.
        hardships: By name, the cases of hospitals never seen, where hospitals are known, else of
            the cross-validation, altered.
        notes: What a reader of these figures must know.
    """

    method: Literal["cross-validation"] = "cross-validation"
    folds: int
    seed: int
    held_out_cases: int
    by_site: Judged | Undefined
    forward: Judged | Undefined
    hardships: dict[str, Hardship] = {}
    notes: tuple[Text, ...] = ()

    def figures(self) -> dict[str, float]:
        """As `Judged.figures`, and those of the harder questions under their names."""
        flat = Judged.figures(self)
        designs = {"by_site": self.by_site, "forward": self.forward} | {
            name: hardship.judged for name, hardship in self.hardships.items()
        }
        for name, harder in designs.items():
            if isinstance(harder, Judged):
                flat |= {f"{name}.{figure}": value for figure, value in harder.figures().items()}
        return flat


def wilson(successes: int, trials: int) -> Estimate:
    """A share with Wilson's 95 % interval; `trials` is at least 1."""
    share, z2 = successes / trials, Z95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 * np.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return Estimate(
        value=share, low=max(0.0, float(centre - half)), high=min(1.0, float(centre + half))
    )
