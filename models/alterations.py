"""What cases that were left out are altered to: what no cohort at hand has of real ones."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import Card, Text
from models.assessment import Alteration
from models.cohorts import Cohort
from models.laboratory import measured_elsewhere, mixed_with

# Apart from the seeds by which members were taught, which are small.
_FIRST_SEED: Final = 1000
_LABORATORIES: Final = 80
# Each for as many cases in turn: a model solves anew for each set of features that is missing.
_SETS: Final = 20


def made_up_laboratories(*, logarithms: bool = False) -> Alteration:
    """Reads per million of one of eighty made-up laboratories for each part that is left out.

    Args:
        logarithms: Whether log2(reads per million + 1) instead.
    """

    def alter(profiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        reads = measured_elsewhere(profiles, laboratories=_LABORATORIES, seed=_FIRST_SEED + seed)
        return np.log2(reads + 1) if logarithms else reads

    return Alteration(
        what=Text(
            fr="Mesurés par des laboratoires fictifs", en="As made-up laboratories would measure"
        ),
        alter=alter,
    )


def mixed(hosts: NDArray[np.float32], *, share: float) -> Alteration:
    """A share of each profile's reads replaced with those of other tissue, (m, n_features)."""
    return Alteration(
        what=Text(
            fr=f"Mêlés de {share:.0%} de tissu sain".replace("%", " %"),
            en=f"With {share:.0%} of normal tissue mixed in".replace("%", " %"),
        ),
        alter=lambda profiles, seed: mixed_with(
            profiles, hosts, least=share, most=share, seed=_FIRST_SEED + seed
        ),
    )


def thinned(*, known: float) -> Alteration:
    """All but a share of the features taken away, at random."""

    def alter(profiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        draw = np.random.default_rng(_FIRST_SEED + seed)
        features = profiles.shape[1]
        taken = features - int(np.ceil(known * features))
        thin = profiles.copy()
        for rows in np.array_split(draw.permutation(len(profiles)), _SETS):
            thin[np.ix_(rows, draw.permutation(features)[:taken])] = np.nan
        return thin

    return Alteration(
        what=Text(
            fr=f"Avec {known:.0%} des mesures, au hasard".replace("%", " %"),
            en=f"With {known:.0%} of the features, at random".replace("%", " %"),
        ),
        alter=alter,
    )


def mirna_alterations(cohort: Cohort, card: Card) -> Mapping[str, Alteration]:
    """What a model of miRNA profiles, log2(reads per million + 1), is judged on besides."""
    tissue = cohort.tissue
    with_tissue = (
        {} if tissue is None or not len(tissue) else {"mixed": mixed(tissue, share=_TISSUE)}
    )
    return {
        "made_up_laboratories": made_up_laboratories(),
        **with_tissue,
        "half_known": thinned(known=0.5),
        **_least_known(card, beside=0.5),
    }


def microarray_alterations(cohort: Cohort, card: Card) -> Mapping[str, Alteration]:
    """What a model of microarrays is judged on besides."""
    del cohort
    return _least_known(card)


def _least_known(card: Card, beside: float | None = None) -> Mapping[str, Alteration]:
    """As few features as it answers on."""
    least = card.least_known_share
    return {} if least in {0, beside} else {"least_known": thinned(known=least)}


_TISSUE: Final = 0.3
