"""The card of a model version: what it is for, who answers for it, and when it must be stopped."""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)


class Language(StrEnum):
    """The languages that patients and clinicians read."""

    FRENCH = "fr"
    ENGLISH = "en"


class Kind(StrEnum):
    """Whether a version may change by learning ("apprenante") or not ("figée")."""

    FIXED = "fixed"
    LEARNING = "learning"


class Reliance(StrEnum):
    """Whether the answer helps the clinician's decision ("aidée") or makes it ("dictée").

    Source: Order of Physicians, special issue on e-health, January 2022.
    """

    AIDED = "aided"
    DICTATED = "dictated"


class Mode(StrEnum):
    """When the clinician sees the answer; ordered from the loosest to the tightest."""

    SHOWN = "shown"
    WITHHELD = "withheld"

    def tightened(self, requested: "Mode | None") -> "Mode":
        """The tighter of the card's mode and the one asked for: a request never loosens."""
        return Mode.WITHHELD if Mode.WITHHELD in (self, requested) else Mode.SHOWN


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank: write it")
    return text


Words = Annotated[str, AfterValidator(_says_something)]


class Text(_Part):
    """One text in both languages."""

    fr: Words
    en: Words

    def in_language(self, language: Language) -> str:
        """The text for readers of `language`."""
        return self.fr if language is Language.FRENCH else self.en


class Code(_Part):
    """A term of a published classification.

    ICD-O-3 has topographies as C34.1 and morphologies as 8140/3; CIM-10 has I25.1, and its French
    edition goes further, as in C34.10 or A41.5+0.
    """

    system: Literal["ICD-O-3", "CIM-10"]
    code: Words

    @model_validator(mode="after")
    def _the_code_is_one_of_the_system(self) -> Self:
        form, example = _CODES[self.system]
        if not re.fullmatch(form, self.code):
            raise ValueError(f"code is none of {self.system}: write it as {example}")
        return self


_CODES: Final = {
    "ICD-O-3": (r"C[0-8]\d(\.\d)?|\d{4}/\d", "C34.1 or 8140/3"),
    "CIM-10": (r"[A-Z]\d\d(\.[0-9+]{1,4})?", "C34 or I25.1"),
}


class Label(_Part):
    """One answer that the model can give."""

    id: Words
    words: Text
    codes: tuple[Code, ...] = Field(min_length=1)


class Regulatory(_Part):
    """Standing under the MDR (EU 2017/745) or IVDR (EU 2017/746)."""

    regulation: Literal["MDR", "IVDR", "none"]
    device_class: Literal["I", "IIa", "IIb", "III", "A", "B", "C", "D"] | None = None
    ce_marked: bool
    research_only_notice: Text = Text(
        fr="Recherche, pas pour le soin.", en="Research, not for care."
    )

    @model_validator(mode="after")
    def _a_marked_device_has_a_class(self) -> Self:
        if self.ce_marked and self.device_class is None:
            raise ValueError("a CE-marked model names its regulation and device class")
        return self

    def notice(self) -> Text | None:
        """What every answer says when the model carries no CE marking."""
        return None if self.ce_marked else self.research_only_notice


class Responsibility(_Part):
    """Who answers for what."""

    holder: Words
    duty: Text


class Family(StrEnum):
    """What a column that drifts is about.

    Features that matter most; every other one; label and confidence; how many cases are out of
    distribution, abstained on or lack features; hospitals, machines, sexes and age bands.
    """

    WATCHED = "watched"
    SCREENED = "screened"
    ANSWERS = "answers"
    LIKENESS = "likeness"
    SUBGROUPS = "subgroups"


class Response(StrEnum):
    """What follows a finding beside its record, from the mildest to the sternest.

    Whatever suspends alerts, too.
    """

    RECORD = "record"
    ALERT = "alert"
    SUSPEND = "suspend"


class Rule(_Part):
    """When drift is answered with more than a record.

    Attributes:
        least_columns: Of that family, so many have drifted in one window.
        least_shift: Each of these by so much, either way: standard deviations of the reference for
            numbers, a share of cases for words; 0 takes any, also one whose shift is undefined.
    """

    family: Family
    then: Literal[Response.ALERT, Response.SUSPEND]
    least_columns: int = Field(default=1, ge=1)
    least_shift: float = Field(default=0, ge=0)


class Measure(StrEnum):
    """What of a model's performance, and of people's use of it, a card may bound.

    Each of the latest cases that can tell it, one a patient. Against confirmed outcomes: accuracy,
    overconfidence (mean confidence − accuracy), coverage of the prediction sets. Before outcomes:
    the accuracy that the confidence promises. Of answers decided on: overridden, disregarded; of
    those whose time for review is up: lapsed. Of first reads: those that were the withheld answer;
    of those given up for the answer, with a confirmed outcome: those that were right (misled).
    """

    ACCURACY = "accuracy"
    OVERCONFIDENCE = "overconfidence"
    COVERAGE = "coverage"
    ESTIMATED_ACCURACY = "estimated_accuracy"
    OVERRIDDEN = "overridden"
    DISREGARDED = "disregarded"
    LAPSED = "lapsed"
    FIRST_READS_AGREEING = "first_reads_agreeing"
    MISLED = "misled"


class Bound(_Part):
    """What a measure should keep; it is missed where its 95 % interval lies beyond as a whole.

    What is known by hospital, machine, sex and age band is held in each of these, too.

    Attributes:
        least, most: Shares; a difference of shares for overconfidence.
        then: What follows beside the alarm's record.
    """

    measure: Measure
    least: float | None = Field(default=None, ge=-1, le=1)
    most: float | None = Field(default=None, ge=-1, le=1)
    then: Response = Response.ALERT

    @model_validator(mode="after")
    def _something_is_bounded(self) -> Self:
        if self.least is None and self.most is None:
            raise ValueError("a bound has a least, a most, or both")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("least is above most: nothing could keep it")
        return self


_BOUNDS: Final = (
    Bound(measure=Measure.OVERCONFIDENCE, most=0.1),
    Bound(measure=Measure.COVERAGE, least=0.8),
    Bound(measure=Measure.OVERRIDDEN, most=0.3),
    Bound(measure=Measure.DISREGARDED, most=0.3),
    Bound(measure=Measure.LAPSED, most=0.3),
    Bound(measure=Measure.MISLED, most=0.5),
)
"""Right for any model; what accuracy to expect is each card's own word."""


class MonitoringPolicy(_Part):
    """What the monitoring team watches, with which tests and thresholds, and what then follows.

    Watched by name are the model's most important features, its label and its confidence, and how
    often a case is out of distribution, lacks features or is abstained on; a screen looks at every
    other feature. `monitoring.drift` says how they share the false alarms.

    Attributes:
        numeric_test: Evidently's name of the test between reference and window. The
            two-sample Kolmogorov-Smirnov test is right for any distribution, and errs towards
            silence where values tie; a distance grows as the window shrinks.
        categorical_test: The same, for labels, flags and what is missing: total variation by
            permutation. "TVD" is Evidently's own, which takes minutes on large windows and tells
            no p-value below 0.001.
        false_alarm_rate: Share of runs on windows without drift that may be called drifted.
        watched_features: How many of the most important features are watched.
        least_cases: Below this number of cases, one a patient, the answer is "undecided".
        window_cases: A window is the latest cases, at most this many; of each patient's
            inferences, the last is the case.
        window_days: Where given, no case of a window is older than this many days.
        rules: The sternest that holds is followed; where none does, drift is put on record alone.
        bounds: Of performance and use; the same, for an incident.
    """

    numeric_test: Literal["ks"] = "ks"
    categorical_test: Literal["total_variation", "TVD"] = "total_variation"
    false_alarm_rate: float = Field(default=0.05, ge=0.01, le=0.2)
    watched_features: int = Field(default=10, ge=1, le=40)
    least_cases: int = Field(default=50, ge=20)
    window_cases: int = Field(default=500, ge=20)
    window_days: int | None = Field(default=None, ge=1)
    rules: tuple[Rule, ...] = tuple(Rule(family=one, then=Response.ALERT) for one in Family)
    bounds: tuple[Bound, ...] = _BOUNDS

    @property
    def share(self) -> float:
        """The false alarms of one of the five families of columns."""
        return self.false_alarm_rate / 5

    @model_validator(mode="after")
    def _a_window_can_be_decided(self) -> Self:
        if self.window_cases < self.least_cases:
            raise ValueError("window_cases is at least least_cases")
        return self


class ChangeProtocol(_Part):
    """The bounds inside which a learning model may be updated without a new vote.

    The college approves it with the version that carries it. Two sets judge an update beside the
    version that answers, and it learns from neither: the locked one, which no version of the
    model ever learns from, and the window of the latest confirmed outcomes.

    Attributes:
        data: What may be learned from.
        least_new_cases: Confirmed outcomes that the version before did not learn from.
        window_cases: So many of the latest confirmed outcomes are the window; the next update
            learns from them.
        least_locked_cases: With fewer of them, an update waits for the college.
        least_accuracy_gained: In the window, as a share of its cases.
        most_accuracy_lost: On the locked set, as a share of its cases.
        most_flipped_share: Of the locked cases, those that may get another answer than before.
        new_labels: Those that may enter the card's, at its end, in this order.
        new_labels_from_cases: A new label enters with so many confirmed outcomes to learn from.
    """

    data: Text
    least_new_cases: int = Field(ge=1)
    window_cases: int = Field(default=50, ge=1)
    least_locked_cases: int = Field(default=50, ge=1)
    least_accuracy_gained: float = Field(default=0, ge=0, le=1)
    most_accuracy_lost: float = Field(ge=0, le=1)
    most_flipped_share: float = Field(ge=0, le=1)
    new_labels: tuple[Label, ...] = ()
    new_labels_from_cases: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _new_labels_come_with_their_number(self) -> Self:
        if bool(self.new_labels) != (self.new_labels_from_cases is not None):
            raise ValueError("new_labels and new_labels_from_cases are given together, or neither")
        if len({label.id for label in self.new_labels}) < len(self.new_labels):
            raise ValueError("two new labels have the same id")
        return self


def _is_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ValueError("a model's name is lower-case words joined by hyphens")
    return name


ModelName = Annotated[str, Field(max_length=63), AfterValidator(_is_name)]


class Card(_Part):
    """Everything a clinician, a patient and the college must be told about a model.

    `lapse` is the time on the card after which an unreviewed answer is recorded as lapsed.

    Attributes:
        least_known_share: Given fewer of its features than this share, the model abstains. Where
            its confidence is still what its answers are worth can be measured, by taking features
            away from cases that it has not seen; a tenth is what no model of ours gets by with.
    """

    name: ModelName
    title: Text
    intended_use: Text
    population: Text
    not_for: Text
    provenance: Text
    limits: Text
    kind: Kind
    reliance: Reliance
    regulatory: Regulatory
    labels: tuple[Label, ...] = Field(min_length=2)
    responsibilities: tuple[Responsibility, ...] = Field(min_length=1)
    leaflet: Text
    least_mode: Mode = Mode.SHOWN
    lapse_hours: int = Field(ge=1)
    least_known_share: float = Field(default=0.1, ge=0, le=1)
    monitoring: MonitoringPolicy = MonitoringPolicy()
    change_protocol: ChangeProtocol | None = None

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> Self:
        ids = [label.id for label in self.labels]
        if len(set(ids)) < len(ids):
            raise ValueError("two labels have the same id")
        return self

    @model_validator(mode="after")
    def _what_learns_has_a_change_protocol(self) -> Self:
        if (self.kind is Kind.LEARNING) != (self.change_protocol is not None):
            raise ValueError("a learning model, and no other, carries a change protocol")
        return self

    @property
    def lapse(self) -> timedelta:
        """Time to review an answer before it is recorded as lapsed."""
        return timedelta(hours=self.lapse_hours)

    def label(self, label_id: str) -> Label:
        """The label of that id.

        Raises:
            KeyError: The card has no such label.
        """
        for label in self.labels:
            if label.id == label_id:
                return label
        raise KeyError(label_id)
