"""Why a model does not answer: an answer of its own, which stands on record as any other."""

from enum import StrEnum
from typing import Final

from guarantee.card import Text

ABSTAINED: Final = "abstained"
"""The outcome of an abstention that is shown, and the flag of any."""


class Abstention(StrEnum):
    """Why the model does not know."""

    TOO_FEW_FEATURES = "too_few_features"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    SET_TOO_LARGE = "set_too_large"

    @property
    def words(self) -> Text:
        """What whoever asked is told instead of a label."""
        return _WORDS[self]


_WORDS: Final[dict[Abstention, Text]] = {
    Abstention.TOO_FEW_FEATURES: Text(
        fr="Le modèle s’abstient : il manque trop de caractéristiques.",
        en="The model abstains: too many features are missing.",
    ),
    Abstention.OUT_OF_DISTRIBUTION: Text(
        fr="Le modèle s’abstient : ce profil ne ressemble pas à ceux dont il a appris.",
        en="The model abstains: this profile is unlike those that it learnt from.",
    ),
    Abstention.SET_TOO_LARGE: Text(
        fr="Le modèle s’abstient : trop de réponses restent possibles.",
        en="The model abstains: too many answers remain possible.",
    ),
}
