"""An evaluation as one page: aggregates alone, in French and English, with nothing to fetch."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from guarantee.card import Card, Text
from models import charts
from models.charts import both
from models.contract import FeatureContract
from models.evaluation import SMALL, Estimate, Evaluation, Judged, Subgroup, Undefined
from models.reference import Reference

_IMPORTANT: Final = 20

# The page holds what it shows: a browser fetches nothing.
_POLICY: Final = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
)

_STYLE: Final = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1b2a41;max-width:66rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.4rem 0}h2{font-size:1.15rem;margin:2rem 0 .4rem}h3{font-size:1rem}
.notice{background:#fff3d6;border-left:4px solid #c2571a;padding:.5rem .8rem}
.wide{overflow-x:auto}figure{display:inline-block;margin:0 1rem 1rem 0;vertical-align:top}
figcaption{font-weight:600}svg{max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif}
table{border-collapse:collapse;margin:.5rem 0}
td,th{padding:.2rem .6rem;border-bottom:1px solid #dde3ea;text-align:left;vertical-align:top}
td.n{white-space:nowrap;font-variant-numeric:tabular-nums}small{color:#5a6675}
dt{font-weight:600}dd{margin:0 0 .5rem 0}
#fr:checked~main [lang=en],#en:checked~main [lang=fr]{display:none}
input:checked+label{font-weight:700;text-decoration:underline}
@media print{body>input,body>label{display:none}}
"""

# What is measured: name, explanation, and how the value is written.
_HEADLINES: Final = (
    ("accuracy", ("Exactitude", "Accuracy"),
     ("part des cas dont la réponse est la bonne", "share of cases answered rightly"), True),
    ("balanced_accuracy", ("Exactitude équilibrée", "Balanced accuracy"),
     ("moyenne de la part reconnue de chaque réponse possible",
      "mean of the share of each label's cases that is recognised"), True),
    ("top_3", ("Parmi les trois premières", "Among the first three"),
     ("part des cas dont la vérité est l’une des trois réponses les plus probables",
      "share of cases whose truth is one of the three most probable answers"), True),
    ("answered", ("Exactitude de ce qui est répondu", "Accuracy of what is answered"),
     ("part de réponses justes, abstentions laissées de côté",
      "share of right answers, abstentions left out"), True),
    ("confidence", ("Confiance moyenne", "Mean confidence"),
     ("probabilité moyenne de ce qui est répondu, à comparer à son exactitude",
      "mean probability of what is answered, to set beside its accuracy"), True),
    ("calibration_error", ("Erreur de calibration", "Calibration error"),
     ("écart moyen entre la confiance annoncée et l’exactitude",
      "mean gap between the confidence stated and the accuracy"), True),
    ("coverage", ("Ensembles : couverture", "Sets: coverage"),
     ("part des cas dont l’ensemble de réponses plausibles, visant 90 %, contient la vérité",
      "share of cases whose set of plausible answers, aiming at 90 %, holds the truth"), True),
    ("set_size", ("Ensembles : taille", "Sets: size"),
     ("nombre moyen de réponses dans l’ensemble", "mean number of answers in the set"), False),
    ("abstained", ("Abstentions", "Abstentions"),
     ("part des cas où le modèle dit ne pas savoir, comptés plus haut comme des erreurs",
      "share of cases where the model says that it cannot know, counted above as errors"), True),
    ("flagged", ("Signalés comme inhabituels", "Flagged as unusual"),
     ("part des cas que le modèle dit éloignés de ceux qu’il a appris",
      "share of cases that the model says are far from those that it learned from"), True),
    ("risk_area", ("Risque moyen", "Mean risk"),
     ("part moyenne de réponses fausses, à toutes les couvertures ; plus bas est mieux",
      "mean share of wrong answers over all coverages; lower is better"), True),
    ("log_loss", ("Perte logarithmique", "Log loss"),
     ("plus bas est mieux", "lower is better"), False),
)  # fmt: skip

_TRAITS: Final = {
    "site": ("Hôpital", "Hospital"),
    "machine": ("Appareil", "Machine"),
    "sex": ("Sexe", "Sex"),
    "age": ("Âge (ans)", "Age (years)"),
    "country": ("Pays", "Country"),
    "sample type": ("Nature du prélèvement", "Kind of sample"),
    "year": ("Année", "Year"),
}

_SMALL: Final = f" <small>{both('petit', 'small')}</small>"

# The reasons that models/evaluation.py, splits.py and assessment.py give, in French.
_REASONS: Final = {
    "every label was trained on": "toutes les réponses possibles ont été apprises",
    "it was not measured": "cela n’a pas été mesuré",
    "there is no such case": "il n’y a pas de tel cas",
    "the model abstained on every case": "le modèle s’est abstenu à chaque fois",
    "no case has a label that its model was trained on": (
        "aucun cas n’a de vérité que son modèle ait apprise"
    ),
    "the cohort does not tell two hospitals apart": ("la cohorte ne distingue pas deux hôpitaux"),
    "the cohort does not tell earlier from later cases": (
        "la cohorte ne dit pas quels cas sont antérieurs"
    ),
    "what is left to learn from has a single label": (
        "ce qui resterait à apprendre n’a qu’une réponse possible"
    ),
    "it was not asked for when the model was trained": (
        "cela n’a pas été demandé à l’entraînement"
    ),
    "of 2 labels, three always hold the truth": (
        "de deux réponses possibles, trois contiennent toujours la vérité"
    ),
    "of 3 labels, three always hold the truth": (
        "de trois réponses possibles, trois contiennent toujours la vérité"
    ),
}


def page(
    card: Card, contract: FeatureContract, reference: Reference, evaluation: Evaluation
) -> str:
    """The whole HTML document; the same version gives the same bytes."""
    designs: list[tuple[str, str, Judged | Undefined]] = [
        ("Validation croisée par patient", "Cross-validation by patient", evaluation),
        ("Hôpitaux jamais vus", "Hospitals never seen", evaluation.by_site),
        ("Cas postérieurs", "Later cases", evaluation.forward),
    ]
    judged = [(fr, en, found) for fr, en, found in designs if isinstance(found, Judged)]
    sections = [
        _section("Résultats", "Results", _headlines(designs), _explained(), _limits(evaluation)),
        *_hardships(evaluation),
        _section(
            "La confiance annoncée est-elle méritée ?", "Is the confidence stated deserved?",
            both(
                "Chaque point rassemble autant de cas, du moins au plus sûr ; sur la diagonale, "
                "confiance et exactitude se valent. Le trait est l’intervalle à 95 %.",
                "Each point holds as many cases, from the least to the most confident; on the "
                "diagonal, confidence equals accuracy. The bar is the 95 % interval.",
            ),
            _figures(judged, lambda found: charts.reliability(found.reliability)),
        ),
        _section(
            "Et s’il ne répondait qu’aux cas les plus sûrs ?",
            "What if it answered the surest cases alone?",
            _figures(judged, lambda found: charts.risk_against_coverage(found.risk)),
        ),
        _section("Groupes", "Groups", _groups(evaluation)),
        _section(
            "Réponse par réponse", "Answer by answer", _by_label(card, evaluation),
            "<h3>" + both("Qui est pris pour quoi", "What is taken for what") + "</h3>",
            both("Une ligne par vérité, une colonne par réponse ; nombres de cas.",
                 "A row for each truth, a column for each answer; numbers of cases."),
            f'<div class="wide">{charts.confusion(evaluation)}</div>',
        ),
        _section("Parties", "Parts", *(_parts(fr, en, found) for fr, en, found in judged)),
        _section(
            "Les cas entre les réponses", "Cases between the answers",
            *_cases_between(card, reference),
        ),
        _section("Ce qui pèse le plus", "What weighs most", _important(contract, reference)),
        _section("À propos", "About", _about(card, contract, reference, evaluation)),
    ]  # fmt: skip
    notice = card.regulatory.notice()
    return "\n".join(
        [
            "<!doctype html>",
            '<html><head><meta charset="utf-8"/>',
            _POLICY,
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<title>{escape(card.name)}: évaluation / evaluation</title>",
            f"<style>{_STYLE}</style></head><body>",
            '<input type="radio" name="language" id="fr" checked=""/>',
            '<label for="fr" lang="fr">Français</label>',
            '<input type="radio" name="language" id="en"/>',
            '<label for="en" lang="en">English</label>',
            f"<main><h1>{_text(card.title)}</h1>",
            f"<p><code>{escape(card.name)}</code></p>",
            "" if notice is None else f'<p class="notice">{_text(notice)}</p>',
            *sections,
            "</main></body></html>\n",
        ]
    )


def _section(fr: str, en: str, *content: str) -> str:
    return f"<section><h2>{both(fr, en)}</h2>{''.join(content)}</section>"


def _text(text: Text) -> str:
    return both(text.fr, text.en)


def _number(value: float, *, percent: bool, digits: int = 1) -> str:
    plain = f"{100 * value:.{digits}f} %" if percent else f"{value:.{digits + 1}f}"
    return both(plain.replace(".", ","), plain)


def _estimate(figure: Estimate | Undefined, *, percent: bool = True) -> str:
    if isinstance(figure, Undefined):
        return f"<small>{_reason(figure)}</small>"
    low, high = (_number(end, percent=percent) for end in (figure.low, figure.high))
    return (
        f"{_number(figure.value, percent=percent)} <small>({low} {both('à', 'to')} {high})</small>"
    )


def _reason(undefined: Undefined) -> str:
    return both(_REASONS.get(undefined.reason, undefined.reason), undefined.reason)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(_row(row) for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<td class="n">{cell}</td>' for cell in cells) + "</tr>"


def _headlines(designs: Sequence[tuple[str, str, Judged | Undefined]]) -> str:
    def cells(name: str, *, percent: bool) -> list[str]:
        return [
            _estimate(getattr(found, name), percent=percent) if isinstance(found, Judged) else ""
            for _, _, found in designs
        ]

    count = [
        _cases(found) if isinstance(found, Judged) else f"<small>{_reason(found)}</small>"
        for _, _, found in designs
    ]
    return _table(
        ["", *(both(fr, en) for fr, en, _ in designs)],
        [
            [both("Cas", "Cases"), *count],
            *(
                [both(*names), *cells(name, percent=percent)]
                for name, names, _, percent in _HEADLINES
            ),
        ],
    )


def _cases(found: Judged) -> str:
    if found.patients is None:
        return f"{found.cases}"
    return f"{found.cases} <small>({found.patients} patients)</small>"


def _explained() -> str:
    meant = "".join(
        f"<dt>{both(*names)}</dt><dd>{both(*meaning)}</dd>" for _, names, meaning, _ in _HEADLINES
    )
    words = both("Ce que ces mots veulent dire", "What these words mean")
    return f"<details><summary>{words}</summary><dl>{meant}</dl></details>"


def _limits(evaluation: Evaluation) -> str:
    said = [
        both(
            "Entre parenthèses, l’intervalle à 95 % : de Wilson pour une part, sinon par tirages "
            "répétés de patients (d’hôpitaux, dans la colonne des hôpitaux jamais vus).",
            "In brackets, the 95 % interval: Wilson's for a share, else by drawing patients again "
            "and again (hospitals, in the column of hospitals never seen).",
        )
    ]
    if evaluation.patients is None:
        said.append(
            both(
                "Les patients ne sont pas identifiés : l’un d’eux peut être des deux côtés.",
                "Patients are not identified: one may be on both sides.",
            )
        )
    for fr, en, trait, found in (
        ("hôpitaux jamais vus", "hospitals never seen", "site", evaluation.by_site),
        ("cas postérieurs", "later cases", "year", evaluation.forward),
    ):
        if isinstance(found, Judged):
            unknown = _unknown(evaluation, trait)
            earlier = evaluation.cases - found.cases - found.unseen - unknown
            if found.unseen:
                sure = _estimate(found.unseen_confidence)
                said.append(
                    both(
                        f"{fr.capitalize()} : {found.unseen} cas d’une vérité jamais apprise, "
                        "comptés à part ; aucune réponse ne pouvait être la bonne. "
                        "Confiance moyenne : ",
                        f"{en.capitalize()}: {found.unseen} cases of a truth never taught, counted "
                        "apart; no answer could have been right. Mean confidence: ",
                    )
                    + sure
                )
            if unknown:
                what = (
                    ("hôpital connu", "a known hospital") if trait == "site" else ("date", "date")
                )
                said.append(
                    both(
                        f"{fr.capitalize()} : {unknown} cas sans {what[0]} n’y sont pas.",
                        f"{en.capitalize()}: {unknown} cases without {what[1]} are not in it.",
                    )
                )
            if trait == "year" and earlier > 0:
                said.append(
                    both(
                        f"{fr.capitalize()} : les {earlier} premiers cas sont appris d’emblée, et "
                        "ne sont donc pas jugés.",
                        f"{en.capitalize()}: the first {earlier} cases are learned from at the "
                        "start, so they are not judged.",
                    )
                )
    return "<ul>" + "".join(f"<li>{words}</li>" for words in said) + "</ul>"


def _unknown(evaluation: Evaluation, trait: str) -> int:
    """How many cases of the cross-validation have no word for the trait."""
    return sum(
        group.cases
        for group in evaluation.subgroups
        if (group.trait, group.value, group.pooled) == (trait, "", 1)
    )


def _hardships(evaluation: Evaluation) -> list[str]:
    if not evaluation.hardships:
        return []
    words = both(
        "Les cas laissés de côté (des hôpitaux jamais vus, où ils sont connus), altérés pour être "
        "ce que la cohorte n’a pas. Un vrai laboratoire peut différer davantage.",
        "The cases left out (of hospitals never seen, where they are known), altered to be what "
        "the cohort has none of. A real laboratory may differ more.",
    )
    designs = [
        (hardship.what.fr, hardship.what.en, hardship.judged)
        for hardship in evaluation.hardships.values()
    ]
    judged = [(fr, en, found) for fr, en, found in designs if isinstance(found, Judged)]
    return [
        _section(
            "Plus dur que la cohorte", "Harder than the cohort",
            f"<p>{words}</p>", _headlines(designs),
            _figures(judged, lambda found: charts.reliability(found.reliability)),
        )
    ]  # fmt: skip


def _figures(judged: Sequence[tuple[str, str, Judged]], draw: Callable[[Judged], str]) -> str:
    return "<div>" + "".join(
        f"<figure><figcaption>{both(fr, en)}</figcaption>{draw(found)}</figure>"
        for fr, en, found in judged
    ) + "</div>"  # fmt: skip


def _groups(evaluation: Evaluation) -> str:
    if not evaluation.subgroups:
        return both(
            "La cohorte ne dit rien qui permette de former des groupes.",
            "The cohort says nothing by which to form groups.",
        )
    words = both(
        f"En gris, moins de {SMALL} cas : trop peu pour conclure. Le trait noir est l’exactitude "
        "que laisse attendre la composition du groupe ; le trait orange, celle de l’ensemble.",
        f"In grey, fewer than {SMALL} cases: too few to conclude. The black bar is the accuracy "
        "that the group's mix leads to expect; the orange line is that of the whole.",
    )
    parts = [f"<p>{words}</p>"]
    for trait in dict.fromkeys(group.trait for group in evaluation.subgroups):
        groups = [group for group in evaluation.subgroups if group.trait == trait]
        named = [(group, *_name(group)) for group in groups]
        rows = [
            [
                both(fr, en) + (_SMALL if group.small and group.pooled == 1 else ""),
                f"{group.cases}",
                "" if group.patients is None else f"{group.patients}",
                _estimate(group.accuracy),
                _number(group.expected, percent=True),
                _estimate(group.confidence),
                _estimate(group.coverage),
            ]
            for group, fr, en in named
        ]
        header = (
            ("", ""), ("Cas", "Cases"), ("Patients", "Patients"), ("Exactitude", "Accuracy"),
            ("Attendue", "Expected"), ("Confiance", "Confidence"),
            ("Couverture des ensembles", "Coverage of sets"),
        )  # fmt: skip
        parts += [
            f"<h3>{both(*_TRAITS.get(trait, (trait, trait)))}</h3>",
            f'<div class="wide">{charts.forest(named, evaluation.accuracy)}</div>',
            f"<details><summary>{both('Les nombres', 'The numbers')}</summary>",
            _table([both(*names) for names in header], rows),
            "</details>",
        ]
    return "".join(parts)


def _name(group: Subgroup) -> tuple[str, str]:
    if group.pooled > 1:
        return f"{group.pooled} petits groupes", f"{group.pooled} small groups"
    return (group.value, group.value) if group.value else ("non connu", "not known")


def _by_label(card: Card, evaluation: Evaluation) -> str:
    rows = []
    for label in card.labels:
        found = evaluation.by_label.get(label.id)
        name = f"{escape(label.id)} <small>{_text(label.words)}</small>"
        if found is None:
            none = both("aucun cas jugé", "no case judged")
            rows.append([name, "0", f"<small>{none}</small>", "", ""])
            continue
        small = _SMALL if found.cases < SMALL else ""
        rows.append(
            [
                name,
                f"{found.cases}{small}",
                _estimate(found.recall),
                _estimate(found.precision),
                _estimate(found.coverage),
            ]
        )
    header = (
        ("", ""), ("Cas", "Cases"), ("Reconnus", "Recognised"),
        ("Réponses justes", "Answers that are right"),
        ("Couverture des ensembles", "Coverage of sets"),
    )  # fmt: skip
    return _table([both(*names) for names in header], rows)


def _parts(fr: str, en: str, found: Judged) -> str:
    rows = [
        [
            escape(part.name),
            f"{part.trained}",
            f"{part.cases}",
            f"{part.unseen}",
            _estimate(part.accuracy),
        ]
        for part in found.parts
    ]
    header = (
        ("Partie", "Part"), ("Cas appris", "Cases learned from"), ("Cas jugés", "Cases judged"),
        ("dont de vérité jamais apprise", "of a truth never taught"), ("Exactitude", "Accuracy"),
    )  # fmt: skip
    return f"<h3>{both(fr, en)}</h3>{_table([both(*names) for names in header], rows)}"


def _cases_between(card: Card, reference: Reference) -> tuple[str, str]:
    words = both(
        "Les réponses que le modèle confond se suivent sur le cercle. Un point est un cas, de la "
        "couleur de sa vérité, entre les réponses selon leurs probabilités, dites par un modèle "
        f"qui ne l’avait pas appris ; {len(reference.atlas.cases)} cas, autant de chaque réponse "
        "jusqu’à une limite. Deux nombres arrondis et la vérité sont tout ce qui en est gardé : "
        "aucun profil ne s’y retrouve.",
        "Answers that the model takes for each other follow each other on the circle. A point is a "
        "case, in its truth's colour, between the answers by their probabilities, given by a model "
        f"that had not learned from it; {len(reference.atlas.cases)} cases, as many of each answer "
        "as there are up to a limit. Two rounded numbers and the truth are all that is kept of a "
        "case: no profile can be told from them.",
    )
    labels = [label.id for label in card.labels]
    return f"<p>{words}</p>", f'<div class="wide">{charts.atlas(reference.atlas, labels)}</div>'


def _important(contract: FeatureContract, reference: Reference) -> str:
    places = reference.important(_IMPORTANT)
    words = both(
        "Contribution moyenne, en valeur absolue, à la marge d’une réponse (log des cotes), sur "
        "l’ensemble des cas. Aucun cas n’est dessiné : ses mesures se liraient sur un tel nuage.",
        "Mean contribution, in absolute value, to an answer's margin (log-odds), over all cases. "
        "No case is drawn: its measurements could be read from such a cloud.",
    )
    names = [contract.names[place] for place in places]
    weights = [float(reference.importance[place]) for place in places]
    return f'<p>{words}</p><div class="wide">{charts.importance(names, weights)}</div>'


def _about(
    card: Card, contract: FeatureContract, reference: Reference, evaluation: Evaluation
) -> str:
    described = (
        (("Emploi prévu", "Intended use"), card.intended_use),
        (("Population", "Population"), card.population),
        (("À ne pas employer pour", "Not for"), card.not_for),
        (("Provenance", "Provenance"), card.provenance),
        (("Limites", "Limits"), card.limits),
    )
    numbers = both(
        f"{len(contract.features)} mesures, {len(card.labels)} réponses possibles, "
        f"{reference.profiles} profils appris, {evaluation.held_out_cases} gardés à part, "
        f"{evaluation.folds} plis, graine {evaluation.seed}.",
        f"{len(contract.features)} features, {len(card.labels)} labels, {reference.profiles} "
        f"profiles learned from, {evaluation.held_out_cases} kept apart, {evaluation.folds} folds, "
        f"seed {evaluation.seed}.",
    )
    notes = "".join(f"<li>{_text(note)}</li>" for note in evaluation.notes)
    return (
        f"<p>{numbers}</p><dl>"
        + "".join(f"<dt>{both(*names)}</dt><dd>{_text(text)}</dd>" for names, text in described)
        + f"</dl><ul>{notes}</ul>"
    )
