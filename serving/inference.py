"""Ask → answer: nothing without information, no answer before its record is durable."""

import platform
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Literal

import numpy as np
import xgboost

from guarantee import dossier, versions
from guarantee.appending import Request
from guarantee.bodies import Answer, Body, DecisionSigned, InferenceMade
from guarantee.card import Mode
from guarantee.dossier import DossierView
from guarantee.ledger import Ledger, now_ms
from guarantee.logged import Recorded
from guarantee.pseudonyms import Actor
from guarantee.records import pack_floats, unpack_floats
from guarantee.refusals import AnswerWithheld, StepMissing, Suspended
from guarantee.situations import Step
from guarantee.versions import RegisteredVersion
from models import served
from models.served import ServedModel
from serving.house import House, LoadedVersions
from serving.messages.inferences import (
    DecisionGiven,
    DossierGiven,
    EventGiven,
    ExplanationGiven,
    FeatureWeight,
    Followed,
    InferenceGiven,
    ModelNamed,
    Prediction,
    Question,
    Ranked,
    ReplayGiven,
    Review,
)
from serving.messages.parts import ReceiptGiven

_TOP_FEATURES: Final = 20
PLATFORM: Final = " ".join(
    (
        f"{platform.system()}/{platform.machine()}",
        f"python/{platform.python_version()}",
        f"xgboost/{xgboost.__version__}",
        f"numpy/{np.__version__}",
    )
)
_NEXT: Final[dict[Step, Literal["first-read", "decision", "told", "outcome"]]] = {
    Step.WITHHELD: "first-read",
    Step.ANSWERED: "decision",
    Step.DECIDED: "told",
    Step.TOLD: "outcome",
}


def ask(
    ledger: Ledger,
    actor: Actor,
    *,
    loaded: LoadedVersions,
    name: str,
    question: Question,
    request: Request | None = None,
) -> Recorded:
    """Answer one question about one patient; `given` shows what may be shown of it.

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
    patient = dossier.check_informed(ledger, question.information_id, name, at=now_ms())
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
        answer=_recordable(answer),
        notice=_notice(registered),
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


def _recordable(answer: served.Answer) -> Answer:
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
    )


def _notice(registered: RegisteredVersion) -> str | None:
    notice = registered.card.regulatory.notice()
    return f"{notice.fr} / {notice.en}" if notice else None


# Reading back: what was answered is what is shown, from the record and not from memory.


def given(house: House, inference_id: str) -> InferenceGiven:
    """An inference as its record tells it.

    Raises:
        UnknownDossier: No such inference.
    """
    view = dossier.open_dossier(house.ledger, inference_id)
    return _given(house, view, _registered(house, view))


def whole(house: House, view: DossierView) -> DossierGiven:
    """An inference, its input, and what followed, of a dossier that the caller may read."""
    registered = _registered(house, view)
    seen = None
    if view.inference is not None:
        names = house.versions.get(registered).contract.names
        values = unpack_floats(view.inference.profile)
        seen = {name: _number(value) for name, value in zip(names, values, strict=True)}
    return DossierGiven(
        **dict(_given(house, view, registered)),
        information_id=view.information,
        input=seen,
        lapsed=view.lapsed,
        events=tuple(
            EventGiven(
                record_id=event.recorded.id,
                index=event.recorded.index,
                type=event.recorded.header.type,
                at=instant(event.recorded.header.time),
                actor=event.recorded.header.actor,
                outcome=event.recorded.header.outcome,
                body=_said(event.body),
            )
            for event in view.events
        ),
    )


def _said(body: Body | None) -> Followed | None:
    if isinstance(body, DecisionSigned):
        # Whoever holds the token that attests the decision could act as its clinician.
        return DecisionGiven(
            decision=body.decision,
            label=body.label,
            reason=body.reason,
            assurance=body.assurance,
            signature=body.signature,
        )
    return body if isinstance(body, Followed) else None


def replay(house: House, view: DossierView) -> ReplayGiven:
    """The same version on the stored input, of a dossier that the caller may read.

    Raises:
        StepMissing: The answer is withheld.
    """
    if view.inference is None:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    version = house.versions.get(_registered(house, view))
    values = np.array(unpack_floats(view.inference.profile), dtype=np.float64)
    margins = version.answer(version.contract.profile(values)).margins
    recorded = np.array(unpack_floats(view.inference.answer.margins), dtype=np.float32)
    return ReplayGiven(
        identical=margins.tobytes() == recorded.tobytes(),
        largest_difference=float(np.max(np.abs(margins - recorded))),
        recorded_platform=view.inference.platform,
        platform=PLATFORM,
    )


def instant(milliseconds: int) -> datetime:
    """A record's time, of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _registered(house: House, view: DossierView) -> RegisteredVersion:
    return versions.registered_version(house.ledger, view.model, view.model_version)


def _given(house: House, view: DossierView, registered: RegisteredVersion) -> InferenceGiven:
    card = registered.card
    header = view.events[0].recorded.header
    shown = view.inference
    receipt = house.ledger.receipt(view.id)
    return InferenceGiven(
        inference_id=view.id,
        model=ModelNamed(
            name=view.model,
            version=view.model_version,
            digest=registered.digest,
            title=card.title,
        ),
        prediction=_prediction(registered, shown.answer) if shown else None,
        explanation=_explanation(house.versions.get(registered), shown) if shown else None,
        flags=shown.answer.flags if shown else None,
        missing_features=shown.answer.missing_features if shown else None,
        notice=card.regulatory.notice(),
        review=Review(
            mode=shown.mode if shown else Mode.WITHHELD,
            step=view.step,
            next=_NEXT.get(view.step),
            lapses=instant(header.time) + timedelta(hours=card.lapse_hours),
        ),
        receipt=ReceiptGiven(header=receipt.header, proof=receipt.proof),
    )


def _prediction(registered: RegisteredVersion, answer: Answer) -> Prediction:
    card = registered.card
    ranked = sorted(
        zip(card.labels, unpack_floats(answer.probabilities), strict=True),
        # Equals stay in the card's order.
        key=lambda pair: -pair[1],
    )
    label = card.label(answer.label)
    return Prediction(
        label=label.id,
        words=label.words,
        codes=label.codes,
        probability=answer.probability,
        prediction_set=answer.prediction_set,
        ranking=tuple(
            Ranked(label=one.id, words=one.words, probability=probability)
            for one, probability in ranked
        ),
    )


def _explanation(version: ServedModel, inference: InferenceMade) -> ExplanationGiven:
    answer = inference.answer
    chosen = version.labels.index(answer.label)
    contributions = np.array(unpack_floats(answer.contributions), dtype=np.float32)
    values = unpack_floats(inference.profile)
    names = version.contract.names
    # Stable, so that equal parts keep the contract's order.
    top = np.argsort(-np.abs(contributions), kind="stable")[:_TOP_FEATURES]
    whole_sum = float(contributions.sum(dtype=np.float64))
    return ExplanationGiven(
        label=answer.label,
        margin=unpack_floats(answer.margins)[chosen],
        base_value=unpack_floats(answer.base_values)[chosen],
        top_features=tuple(
            FeatureWeight(
                feature=names[place],
                value=_number(values[place]),
                contribution=float(contributions[place]),
            )
            for place in top
        ),
        rest=whole_sum - float(contributions[top].sum(dtype=np.float64)),
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
