"""An explanation told: what speaks for and against a label, in words a clinician understands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import Label, Language, Text
from models.contract import Feature
from models.reference import LEVELS, Reference

# From this share of the whole weight on, a reason is …
_STRENGTHS: Final = (
    (0.20, Text(fr="très fortement", en="very strongly")),
    (0.10, Text(fr="fortement", en="strongly")),
    (0.04, Text(fr="modérément", en="moderately")),
    (0.0, Text(fr="faiblement", en="weakly")),
)
# A value is high or low where three training cases in four are on its other side.
_UNUSUAL: Final = 0.75
_NARROW_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value stands among the training cases that had one.

    Attributes:
        above: Share of them that are surely lower.
        below: Share of them that are surely higher.
    """

    above: float
    below: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One feature's part.

    Attributes:
        value: In the feature's unit; None where it is missing.
        contribution: To the label's margin, or to the log-odds of it against the other; positive
            speaks for it.
        weight: Its share of all contributions taken without their sign.
        place: None where the value is missing, is a code, or the feature was never measured.
        named: The feature and its value with its unit, in words.
        sentence: All of it in words.
    """

    feature: Feature
    value: float | None
    contribution: float
    weight: float
    place: Place | None
    named: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Why the model finds a label probable, or more so than another.

    Attributes:
        other: The label that it is contrasted with; None where it stands alone.
        base: The margin, or log-odds, when nothing is known of the profile.
        total: The profile's own; `base`, `speaking_for`, `speaking_against` and `rest` add up to
            it, to 1e-4.
        rest: What all other features contribute together.
        opening: What is explained.
        remainder: The rest in words; empty where there is none.
        caution: What an explanation does not say.
    """

    language: Language
    label: Label
    other: Label | None
    base: float
    total: float
    speaking_for: tuple[Reason, ...]
    speaking_against: tuple[Reason, ...]
    rest: float
    opening: str
    remainder: str
    caution: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """Opening, reasons for, reasons against, remainder and caution, in this order."""
        reasons = (*self.speaking_for, *self.speaking_against)
        parts = (self.opening, *(one.sentence for one in reasons), self.remainder, self.caution)
        return tuple(part for part in parts if part)


def account(
    *,
    features: Sequence[Feature],
    values: NDArray[np.float32],
    contributions: NDArray[np.float32],
    base: float,
    total: float,
    reference: Reference,
    label: Label,
    other: Label | None,
    temperature: float,
    probability: float,
    language: Language,
    count: int,
    rescaled: bool = False,
) -> Account:
    """Tell why.

    Args:
        features: (n_features,), the contract's.
        values: (n_features,), the profile's, NaN where missing.
        contributions: (n_features,), to the label's margin; where `other` is given, less those
            to its margin.
        base, total: Of the label's margin; where `other` is given, less its own.
        temperature: What calibration divides log-odds by.
        probability: Of the label, calibrated.
        count: Most reasons told on each side.
        rescaled: Whether `values` are not as they were sent, but on the training cases' scale.
    """
    teller = _Teller(
        language=language, label=label, other=other, temperature=temperature, reference=reference
    )
    weights = np.abs(contributions.astype(np.float64))
    whole = float(weights.sum()) or 1.0

    def reasons(signed: NDArray[np.float32]) -> tuple[Reason, ...]:
        return tuple(
            teller.reason(
                features[place],
                int(place),
                None if np.isnan(values[place]) else float(values[place]),
                float(contributions[place]),
                float(weights[place] / whole),
            )
            for place in np.argsort(-signed, kind="stable")[:count]
            if signed[place] > 0
        )

    speaking_for, speaking_against = reasons(contributions), reasons(-contributions)
    told = (*speaking_for, *speaking_against)
    rest = float(contributions.sum(dtype=np.float64)) - sum(one.contribution for one in told)
    untold = int(np.count_nonzero(contributions)) - len(told)
    return Account(
        language=language,
        label=label,
        other=other,
        base=base,
        total=total,
        speaking_for=speaking_for,
        speaking_against=speaking_against,
        rest=rest if untold else 0.0,
        opening=teller.opening(probability),
        remainder=teller.remainder(untold, rest) if untold else "",
        caution=" ".join(
            text.in_language(language) for text in ((_RESCALED,) if rescaled else ()) + (_CAUTION,)
        ),
    )


_RESCALED: Final = Text(
    fr="Les valeurs ont été envoyées sur une autre échelle ; elles sont ici sur celle des cas "
    "d’apprentissage, d’après leur rang, comme le modèle les lit.",
    en="The values were sent on another scale; here they are on that of the training cases, by "
    "their ranks, as the model reads them.",
)
_CAUTION: Final = Text(
    fr="Ces parts disent d’où vient le calcul du modèle ; ce ne sont pas des causes de la maladie.",
    en="These parts say where the model's computation comes from; they are no causes of disease.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teller:
    """Puts parts into the words of one language."""

    language: Language
    label: Label
    other: Label | None
    temperature: float
    reference: Reference

    def opening(self, probability: float) -> str:
        label, shown = self._named(self.label), self._percent(probability)
        if self.other is None:
            return self._in(
                f"Ce qui parle pour et contre {label} (probabilité {shown}).",
                f"What speaks for and against {label} (probability {shown}).",
            )
        other = self._named(self.other)
        return self._in(
            f"Ce qui parle pour {label} plutôt que {other}, et l’inverse.",
            f"What speaks for {label} rather than {other}, and the other way round.",
        )

    def remainder(self, count: int, contribution: float) -> str:
        many = count > 1
        fr = "Les autres caractéristiques" if many else "L’autre caractéristique"
        number = f" ({count})" if many else ""
        return self._in(
            f"{fr}{number}, ensemble : {self._direction(contribution)}.",
            f"The other {f'{count} features' if many else 'feature'}, together: "
            f"{self._direction(contribution)}.",
        )

    def reason(
        self,
        feature: Feature,
        at: int,
        value: float | None,
        contribution: float,
        weight: float,
    ) -> Reason:
        place = None if value is None or feature.codes else self._place(at, value)
        name = feature.in_words(self.language)
        said = self._in(
            f"{name} : {self._value(feature, value)}", f"{name}: {self._value(feature, value)}"
        )
        strength = next(words for least, words in _STRENGTHS if weight >= least)
        share = self._in(
            f"{strength.fr}, {self._percent(weight)} du poids total",
            f"{strength.en}, {self._percent(weight)} of the whole weight",
        )
        direction = _capital(self._direction(contribution))
        return Reason(
            feature=feature,
            value=value,
            contribution=contribution,
            weight=weight,
            place=place,
            named=said,
            sentence=f"{_started(name, said)}{self._standing(place)}. {direction} ({share}).",
        )

    def _direction(self, contribution: float) -> str:
        favours = contribution > 0
        if self.other is None:
            label = self._named(self.label)
            if favours:
                return self._in(f"parle pour {label}", f"speaks for {label}")
            return self._in(f"parle contre {label}", f"speaks against {label}")
        pair = (self.label, self.other) if favours else (self.other, self.label)
        one, another = map(self._named, pair)
        ratio = float(np.exp(abs(contribution) / self.temperature))
        factor = self._decimal(f"{ratio:.2f}" if ratio < 10 else f"{ratio:.3g}")
        return self._in(
            f"parle pour {one} plutôt que {another}, en multipliant par {factor} le rapport de "
            "leurs probabilités",
            f"speaks for {one} rather than {another}, multiplying the ratio of their "
            f"probabilities by {factor}",
        )

    def _place(self, at: int, value: float) -> Place | None:
        quantiles = self.reference.quantiles[at]
        if np.isnan(quantiles).any():
            return None
        lower = LEVELS[quantiles < value]
        higher = LEVELS[quantiles > value]
        return Place(
            above=float(lower[-1]) if len(lower) else 0.0,
            below=float(1 - higher[0]) if len(higher) else 0.0,
        )

    def _standing(self, place: Place | None) -> str:
        if place is None:
            return ""
        if place.above >= _UNUSUAL:
            share = self._percent(place.above)
            return self._in(
                f", valeur plus haute que chez au moins {share} des cas d’apprentissage",
                f", higher than in at least {share} of the training cases",
            )
        if place.below >= _UNUSUAL:
            share = self._percent(place.below)
            return self._in(
                f", valeur plus basse que chez au moins {share} des cas d’apprentissage",
                f", lower than in at least {share} of the training cases",
            )
        return self._in(", valeur habituelle", ", a usual value")

    def _value(self, feature: Feature, value: float | None) -> str:
        if value is None:
            return self._in("valeur manquante", "not given")
        for meaning in feature.codes or ():
            if meaning.code == value:
                return meaning.words.in_language(self.language)
        unit = feature.unit_in_words(self.language)
        number = self._number(value)
        return number if unit == "1" else f"{number} {unit}"

    def _named(self, label: Label) -> str:
        words = label.words.in_language(self.language)
        return self._in(f"« {words} »", f"“{words}”")

    def _number(self, value: float) -> str:
        return self._decimal(f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}")

    def _decimal(self, text: str) -> str:
        return text.replace(".", ",") if self.language is Language.FRENCH else text

    def _percent(self, share: float) -> str:
        # Rounded down: "at least 99 %" of 0.995.
        whole = int(100 * share + 1e-9)
        text = self._in("moins de 1", "less than 1") if whole == 0 else str(whole)
        return f"{text}{_NARROW_SPACE}%" if self.language is Language.FRENCH else f"{text} %"

    def _in(self, fr: str, en: str) -> str:
        return fr if self.language is Language.FRENCH else en


def _started(name: str, said: str) -> str:
    """A sentence that begins with a name: what is no word, as hsa-mir-205, keeps its letters."""
    return _capital(said) if name.replace(" ", "").isalpha() else said


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
