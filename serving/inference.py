"""Ask → answer: nothing without information, no answer before its record is durable."""

import platform
from functools import partial
from typing import Final

import numpy as np
import xgboost

from guarantee import dossier, informing, versions
from guarantee.appending import Request
from guarantee.bodies import Answer, InferenceMade
from guarantee.card import Mode
from guarantee.ledger import Ledger
from guarantee.logged import Recorded
from guarantee.opened import DossierView
from guarantee.pseudonyms import Actor
from guarantee.records import pack_floats, unpack_floats
from guarantee.refusals import AnswerWithheld, StepMissing, Suspended
from guarantee.versions import RegisteredVersion
from models import served
from serving.house import House, LoadedVersions
from serving.messages.inferences import Question, ReplayGiven
from serving.shown import registered_in

PLATFORM: Final = " ".join(
    (
        f"{platform.system()}/{platform.machine()}",
        f"python/{platform.python_version()}",
        f"xgboost/{xgboost.__version__}",
        f"numpy/{np.__version__}",
    )
)


def ask(
    ledger: Ledger,
    actor: Actor,
    *,
    loaded: LoadedVersions,
    name: str,
    question: Question,
    request: Request | None = None,
) -> Recorded:
    """Answer one question about one patient; `shown.given` shows what may be shown of it.

    1. The gate: the model may answer, and the patient was informed of it.
    2. The profile: every feature is known and possible.
    3. The answer, with contributions that add up to it.
    4. The record, durable, its preconditions checked again by the log.

    Raises:
        UnknownModel, Suspended, NotServing: The model does not answer.
        NotInformed, Objected: The patient's gate is closed.
        InvalidFeature, NoKnownFeature: The profile cannot be taken.
        InexactExplanation: The answer cannot be explained, so there is none.
        LedgerUnavailable: There is no record, so there is no answer.
    """
    # 1.
    registered = versions.standing(ledger, name).check_serving()
    patient = informing.check_informed(ledger, question.information_id, name, at=ledger.now())
    # 2.
    version = loaded.get(registered)
    profile = version.contract.vector(question.features)
    # 3.
    answer = version.answer(profile)
    # 4.
    mode = registered.card.least_mode.tightened(question.mode)
    inference = InferenceMade(
        information_id=question.information_id,
        mode=dossier.mode_for(ledger, patient, name, mode),
        profile=pack_floats(profile.values),
        version_digest=version.digest,
        platform=PLATFORM,
        answer=recordable(answer),
        notice=_notice(registered),
        context=question.context,
    )
    record = partial(
        dossier.record_inference,
        ledger,
        actor,
        pseudonym=patient,
        version=registered,
        request=request,
    )
    try:
        return record(inference=inference)
    except AnswerWithheld:
        # Another answer on this patient was withheld while this one was computed.
        withheld = inference.model_copy(update={"mode": Mode.WITHHELD})
        return record(inference=withheld)
    except Suspended:
        # Stopped while it answered: the model's standing tells the reason.
        versions.standing(ledger, name).check_serving()
        raise


def recordable(answer: served.Answer) -> Answer:
    """An answer as its record holds it."""
    chosen = answer.labels.index(answer.label)
    probabilities = dict(answer.ranking)
    return Answer(
        label=answer.label,
        probability=answer.probability,
        probabilities=pack_floats(probabilities[label] for label in answer.labels),
        margins=pack_floats(answer.margins),
        base_values=pack_floats(answer.bases),
        contributions=pack_floats(answer.contributions[chosen]),
        prediction_set=answer.prediction_set,
        flags=tuple(answer.flags),
        missing_features=answer.profile.missing,
        abstention=answer.abstention,
    )


def _notice(registered: RegisteredVersion) -> str | None:
    notice = registered.card.regulatory.notice()
    return f"{notice.fr} / {notice.en}" if notice else None


def replay(house: House, view: DossierView) -> ReplayGiven:
    """The same version on the stored input, of a dossier that the caller may read.

    Raises:
        StepMissing: The answer is withheld.
    """
    if view.inference is None:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    version = house.versions.get(registered_in(house, view))
    values = np.array(unpack_floats(view.inference.profile), dtype=np.float64)
    margins = version.answer(version.contract.profile(values)).margins
    recorded = np.array(unpack_floats(view.inference.answer.margins), dtype=np.float32)
    return ReplayGiven(
        identical=margins.tobytes() == recorded.tobytes(),
        largest_difference=float(np.max(np.abs(margins - recorded))),
        recorded_platform=view.inference.platform,
        platform=PLATFORM,
    )
