"""What is compared: a version's reference, and the latest inferences that it made."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee import dossier
from guarantee.ledger import Ledger
from guarantee.records import unpack_floats
from models.reference import LEVELS, Reference
from models.served import ServedModel
from monitoring.drift import Sample

_MOST_ROWS: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The latest inferences of one version, one a patient.

    Attributes:
        sample: A row a patient.
        indices: Of the inferences, zero-based in the log, ascending.
    """

    sample: Sample
    indices: tuple[int, ...]


def latest(ledger: Ledger, served: ServedModel) -> Window:
    """The version's share of the model's latest inferences, at most the policy's window.

    A patient's latest alone: the tests take cases for independent, which one patient's are not.
    """
    policy = served.card.monitoring
    places = served.reference.important(policy.watched_features)
    inferences = dossier.window(
        ledger, model=served.name, model_version=served.version, count=policy.window_cases
    )
    seen = sorted({case.patient: case for case in inferences}.values(), key=lambda case: case.index)
    features = np.empty((len(seen), len(places)), dtype=np.float32)
    for row, case in enumerate(seen):
        features[row] = np.asarray(unpack_floats(case.profile), dtype=np.float32)[places]
    return Window(
        sample=Sample(
            names=_names(served),
            features=features,
            labels=tuple(case.answer.label for case in seen),
            confidence=np.array([case.answer.probability for case in seen], dtype=np.float32),
        ),
        indices=tuple(case.index for case in seen),
    )


def expected(served: ServedModel) -> Sample:
    """What the version was registered on, as a sample of the watched columns.

    Drawn evenly from the quantiles, as many rows as there were cases, 5,000 at most: random
    draws would add noise of their own, and more rows would claim a knowledge that is not there.
    """
    reference = served.reference
    places = reference.important(served.card.monitoring.watched_features)
    rows = min(reference.profiles, _MOST_ROWS)
    features = np.full((rows, len(places)), np.nan, dtype=np.float32)
    for column, place in enumerate(places):
        measured = round(rows * (1 - float(reference.missing_rates[place])))
        features[:measured, column] = _evenly(reference, int(place), measured)
    # Each label's rows end where its share of all rows does: evenly, and as many as there are.
    ends = np.rint(np.cumsum(reference.answered) * rows).astype(int)
    labels = np.repeat(np.array(served.labels), np.diff(ends, prepend=0))
    return Sample(
        names=_names(served),
        features=features,
        labels=tuple(map(str, labels)),
        # Folds are less sure than the model trained on all of them: no reference for confidence.
        confidence=None,
    )


def _evenly(reference: Reference, place: int, count: int) -> NDArray[np.float64]:
    values = np.interp((np.arange(count) + 0.5) / count, LEVELS, reference.quantiles[place])
    return np.asarray(np.rint(values) if reference.whole[place] else values)


def _names(served: ServedModel) -> tuple[str, ...]:
    places = served.reference.important(served.card.monitoring.watched_features)
    return tuple(served.contract.names[place] for place in places)
