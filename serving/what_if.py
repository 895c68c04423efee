"""What if: changed features of a stored input → a simulation on record, never an inference."""

from typing import Final

import numpy as np

from guarantee.appending import Request
from guarantee.bodies import WhatIfMade
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.opened import DossierView
from guarantee.pseudonyms import Actor
from guarantee.records import pack_floats, unpack_floats
from guarantee.refusals import Suspended
from guarantee.simulation import check_simulable, record_what_if
from guarantee.versions import registered_version, standing
from models.contract import FeatureContract, Profile
from serving.house import LoadedVersions
from serving.inference import PLATFORM, recordable
from serving.messages.inferences import WhatIf
from serving.problems import UnacceptedField

_UNKNOWN: Final = "is not a feature of this model; see the names in its contract"


def simulate(
    ledger: Ledger,
    actor: Actor,
    *,
    loaded: LoadedVersions,
    view: DossierView,
    changes: WhatIf,
    request: Request | None = None,
) -> Recorded:
    """Ask the version that answered about a changed input; `shown.simulated` shows the two.

    1. The gate: the answer may be seen, the patient has not objected, the model is not stopped.
    2. The profile: the inference's own, with the changes; every feature is known and possible.
    3. What the version of the inference says of it, whichever version answers by now.
    4. The record, durable, its preconditions checked again by the log.

    Args:
        view: A dossier that the actor may read.

    Raises:
        StepMissing, AnswerWithheld: An answer on this patient is withheld.
        NotInformed, Objected, Erased: The patient's gate is closed.
        Suspended, NotServing: The model does not answer.
        NotOnTheShelf, DigestMismatch, MalformedBundle: The version is not here as it was.
        InvalidFeature, NoKnownFeature, UnacceptedField: The changes cannot be taken.
        InexactExplanation: What it says cannot be explained, so it is not said.
        LedgerUnavailable: There is no record, so there is no answer.
    """
    # 1.
    inference = check_simulable(ledger, view)
    # 2.
    version = loaded.get(registered_version(ledger, view.model, view.model_version))
    profile = _changed(version.contract, inference.profile, changes)
    # 3.
    answer = version.answer(profile)
    label = inference.answer.label
    # 4.
    made = WhatIfMade(
        profile=pack_floats(profile.values),
        version_digest=version.digest,
        platform=PLATFORM,
        answer=recordable(answer),
        label=label,
        contributions=pack_floats(answer.contributions[answer.labels.index(label)]),
    )
    try:
        return record_what_if(ledger, actor, view=view, what_if=made, request=request)
    except Suspended:
        # Stopped while it answered: the model's standing tells the reason.
        standing(ledger, view.model).check_serving()
        raise


def _changed(contract: FeatureContract, profile: str, changes: WhatIf) -> Profile:
    values = np.array(unpack_floats(profile), dtype=np.float64)
    features: dict[str, object] = {
        name: value
        for name, value in zip(contract.names, values.tolist(), strict=True)
        if not np.isnan(value)
    }
    known = frozenset(contract.names)
    for place, name in enumerate(changes.removed):
        if name in changes.features:
            raise UnacceptedField(f"removed.{place}", "is among the changed features, too")
        if name not in known:
            raise UnacceptedField(f"removed.{place}", _UNKNOWN)
        features.pop(name, None)
    return contract.vector({**features, **changes.features})
