"""Reading back: what was answered is what is shown, from the record and not from memory."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np

from guarantee import versions
from guarantee.bodies import Answer, DecisionSigned, InferenceMade, WhatIfMade
from guarantee.card import Mode
from guarantee.logged import Recorded
from guarantee.opened import DossierView, Event, open_dossier
from guarantee.records import unpack_floats
from guarantee.refusals import StepMissing
from guarantee.situations import Step
from guarantee.versions import RegisteredVersion
from models.explanation import (
    Attribution,
    attributions,
    attributions_against,
    attributions_for,
)
from models.served import ServedModel
from serving.house import House
from serving.messages.inferences import (
    AbstentionGiven,
    DecisionGiven,
    DossierGiven,
    EventGiven,
    ExplanationGiven,
    FeatureChange,
    FeatureShift,
    FeatureWeight,
    Followed,
    InferenceGiven,
    ModelNamed,
    Prediction,
    Ranked,
    Review,
    Simulated,
    SimulationGiven,
    WhatIfGiven,
)
from serving.messages.parts import ReceiptGiven

_TOP_FEATURES: Final = 20
_TOP_EACH_WAY: Final = 10
_NEXT: Final[dict[Step, Literal["first-read", "decision", "told", "outcome"]]] = {
    Step.WITHHELD: "first-read",
    Step.ANSWERED: "decision",
    Step.DECIDED: "told",
    Step.TOLD: "outcome",
}


def given(house: House, inference_id: str) -> InferenceGiven:
    """An inference as its record tells it.

    Raises:
        UnknownDossier: No such inference.
    """
    view = open_dossier(house.ledger, inference_id)
    return _given(house, view, registered_in(house, view))


def whole(house: House, view: DossierView) -> DossierGiven:
    """An inference, its input, and what followed, of a dossier that the caller may read."""
    registered = registered_in(house, view)
    seen = None
    if view.inference is not None:
        names = house.versions.get(registered).contract.names
        values = unpack_floats(view.inference.profile)
        seen = {name: number(value) for name, value in zip(names, values, strict=True)}
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
                body=_said(house, view, event),
            )
            for event in view.events
        ),
    )


def _said(house: House, view: DossierView, event: Event) -> Followed | None:
    body = event.body
    if isinstance(body, WhatIfMade):
        return _simulation(house.versions.get(registered_in(house, view)), _shown(view), body)
    if isinstance(body, DecisionSigned):
        # Whoever holds the token that attests the decision could act as its clinician.
        return DecisionGiven(
            decision=body.decision,
            label=body.label,
            reason=body.reason,
            assurance=body.assurance,
            signature=event.recorded.header.signature,
        )
    return body if isinstance(body, Followed) else None


def instant(milliseconds: int) -> datetime:
    """A record's time, of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def registered_in(house: House, view: DossierView) -> RegisteredVersion:
    """The version that answered in the dossier."""
    return versions.registered_version(house.ledger, view.model, view.model_version)


def _given(house: House, view: DossierView, registered: RegisteredVersion) -> InferenceGiven:
    card = registered.card
    header = view.events[0].recorded.header
    shown = view.inference
    version = house.versions.get(registered) if shown else None
    receipt = house.ledger.receipt(view.id)
    return InferenceGiven(
        inference_id=view.id,
        model=_named(registered),
        prediction=prediction(version, shown.answer) if shown and version else None,
        explanation=explanation(version, shown.profile, shown.answer)
        if shown and version
        else None,
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


def _named(registered: RegisteredVersion) -> ModelNamed:
    return ModelNamed(
        name=registered.name,
        version=registered.version,
        digest=registered.digest,
        title=registered.card.title,
    )


def prediction(version: ServedModel, answer: Answer) -> Prediction:
    """A recorded answer in the card's words, or why the model gives none."""
    card = version.card
    ranked = sorted(
        zip(card.labels, unpack_floats(answer.probabilities), strict=True),
        # Equals stay in the card's order.
        key=lambda pair: -pair[1],
    )
    label = card.label(answer.label) if answer.abstention is None else None
    return Prediction(
        label=label.id if label else None,
        words=label.words if label else None,
        codes=label.codes if label else (),
        probability=answer.probability if label else None,
        abstention=_abstention(version, answer),
        prediction_set=answer.prediction_set,
        ranking=tuple(
            Ranked(label=one.id, words=one.words, probability=probability)
            for one, probability in ranked
        ),
    )


def _abstention(version: ServedModel, answer: Answer) -> AbstentionGiven | None:
    if answer.abstention is None:
        return None
    required = {one.name for one in version.contract.features if one.required}
    return AbstentionGiven(
        reason=answer.abstention,
        words=answer.abstention.words,
        needed=tuple(name for name in answer.missing_features if name in required),
    )


def explanation(version: ServedModel, profile: str, answer: Answer) -> ExplanationGiven:
    """Why a recorded answer says its label, of the profile that it was given."""
    chosen = version.labels.index(answer.label)
    contributions = np.array(unpack_floats(answer.contributions), dtype=np.float32)
    values = np.array(unpack_floats(profile), dtype=np.float32)
    names = version.contract.names

    def weights(found: Iterable[Attribution]) -> tuple[FeatureWeight, ...]:
        return tuple(
            FeatureWeight(feature=one.feature, value=one.value, contribution=one.contribution)
            for one in found
        )

    top = attributions(names, values, contributions, _TOP_FEATURES)
    whole_sum = float(contributions.sum(dtype=np.float64))
    return ExplanationGiven(
        label=answer.label,
        margin=unpack_floats(answer.margins)[chosen],
        base_value=unpack_floats(answer.base_values)[chosen],
        top_features=weights(top),
        rest=whole_sum - sum(one.contribution for one in top),
        speaks_for=weights(attributions_for(names, values, contributions, _TOP_EACH_WAY)),
        speaks_against=weights(attributions_against(names, values, contributions, _TOP_EACH_WAY)),
    )


def simulated(house: House, view: DossierView, recorded: Recorded) -> WhatIfGiven:
    """A recorded simulation beside the answer that it departs from, of a dossier to be read.

    Raises:
        StepMissing: The answer is withheld.
    """
    registered = registered_in(house, view)
    serving = versions.standing(house.ledger, view.model).serving
    made = house.ledger.open_as(recorded, WhatIfMade)
    return WhatIfGiven(
        **dict(_simulation(house.versions.get(registered), _shown(view), made)),
        record_id=recorded.id,
        index=recorded.index,
        inference_id=view.id,
        model=_named(registered),
        superseded_by=serving.version
        if serving is not None and serving.version != view.model_version
        else None,
        notice=registered.card.regulatory.notice(),
    )


def _shown(view: DossierView) -> InferenceMade:
    if view.inference is None:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    return view.inference


def _simulation(
    version: ServedModel, inference: InferenceMade, made: WhatIfMade
) -> SimulationGiven:
    names = version.contract.names
    place = version.labels.index(made.label)
    values = [np.array(unpack_floats(one.profile)) for one in (inference, made)]
    other = ~((values[0] == values[1]) | (np.isnan(values[0]) & np.isnan(values[1])))
    before = np.array(unpack_floats(inference.answer.contributions), dtype=np.float64)
    after = np.array(unpack_floats(made.contributions), dtype=np.float64)
    shift = after - before
    top = [
        int(one)
        for one in np.argsort(-np.abs(shift), kind="stable")[:_TOP_FEATURES]
        if shift[one] != 0
    ]
    return SimulationGiven(
        changed=tuple(
            FeatureChange(
                feature=names[one],
                before=number(values[0][one]),
                after=number(values[1][one]),
            )
            for one in np.flatnonzero(other)
        ),
        before=_simulated(version, inference.profile, inference.answer),
        after=_simulated(version, made.profile, made.answer),
        label=made.label,
        margin_before=unpack_floats(inference.answer.margins)[place],
        margin_after=unpack_floats(made.answer.margins)[place],
        differences=tuple(
            FeatureShift(
                feature=names[one],
                before=float(before[one]),
                after=float(after[one]),
                difference=float(shift[one]),
            )
            for one in top
        ),
        rest=float(shift.sum()) - float(shift[top].sum()),
    )


def _simulated(version: ServedModel, profile: str, answer: Answer) -> Simulated:
    return Simulated(
        prediction=prediction(version, answer),
        explanation=explanation(version, profile, answer),
        flags=answer.flags,
        missing_features=answer.missing_features,
    )


def number(value: float) -> float | None:
    """A feature's value; none where it is missing."""
    return None if np.isnan(value) else float(value)
