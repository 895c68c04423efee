"""Why an answer was given, from the stored input and the version that answered."""

import numpy as np

from guarantee.abstention import ABSTAINED
from guarantee.bodies import InferenceMade
from guarantee.card import Language
from guarantee.opened import DossierView
from guarantee.records import unpack_floats
from guarantee.refusals import StepMissing
from guarantee.versions import registered_version
from models.account import Account, Reason
from models.explanation import TOLERANCE, InexactExplanation
from models.served import Answer, ServedModel
from serving.house import House
from serving.messages.accounts import AccountGiven, ReasonGiven
from serving.problems import UnacceptedField


def account_of(
    house: House,
    view: DossierView,
    *,
    label: str | None,
    rather_than: str | None,
    language: Language,
) -> Account:
    """The account of an answer, of a dossier that the caller may read.

    The record holds the contributions to the label that was answered; those to any other are
    computed again, by the version that answered.

    Args:
        label: The answer's own where None.

    Raises:
        StepMissing: The answer is withheld.
        UnacceptedField: The model has no such label, or it abstained and none is named.
        InexactExplanation: What is computed is not what is on record.
        NotOnTheShelf, DigestMismatch: The version is not here any more.
    """
    version, made = _answered(house, view)
    if label is None and ABSTAINED in made.answer.flags:
        raise UnacceptedField("label", "the model abstained: name the label to be explained")
    for field, named in (("label", label), ("rather_than", rather_than)):
        if named is not None and named not in version.labels:
            raise UnacceptedField(field, "is no label of this model; its card names them")
    label = label or made.answer.label
    if rather_than == label:
        raise UnacceptedField("rather_than", "is the label itself; name another, or leave it out")
    return _again(version, made).account(label, rather_than=rather_than, language=language)


def map_of(house: House, view: DossierView) -> str:
    """Where an answer lies among the cases that its version was judged on, as an SVG document.

    Of a dossier that the caller may read; errors as for `account_of`.
    """
    return _again(*_answered(house, view)).map()


def _answered(house: House, view: DossierView) -> tuple[ServedModel, InferenceMade]:
    if view.inference is None:
        raise StepMissing("the answer is withheld: FirstRead is missing")
    version = house.versions.get(registered_version(house.ledger, view.model, view.model_version))
    return version, view.inference


def _again(version: ServedModel, made: InferenceMade) -> Answer:
    """The answer, computed again from the stored input."""
    values = np.array(unpack_floats(made.profile), dtype=np.float64)
    answer = version.answer(version.contract.profile(values))
    gap = float(np.abs(answer.margins - np.array(unpack_floats(made.answer.margins))).max())
    if not gap <= TOLERANCE:
        raise InexactExplanation(gap)
    return answer


def told(inference_id: str, account: Account) -> AccountGiven:
    """The account as a message."""
    return AccountGiven(
        inference_id=inference_id,
        language=account.language,
        label=account.label.id,
        rather_than=None if account.other is None else account.other.id,
        start=account.base,
        total=account.total,
        reasons_for=tuple(map(_reason, account.speaking_for)),
        reasons_against=tuple(map(_reason, account.speaking_against)),
        rest=account.rest,
        sentences=account.sentences,
    )


def _reason(reason: Reason) -> ReasonGiven:
    return ReasonGiven(
        feature=reason.feature.name,
        value=reason.value,
        unit=reason.feature.unit,
        contribution=reason.contribution,
        weight=reason.weight,
        sentence=reason.sentence,
    )
