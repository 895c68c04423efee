"""The model that answers: one immutable version, safe to share between requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from guarantee.abstention import Abstention
from guarantee.card import Card, Language
from models import charts, likeness, waterfall
from models.account import Account, account
from models.composite import read_values, reads_ranks
from models.contract import FeatureContract, Profile
from models.explanation import (
    Attribution,
    attributions,
    attributions_against,
    attributions_for,
)
from models.predictor import Predictor
from models.reference import Reference
from models.uncertainty import KNOWS_NOTHING, Calibration, is_undecided


class Flag(StrEnum):
    """What the reader of an answer must know before trusting it."""

    OUT_OF_DISTRIBUTION = "out_of_distribution"
    MISSING_FEATURES = "missing_features"
    IMPLAUSIBLE_FEATURES = "implausible_features"
    ABSTAINED = "abstained"
    NOT_FOR_CARE = "not_for_care"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A version's answer on one profile, with everything that explains it.

    Attributes:
        label: Id of the most probable label; the first on the card of those equally probable.
        probability: Of `label`, calibrated; see `Verdict` where the model abstains.
        ranking: Label ids and their probabilities, most probable first.
        labels: Label ids in the order of `margins`, `bases` and `contributions`.
        margins: (n_classes,), float32, before calibration.
        bases: (n_classes,), float32.
        contributions: (n_classes, n_features), float32, in margin units.
        temperature: What margins are divided by for the probabilities.
        prediction_set: Label ids that stay possible at 90 %, most probable first.
        profile: What was asked.
        features: Names, in the order of the contributions.
        model: What answered.
        abstention: Why the model does not answer; `label` is then the most probable one, and no
            answer. `flags` say so, too.
    """

    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]
    labels: tuple[str, ...]
    margins: NDArray[np.float32]
    bases: NDArray[np.float32]
    contributions: NDArray[np.float32]
    temperature: float
    prediction_set: tuple[str, ...]
    flags: tuple[Flag, ...]
    profile: Profile
    features: tuple[str, ...]
    model: "ServedModel"
    abstention: Abstention | None = None

    def why(self, label: str | None = None, *, count: int = 20) -> tuple[Attribution, ...]:
        """The heaviest features for or against `label` (the answer's own by default).

        Raises:
            KeyError: The model has no such label.
        """
        row = self.contributions[self._place(label or self.label)]
        return attributions(self.features, self.profile.values, row, count)

    def reasons_for(self, label: str, *, count: int = 10) -> tuple[Attribution, ...]:
        """The heaviest features that speak for `label`; errors as for `why`."""
        row = self.contributions[self._place(label)]
        return attributions_for(self.features, self.profile.values, row, count)

    def reasons_against(self, label: str, *, count: int = 10) -> tuple[Attribution, ...]:
        """The heaviest features that speak against `label`; errors as for `why`."""
        row = self.contributions[self._place(label)]
        return attributions_against(self.features, self.profile.values, row, count)

    def rather_than(self, one: str, other: str, *, count: int = 20) -> tuple[Attribution, ...]:
        """What speaks for `one` rather than `other`, in log-odds; errors as for `why`."""
        contrast = self.contributions[self._place(one)] - self.contributions[self._place(other)]
        return attributions(self.features, self.profile.values, contrast, count)

    def account(
        self,
        label: str | None = None,
        *,
        rather_than: str | None = None,
        language: Language = Language.FRENCH,
        count: int = 10,
    ) -> Account:
        """Why, in words: `label` (the answer's own by default), alone or rather than another.

        Raises:
            KeyError: The model has no such label.
        """
        label = label or self.label
        sign = np.zeros(len(self.labels), dtype=np.float32)
        sign[self._place(label)] += 1
        if rather_than is not None:
            sign[self._place(rather_than)] -= 1
        # Another laboratory's values cannot be told beside the reference's; those read can.
        read = (
            read_values(self.model.predictor, self.profile.values[np.newaxis])
            if self.profile.implausible
            else None
        )
        return account(
            features=self.model.contract.features,
            values=self.profile.values if read is None else read[0],
            rescaled=read is not None,
            contributions=sign @ self.contributions,
            base=float(sign @ self.bases),
            total=float(sign @ self.margins),
            reference=self.model.reference,
            label=self.model.card.label(label),
            other=None if rather_than is None else self.model.card.label(rather_than),
            temperature=self.temperature,
            probability=dict(self.ranking)[label],
            language=language,
            count=count,
        )

    def picture(
        self,
        label: str | None = None,
        *,
        rather_than: str | None = None,
        language: Language = Language.FRENCH,
        count: int = 10,
    ) -> str:
        """`account` as a waterfall, one SVG document; errors as for `account`."""
        return waterfall.draw(
            self.account(label, rather_than=rather_than, language=language, count=count)
        )

    def map(self) -> str:
        """Where the answer lies between the labels, among the reference's cases: one SVG document.

        A circle marks it; one that says little lies in the middle.
        """
        atlas, probabilities = self.model.reference.atlas, dict(self.ranking)
        place = atlas.place(np.array([probabilities[label] for label in self.labels]))
        return charts.atlas(atlas, self.labels, answer=place)

    def _place(self, label: str) -> int:
        if label not in self.labels:
            raise KeyError(label)
        return self.labels.index(label)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A version loaded and checked; class k of the predictor is the card's k-th label.

    Attributes:
        digest: SHA-256 of the version's files, hexadecimal; checked when it was loaded.
    """

    name: str
    version: str
    digest: str
    card: Card
    contract: FeatureContract
    predictor: Predictor
    calibration: Calibration
    reference: Reference

    @property
    def labels(self) -> tuple[str, ...]:
        """Label ids, in the order of the margins."""
        return tuple(label.id for label in self.card.labels)

    def answer(self, profile: Profile) -> Answer:
        """Answer and explain one profile made by this version's contract.

        Raises:
            InexactExplanation: The contributions do not add up; there is no answer.
        """
        explanation = self.predictor.explain(profile.values[np.newaxis])
        (verdict,) = self.verdicts([profile], explanation.margins)
        labels, ranked = self.labels, verdict.ranked
        return Answer(
            label=labels[ranked[0]],
            probability=float(verdict.probabilities[ranked[0]]),
            ranking=tuple((labels[place], float(verdict.probabilities[place])) for place in ranked),
            labels=labels,
            margins=explanation.margins[0],
            bases=explanation.bases[0],
            contributions=explanation.contributions[0],
            temperature=verdict.temperature,
            prediction_set=tuple(labels[place] for place in verdict.kept),
            flags=verdict.flags,
            profile=profile,
            features=self.contract.names,
            model=self,
            abstention=verdict.abstention,
        )

    def verdicts(
        self, profiles: Sequence[Profile], margins: NDArray[np.float32]
    ) -> tuple["Verdict", ...]:
        """What is made of the margins, (n, n_classes), of these profiles."""
        found = likeness.judge(
            self.predictor,
            np.stack([profile.values for profile in profiles]),
            quantiles=self.reference.quantiles,
            most_outside=self.reference.most_outside,
        )
        return tuple(
            self._verdict(
                profile,
                margins[row],
                unlike=bool(found.unlike[row]),
                hopeless=bool(found.hopeless[row]),
            )
            for row, profile in enumerate(profiles)
        )

    def _verdict(
        self, profile: Profile, margins: NDArray[np.float32], *, unlike: bool, hopeless: bool
    ) -> "Verdict":
        least = self.contract.least(self.card.least_known_share)
        few = bool(profile.lacking) or len(profile.values) - len(profile.missing) < least
        calibration = KNOWS_NOTHING if few or hopeless else self.calibration
        probabilities = calibration.probabilities(margins)
        kept = calibration.prediction_set(probabilities)
        # The first that stands is the reason told.
        reasons = {
            Abstention.TOO_FEW_FEATURES: few,
            Abstention.OUT_OF_DISTRIBUTION: hopeless,
            Abstention.SET_TOO_LARGE: is_undecided(len(kept), classes=len(self.labels)),
        }
        abstention = next((reason for reason, stands in reasons.items() if stands), None)
        raised = {
            Flag.OUT_OF_DISTRIBUTION: unlike,
            Flag.MISSING_FEATURES: bool(profile.missing),
            # To a model that reads ranks, values beyond are another scale, as good as any.
            Flag.IMPLAUSIBLE_FEATURES: bool(profile.implausible)
            and not reads_ranks(self.predictor),
            Flag.ABSTAINED: abstention is not None,
        }
        return Verdict(
            probabilities=probabilities,
            temperature=calibration.temperature,
            kept=kept,
            flags=tuple(flag for flag, stands in raised.items() if stands),
            abstention=abstention,
        )

    def margins(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, (n, n_classes), of profiles, (n, n_features); for evaluation in bulk."""
        return self.predictor.margins(profiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is made of one profile's margins, and said beside it.

    Attributes:
        probabilities: (n_classes,), calibrated; hardly more than an order of the labels where
            the profile is one on which nobody knows what the margins are worth.
        temperature: What the margins were divided by for that.
        kept: Places of the labels in the prediction set, most probable first.
        abstention: Why there is no answer; None where there is one.
    """

    probabilities: NDArray[np.float64]
    temperature: float
    kept: NDArray[np.intp]
    flags: tuple[Flag, ...]
    abstention: Abstention | None

    @property
    def ranked(self) -> NDArray[np.intp]:
        """Places of all labels, most probable first; equals in the card's order."""
        return np.argsort(-self.probabilities, kind="stable")
