"""What a card says of its model's figures: sentences made of the evaluation alone."""

from guarantee.card import Card, Text
from models.evaluation import Estimate, Evaluation, Judged


def with_figures(card: Card, evaluation: Evaluation) -> Card:
    """The card whose limits begin with what was measured of the model."""
    told = [_of_cases(evaluation)]
    if isinstance(evaluation.forward, Judged):
        told.append(_of_later_cases(evaluation.forward))
    told += [
        _of_hardship(hardship.what, hardship.judged)
        for hardship in evaluation.hardships.values()
        if isinstance(hardship.judged, Judged)
    ]
    return card.model_copy(
        update={
            "limits": Text(
                fr=" ".join([*(one.fr for one in told), card.limits.fr]),
                en=" ".join([*(one.en for one in told), card.limits.en]),
            )
        }
    )


def _of_cases(evaluation: Evaluation) -> Text:
    by_site = evaluation.by_site
    if isinstance(by_site, Judged):
        where = Text(
            fr="Dans des hôpitaux laissés hors de l’apprentissage",
            en="In hospitals left out of training",
        )
        return _all_of(by_site, where)
    where = Text(fr="En validation croisée par patient", en="In cross-validation by patient")
    return _all_of(evaluation, where)


def _all_of(found: Judged, where: Text) -> Text:
    right, mean = found.accuracy, found.balanced_accuracy
    flagged = found.flagged if isinstance(found.flagged, Estimate) else None
    unlike = Text(
        fr=f" ; {_fr(flagged)} des profils signalés comme dissemblables",
        en=f"; {_en(flagged)} of profiles are flagged as unlike",
    ) if flagged else None  # fmt: skip
    size = f"{found.set_size.value:.2f}"
    return Text(
        fr=f"{where.fr} ({_count(found.cases, ' ')} cas), {_fr(right)} de réponses justes "
        f"(intervalle à 95 % : {_percent(right.low, ',')} à {_percent(right.high, ',')} %), "
        f"{_fr(mean)} en moyenne des réponses possibles ; les ensembles à 90 % tiennent la vérité "
        f"dans {_fr(found.coverage)} des cas pour {size.replace('.', ',')} réponse en moyenne"
        f"{unlike.fr if unlike else ''}.",
        en=f"{where.en} ({_count(found.cases, ',')} cases), {_en(right)} of answers are right "
        f"(95 % interval {_percent(right.low, '.')} to {_percent(right.high, '.')} %), "
        f"{_en(mean)} as the mean over labels; 90 % sets hold the truth in {_en(found.coverage)} "
        f"of cases with {size} labels on average{unlike.en if unlike else ''}.",
    )


def _of_later_cases(found: Judged) -> Text:
    return Text(
        fr=f"Sur des cas plus tardifs que tous ceux appris, {_fr(found.accuracy)}.",
        en=f"Of cases later than all those learned from, {_en(found.accuracy)}.",
    )


def _of_hardship(what: Text, found: Judged) -> Text:
    """Right answers among those given, so that confidence can be held against them."""
    if not (isinstance(found.answered, Estimate) and isinstance(found.confidence, Estimate)):
        return Text(fr=f"{what.fr} : il s’abstient.", en=f"{what.en}: it abstains.")
    flagged = found.flagged if isinstance(found.flagged, Estimate) else None
    unlike = (
        Text(
            fr=f", {_fr(flagged)} des profils signalés", en=f", {_en(flagged)} of profiles flagged"
        )
        if flagged
        else None
    )
    silent = found.abstained.value >= _WORTH_SAYING
    return Text(
        fr=f"{what.fr} : {_fr(found.answered)} de réponses justes pour une confiance moyenne de "
        f"{_fr(found.confidence)}{unlike.fr if unlike else ''}"
        + (f", {_fr(found.abstained)} sans réponse" if silent else "")
        + ".",
        en=f"{what.en}: {_en(found.answered)} of answers are right at a mean confidence of "
        f"{_en(found.confidence)}{unlike.en if unlike else ''}"
        + (f", {_en(found.abstained)} unanswered" if silent else "")
        + ".",
    )


_WORTH_SAYING = 0.0005


def _fr(figure: Estimate) -> str:
    return f"{_percent(figure.value, ',')} %"


def _en(figure: Estimate) -> str:
    return f"{_percent(figure.value, '.')} %"


def _percent(share: float, point: str) -> str:
    return f"{100 * share:.1f}".replace(".", point)


def _count(cases: int, separator: str) -> str:
    return f"{cases:,}".replace(",", separator)
